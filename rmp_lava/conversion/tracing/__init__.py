"""What a PyTorch network computes, as rectified populations with linear maps between them.

Two front ends (`fx_front`, `export_front`) write a network down as one list of `calls`; `operations` says what each call
does to an affine `expressions.Expression` over populations, whose linear parts are `maps`; `analysis` walks the calls,
makes populations and collects findings; `verify` compares the result with the network itself.
"""
