"""Networks that come with rmp-lava, trained and converted, with what was measured of them.

    from rmp_lava import zoo
    network = zoo.load("digits-deep")           # Loihi's integers, as `rmp_lava.load` returns them
    model = zoo.load_trained("digits-deep")     # the trained network, a torch.nn.Module
    print(zoo.entry("digits-deep").accuracy)    # of `zoo.entry(...).images` test images

Figures are measured by `exports/reference/measure.py`; nothing was run on hardware.
"""

from .catalogue import Entry, entries, entry, load, load_trained, path, zoo_table

__all__ = ["Entry", "entries", "entry", "load", "load_trained", "path", "zoo_table"]
