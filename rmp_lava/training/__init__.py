"""Training of the networks that are converted: models and their constraints, data sets, the training loop, checkpoints."""
