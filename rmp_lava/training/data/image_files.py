"""Image files in `<part>/<class>/` of a folder or of a .zip file, decoded without trust; needs Pillow.

Nothing is skipped silently but what file managers leave behind: a file in a class folder that is no image, an image
elsewhere, or one of another size or colour mode is an error with its name.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...errors import DataError
from ...progress import Progress

MAX_IMAGES = 200_000
MAX_FILE_BYTES = 2**20
MAX_ZIP_BYTES = 2**30
MAX_NAMED = 10
"""Of class names in a message."""

_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_RUBBISH = ("thumbs.db", "desktop.ini")

Part = tuple[np.ndarray, np.ndarray]


class FolderImages:
    """Image files of at most `max_bytes` in the folders `parts` of a folder. `kinds` are the formats met so far, sorted."""

    def __init__(self, path: Path, parts: tuple[str, ...] = ("train", "test"), max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path, self.parts, self.max_bytes = path, parts, max_bytes
        self.kinds: list[str] = []

    def names(self) -> Iterator[str]:
        """Paths of all that is in `<part>/` and `<part>/<class>/`, relative to the folder, with slashes."""
        for part in self.parts:
            for name, is_folder in self._entries(part):
                if is_folder:
                    yield from (inner for inner, _ in self._entries(name))
                else:
                    yield name

    def read(self, name: str) -> bytes:
        """Content of a file; `DataError` if it is too large or no regular file."""
        file = self.path / name
        try:
            if not os.path.isfile(file):
                raise DataError(f"{file} is not a regular file; take it out of the data set")
            _check_size(str(file), file.stat().st_size, self.max_bytes)
            return file.read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror or error}); check its permissions") from error

    def _entries(self, folder: str) -> list[tuple[str, bool]]:
        """(relative path, whether it is a folder) of all that is in a folder."""
        try:
            with os.scandir(self.path / folder) as entries:
                return [(f"{folder}/{entry.name}", entry.is_dir()) for entry in entries]
        except OSError as error:
            raise DataError(
                f"folder {self.path / folder} cannot be read ({error.strerror or error}); check its permissions"
            ) from error


class ZipImages:
    """Image files inside a .zip file, as a context manager. `kinds` are the formats met so far, sorted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kinds: list[str] = []
        self._entries: dict[str, zipfile.ZipInfo] = {}

    def __enter__(self) -> ZipImages:
        try:
            size = self.path.stat().st_size
            if not os.path.isfile(self.path) or size > MAX_ZIP_BYTES:
                raise DataError(
                    f"{self.path} is no regular file or has {size:,} bytes; a .zip file of at most {MAX_ZIP_BYTES:,} "
                    "is allowed"
                )
            self._archive = zipfile.ZipFile(self.path)
        except OSError as error:
            raise DataError(f"{self.path} cannot be read ({error.strerror or error}); check its permissions") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DataError(f"{self.path} is no undamaged .zip file ({error}); fetch it again") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def names(self) -> Iterator[str]:
        """Names of all files in the archive, without its folders' own entries."""
        for entry in self._archive.infolist():
            if entry.is_dir():
                continue
            if entry.filename in self._entries:
                raise DataError(f"{self.path} holds {quoted(entry.filename)} twice; pack it again")
            self._entries[entry.filename] = entry
            yield entry.filename

    def read(self, name: str) -> bytes:
        """Content of a file; `DataError` if it is too large, packed in an odd way, or damaged."""
        entry = self._entries[name]
        what = f"{quoted(name)} in {self.path}"
        _check_size(what, entry.file_size, MAX_FILE_BYTES)
        # Others unpack without a limit to what they take.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{what} is compressed by method {entry.compress_type}; pack it stored or deflated")
        try:
            with self._archive.open(entry) as file:
                # With a size: without one, zipfile unpacks all there is before it looks at what the entry declares.
                return file.read(entry.file_size + 1)
        except Exception as error:
            # Damaged headers make zipfile raise nearly anything (BadZipFile, zlib.error, RuntimeError, struct.error).
            raise DataError(f"{what} cannot be unpacked ({type(error).__name__}); fetch the file again") from error


