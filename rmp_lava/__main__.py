"""`python -m rmp_lava` is the command `rmp-lava`."""

from .cli import main

main()
