"""How far a spiking network's outputs are from those of the trained network that it was made from."""

from __future__ import annotations

import numpy as np
import torch

from ..backends import run
from ..errors import UsageError
from ..network import SpikingNetwork
from .analog import activations

COMPARED_IMAGES = 256
"""Of the calibration images, whose outputs are compared."""


class TrainedOutputs:
    """A trained network's outputs on some images, to compare those of spiking networks with; no labels are needed.

    Parameters
    ----------
    analog : SpikingNetwork
        Float, in analog form.
    images : numpy.ndarray
        Training images (never test images), as `rmp_lava.run` takes them; the first `COMPARED_IMAGES` are used.
    """

    def __init__(self, analog: SpikingNetwork, images: np.ndarray) -> None:
        self.images = images[:COMPARED_IMAGES]
        output = analog.output.name
        found = [value for _, name, value in activations(analog, self.images) if name == output]
        self.outputs = torch.cat(found).flatten(1).double()

    def divergence(self, network: SpikingNetwork, steps: int, *, seed: int = 0) -> float:
        """How far a balanced network's outputs after T steps are away; 0 if they are the same.

        The mean Kullback-Leibler divergence of their softmax in nats: what distilling one network into another minimises
        (Hinton, Vinyals, Dean, 2015), because it counts differences that could change a decision. Of a single output,
        which decides nothing, the mean squared difference over the mean square.

        Raises
        ------
        UsageError
            If the outputs do not mean the trained network's (a last layer that spikes but is read by its potential).
        """
        if network.output_scale is None:
            raise UsageError(
                f"network {network.name!r} is read by the potential of neurons that spike, which says little of its "
                "outputs; use readout 'count', or balance it in one way only"
            )
        result = run(network, self.images, steps, seed=seed)
        said = torch.from_numpy(result.output) * (network.output_scale / steps)
        said, wanted = said.double().flatten(1), self.outputs
        if wanted.shape[1] == 1:
            return float((wanted - said).square().mean() / wanted.square().mean())
        wanted, said = wanted.log_softmax(dim=1), said.log_softmax(dim=1)
        return float((wanted.exp() * (wanted - said)).sum(dim=1).mean())
