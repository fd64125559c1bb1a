"""Data sets: images, labels, and splits that keep test images out of training and calibration."""

from .dataset import VALIDATION_FRACTION, VALIDATION_SEED, Dataset, Split, as_float, draw, frames, split_validation
from .datasets import DATASETS, load
from .download import DOWNLOADS, download
from .events import bin_events

__all__ = [
    "DATASETS",
    "DOWNLOADS",
    "VALIDATION_FRACTION",
    "VALIDATION_SEED",
    "Dataset",
    "Split",
    "as_float",
    "bin_events",
    "download",
    "draw",
    "frames",
    "load",
    "split_validation",
]
