"""CIFAR-10 and CIFAR-100 (A. Krizhevsky, 2009), read from any of three layouts.

The layouts are the Python download (`cifar-10-batches-py`, `cifar-100-python`, as torchvision leaves them), the
binary download (`cifar-10-batches-bin`, `cifar-100-binary`), and one image file per picture in `train/<class>/` and
`test/<class>/` of a folder or of a .zip file. The last is often JPEG; `Dataset.source` contains the format, because accuracies on
re-encoded images do not compare to the last tenth with those on the original.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ...errors import DataError
from ...files import StrPath
from .cifar_batches import Download, read_batches
from .dataset import Dataset
from .image_files import FolderImages, ZipImages, read_images
from .reading import DATA_VARIABLE, Part, chosen_path

CIFAR10 = Download(
    name="cifar10",
    title="CIFAR-10",
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    pickled="cifar-10-batches-py",
    binary="cifar-10-batches-bin",
    train=tuple(f"data_batch_{number}" for number in range(1, 6)),
    test="test_batch",
    labels="labels",
)
# The fine labels' names; the coarse ones, twenty superclasses, are not used.
CIFAR100 = Download(
    name="cifar100",
    title="CIFAR-100",
    classes=tuple(
        "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle "
        "caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant "
        "flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man "
        "maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree "
        "plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper "
        "snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train "
        "trout tulip turtle wardrobe whale willow_tree wolf woman worm".split()
    ),
    pickled="cifar-100-python",
    binary="cifar-100-binary",
    train=("train",),
    test="test",
    labels="fine_labels",
    labels_before=1,
    names=("meta", "fine_label_names"),
)
SHAPE = (3, 32, 32)


def read(download: Download, directory: StrPath | None) -> Dataset:
    """Images are uint8 (N, 3, 32, 32). Raises `DataError` if files are missing or malformed."""
    title, path = download.title, chosen_path(directory)
    if path is None:
        raise DataError(
            f"{title} does not come with this package; name its folder with --data-dir or {DATA_VARIABLE}, or fetch it through "
            f"torchvision with `rmp-lava zoo --download {download.name} --data-dir FOLDER`"
        )
    if os.path.isfile(path):
        return _read_zip(download, path)
    names = [spelled for name in (title, title.replace("-", "")) for spelled in (name.lower(), name)]
    folders = (path, *(path / name for name in names))
    for layout in (_read_download, _read_image_folder):  # the original is preferred to re-encoded images
        for folder in folders:
            found = layout(download, folder)
            if found is not None:
                return found
    # The pattern keeps CIFAR-100's archive from being taken for CIFAR-10.
    archives = sorted({file for name in names for file in path.glob(f"{name}[!0-9]*zip") if file.suffix == ".zip"})
    if len(archives) > 1:
        several = ", ".join(file.name for file in archives)
        raise DataError(f"folder {path} contains several .zip files of {title} ({several}); name one of them")
    if archives:
        return _read_zip(download, archives[0])
    raise DataError(
        f"{title} was not found in {path}; name a folder that contains {download.pickled}, {download.binary}, or "
        "train/<class>/ and test/<class>/, or a .zip file of the latter"
    )


def _read_download(download: Download, folder: Path) -> Dataset | None:
    """A download that is inside the folder or is the folder itself; None if there is none."""
    for name, suffix in ((download.pickled, ""), (download.binary, ".bin")):
        for candidate in (folder / name, folder):
            first = candidate / f"{download.train[0]}{suffix}"
            # Of the layout with image files, `train` is a folder.
            if os.path.exists(first) and not os.path.isdir(first):
                return _dataset(download, read_batches(download, candidate, suffix), download.title, candidate)
    return None


def _read_image_folder(download: Download, folder: Path) -> Dataset | None:
    is_one = all(os.path.isdir(folder / part) for part in ("train", "test"))
    return _read_image_files(download, FolderImages(folder)) if is_one else None


def _read_zip(download: Download, path: Path) -> Dataset:
    with ZipImages(path) as source:
        return _read_image_files(download, source)


def _read_image_files(download: Download, source: FolderImages | ZipImages) -> Dataset:
    parts = read_images(source, download.classes, SHAPE, f"reading {download.title}")
    return _dataset(download, parts, f"{download.title} ({'/'.join(source.kinds)})", source.path)


def _dataset(download: Download, parts: Sequence[Part], source: str, place: Path) -> Dataset:
    train, test = parts
    return Dataset(download.name, *train, *test, download.classes, source, place)
