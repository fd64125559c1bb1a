"""Checked reading of HDF5 files from anywhere: every check runs before the HDF5 library may read the data in question.

`Group` is all that the format (`netx/read.py`) sees of a file; `opened` gives the root.
"""

from .group import Group, opened

__all__ = ["Group", "opened"]
