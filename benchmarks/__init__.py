"""Speed and memory of rmp-lava and other libraries in one run: `python -m benchmarks.run`; see README.md."""
