"""Data sets: images, labels, and splits that keep test images out of training and calibration."""

from .dataset import VALIDATION_FRACTION, VALIDATION_SEED, Dataset, Split, as_float, split_validation
from .datasets import DATASETS, load

__all__ = [
    "DATASETS",
    "VALIDATION_FRACTION",
    "VALIDATION_SEED",
    "Dataset",
    "Split",
    "as_float",
    "load",
    "split_validation",
]
