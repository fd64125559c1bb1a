"""Read and write `.net`, lava-dl's network exchange format (HDF5); the format is described in docs/net-format.md."""

from .read import load
from .stock import lava_dl_obstacles
from .write import save

__all__ = ["lava_dl_obstacles", "load", "save"]
