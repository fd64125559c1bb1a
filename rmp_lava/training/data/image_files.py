"""Decode untrusted image files in `<part>/<class>/` of a folder or of a .zip file; needs Pillow.

Only files that file managers leave there are skipped silently. A file in a class folder that is not an image, an image
elsewhere, or one of another size or colour mode is an error that names it.
"""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ...errors import DataError, abridged
from ...progress import Progress
from .reading import Part, entries, read_file, readable

MAX_IMAGES = 200_000
MAX_FILE_BYTES = 2**20
MAX_ZIP_BYTES = 2**30

_KINDS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG"}
_JUNK = ("thumbs.db", "desktop.ini")


class FolderImages:
    """Image files of at most `max_bytes` in the folders `parts` of a folder. `kinds` are the formats met so far, sorted."""

    def __init__(self, path: Path, parts: tuple[str, ...] = ("train", "test"), max_bytes: int = MAX_FILE_BYTES) -> None:
        self.path, self.parts, self.max_bytes = path, parts, max_bytes
        self.kinds: list[str] = []

    def names(self) -> Iterator[str]:
        """Paths of everything in `<part>/` and `<part>/<class>/`, relative to the folder, with slashes."""
        for part in self.parts:
            for name, is_folder in entries(self.path / part):
                if is_folder:
                    yield from (f"{part}/{name}/{inner}" for inner, _ in entries(self.path / part / name))
                else:
                    yield f"{part}/{name}"

    def read(self, name: str) -> bytes:
        """Content of a file; raises `DataError` if it is too large or not a regular file."""
        return read_file(self.path / name, self.max_bytes, "remove it from the data set")


class ZipImages:
    """Image files inside a .zip file, as a context manager. `kinds` are the formats met so far, sorted."""

    parts = ("train", "test")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.kinds: list[str] = []
        self._entries: dict[str, zipfile.ZipInfo] = {}

    def __enter__(self) -> ZipImages:
        with readable(self.path):
            size = self.path.stat().st_size
            if not os.path.isfile(self.path) or size > MAX_ZIP_BYTES:
                raise DataError(
                    f"{self.path} is not a regular file or has {size:,} bytes; a .zip file of at most {MAX_ZIP_BYTES:,} "
                    "is allowed"
                )
            try:
                self._archive = zipfile.ZipFile(self.path)
            except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
                raise DataError(f"{self.path} is not a .zip file, or is damaged ({error}); fetch it again") from error
        return self

    def __exit__(self, *_: object) -> None:
        self._archive.close()

    def names(self) -> Iterator[str]:
        """Names of all files in the archive, without its folders' own entries."""
        for entry in self._archive.infolist():
            if entry.is_dir():
                continue
            if entry.filename in self._entries:
                raise DataError(f"{self.path} contains {quoted(entry.filename)} more than once; pack it again")
            self._entries[entry.filename] = entry
            yield entry.filename

    def read(self, name: str) -> bytes:
        """Content of a file; raises `DataError` if it is too large, compressed by another method than deflate, or damaged."""
        entry = self._entries[name]
        what = f"{quoted(name)} in {self.path}"
        if entry.file_size > MAX_FILE_BYTES:
            raise DataError(
                f"{what} has {entry.file_size:,} bytes; at most {MAX_FILE_BYTES:,} are allowed, so remove it"
            )
        # Other methods decompress without a limit on memory.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{what} is compressed by method {entry.compress_type}; pack it stored or deflated")
        try:
            with self._archive.open(entry) as file:
                # Without a size, zipfile would decompress everything before it compares with the declared size.
                return file.read(entry.file_size + 1)
        except Exception as error:
            # Damaged headers make zipfile raise nearly anything (BadZipFile, zlib.error, RuntimeError, struct.error).
            raise DataError(f"{what} cannot be unpacked ({type(error).__name__}); fetch the file again") from error


