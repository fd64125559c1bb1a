"""ImageNet (Russakovsky et al., IJCV 2015), or any images in class folders that do not fit into memory: decoded when needed.

The layout is that of torchvision's ImageFolder: `train/<class>/` and `val/<class>/` (or `test/<class>/`), JPEG or PNG of
any size. As torchvision's evaluation does, the shorter side is resized to 256 pixels and 224x224 are cropped from the
centre, in training too.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...files import StrPath
from .dataset import Dataset
from .image_files import FolderImages, is_junk, opened, pillow, quoted, sorted_files
from .lazy_images import LazyImages
from .reading import DATA_VARIABLE, chosen_path, entries

SHAPE = (3, 224, 224)
SHORTER_SIDE = 256
MAX_IMAGES = 2**21
"""ImageNet has 1.33 million."""
MAX_FILE_BYTES = 2**25
MAX_PIXELS = 2**26
MAX_RATIO = 100
"""Of an image's sides: a narrow image would become enormous when its shorter side is resized to 256 pixels."""

_FOLDERS = ("", "imagenet", "ImageNet")
_TEST_PARTS = ("val", "test")


def read(directory: StrPath | None) -> Dataset:
    """Images are (N, 3, 224, 224); none is decoded yet.

    The classes are the folders of `train`, sorted. The test part is `val` where there is one, because the labels of ImageNet's
    own test images are not public.

    Raises
    ------
    DataError
        If Pillow is missing, the folder is not found, or a file is misplaced; later, when a file is read that is too large,
        damaged, or not an image.
    """
    reader = pillow()
    root, test_part = _find(directory)
    source = FolderImages(root, ("train", test_part), MAX_FILE_BYTES)
    class_names = _class_names(root / "train")
    parts = sorted_files(source, class_names, MAX_IMAGES)

    def read_one(name: str) -> np.ndarray:
        return decode(reader, source.read(name), f"{quoted(name)} in {root}")

    train, test = ((LazyImages(np.array(names, dtype=object), read_one, SHAPE, "imagenet"), y) for names, y in parts)
    what = f"ImageNet in class folders ({'/'.join(source.kinds)}), {test_part} as test images"
    return Dataset("imagenet", *train, *test, class_names, what, root)


def decode(reader: Any, content: bytes, what: str) -> np.ndarray:
    """An image as torchvision's Resize(256) and CenterCrop(224) return it: uint8 (3, 224, 224).

    `reader` is Pillow's module Image. Raises `DataError` if the content is neither JPEG nor PNG, damaged, or of absurd size.
    """
    with opened(reader, content, what) as image:
        width, height = image.size
        # The header is checked before memory is allocated for pixels.
        shorter, longer = sorted(image.size)
        if width * height > MAX_PIXELS or longer > MAX_RATIO * shorter:
            raise DataError(
                f"image {what} has {width}x{height} pixels; at most {MAX_PIXELS:,} are allowed, and an aspect "
                f"ratio of at most {MAX_RATIO}, so remove it"
            )
        scaled = int(SHORTER_SIDE * longer / shorter)
        size = (scaled, SHORTER_SIDE) if width > height else (SHORTER_SIDE, scaled)
        resized = image.convert("RGB").resize(size, reader.Resampling.BILINEAR)
    left, top = (round((n - crop) / 2) for n, crop in zip(size, SHAPE[:0:-1], strict=True))
    cropped = resized.crop((left, top, left + SHAPE[2], top + SHAPE[1]))
    return np.asarray(cropped).transpose(2, 0, 1)


def _find(directory: StrPath | None) -> tuple[Path, str]:
    """The folder, and the name of its part with the test images."""
    path = chosen_path(directory)
    if path is None:
        raise DataError(
            "ImageNet does not come with this package; unpack it into train/<class>/ and val/<class>/ and name the folder "
            f"with --data-dir or {DATA_VARIABLE}"
        )
    for folder in (path / name for name in _FOLDERS):
        if os.path.isdir(folder / "train"):
            for part in _TEST_PARTS:
                if os.path.isdir(folder / part):
                    return folder, part
    raise DataError(
        f"ImageNet was not found in {path}; name a folder that contains train/<class>/ and val/<class>/ (or test/<class>/)"
    )


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(sorted(name for name, is_folder in entries(folder) if is_folder and not is_junk(name)))
    if len(names) < 2:
        raise DataError(f"folder {folder} contains {len(names)} class folders; at least 2 are needed")
    return names
