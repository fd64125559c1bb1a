"""The experiments of the RMP-SNN paper (Han, Srinivasan, Roy, CVPR 2020), in Loihi's integers: python -m examples.paper."""
