"""Passes from a PyTorch network to a quantised spiking one, one verb per file; `pipeline` combines them."""
