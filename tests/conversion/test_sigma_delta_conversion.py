"""Conversion to sigma-delta neurons: outputs are the trained network's, and only changes are sent."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import rmp_lava
from rmp_lava.conversion.compensated import compensated
from rmp_lava.conversion.quantization import Quantization
from rmp_lava.errors import ConversionError, UsageError
from rmp_lava.network import INPUT

IMAGES = np.random.default_rng(0).random((48, 2, 8, 8), dtype=np.float32)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
        self.last = nn.Linear(6 * 16, 5, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x).relu()
        x = (x + self.second(x)).relu()
        return self.last(nn.functional.avg_pool2d(x, 2).flatten(1))


def plain(last: nn.Module | None = None, activation: nn.Module | None = None) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        activation or nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        last or nn.Linear(32, 5),
    )


def capped() -> nn.Module:
    """Half of its activations reach the ceiling of ReLU6 or come near it."""
    model = plain(activation=nn.ReLU6())
    with torch.no_grad():
        model[0].weight *= 12
    return model


@pytest.mark.parametrize("build", [plain, Residual, capped])
def test_outputs_are_the_trained_networks(build):
    torch.manual_seed(0)
    model = build().eval()
    conversion = rmp_lava.convert(model, IMAGES, neurons="sigma-delta")
    network = conversion.integer
    assert conversion.steps == network.depth + 1
    result = rmp_lava.run(network, IMAGES, conversion.steps, record=("spikes",))
    with torch.no_grad():
        expected = model(torch.from_numpy(IMAGES)).numpy()
    found = result.in_trained_units(network)
    spread = expected.max() - expected.min()
    assert np.abs(found - expected).max() < 0.05 * spread
    assert not result.limits_reached()
    # A settled network has nothing more to send, not even its input.
    longer = rmp_lava.run(network, IMAGES, conversion.steps + 3, record=("spikes",))
    still = {name: messages[:, conversion.steps :] for name, messages in longer.spikes.items()}
    if network.output.neurons.reset == "none":
        still.pop(network.output.name)  # Lava's Sigma sends its sum in every step
    assert not any(messages.any() for messages in still.values())
    np.testing.assert_array_equal(longer.output, result.output)


def test_frames_over_time_send_what_changes():
    torch.manual_seed(0)
    model = plain().eval()
    network = rmp_lava.convert(model, IMAGES, neurons="sigma-delta").integer
    frames = np.repeat(IMAGES[:4, None], 12, axis=1)
    frames[:, 6:, :, 2, 3] = 1 - frames[:, 6:, :, 2, 3]
    sent = rmp_lava.run(network, frames, 12, record=("spikes",)).spikes
    assert np.count_nonzero(sent[INPUT][:, 1:]) == np.count_nonzero(sent[INPUT][:, 6]) <= 8
    first = network.layers[0].name
    assert 0 < np.count_nonzero(sent[first][:, 7]) <= 4 * 8 * 9  # the pixels in reach
    coarse = rmp_lava.convert(model, IMAGES, neurons="sigma-delta", smallest_change=0.1).integer
    fewer = rmp_lava.run(coarse, frames, 12).spike_counts
    assert sum(fewer.values()) < 0.8 * sum(np.count_nonzero(messages) for messages in sent.values())


def test_files_for_lava_dl(tmp_path):
    torch.manual_seed(0)
    for_lava_dl = Quantization(for_lava_dl=True)
    network = rmp_lava.convert(plain().eval(), IMAGES, neurons="sigma-delta", quantization=for_lava_dl).integer
    assert rmp_lava.load(rmp_lava.save(network, tmp_path / "a.net", for_lava_dl=True)) == network
    with pytest.raises(ConversionError, match="do not form a chain"):
        rmp_lava.convert(Residual().eval(), IMAGES, neurons="sigma-delta", quantization=for_lava_dl)


def test_stages_compare_with_eight_bits():
    torch.manual_seed(0)
    conversion = rmp_lava.convert(plain().eval(), IMAGES, neurons="sigma-delta")
    stages = conversion.measure(IMAGES).stages
    assert [stage.name for stage in stages] == ["trained ANN", "folded", "8-bit ANN", "sigma-delta"]
    assert stages[-1].score.correlation > 0.99
    assert [stage.cost is None for stage in stages] == [True, True, True, False]
    assert stages[-1].cost.latency == conversion.steps


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"steps": 8}, "steps are 8"),
        ({"readout": "count", "wait": 2}, "readout, wait"),
        ({"encoding": "poisson"}, "encoding"),
        ({"quantization": Quantization(weight_bits=4)}, "quantization"),
        ({"smallest_change": 1.5}, "smallest_change is 1.5"),
        ({"neurons": "rmp", "smallest_change": 0.1}, "smallest_change is for neurons='sigma-delta'"),
    ],
)
def test_options_without_meaning_are_refused(options, named):
    with pytest.raises(UsageError, match=named):
        rmp_lava.convert(plain().eval(), IMAGES, **({"neurons": "sigma-delta"} | options))


def test_compensated_rounding_keeps_sums():
    random = np.random.default_rng(0)
    weights = 3 * random.standard_normal((16, 200))
    inputs = np.maximum(random.standard_normal((800, 30)) @ random.standard_normal((30, 200)), 0)
    inputs[:, 7] = 0
    found = compensated(weights, inputs, 127)
    error, plain_error = (np.square(inputs @ (each - weights).T).mean() for each in (found, np.rint(weights)))
    assert error < 0.5 * plain_error
    assert found.dtype == np.int64 and np.abs(compensated(60 * weights, inputs, 127)).max() == 127