def read_images(
    source: FolderImages | ZipImages,
    parts: tuple[str, ...],
    class_names: tuple[str, ...],
    shape: tuple[int, int, int],
    label: str,
) -> list[Part]:
    """Decode all images of a source, class by class in the order of their names.

    Parameters
    ----------
    source : FolderImages or ZipImages
    parts : tuple of str
        Names of the parts, such as 'train' and 'test'.
    class_names : tuple of str
        The class folders that each part must have, no others.
    shape : tuple of int
        (3, H, W) that each image must have.
    label : str
        Of the progress bar.

    Returns
    -------
    list of (images, labels)
        One for each part: uint8 (N, 3, H, W), and int64 (N,) indices of `class_names`.

    Raises
    ------
    DataError
        If Pillow is missing, or a file is misplaced, too large, damaged, or no image of this shape in colour mode RGB.
    """
    reader = pillow()
    files = sorted_files(source, parts, class_names, MAX_IMAGES)
    decoded = []
    with warnings.catch_warnings(), Progress(label, sum(len(labels) for _, labels in files)) as bar:
        # Pillow warns of files that it then refuses, or that are refused here.
        warnings.simplefilter("ignore")
        for names, labels in files:
            images = np.empty((len(names), *shape), dtype=np.uint8)
            for i, name in enumerate(names):
                images[i] = _decode(reader, source.read(name), f"{quoted(name)} in {source.path}", shape)
                bar.advance()
            decoded.append((images, labels))
    return decoded


def sorted_files(
    source: FolderImages | ZipImages, parts: tuple[str, ...], class_names: tuple[str, ...], most: int
) -> list[tuple[list[str], np.ndarray]]:
    """For each part the names of its images, sorted by class and name, and int64 indices of their classes.

    Sets the source's `kinds`. Raises `DataError` if anything is misplaced or missing, or if there are more than `most` images.
    """
    found: dict[tuple[str, str], list[str]] = {(part, name): [] for part in parts for name in class_names}
    roots, kinds, count = set(), set(), 0
    for name in source.names():
        path = PurePosixPath(name)
        if is_rubbish(path.name) or "__MACOSX" in path.parts:
            continue
        suffix = path.suffix.lower()
        is_image = suffix in _KINDS
        placed = len(path.parts) >= 3 and path.parts[-3] in parts
        if not placed and not is_image:
            continue  # a licence, a list of labels
        if not is_image or not placed or path.parts[-3:-1] not in found:
            raise DataError(
                f"{quoted(name)} in {source.path} has no place; allowed are .jpg, .jpeg and .png files in <part>/<class>/ "
                f"with parts {', '.join(parts)} and classes {_listed(class_names)}"
            )
        found[path.parts[-3:-1]].append(name)
        roots.add(path.parts[:-3])
        kinds.add(_KINDS[suffix])
        count += 1
        if count > most or len(roots) > 1:
            problem = f"more than {most:,} images" if count > most else "several data sets side by side"
            raise DataError(f"{source.path} holds {problem}; name a folder or .zip file of this data set alone")
    empty = [f"{part}/{name}" for (part, name), names in found.items() if not names]
    if empty:
        raise DataError(f"{source.path} has no images in {_listed(empty)}; fetch the data set again")
    source.kinds = sorted(kinds)
    ordered = []
    for part in parts:
        names = [sorted(found.pop((part, class_name))) for class_name in class_names]
        labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(each) for each in names])
        ordered.append(([name for each in names for name in each], labels))
    return ordered


def is_rubbish(name: str) -> bool:
    """Whether a file or folder of this name is what file managers leave behind."""
    return name.startswith(".") or name.lower() in _RUBBISH


@contextmanager
def decoding_errors(what: str) -> Iterator[None]:
    """Say by one `DataError` whatever Pillow makes of a broken image: OSError, SyntaxError, ValueError, struct.error, ..."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"image {what} cannot be decoded ({type(error).__name__}); fetch the data set again") from error


def _decode(reader: Any, content: bytes, what: str, shape: tuple[int, int, int]) -> np.ndarray:
    with decoding_errors(what):
        with reader.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            # From the header, before memory is taken for pixels.
            if image.size != (shape[2], shape[1]) or image.mode != "RGB":
                raise DataError(
                    f"image {what} has {image.size[0]}x{image.size[1]} pixels of mode {image.mode}; allowed are "
                    f"{shape[2]}x{shape[1]} of mode RGB"
                )
            return np.asarray(image).transpose(2, 0, 1)


def pillow() -> Any:
    """Pillow's module Image; raises `DataError` where it is not installed."""
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            "image files need Pillow, which is not installed; `pip install pillow`, or use the download of torchvision"
        ) from None
    return Image


def _check_size(what: str, size: int, most: int) -> None:
    if size > most:
        raise DataError(f"{what} has {size:,} bytes; at most {most:,} are allowed, so take it out")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED:,} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more


def quoted(name: str, longest: int = 100) -> str:
    """A name from an archive, printable and not too long."""
    return repr(name if len(name) <= longest else name[: longest - 3] + "...")
