"""The Neuromorphic Intermediate Representation (NIR, https://neuroir.org), which other libraries read and write.

`graph` reads files as untrusted, `importing` makes a `SpikingNetwork` of a graph, and `exporting` a graph of a network.
"""

from .exporting import save_nir, to_nir
from .importing import from_nir, load_nir

__all__ = ["from_nir", "load_nir", "save_nir", "to_nir"]
