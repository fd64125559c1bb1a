"""Everything that runs Lava: backend `lava`, and what backend `loihi2` and the self-test share with it.

`session` starts the child process in which `worker` builds and runs a `job`; only modules that the child loads import Lava.
"""

from .simulator import availability, run

__all__ = ["availability", "run"]
