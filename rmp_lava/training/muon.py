"""Muon: momentum whose direction is made orthogonal, for the weights of convolutions under normalisation.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), in the form in which Jordan trains
CIFAR-10 ("94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv:2404.00498, and its later releases): a weight keeps
its norm, because the normalisation after it makes the outputs independent of that norm.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that drives all singular values towards one (Jordan et al., 2024)."""
_ITERATIONS = 5
_MOMENTUM, _OTHERS_MOMENTUM = 0.6, 0.9
_OTHERS_RATE = 2.0
"""Learning rate of all other parameters, relative to that of orthogonal ones."""


class Muon(torch.optim.Optimizer):
    """One optimizer for a whole network: Muon for kernels, gradient descent with Nesterov's momentum for the rest.

    Parameters
    ----------
    groups : iterable of dict
        Parameter groups; those with `"orthogonal": True` contain weights of at least two dimensions, whose outputs are
        normalised. Others have a `"weight_decay"`.
    lr : float
        Largest relative change of an orthogonal weight in a step; the other parameters' learning rate is twice that.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], lr: float) -> None:
        super().__init__(groups, {"lr": lr, "orthogonal": False, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self) -> None:  # type: ignore[override] # without a closure, which nothing here passes
        """Update all parameters that have a gradient."""
        for group in self.param_groups:
            orthogonal, rate = group["orthogonal"], group["lr"]
            momentum = _MOMENTUM if orthogonal else _OTHERS_MOMENTUM
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                gradient = weight.grad if orthogonal else weight.grad.add(weight, alpha=group["weight_decay"])
                state = self.state[weight]
                if "momentum_buffer" not in state:
                    state["momentum_buffer"] = torch.zeros_like(weight)
                moved = state["momentum_buffer"].mul_(momentum).add_(gradient)
                change = gradient.add(moved, alpha=momentum)
                if orthogonal:
                    weight.mul_(len(weight) ** 0.5 / weight.norm())
                    weight.sub_(_orthogonal(change.flatten(1)).view_as(change), alpha=rate)
                else:
                    weight.sub_(change, alpha=rate * _OTHERS_RATE)


def _orthogonal(matrix: torch.Tensor) -> torch.Tensor:
    """The nearest matrix with singular values near one; computed in bfloat16, which is enough for a direction."""
    a, b, c = _COEFFICIENTS
    x = matrix.bfloat16()
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return (x.T if tall else x).to(matrix.dtype)
