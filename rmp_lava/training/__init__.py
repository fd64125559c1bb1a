"""What is trained before it is converted: constrained networks, data sets, the training loop and its checkpoints."""
