"""Read and write `.net`, lava-dl's network exchange format (HDF5); the format is described in docs/net-format.md."""

from .lava_dl_loader import LoaderCall, file_obstacles, lava_dl_call, lava_dl_obstacles
from .read import load
from .write import save

__all__ = ["LoaderCall", "file_obstacles", "lava_dl_call", "lava_dl_obstacles", "load", "save"]
