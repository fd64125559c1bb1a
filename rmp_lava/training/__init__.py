"""Training of the networks that are converted: models, data sets, the training loop, checkpoints."""
