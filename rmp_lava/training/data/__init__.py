"""Data sets: images, labels, and splits that keep test images out of training and calibration."""

from .datasets import DATASETS, VALIDATION_FRACTION, VALIDATION_SEED, Dataset, Split, as_float, load, split_validation

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
