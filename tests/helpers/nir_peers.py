"""Networks of other libraries: their NIR graphs, and the spikes that the libraries compute.

The tests run snnTorch, which is small. `python tests/helpers/nir_peers.py` writes to tests/nir/recorded what the larger ones
give, for machines without them: recorded with sinabs 3.1.3, spikingjelly 2.0.0, nirtorch 2.6 and nir 1.0.8, and with norse 1.1.0,
nirtorch 2.0.2 and nir 1.0.4.

Weights are multiples of 1/64, so that sums are exact in any order. Thresholds are off that grid, also after many subtractions:
sinabs and SpikingJelly spike at the threshold, we above it.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

RECORDED = Path(__file__).resolve().parents[1] / "nir" / "recorded"
STEPS, SAMPLES, SHAPE = 16, 3, (2, 8, 8)
FIRST, SECOND, THIRD = 1 + 2**-16, 0.5 + 2**-16, 1.25 + 2**-16


def spikes() -> torch.Tensor:
    """Input, float32 (samples, steps, *shape)."""
    generator = torch.Generator().manual_seed(0)
    return (torch.rand(SAMPLES, STEPS, *SHAPE, generator=generator) < 0.3).float()


def _exact(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    for module in model.modules():
        for name in ("weight", "bias"):
            value = getattr(module, name, None)
            if isinstance(value, nn.Parameter):
                value.data = torch.randint(-24, 40, value.shape, generator=generator) / 64
    return model


def snntorch(reset: str = "subtract") -> tuple[Any, np.ndarray]:
    """`snn.Leaky` without leak. The exporter needs parameters of the neurons' shape."""
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    def leaky(shape: tuple[int, ...], threshold: float, **options: Any) -> nn.Module:
        given = {"threshold": torch.full(shape, threshold), "reset_mechanism": reset, "init_hidden": True}
        return snn.Leaky(beta=torch.ones(shape), **given, **options)

    model = _exact(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), leaky((4, 8, 8), FIRST), nn.AvgPool2d(2), nn.Conv2d(4, 4, 3, stride=2),
            leaky((4, 1, 1), SECOND), nn.Flatten(), nn.Linear(4, 6), leaky((6,), THIRD, output=True),
        )
    )  # fmt: skip
    given = spikes()
    graph = export_to_nir(model, given[:1, 0], ignore_dims=[0])
    for module in model.modules():
        if isinstance(module, snn.Leaky):
            module.reset_mem()
    with torch.no_grad():
        return graph, torch.stack([model(given[:, t])[0] for t in range(STEPS)], 1).numpy()


def snntorch_leaky(synaptic: bool) -> tuple[Any, np.ndarray]:
    """`snn.Leaky` or `snn.Synaptic` with reset to zero, in the step of the spike as NIR defines it."""
    import snntorch as snn
    from snntorch.export_nir import export_to_nir

    def made(shape: tuple[int, ...], **options: Any) -> nn.Module:
        kind = snn.Synaptic if synaptic else snn.Leaky
        rates = {"beta": torch.full(shape, 0.9)} | ({"alpha": torch.full(shape, 0.5)} if synaptic else {})
        given = {"threshold": torch.ones(shape), "reset_mechanism": "zero", "reset_delay": False, "init_hidden": True}
        return kind(**rates, **given, **options)

    model = _exact(nn.Sequential(nn.Conv2d(2, 8, 3, bias=not synaptic), made((8, 6, 6), output=True)))
    given = spikes()
    graph = export_to_nir(model, given[:1, 0], ignore_dims=[0])
    for module in model.modules():
        if isinstance(module, snn.Leaky | snn.Synaptic):
            module.reset_mem()
    with torch.no_grad():
        return graph, torch.stack([model(given[:, t])[0] for t in range(STEPS)], 1).numpy()


def sinabs() -> tuple[Any, np.ndarray]:
    """`IAFSqueeze` that sends single spikes; by default it sends several in a step."""
    from sinabs import activation, layers
    from sinabs.nir import to_nir

    def iaf(threshold: float) -> nn.Module:
        kinds = {"spike_fn": activation.SingleSpike, "reset_fn": activation.MembraneSubtract()}
        return layers.IAFSqueeze(batch_size=SAMPLES, spike_threshold=torch.tensor(threshold), **kinds)

    model = _exact(
        nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1), iaf(FIRST), layers.SumPool2d(2), nn.Conv2d(4, 4, 3, stride=2, bias=False),
            iaf(SECOND), nn.Flatten(), nn.Linear(4, 6), iaf(THIRD),
        )
    )  # fmt: skip
    given = spikes().flatten(0, 1)
    with torch.no_grad():
        found = model(given).unflatten(0, (SAMPLES, STEPS)).numpy()
    for module in model.modules():
        if isinstance(module, layers.IAFSqueeze):
            module.reset_states()
    return to_nir(model, given), found


def spikingjelly() -> tuple[Any, np.ndarray]:
    """`IFNode` with hard reset, the only one that its exporter takes."""
    from spikingjelly.activation_based import functional, layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir

    model = _exact(
        nn.Sequential(
            layer.Conv2d(2, 4, 3, padding=1), neuron.IFNode(FIRST), layer.AvgPool2d(2), layer.Conv2d(4, 4, 3, stride=2),
            neuron.IFNode(SECOND), layer.Flatten(), layer.Linear(4, 6, bias=False), neuron.IFNode(THIRD),
        )
    )  # fmt: skip
    given = spikes()
    graph = export_to_nir(model, given[:, 0])
    functional.reset_net(model)
    with torch.no_grad():
        return graph, torch.stack([model(given[:, t]) for t in range(STEPS)], 1).numpy()


def norse() -> tuple[Any, np.ndarray]:
    """`IAFCell`, which resets to a value. Of norse's exporter only linear layers can be written to a file."""
    from norse.torch import IAFCell, SequentialState, to_nir
    from norse.torch.functional.iaf import IAFParameters

    def iaf(threshold: float) -> nn.Module:
        return IAFCell(IAFParameters(v_th=torch.tensor(threshold)))

    layers = (nn.Linear(128, 24), iaf(8 * FIRST), nn.Linear(24, 12), iaf(SECOND), nn.Linear(12, 6), iaf(THIRD))
    model = _exact(SequentialState(*layers))
    given = spikes().flatten(2)
    graph = to_nir(model, given[0, 0])
    state, found = None, []
    with torch.no_grad():
        for t in range(STEPS):
            output, state = model(given[:, t], state)
            found.append(output)
    return graph, torch.stack(found, 1).numpy()


PEERS = {
    "snntorch-subtract": (snntorch, "soft"),
    "snntorch-zero": (lambda: snntorch("zero"), "hard"),
    "sinabs": (sinabs, "soft"),
    "spikingjelly": (spikingjelly, "hard"),
    "norse": (norse, "hard"),
}
"""What makes a graph and spikes, and the reset that `from_nir` has to be told."""


def record() -> None:
    import nir

    chosen = sys.argv[1:] or ["sinabs", "spikingjelly", "norse"]
    for name in chosen:
        graph, found = PEERS[name][0]()
        if name != "norse":
            graph.infer_types()  # without the shapes that it finds, nir cannot write those of sinabs
        nir.write(RECORDED / f"{name}.nir", graph)
        np.save(RECORDED / f"{name}.npy", np.packbits(found.astype(bool)))
        print(f"{name}: {int(found.sum())} spikes")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    record()
