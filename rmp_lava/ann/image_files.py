"""Image files in `<part>/<class>/` of a folder or of a .zip file, decoded without trust; needs Pillow.

Nothing is skipped silently but what file managers leave behind: a file in a class folder that is no image, an image
elsewhere, or one of another size or colour mode is an error with its name.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..errors import DataError
from ..progress import Progress

MAX_IMAGES = 200_000
MAX_FILE_BYTES = 2**20
MAX_ZIP_BYTES = 2**30

_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_RUBBISH = ("thumbs.db", "desktop.ini")

Part = tuple[np.ndarray, np.ndarray]


class FolderImages:
    """Image files below a folder. `kinds` are the formats met so far, sorted."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kinds: list[str] = []

    def names(self) -> Iterator[str]:
        """Paths of all that is in `<part>/` and `<part>/<class>/`, relative to the folder, with slashes."""
        for part in ("train", "test"):
            for entry in self._entries(part):
                inner = self._entries(f"{part}/{entry.name}") if entry.is_dir() else [entry]
                yield from (file.relative_to(self.path).as_posix() for file in inner)

    def read(self, name: str) -> bytes:
        """Content of a file; `DataError` if it is too large or no regular file."""
        file = self.path / name
        try:
            if not os.path.isfile(file):
                raise DataError(f"{file} is not a regular file; take it out of the data set")
            _check_size(str(file), file.stat().st_size)
            return file.read_bytes()
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror or error}); check its permissions") from error

    def _entries(self, folder: str) -> list[Path]:
        try:
            return list((self.path / folder).iterdir())
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
                raise DataError(f"{self.path} holds {_quoted(entry.filename)} twice; pack it again")
            self._entries[entry.filename] = entry
            yield entry.filename

    def read(self, name: str) -> bytes:
        """Content of a file; `DataError` if it is too large, packed in an odd way, or damaged."""
        entry = self._entries[name]
        what = f"{_quoted(name)} in {self.path}"
        _check_size(what, entry.file_size)
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
    pillow = _pillow()
    files = _sorted_files(source, parts, class_names)
    source.kinds = sorted({_KINDS[PurePosixPath(name).suffix.lower()] for part in files for name, _ in part})
    decoded = []
    with warnings.catch_warnings(), Progress(label, sum(map(len, files))) as bar:
        # Pillow warns of files that it then refuses, or that are refused here.
        warnings.simplefilter("ignore")
        for part in files:
            images = np.empty((len(part), *shape), dtype=np.uint8)
            for i, (name, _) in enumerate(part):
                images[i] = _decode(pillow, source.read(name), f"{_quoted(name)} in {source.path}", shape)
                bar.advance()
            decoded.append((images, np.array([index for _, index in part], dtype=np.int64)))
    return decoded


def _sorted_files(
    source: FolderImages | ZipImages, parts: tuple[str, ...], class_names: tuple[str, ...]
) -> list[list[tuple[str, int]]]:
    """For each part, (name, index of its class) of each image, sorted by class and name."""
    found: dict[tuple[str, str], list[str]] = {(part, name): [] for part in parts for name in class_names}
    roots, count = set(), 0
    for name in source.names():
        path = PurePosixPath(name)
        if path.name.startswith(".") or path.name.lower() in _RUBBISH or "__MACOSX" in path.parts:
            continue
        is_image = path.suffix.lower() in _KINDS
        placed = len(path.parts) >= 3 and path.parts[-3] in parts
        if not placed and not is_image:
            continue  # a licence, a list of labels
        if not is_image or not placed or path.parts[-3:-1] not in found:
            raise DataError(
                f"{_quoted(name)} in {source.path} has no place; allowed are .jpg, .jpeg and .png files in <part>/<class>/ "
                f"with parts {', '.join(parts)} and classes {', '.join(class_names)}"
            )
        found[path.parts[-3:-1]].append(name)
        roots.add(path.parts[:-3])
        count += 1
        if count > MAX_IMAGES or len(roots) > 1:
            problem = f"more than {MAX_IMAGES:,} images" if count > MAX_IMAGES else "several data sets side by side"
            raise DataError(f"{source.path} holds {problem}; name a folder or .zip file of this data set alone")
    empty = [f"{part}/{name}" for (part, name), names in found.items() if not names]
    if empty:
        raise DataError(f"{source.path} has no images in {', '.join(empty)}; fetch the data set again")
    return [
        [(name, index) for index, class_name in enumerate(class_names) for name in sorted(found[part, class_name])]
        for part in parts
    ]


def _decode(pillow: Any, content: bytes, what: str, shape: tuple[int, int, int]) -> np.ndarray:
    try:
        with pillow.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            # From the header, before memory is taken for pixels.
            if image.size != (shape[2], shape[1]) or image.mode != "RGB":
                raise DataError(
                    f"image {what} has {image.size[0]}x{image.size[1]} pixels of mode {image.mode}; allowed are "
                    f"{shape[2]}x{shape[1]} of mode RGB"
                )
            return np.asarray(image).transpose(2, 0, 1)
    except DataError:
        raise
    except Exception as error:
        # Broken images make Pillow raise nearly anything (OSError, SyntaxError, ValueError, struct.error).
        raise DataError(f"image {what} cannot be decoded ({type(error).__name__}); fetch the data set again") from error


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise DataError(
            "image files need Pillow, which is not installed; `pip install pillow`, or use the download of torchvision"
        ) from None
    return Image


def _check_size(what: str, size: int) -> None:
    if size > MAX_FILE_BYTES:
        raise DataError(f"{what} has {size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed, so take it out")


def _quoted(name: str, longest: int = 100) -> str:
    """A name from an archive, printable and not too long."""
    return repr(name if len(name) <= longest else name[: longest - 3] + "...")
