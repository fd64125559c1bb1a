"""Read ONNX files as PyTorch networks: `file` checks what a file holds, `operators` are the operators, `network` the graph."""
