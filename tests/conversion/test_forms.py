"""Whatever form a network comes in: it is converted right, or refused in one sentence, and never changed."""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
import torch
from foreign_models import settle
from torch import nn
from torch.nn import functional

from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import ConversionError

SHAPE = (2, 6, 6)
IMAGES = np.random.default_rng(0).random((12, *SHAPE), dtype=np.float32)


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return settle(
        nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3))
    )


class Outer(nn.Module):
    """Another network inside."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner, self.head = inner, nn.Linear(3, 3)

    def forward(self, x):
        return self.head(functional.relu(self.inner(x)))


class Autocast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = plain()

    def forward(self, x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return self.inner(x).float()


class Counts(nn.Module):
    """Changes a buffer and a parameter whenever it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.gain = plain(), nn.Parameter(torch.tensor(1.0))
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.calls = self.calls + 1
        self.gain.data.clamp_(max=0.5)
        return self.inner(x)


def hooked() -> nn.Module:
    model = plain()
    model[0].register_forward_hook(lambda module, args, output: output * 2)
    model[5].register_forward_pre_hook(lambda module, args: (args[0] * 0.5,))
    return model


def compiled_forward() -> nn.Module:
    model = plain()
    model.forward = torch.compile(model.forward)
    return model


def compiled_in_place() -> nn.Module:
    model = plain()
    model.compile()
    return model


def frozen() -> nn.Module:
    model = plain().train()
    model[1].eval()
    return model


def quantisation_aware(trained: bool, fused: bool) -> nn.Module:
    from torch.ao.quantization import fuse_modules_qat, get_default_qat_qconfig, prepare_qat

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = plain().train()
        model = fuse_modules_qat(model, [["0", "1", "2"]]) if fused else model
        model.qconfig = get_default_qat_qconfig("fbgemm")
        model = prepare_qat(model)
        if trained:
            model(torch.from_numpy(IMAGES))
    return model


def program() -> torch.export.ExportedProgram:
    return torch.export.export(plain(), (torch.rand(2, *SHAPE),))


CONVERTED = {
    "plain": plain,
    "frozen batch normalisation in training mode": frozen,
    "DataParallel": lambda: nn.DataParallel(plain()),
    "DataParallel inside": lambda: Outer(nn.DataParallel(plain())),
    "compiled": lambda: torch.compile(plain()),
    "compiled inside": lambda: Outer(torch.compile(plain())),
    "compiled forward": compiled_forward,
    "compiled in place": compiled_in_place,
    "symbolically traced": lambda: torch.fx.symbolic_trace(plain()),
    "exported": program,
    "module of an exported program": lambda: program().module(),
    "exported inside": lambda: Outer(program().module()),
    "quantisation-aware, prepared": lambda: quantisation_aware(trained=False, fused=False),
    "quantisation-aware, trained": lambda: quantisation_aware(trained=True, fused=False),
    "quantisation-aware, fused, trained": lambda: quantisation_aware(trained=True, fused=True),
    "half": lambda: plain().half(),
    "bfloat16": lambda: plain().bfloat16(),
    "double": lambda: plain().double(),
    "autocast inside": Autocast,
    "hooks that compute": hooked,
    "changes itself": Counts,
}


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear})


REFUSED = {
    "TorchScript by tracing": (lambda: torch.jit.trace(plain(), torch.rand(1, *SHAPE)), "holds TorchScript"),
    "TorchScript by compilation": (lambda: torch.jit.script(plain()), "holds TorchScript"),
    "TorchScript inside": (lambda: Outer(torch.jit.script(plain())), "holds TorchScript"),
    "without values": (lambda: plain().to("meta"), "on device 'meta'"),
    "quantised by PyTorch": (quantised, "holds integers of PyTorch's quantisation"),
}


def built(build):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return build()


