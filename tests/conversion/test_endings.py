"""What only says in another way what the outputs say is left out at the very end; forms of ReLU and of linear maps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from traced import Function as Fn

import rmp_lava
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input

IMAGES = np.random.default_rng(0).random((20, 2, 6, 6), dtype=np.float32)


def network(activation=None, end=None) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), activation or nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)]
    model = nn.Sequential(*layers, *([] if end is None else [end])).eval()
    with torch.no_grad():
        model(torch.from_numpy(IMAGES))
    return model


def outputs(model: nn.Module) -> torch.Tensor:
    assert check(model, IMAGES).convertible, check(model, IMAGES).obstacles
    with torch.no_grad():
        return AnalogNetwork(trace(model, make_input("current", (2, 6, 6)), IMAGES))(torch.from_numpy(IMAGES))


ENDS = {
    "softmax": nn.Softmax(1),
    "log softmax": Fn(lambda x: functional.log_softmax(x, dim=-1)),
    "sigmoid": nn.Sigmoid(),
    "sigmoid in another shape": Fn(lambda x: x.sigmoid().view(-1, 3, 1)),
    "log sigmoid": nn.LogSigmoid(),
    "tanh": Fn(torch.tanh),
    "softplus": Fn(functional.softplus),
    "logarithm of a softmax": Fn(lambda x: x.softmax(1).log()),
    "arg max": Fn(lambda x: x.argmax(1)),
    "arg max of a softmax": Fn(lambda x: torch.argmax(x.softmax(1), dim=-1)),
    "arg max in another shape": Fn(lambda x: x.argmax(1, keepdim=True).squeeze(1).float()),
    "indices of a maximum": Fn(lambda x: x.max(1)[1]),
    "indices of a maximum by name": Fn(lambda x: torch.max(x, dim=1).indices),
}


@pytest.mark.parametrize("end", ENDS)
def test_an_ending_is_left_out_and_its_meaning_said(end):
    model = network(end=ENDS[end])
    with torch.no_grad():
        torch.testing.assert_close(outputs(model), model[:-1](torch.from_numpy(IMAGES)), rtol=0, atol=1e-5)
    findings = [f for f in check(model, IMAGES).information if "at the end" in f.found]
    assert findings and all(f.remedy.startswith("left out: outputs are its inputs; ") for f in findings)


@pytest.mark.parametrize("end", ["arg max", "indices of a maximum", "sigmoid"])
def test_stages_measure_what_such_a_network_predicts(end):
    model = network(end=ENDS[end])
    with torch.no_grad():
        labels = model[:-1](torch.from_numpy(IMAGES)).argmax(1).numpy()
    stages = convert(model, IMAGES, steps=8).stages(IMAGES, labels)
    assert stages[0].score.accuracy == stages[1].score.accuracy == 1


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (Fn(lambda x: x.sigmoid() + x), "(sigmoid) is an activation other than ReLU"),
        (Fn(lambda x: 2 * x.sigmoid()), "(sigmoid) is an activation other than ReLU"),
        (nn.Sequential(nn.Softmax(1), nn.Linear(3, 2)), "is a softmax inside the network"),
        (Fn(lambda x: torch.log(x.relu() + 1)), "(log) is an activation other than ReLU"),
        (Fn(lambda x: x.max(1)[0]), "(max) returns the largest output alone"),
        (Fn(lambda x: x.max(1).values), "(max) returns the largest output alone"),
        (Fn(lambda x: x.argmax()), "over another axis than the classes"),
        (Fn(lambda x: x * x.argmax(1, keepdim=True)), "(argmax)"),
    ],
)
def test_anywhere_else_it_is_an_obstacle(end, found):
    assert found in check(network(end=end), IMAGES).obstacles[0].found


RELUS = {
    "maximum with zeros": Fn(lambda x: torch.maximum(x, torch.zeros_like(x))),
    "maximum of zero": Fn(lambda x: torch.max(torch.zeros(()), x)),
    "threshold": nn.Threshold(0, 0),
    "threshold function": Fn(lambda x: functional.threshold(x, 0.0, 0.0)),
    "clamp from below": Fn(lambda x: x.clamp(min=0)),
    "clip": Fn(lambda x: torch.clip(x, 0, 0.3)),
    "minimum of a ReLU": Fn(lambda x: torch.minimum(torch.relu(x), torch.tensor(0.3))),
    "a ceiling for each channel": Fn(lambda x: torch.minimum(torch.relu(x), torch.tensor([0.1, 0.2, 0.3, 0.4]).view(4, 1, 1))),
    "clamp of each channel": Fn(lambda x: torch.clamp(x, torch.zeros(1), torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1))),
    "minimum of a multiple": Fn(lambda x: torch.minimum(4 * torch.relu(x), torch.tensor(1.2)) / 4),
    "tracked instance normalisation": nn.Sequential(nn.InstanceNorm2d(4, affine=True, track_running_stats=True), nn.ReLU()),
    "pixels to channels": nn.Sequential(nn.ReLU(), nn.PixelUnshuffle(2), nn.Conv2d(16, 4, 3, padding=1), nn.ReLU()),
    "stacked and summed": Fn(lambda x: torch.stack([torch.relu(x), torch.relu(1 - x)]).sum(0)),
    "stacked and averaged": Fn(lambda x: torch.stack([torch.relu(x), torch.relu(1 - x)], dim=1).mean(1)),
    "einsum of channels": Fn(lambda x: torch.einsum("bchw,oc->bohw", torch.relu(x), torch.ones(3, 4)).relu()),
    "einsum of features": Fn(lambda x: torch.einsum("io,bi->bo", torch.ones(144, 3), torch.relu(x).flatten(1)).relu()),
}  # fmt: skip


@pytest.mark.parametrize("form", RELUS)
def test_forms_of_relu_and_of_linear_maps(form):
    model = network(RELUS[form])
    with torch.no_grad():
        torch.testing.assert_close(outputs(model), model(torch.from_numpy(IMAGES)), rtol=0, atol=1e-4)
    layers = trace(model, make_input("current", (2, 6, 6)), IMAGES).layers
    assert len(layers) == {"pixels": 3, "einsum": 3, "stacked": 3}.get(form.split()[0], 2)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["low-latency", "paper"])
@pytest.mark.parametrize("form", RELUS)
def test_forms_of_relu_and_of_linear_maps_are_converted(form, method):
    assert convert(network(RELUS[form]), IMAGES, steps=4, method=method).integer.is_integer


@pytest.mark.parametrize(
    ("activation", "found"),
    [
        (nn.Threshold(0.1, 0), "(threshold)"),
        (Fn(lambda x: torch.maximum(x, x.cumsum(1))), "(cumsum)"),
        (Fn(lambda x: torch.clamp(x, torch.rand(6, 6), torch.full((1,), 2.0))), "differ between elements of a channel"),
        (Fn(lambda x: torch.clamp(x, 0, -1)), "(clamp) clips to [0, -1]"),
        (nn.InstanceNorm2d(4), "(InstanceNorm2d) normalises by the image's own statistics"),
        (Fn(lambda x: torch.stack([x, x]).flatten(0, 1)), "(flatten) is not supported"),
        (Fn(lambda x: torch.stack([x, x]).sum(2)[0]), "along other axes"),
        (Fn(lambda x: torch.einsum("bchw,bchw->bchw", x, x)), "(einsum)"),
    ],
)
def test_what_these_rules_do_not_cover(activation, found):
    assert found in check(network(activation), IMAGES).obstacles[0].found


def test_a_converted_network_predicts_what_its_arg_max_returns():
    model = network(end=Fn(lambda x: x.argmax(1)))
    integer = convert(model, IMAGES, steps=64).integer
    with torch.no_grad():
        expected = model(torch.from_numpy(IMAGES)).numpy()
    assert (rmp_lava.run(integer, IMAGES, 64).predictions == expected).mean() >= 0.9
