"""A PyTorch network as rectified populations with linear maps between them.

Two front ends (`fx_front`, `export_front`) record a network as one list of `calls`. `analysis` walks the calls and
applies a rule to each (see `rules`; they are in `operations` and `shapes`). A rule turns affine expressions over
populations (`expressions`), whose linear parts are `maps`, into new ones, and makes populations with `builder`.
"""