def state(model: nn.Module) -> dict:
    """Everything about a module that a check could change."""
    tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return {
        "tensors": {name: (id(tensor), tensor.detach().clone()) for name, tensor in tensors.items()},
        "modes": [module.training for module in model.modules()],
        "modules": [id(module) for module in model.modules()],
        "attributes": [sorted(vars(module)) for module in model.modules()],
        "forward": [id(vars(module).get("forward")) for module in model.modules()],
        "compiled": [id(vars(module).get("_compiled_call_impl")) for module in model.modules()],
        "hooks": [(dict(m._forward_hooks), dict(m._forward_pre_hooks)) for m in model.modules()],
    }


def assert_unchanged(before: dict, after: dict) -> None:
    held, now = before.pop("tensors"), after.pop("tensors")
    assert held.keys() == now.keys() and before == after
    for name, (identity, value) in held.items():
        assert now[name][0] == identity, name
        assert value.is_meta or torch.equal(now[name][1], value) or value.isnan().any(), name


def written_out(form: str, model: nn.Module | torch.export.ExportedProgram) -> nn.Module:
    """What a form of a network computes, as a plain module."""
    if form.startswith("quantisation-aware"):
        from torch.ao.quantization import disable_fake_quant, disable_observer

        return copy.deepcopy(model).apply(disable_fake_quant).apply(disable_observer)
    if "inside" in form and form != "autocast inside":
        outer = Outer(plain())
        outer.head = model.head
        return outer
    known = "compiled" in form or "exported" in form or form == "changes itself"
    return plain() if known else copy.deepcopy(model)


@pytest.mark.parametrize("form", CONVERTED)
def test_converted_right_and_not_changed(form):
    model = built(CONVERTED[form])
    before = state(model) if isinstance(model, nn.Module) else None
    report = check(model, IMAGES)
    assert report.convertible, report.obstacles
    network = trace(model, make_input("current", SHAPE), IMAGES)
    if before is not None:
        assert_unchanged(before, state(model))
    images = torch.from_numpy(np.random.default_rng(1).random((4, *SHAPE), dtype=np.float32))
    with torch.no_grad():
        expected = written_out(form, model).eval().float()(images)
        found = AnalogNetwork(network)(images)
    tolerance = {"half": 1e-2, "bfloat16": 5e-2, "autocast inside": 5e-2}.get(form, 1e-4)
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("form", REFUSED)
def test_refused_in_one_sentence_and_not_changed(form):
    build, found = REFUSED[form]
    model = built(build)
    before = state(model) if "TorchScript" not in form else None
    obstacles = check(model, IMAGES).obstacles
    assert len(obstacles) == 1 and found in obstacles[0].found and "\n" not in obstacles[0].sentence()
    if before is not None:
        assert_unchanged(before, state(model))
    with pytest.raises(ConversionError):
        convert(model, IMAGES)


def test_the_remedies_work():
    script, meta = torch.jit.trace(plain(), torch.rand(1, *SHAPE)), plain().to("meta")
    again = plain()
    again.load_state_dict(script.state_dict())
    assert check(again, IMAGES).convertible
    filled = meta.to_empty(device="cpu")
    filled.load_state_dict(plain().state_dict())
    assert check(filled, IMAGES).convertible


def test_simulated_quantisation_is_reported_as_left_out():
    model = quantisation_aware(trained=True, fused=False)
    (finding,) = [f for f in check(model, IMAGES).information if "simulates quantisation" in f.found]
    assert finding.where == "model" and "left out" in finding.remedy
    before = state(model)
    conversion = convert(model, IMAGES, steps=8)
    assert len(conversion.stages(IMAGES, np.arange(12) % 3)) == 5
    assert_unchanged(before, state(model))


def test_normalisation_of_torchvision():
    transforms = pytest.importorskip("torchvision.transforms", reason="torchvision is not installed")
    model = nn.Sequential(transforms.Normalize([0.4, 0.5], [0.2, 0.3]), plain())
    network = trace(model, make_input("current", SHAPE), IMAGES)
    with torch.no_grad():
        expected, found = model(torch.from_numpy(IMAGES)), AnalogNetwork(network)(torch.from_numpy(IMAGES))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
