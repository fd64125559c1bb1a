"""The paper's constraints; test_models.py checks that the registered networks keep them."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn

from rmp_lava.training.constraints import violations


def conv(channels_in: int = 1, channels_out: int = 2, bias: bool = False) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=bias)


def dense() -> nn.Linear:
    return nn.Linear(32, 10, bias=False)


def found(*modules: nn.Module) -> list[tuple[str, str]]:
    return [(violation.where, violation.found) for violation in violations(nn.Sequential(*modules))]


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.BatchNorm2d(2), "batch normalisation"),
        (nn.SyncBatchNorm(2), "batch normalisation"),
        (nn.GroupNorm(1, 2), "not supported"),
        (nn.MaxPool2d(2), "maximum pooling"),
        (nn.AdaptiveMaxPool2d(1), "maximum pooling"),
        (nn.Sigmoid(), "activation other than ReLU"),
        (nn.Tanh(), "activation other than ReLU"),
        (nn.GELU(), "activation other than ReLU"),
        (nn.ReLU6(), "activation other than ReLU"),
        (nn.Softmax(dim=1), "activation other than ReLU"),
        (nn.Upsample(scale_factor=2), "not supported"),
        (nn.ConvTranspose2d(2, 2, 3), "not supported"),
    ],
)
def test_forbidden_module_is_reported_once_with_its_name(module, words):
    model = nn.Sequential(OrderedDict(conv=conv(), relu=nn.ReLU(), odd=module, flatten=nn.Flatten(), dense=dense()))
    (violation,) = violations(model)
    assert violation.where == "odd"
    assert words in violation.found
    assert type(module).__name__ in violation.found
    assert violation.remedy


def test_all_violations_come_at_once():
    layers = found(conv(bias=True), nn.BatchNorm2d(2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32, 10))
    assert [layer for layer, _ in layers] == ["0", "1", "3", "5"]


def test_subclass_with_its_own_forward_is_not_taken_for_its_base():
    class Leaky(nn.ReLU):
        def forward(self, images):
            return torch.where(images > 0, images, 0.1 * images)

    assert found(conv(), Leaky(), nn.Flatten(), dense()) == [("1", "Leaky is not supported")]


def test_subclass_of_sequential_without_own_forward_is_plain():
    class Network(nn.Sequential):
        pass

    assert violations(Network(conv(), nn.ReLU(), nn.Flatten(), dense())) == []


def test_custom_container_is_reported_together_with_what_it_hides():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm2d(2)

        def forward(self, images):
            return self.norm(images)

    assert [layer for layer, _ in found(conv(), nn.ReLU(), Block(), nn.Flatten(), dense())] == ["2", "2.norm"]
    assert violations(Block())[0].where == "model"


def test_layer_without_relu_is_reported_across_pooling_and_nesting():
    block = nn.Sequential(conv(), nn.AvgPool2d(2))
    assert found(block, nn.Flatten(), dense()) == [("0.0", "has no ReLU between it and '2'")]


def test_one_relu_instance_may_be_used_in_several_places():
    # `named_modules()` lists a shared module once, so the second place would seem to have no ReLU.
    relu = nn.ReLU()
    assert found(conv(), relu, conv(2, 2), relu, nn.Flatten(), dense()) == []


def test_relu_on_the_logits_is_reported():
    assert found(conv(), nn.ReLU(), nn.Flatten(), dense(), nn.ReLU(), nn.Dropout()) == [
        ("4", "ends the network with a ReLU")
    ]
