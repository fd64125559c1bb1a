"""Networks from users' files: no code in a file is executed, and nothing is guessed."""

from __future__ import annotations

import io
import json
import os
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.cli.finish import load
from rmp_lava.conversion.check import check
from rmp_lava.conversion.tracing.export_front import shape_of
from rmp_lava.errors import CheckpointError, UsageError
from rmp_lava.sources.images import load_images
from rmp_lava.sources.models import load_trained, parse_shape, shape_for
from rmp_lava.sources.program_file import read_program
from rmp_lava.training.checkpoint import save_checkpoint
from rmp_lava.training.data import load as load_data, split_validation
from rmp_lava.training.models import MODELS

MODULE = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

def number():
    return 1
"""


def small() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10)).eval()


@pytest.fixture
def mine(tmp_path, monkeypatch) -> str:
    """package.module:function in the current folder."""
    (tmp_path / "own_network_of_tests.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return "own_network_of_tests:net"


@pytest.fixture(scope="module")
def program(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("program") / "model.v2.pt2"
    torch.export.save(torch.export.export(small(), (torch.rand(2, 1, 8, 8),), strict=False), path)
    return path


def refusal(call, *arguments) -> str:
    with pytest.raises((UsageError, CheckpointError)) as found:
        call(*arguments)
    text = str(found.value)
    assert "\n" not in text
    return text


# Functions and state dicts


def test_a_state_dict_is_put_into_the_network(mine, tmp_path):
    expected = small()
    torch.save(expected.state_dict(), tmp_path / "w.pt")
    target = load_trained(mine, tmp_path / "w.pt")
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(target.model.eval()(images), expected(images))
    assert target.name == "net" and target.place == Path("exports/net")
    assert len(target.provenance["weights_sha256"]) == 64


@pytest.mark.parametrize(
    "change, parts",
    [
        (lambda s: s.pop("0.weight"), ["missing 0.weight"]),
        (lambda s: s.update(extra=torch.zeros(1)), ["unexpected extra"]),
        (lambda s: s.update({"4.weight": torch.zeros(10, 7)}), ["4.weight has shape (10, 7) instead of (10, 144)"]),
        (lambda s: (s.pop("4.bias"), s.update(b=torch.zeros(1))), ["missing 4.bias", "unexpected b"]),
        (lambda s: s.clear(), ["is no state dict"]),
    ],
)
def test_state_dicts_that_do_not_fit_say_every_name(mine, tmp_path, change, parts):
    state = dict(small().state_dict())
    change(state)
    torch.save(state, tmp_path / "w.pt")
    text = refusal(load_trained, mine, tmp_path / "w.pt")
    assert "w.pt" in text and all(part in text for part in parts)


@pytest.mark.parametrize("content", [{"state_dict": {"a": 1}}, [torch.zeros(1)], {"epoch": 3}])
def test_what_is_no_state_dict(mine, tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    assert "is no state dict" in refusal(load_trained, mine, tmp_path / "w.pt")


FORMS = {
    "distributed": lambda s: {f"module.{name}": value for name, value in s.items()},
    "compiled": lambda s: {f"_orig_mod.{name}": value for name, value in s.items()},
    "a part compiled": lambda s: {name.replace("0.", "0._orig_mod."): value for name, value in s.items()},
    "both": lambda s: {f"module._orig_mod.{name}": value for name, value in s.items()},
    "inside": lambda s: {"state_dict": s, "epoch": 3, "optimizer": {"state": {0: torch.zeros(1)}, "lr": [0.1]}},
    "by a training loop": lambda s: {"epoch": 3, "model": {f"net.{name}": value for name, value in s.items()}},
}


@pytest.mark.parametrize("form", FORMS)
def test_state_dicts_as_people_save_them(mine, tmp_path, form):
    expected = small()
    torch.save(FORMS[form](expected.state_dict()), tmp_path / "w.pt")
    state = load_trained(mine, tmp_path / "w.pt").model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())


def test_names_that_the_network_has_itself_are_kept(tmp_path, monkeypatch):
    (tmp_path / "with_module_of_tests.py").write_text(
        "from torch import nn\n\ndef net():\n    return nn.ModuleDict({'module': nn.Linear(2, 2)})\n"
    )
    monkeypatch.chdir(tmp_path)
    torch.save({"module.weight": torch.eye(2), "module.bias": torch.ones(2)}, tmp_path / "w.pt")
    assert torch.equal(load_trained("with_module_of_tests:net", tmp_path / "w.pt").model["module"].weight, torch.eye(2))


def test_several_state_dicts_in_a_file_are_not_chosen_from(mine, tmp_path, monkeypatch):
    path = tmp_path / "w.pt"
    torch.save({"state_dict": small().state_dict(), "state_dict_ema": small().state_dict()}, path)
    text = refusal(load_trained, mine, path)
    assert "holds 2 state dicts (state_dict, state_dict_ema)" in text
    exec(text.rpartition(" with ")[2].replace("new_path", repr(str(tmp_path / "new.pt"))), {"torch": torch})
    load_trained(mine, tmp_path / "new.pt")


def test_safetensors(mine, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    expected, path = small(), tmp_path / "w.safetensors"
    safetensors.save_file(FORMS["distributed"](expected.state_dict()), path)
    state = load_trained(mine, path).model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in expected.state_dict().items())
    assert "is a state dict" in refusal(load_trained, str(path))
    content = path.read_bytes()
    for damaged in (content[:100], content[:-4], b"", (2**60).to_bytes(8, "little") + content[8:]):
        path.write_bytes(damaged)
        assert "cannot be read" in refusal(load_trained, mine, path)


@pytest.mark.parametrize("name", ["a.keras", "a.h5", "a.tflite"])
def test_files_of_other_frameworks_say_how_to_export(tmp_path, name):
    (tmp_path / name).write_bytes(b"content")
    text = refusal(load_trained, str(tmp_path / name))
    assert "write it as ONNX" in text and ("model.export('a.onnx', format='onnx')" in text or "tf2onnx" in text)


def test_a_whole_pickled_network_is_not_loaded(mine, tmp_path):
    torch.save(small(), tmp_path / "whole.pt")
    for arguments in ((mine, tmp_path / "whole.pt"), (str(tmp_path / "whole.pt"),)):
        text = refusal(load_trained, *arguments)
        assert "could run code" in text and "torch.save(model.state_dict(), file)" in text


def test_weights_alone_say_what_else_is_needed(tmp_path):
    torch.save(small().state_dict(), tmp_path / "w.pt")
    text = refusal(load_trained, str(tmp_path / "w.pt"))
    assert "is a state dict" in text and "--weights" in text


def test_weights_only_go_with_functions(program, tmp_path):
    assert "has its own" in refusal(load_trained, str(program), tmp_path / "w.pt")


def test_a_function_that_returns_something_else(mine):
    assert "returns int" in refusal(load_trained, mine.replace("net", "number").replace("own_number", "own_net"))


def test_a_checkpoint_knows_its_shape_and_data(tmp_path):
    model = MODELS["digits-cnn"].build()
    save_checkpoint(tmp_path / "d.pt", model_name="digits-cnn", model=model, metadata={"seed": 3})
    target = load_trained(str(tmp_path / "d.pt"))
    assert (target.shape, target.dataset, target.place) == ((1, 8, 8), "digits", tmp_path / "d")
    assert shape_for(target, None) == (1, 8, 8) and shape_for(target, "3,4,5") == (3, 4, 5)


@pytest.mark.parametrize(("stored", "fraction"), [(0.25, 0.25), (None, 0.1), ("x", 0.1)])
def test_images_are_divided_as_the_training_did(stored, fraction, tmp_path):
    model, metadata = MODELS["digits-cnn"].build(), {"validation_fraction": stored}
    save_checkpoint(tmp_path / "d.pt", model_name="digits-cnn", model=model, metadata=metadata)
    _, loaded = load(str(tmp_path / "d.pt"), None, None, None, None, None, None, 4, None)
    split = split_validation(load_data("digits"), fraction)
    assert np.array_equal(loaded.validation_images, split.validation_images)


@pytest.mark.parametrize("text", ["3,x", "", "3,,3", "0,8,8", "-1,8,8", "99999999,99999999", "9" * 30])
def test_shapes_that_cannot_be_meant(text):
    assert "is not valid or too large" in refusal(parse_shape, text)


# Exported programs


def test_a_program_is_read_back(program):
    target = load_trained(str(program))
    assert target.shape == (1, 8, 8) and target.name == "model.v2" and target.place == program.with_name("model.v2")
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(target.model.module()(images), small()(images))
    assert check(target.model, images).convertible


def test_the_shape_of_a_program_for_any_number_of_images(tmp_path):
    many = ({0: torch.export.Dim("images", min=1, max=64)},)
    exported = torch.export.export(small(), (torch.rand(2, 1, 8, 8),), dynamic_shapes=many, strict=False)
    torch.export.save(exported, tmp_path / "many.pt2")
    assert shape_of(read_program(tmp_path / "many.pt2")) == (1, 8, 8)


def rewritten(program: Path, folder: Path, change) -> Path:
    """A copy whose members went through change(name, bytes) -> bytes or None."""
    path = folder / "changed.pt2"
    with zipfile.ZipFile(program) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return path


class Attack:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_in_a_program_are_not_executed(program, tmp_path):
    buffer = io.BytesIO()
    torch.save({"0.weight": Attack(tmp_path / "executed")}, buffer)
    # Wherever a version of PyTorch keeps a pickle.
    path = rewritten(program, tmp_path, lambda name, content: buffer.getvalue() if name.endswith(".pt") else content)
    assert "cannot be read" in refusal(read_program, path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("expression", ["__import__('os').getcwd()", "print(1)", "s0.free_symbols", "exec(input())"])
def test_expressions_that_could_run_code_are_refused(program, tmp_path, expression):
    def change(name, content):
        if not name.endswith(".json") or b"graph" not in content:
            return content
        document = json.loads(content)
        document["smuggled"] = {"deep": [{"as_expr": {"expr_str": expression, "hint": None}}]}
        return json.dumps(document).encode()

    assert "could run code" in refusal(read_program, rewritten(program, tmp_path, change))


@pytest.mark.parametrize("target", ["torch.os.system", "torch.hub.load", "os.system", "torch.ops.load_library"])
def test_functions_that_are_no_operators_are_refused(program, tmp_path, target):
    def change(name, content):
        return content.replace(b"torch.ops.aten.relu.default", target.encode()) if name.endswith(".json") else content

    assert f"has {target!r} as an operator" in refusal(read_program, rewritten(program, tmp_path, change))


@pytest.mark.parametrize(
    "member", ["data/constants/custom_obj_0", "data/constants/opaque_obj_0", "data/aotinductor/model/x.so", "version"]
)
def test_members_that_no_plain_network_needs_are_refused(program, tmp_path, member):
    path = rewritten(program, tmp_path, lambda name, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/" + member if "/" in member else member, b"x")
        if member == "version":
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr(member, b"x")
    assert "could run code" in refusal(read_program, path)


def test_tensors_that_are_pickles_by_another_name_are_refused(program, tmp_path):
    config = json.dumps({"config": {"a": {"path_name": "opaque_obj_0", "use_pickle": True}}}).encode()
    path = rewritten(program, tmp_path, lambda name, content: content)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/data/constants/model_constants_config.json", config)
    assert "as the place of a tensor" in refusal(read_program, path)


def test_damaged_programs(program, tmp_path):
    content = bytearray(program.read_bytes())
    (tmp_path / "short.pt2").write_bytes(content[: len(content) // 2])
    (tmp_path / "text.pt2").write_text("weights")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "packed.pt2", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("models/model.json", "{}" * 100)
    with zipfile.ZipFile(tmp_path / "other.pt2", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "is no exported program" in refusal(read_program, tmp_path / "short.pt2")
    assert "is no exported program" in refusal(read_program, tmp_path / "text.pt2")
    assert "is compressed" in refusal(read_program, tmp_path / "packed.pt2")
    assert "is no exported program" in refusal(read_program, tmp_path / "other.pt2")
    assert "does not exist" in refusal(read_program, tmp_path / "none.pt2")
    assert "cannot be read by PyTorch" in refusal(
        read_program, rewritten(program, tmp_path, lambda n, c: c if n.endswith("json") else None)
    )


def test_torchscript_files_are_refused_with_what_to_pass_instead(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer versions of PyTorch deprecate TorchScript
        torch.jit.script(nn.Linear(4, 2)).save(tmp_path / "script.pt")
    with pytest.raises(UsageError, match=r"script.pt is TorchScript, .*torch.onnx.export\(torch.jit.load"):
        load_trained(str(tmp_path / "script.pt"))


@pytest.mark.parametrize(("value", "warned"), [(1.0, True), (0.5, False)])
def test_one_hot_rows_of_floats_are_taken_as_targets_with_a_warning(tmp_path, value, warned):
    rows = np.zeros((4, 3))
    rows[:, 1] = value
    np.save(tmp_path / "x.npy", np.zeros((4, 1, 2, 2), np.float32))
    np.save(tmp_path / "y.npy", rows)
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        split = load_images(None, None, tmp_path / "x.npy", tmp_path / "y.npy", (1, 2, 2))
    assert split.train_labels.dtype.kind == "f"
    assert [str(each.message).rpartition("save ")[2] for each in found] == ["labels.argmax(axis=1)"] * warned