def read_images(
    source: FolderImages | ZipImages,
    class_names: tuple[str, ...],
    shape: tuple[int, int, int],
    label: str,
) -> list[Part]:
    """Decode all images of a source, class by class in the order of their names: uint8 (N, 3, H, W) and labels for each part.

    Each part must have exactly the class folders `class_names`, and each image the `shape` (3, H, W). Raises `DataError` if
    Pillow is missing, or a file is misplaced, too large, damaged, or not an image of this shape in colour mode RGB. `label` is
    that of the progress bar.
    """
    reader = pillow()
    files = sorted_files(source, class_names, MAX_IMAGES)
    decoded = []
    with warnings.catch_warnings(), Progress(label, sum(len(labels) for _, labels in files)) as bar:
        # Pillow warns about files that it, or the code here, then refuses.
        warnings.simplefilter("ignore")
        for names, labels in files:
            images = np.empty((len(names), *shape), dtype=np.uint8)
            for i, name in enumerate(names):
                images[i] = _decode(reader, source.read(name), f"{quoted(name)} in {source.path}", shape)
                bar.advance()
            decoded.append((images, labels))
    return decoded


def sorted_files(
    source: FolderImages | ZipImages, class_names: tuple[str, ...], most: int
) -> list[tuple[list[str], np.ndarray]]:
    """For each part of the source the names of its images, sorted by class and name, and int64 indices of their classes.

    Sets the source's `kinds`. Raises `DataError` if anything is misplaced or missing, or if there are more than `most` images.
    """
    parts = source.parts
    found: dict[tuple[str, str], list[str]] = {(part, name): [] for part in parts for name in class_names}
    roots, kinds, count = set(), set(), 0
    for name in source.names():
        path = PurePosixPath(name)
        if is_junk(path.name) or "__MACOSX" in path.parts:
            continue
        suffix = path.suffix.lower()
        is_image = suffix in _KINDS
        placed = len(path.parts) >= 3 and path.parts[-3] in parts
        if not placed and not is_image:
            continue  # a licence, a list of labels
        place = (path.parts[-3], path.parts[-2]) if placed else None
        if not is_image or place is None or place not in found:
            raise DataError(
                f"{quoted(name)} in {source.path} is misplaced; allowed are .jpg, .jpeg and .png files in <part>/<class>/ "
                f"with parts {', '.join(parts)} and classes {abridged(class_names)}"
            )
        found[place].append(name)
        roots.add(path.parts[:-3])
        kinds.add(_KINDS[suffix])
        count += 1
        if count > most or len(roots) > 1:
            problem = f"more than {most:,} images" if count > most else "several data sets"
            raise DataError(f"{source.path} contains {problem}; name a folder or .zip file of this data set alone")
    empty = [f"{part}/{name}" for (part, name), names in found.items() if not names]
    if empty:
        raise DataError(f"{source.path} has no images in {abridged(empty)}; fetch the data set again")
    source.kinds = sorted(kinds)
    ordered = []
    for part in parts:
        names = [sorted(found.pop((part, class_name))) for class_name in class_names]
        labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(each) for each in names])
        ordered.append(([name for each in names for name in each], labels))
    return ordered


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name was left by a file manager."""
    return name.startswith(".") or name.lower() in _JUNK


@contextmanager
def opened(reader: Any, content: bytes, what: str) -> Iterator[Any]:
    """A JPEG or PNG image, of which only the header is read so far; `reader` is Pillow's module Image.

    Raises `DataError` for anything that Pillow raises for a broken image in the block: OSError, SyntaxError, ValueError, ...
    """
    try:
        with reader.open(io.BytesIO(content), formats=("JPEG", "PNG")) as image:
            yield image
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"image {what} cannot be decoded ({type(error).__name__}); fetch the data set again") from error


def _decode(reader: Any, content: bytes, what: str, shape: tuple[int, int, int]) -> np.ndarray:
    with opened(reader, content, what) as image:
        # The header is checked before memory is allocated for pixels.
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


def quoted(name: str, longest: int = 100) -> str:
    """A name from an archive, made printable and short."""
    return repr(name if len(name) <= longest else name[: longest - 3] + "...")
