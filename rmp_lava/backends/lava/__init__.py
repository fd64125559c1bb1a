"""Backend `lava`: the Lava CPU simulator. What imports Lava is loaded in a child process only."""

from .simulator import availability, run

__all__ = ["availability", "run"]
