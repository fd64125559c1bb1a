"""Operations are replaced in a copy by ones that convert, wherever they are written; training then restores the accuracy."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from traced import Function

from rmp_lava import tune
from rmp_lava.conversion.check import check
from rmp_lava.conversion.distillation import Learning
from rmp_lava.conversion.replace import train_replaced
from rmp_lava.conversion.replacement import ClippedReLU, replaced
from rmp_lava.conversion.tracing.prepared import prepared
from rmp_lava.errors import CheckpointError, ConversionError, UsageError
from rmp_lava.training.data import load

IMAGES = np.random.default_rng(0).random((4, 2, 6, 6), dtype=np.float32)


class Excitation(nn.Module):
    """Squeeze and excitation; the gate has the form that is given."""

    def __init__(self, gate=torch.sigmoid) -> None:
        super().__init__()
        self.squeeze, self.excite, self.gate = nn.Conv2d(4, 2, 1), nn.Conv2d(2, 4, 1), gate

    def forward(self, x):
        y = functional.relu(self.squeeze(x.mean((2, 3), keepdim=True)))
        return self.gate(self.excite(y)) * x


def network(*middle: nn.Module, after: int = 4) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), *middle, nn.Conv2d(after, 3, 1), nn.Flatten()).eval()


def outputs(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(IMAGES))


F = Function
FORMS = {
    "module": ("activations", nn.SiLU(), nn.ReLU()),
    "in place": ("activations", nn.Hardswish(inplace=True), nn.ReLU()),
    "function": ("activations", F(lambda x: functional.gelu(x, approximate="tanh")), nn.ReLU()),
    "function in place": ("activations", F(lambda x: functional.elu(x, inplace=True) + x), F(lambda x: 2 * x.relu())),
    "method": ("activations", F(lambda x: x.tanh()), nn.Hardtanh()),
    "sigmoid inside": ("activations", nn.Sigmoid(), nn.Hardsigmoid()),
    "swish written out": ("activations", F(lambda x: x * torch.sigmoid(1.5 * x)), nn.ReLU()),
    "hardswish written out": ("activations", F(lambda x: x * functional.relu6(x + 3) / 6), F(lambda x: x.relu() / 6)),
    "GELU written out": ("activations", F(lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5))), nn.ReLU()),
    "softsign written out": ("activations", F(lambda x: x / (1 + x.abs())), nn.ReLU()),
    "square written out": ("activations", F(lambda x: x * x), nn.ReLU()),
    "squeeze and excitation": ("gates", Excitation(), nn.Identity()),
    "excitation as in MobileNet": ("gates", Excitation(lambda x: functional.relu6(x + 3) / 6), nn.Identity()),
    "GLU": ("gates", nn.Sequential(nn.Conv2d(4, 8, 1), nn.GLU(1)), None),
    "leaky": ("leaky-relu", nn.PReLU(), nn.ReLU()),
    "leaky function": ("leaky-relu", F(lambda x: functional.leaky_relu(x, 0.2)), nn.ReLU()),
    "maximum": ("max-pooling", nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(3, 2, 1)),
    "maximum function": (
        "max-pooling",
        F(lambda x: functional.max_pool2d(x, 2, padding=1)),
        nn.AvgPool2d(2, padding=1),
    ),
    "adaptive maximum": ("max-pooling", nn.AdaptiveMaxPool2d(2), nn.AdaptiveAvgPool2d(2)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_replaced_in_a_copy(form):
    kind, module, expected = FORMS[form]
    model = network(module)
    before, kept = outputs(model), copy.deepcopy(model.state_dict())
    model.train()
    reported = [finding for finding in check(model, IMAGES).findings if f"`tune --replace {kind}`" in finding.remedy]
    assert reported or form == "sigmoid inside"
    changed, changes = replaced(model, [kind], IMAGES)
    assert len(changes) == 1 and check(changed, IMAGES).convertible
    if expected is not None:
        same = network(expected)
        same[0].load_state_dict(model[0].state_dict())
        same[-2].load_state_dict(model[-2].state_dict())
        torch.testing.assert_close(outputs(changed), outputs(same))
    assert model.training and all(torch.equal(value, model.state_dict()[name]) for name, value in kept.items())
    torch.testing.assert_close(outputs(model), before, rtol=0, atol=0)


def test_each_call_of_a_shared_activation_has_a_ceiling_of_its_own():
    act = nn.SiLU()
    changed, changes = replaced(network(act, nn.Conv2d(4, 4, 1), act), ["activations"], IMAGES)
    ceilings = [float(m.ceiling().detach()) for m in changed.modules() if isinstance(m, ClippedReLU)]
    assert len(changes) == 2 and len(set(ceilings)) == 2


def test_what_is_left_out_at_the_end_stays():
    model = nn.Sequential(network(nn.SiLU()), nn.Sigmoid()).eval()
    changed, changes = replaced(model, ["activations"], IMAGES)
    assert [change.was for change in changes] == ["SiLU"]
    assert 0 < float(outputs(changed).min()) and float(outputs(changed).max()) < 1


def test_normalised_inputs_stay_normalised():
    model = network(nn.SiLU())
    changed, _ = replaced(prepared(model, IMAGES, mean=0.5, std=0.25), ["activations"], IMAGES)
    with torch.no_grad():  # `network` draws the same weights each time
        torch.testing.assert_close(outputs(changed), network(nn.ReLU())(torch.from_numpy(IMAGES * 4 - 2)))


class Branching(nn.Module):
    """torch.fx cannot follow it; torch.export can."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.body, self.act, self.out = nn.Conv2d(2, 4, 1), act, nn.Linear(4 * 36, 3)

    def forward(self, x):
        assert len(x) > 0
        return self.out(self.act(self.body(x)).flatten(1))


