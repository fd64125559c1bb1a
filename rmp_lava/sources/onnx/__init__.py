"""Read ONNX files as PyTorch networks: `file` checks what a file holds, `node` reads a node, `operators` and `moving` are the
operators, `network` the graph."""
