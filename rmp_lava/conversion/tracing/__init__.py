"""A PyTorch network as rectified populations with linear maps between them.

Two front ends (`fx_front`, `export_front`) record a network as one list of `calls`. `operations` and `shapes` apply each
call to an affine `expressions.Expression` over populations, whose linear parts are `maps`. `analysis` walks the calls,
makes populations and collects findings; `verify` compares the result with the network.
"""