@pytest.mark.slow
def test_modules_are_replaced_where_forward_cannot_be_followed():
    changed, changes = replaced(Branching(nn.SiLU()), ["activations"], IMAGES)
    assert [(c.layer, c.was, c.now) for c in changes] == [("act", "SiLU", "clipped ReLU")]
    assert isinstance(changed, Branching) and isinstance(changed.act, ClippedReLU)
    with pytest.raises(UsageError, match="functions in forward are not replaced, as torch.fx cannot follow it"):
        replaced(Branching(F(functional.silu)), ["activations"], IMAGES)
    program = torch.export.export(network(nn.SiLU()), (torch.from_numpy(IMAGES),))
    with pytest.raises(UsageError, match="an exported program was given, which is for inference"):
        replaced(program, ["activations"], IMAGES)


def test_what_cannot_be_replaced_is_refused():
    with pytest.raises(UsageError, match=r"nothing of the kind to replace; others are activations, gates"):
        replaced(network(nn.ReLU()), ["gates"], IMAGES)
    with pytest.raises(UsageError, match="replace is 'relu'; choose one of activations, gates"):
        replaced(network(nn.ReLU()), ["relu"], IMAGES)
    with pytest.raises(ConversionError, match=r"after 1 replacements: .*LayerNorm.*use BatchNorm2d"):
        replaced(network(nn.SiLU(), nn.LayerNorm([4, 6, 6])), ["activations"], IMAGES)


@pytest.mark.slow
def test_training_restores_what_replacing_loses():
    torch.manual_seed(0)
    digits = load("digits")
    images, labels = digits.train_images, digits.train_labels
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.SiLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1),
        nn.BatchNorm2d(16), nn.GELU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    for _ in range(6):
        for some in torch.randperm(len(images)).split(64):
            loss = functional.cross_entropy(model(torch.from_numpy(images[some])), torch.from_numpy(labels[some]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    kept = copy.deepcopy(model.state_dict())
    held_out = digits.test_images, digits.test_labels
    conversion = tune(
        model, images, labels, replace=["activations", "max-pooling"], replace_epochs=3, epochs=1, validation=held_out
    )
    found = conversion.replacement
    assert found.measured_on == "held-out images" and len(found.history) == 3
    assert found.original_accuracy > 0.95 and found.replaced_accuracy < found.original_accuracy - 0.05
    assert found.trained_accuracy > found.original_accuracy - 0.02
    assert conversion.stages(*held_out)[-1].score.accuracy > found.original_accuracy - 0.03
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in kept.items()) and model.training


@pytest.mark.slow
def test_a_training_after_a_replacement_is_resumed(tmp_path):
    torch.manual_seed(0)
    digits = load("digits")
    layers = [
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.SiLU(),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(256, 10),
    ]
    model, data = nn.Sequential(*layers).eval(), (digits.train_images[:128], digits.train_labels[:128])
    learning = Learning(2, 1e-3, 32)

    def train(**options):
        student, changes = replaced(model, ["activations"], data[0])
        return train_replaced(model, student, changes, data, learning, **options)

    def interrupt(record):
        raise KeyboardInterrupt

    path = tmp_path / "a.pt"
    with pytest.raises(KeyboardInterrupt):
        train(checkpoint_path=path, on_epoch=interrupt)
    whole, seen = train(), []
    resumed = train(checkpoint_path=path, resume=True, on_epoch=seen.append)
    assert len(seen) == 1 and resumed.history == whole.history
    for name, value in whole.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    finished = train(checkpoint_path=path, resume=True, on_epoch=seen.append)
    assert len(seen) == 1 and finished.trained_accuracy == whole.trained_accuracy
    data = (data[0], data[1][::-1].copy())
    with pytest.raises(UsageError, match="was made with other images or labels"):
        train(checkpoint_path=path, resume=True)
    path.write_bytes(b"PK")
    with pytest.raises(CheckpointError):
        train(checkpoint_path=path, resume=True)


@pytest.mark.slow
def test_replacements_are_trained_on_events_once(tmp_path):
    random = np.random.default_rng(0)
    events, labels = random.integers(0, 3, (40, 4, 2, 6, 6)).astype(np.int8), np.arange(40) % 3
    model = network(nn.SiLU(), nn.AdaptiveAvgPool2d(1))
    options = {"steps": 4, "encoding": "spikes", "replace": ["activations"], "replace_epochs": 2, "epochs": 1}
    path = tmp_path / "a.tune.pt"
    first = tune(model, events, labels, **options, checkpoint_path=path)
    path.unlink()  # as if the tuning had been interrupted in its first epoch
    written = (tmp_path / "a.replaced.pt").read_bytes()
    again = tune(model, events, labels, **options, checkpoint_path=path, resume=True)
    assert (
        tmp_path / "a.replaced.pt"
    ).read_bytes() == written and again.replacement.history == first.replacement.history
    assert again.integer == first.integer
