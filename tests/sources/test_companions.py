"""Files next to a `.net`: the network that it was made from; no file of the user's is replaced."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import NetFileError, RmpLavaError, UsageError
from rmp_lava.network import Companion
from rmp_lava.netx import load, save
from rmp_lava.report.provenance import describe_companions
from rmp_lava.sources import companions as keep
from rmp_lava.sources.companions import check_places, save_with_ann
from rmp_lava.sources.models import TrainedModel, load_kept, load_trained
from rmp_lava.training.checkpoint import load_checkpoint, save_checkpoint
from rmp_lava.training.models import MODELS
from rmp_lava.training.torch_file import read_torch_file

HAS_ONNX = importlib.util.find_spec("onnx") is not None
needs_onnx = pytest.mark.skipif(
    not HAS_ONNX, reason="needs onnx, which is not installed next to Lava; pyproject.toml says why"
)


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.last = nn.Linear(64, 5)

    def forward(self, x):
        x = torch.relu(self.norm(self.first((x - 0.2) / 0.3)))
        x = torch.relu(self.second(x) + x)
        return self.last(nn.functional.avg_pool2d(x, 2).flatten(1))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(3)
    network = Residual()
    network(torch.rand(16, 1, 8, 8))  # statistics of the normalisation that are not the initial ones
    return network.eval()


def as_target(model, folder, kind="function", **more) -> TrainedModel:
    return TrainedModel("net", model, kind, folder / "net", (1, 8, 8), None, {}, **more)


def traced(model):
    return trace(model, make_input("current", (1, 8, 8)))


def test_the_state_dict_is_kept_and_named_as_companion(model, tmp_path):
    kept = save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    state = read_torch_file(kept.files["ann"])
    assert set(state) == set(model.state_dict())
    assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())
    companions = load(tmp_path / "a.net").companions
    assert companions == tuple(
        Companion(kind, file.name, hashlib.sha256(file.read_bytes()).hexdigest()) for kind, file in kept.files.items()
    )
    assert set(kept.files) == ({"ann", "onnx"} if HAS_ONNX else {"ann"})
    assert not kept.left_out  # what an extra would have added is no loss


def test_a_net_file_in_analog_form_is_the_trained_network_itself(model, tmp_path):
    save(traced(model), tmp_path / "trained.net")
    target, values = load_trained(str(tmp_path / "trained.net")), torch.rand(3, 1, 8, 8)
    np.testing.assert_allclose(target.model(values).detach(), model(values).detach(), rtol=1e-4, atol=1e-5)


@needs_onnx
@pytest.mark.parametrize("images", [1, 2, 5])
def test_onnx_computes_the_same(model, tmp_path, images):
    from onnx.reference import ReferenceEvaluator

    kept = save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    values = torch.rand(images, 1, 8, 8)
    (found,) = ReferenceEvaluator(str(kept.files["onnx"])).run(["logits"], {"image": values.numpy()})
    np.testing.assert_allclose(found, model(values).detach().numpy(), rtol=1e-4, atol=1e-5)


@needs_onnx
def test_onnx_of_a_program_computes_the_same(model, tmp_path):
    from onnx.reference import ReferenceEvaluator

    torch.export.save(torch.export.export(model, (torch.rand(2, 1, 8, 8),), strict=False), tmp_path / "p.pt2")
    target = load_trained(str(tmp_path / "p.pt2"))
    kept = save_with_ann(traced(target.model), tmp_path / "a.net", target)
    values = torch.rand(2, 1, 8, 8)
    (found,) = ReferenceEvaluator(str(kept.files["onnx"])).run(None, {"image": values.numpy()})
    np.testing.assert_allclose(found, model(values).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_program_is_kept_byte_for_byte(model, tmp_path):
    torch.export.save(torch.export.export(model, (torch.rand(2, 1, 8, 8),), strict=False), tmp_path / "p.pt2")
    target = load_trained(str(tmp_path / "p.pt2"))
    kept = save_with_ann(traced(target.model), tmp_path / "a.net", target)
    assert kept.files["ann"].name == "a.ann.pt2"
    assert kept.files["ann"].read_bytes() == (tmp_path / "p.pt2").read_bytes()


def test_a_program_that_has_changed_meanwhile_is_not_kept(model, tmp_path):
    torch.export.save(torch.export.export(model, (torch.rand(2, 1, 8, 8),), strict=False), tmp_path / "p.pt2")
    target = load_trained(str(tmp_path / "p.pt2"))
    (tmp_path / "p.pt2").write_bytes(b"another")
    kept = save_with_ann(traced(target.model), tmp_path / "a.net", target)
    assert "ann" not in kept.files and any("has changed since it was read" in each for each in kept.left_out)


def test_a_full_disk_leaves_what_was_there_and_the_next_try_works(model, tmp_path, monkeypatch):
    save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    with torch.no_grad():
        model.last.bias.add_(1)
    synchronised = []

    def full(handle):
        synchronised.append(handle)
        if len(synchronised) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RmpLavaError, match="No space left on device"):
        save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    check_places(tmp_path / "a.net")
    save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    assert (tmp_path / "a.ann.pt").read_bytes() != before[tmp_path / "a.ann.pt"]


def test_a_checkpoint_stays_a_checkpoint_without_the_training(tmp_path):
    model = MODELS["digits-cnn"].build()
    training = {"moments": torch.zeros(100_000)}
    save_checkpoint(tmp_path / "d.pt", model_name="digits-cnn", model=model, metadata={"seed": 7}, training=training)
    kept = save_with_ann(traced(model), tmp_path / "a.net", load_trained(str(tmp_path / "d.pt")))
    checkpoint = load_checkpoint(kept.files["ann"])
    assert checkpoint.metadata == {"seed": 7} and checkpoint.training is None
    assert all(torch.equal(checkpoint.state_dict[name], value) for name, value in model.state_dict().items())


def test_without_the_package_onnx_is_left_out(model, tmp_path, monkeypatch):
    monkeypatch.setattr(keep.importlib.util, "find_spec", lambda name: None)
    kept = save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    assert not kept.left_out and set(kept.files) == {"ann"}  # it is optional, and `doctor` says how to get it
    assert "onnx" not in load(tmp_path / "a.net").provenance


@needs_onnx
def test_a_network_that_onnx_cannot_say_is_converted_all_the_same(model, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("operator not known\nsecond line")

    monkeypatch.setattr(torch.onnx, "export", fail)
    kept = save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    assert kept.left_out == ("ONNX is left out, because the network could not be exported (operator not known)",)
    assert not (tmp_path / "a.onnx").exists() and (tmp_path / "a.net").exists()


def test_nothing_is_written_where_the_net_is_refused(model, tmp_path):
    with pytest.raises(NetFileError):
        save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path), for_lava_dl=True)
    assert not list(tmp_path.iterdir())


def test_what_became_of_the_kept_files_is_reported(model, tmp_path):
    path = tmp_path / "a.net"
    kept = save_with_ann(traced(model), path, as_target(model, tmp_path))
    companions = load(path).companions
    assert "is there, unchanged" in describe_companions(path, companions)[0]
    kept.files["ann"].write_bytes(b"other")
    assert "is another file" in describe_companions(path, companions)[0]
    kept.files["ann"].unlink()
    assert "is not there" in describe_companions(path, companions)[0]


@pytest.mark.parametrize("name", ["../a.pt", "/etc/hostname", "", "a\0b", "..", "a" * 300])
def test_names_in_a_net_lead_nowhere_else(tmp_path, name):
    (tmp_path / "a.pt").write_text("x")
    (tmp_path / "inner").mkdir()
    (sentence,) = describe_companions(tmp_path / "inner" / "a.net", [Companion("ann", name, "0")])
    assert ("cannot be read" if len(name) == 300 else "is not there") in sentence


@pytest.mark.parametrize("suffix", [".ann.pt", ".ann.pt2", ".ann.onnx", ".onnx"])
def test_places_of_the_users_files_are_refused(model, tmp_path, suffix):
    path = tmp_path / "a.net"
    check_places(path)
    (tmp_path / f"a{suffix}").write_text("mine")
    with pytest.raises(UsageError, match="is not replaced"):
        check_places(path)


def test_an_earlier_conversion_may_be_replaced_until_someone_changes_it(model, tmp_path):
    path = tmp_path / "a.net"
    kept = save_with_ann(traced(model), path, as_target(model, tmp_path))
    check_places(path)
    kept.files["ann"].write_bytes(b"changed by the user")
    with pytest.raises(UsageError, match="a.ann.pt exists"):
        check_places(path)


def test_files_of_the_network_that_is_replaced_go_with_it(model, tmp_path):
    path = tmp_path / "a.net"
    save_with_ann(traced(model), path, as_target(model, tmp_path))
    torch.export.save(torch.export.export(model, (torch.rand(2, 1, 8, 8),), strict=False), tmp_path / "p.pt2")
    target = load_trained(str(tmp_path / "p.pt2"))
    save_with_ann(traced(target.model), path, target)
    assert not (tmp_path / "a.ann.pt").exists() and (tmp_path / "a.ann.pt2").exists()


def test_files_of_another_network_stay_where_its_copy_is_replaced(model, tmp_path):
    save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    shutil.copy(tmp_path / "a.net", tmp_path / "b.net")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name.startswith("a.")}
    check_places(tmp_path / "b.net")
    save_with_ann(traced(model), tmp_path / "b.net", as_target(model, tmp_path))
    assert len(before) > 1 and all((tmp_path / name).read_bytes() == content for name, content in before.items())


def test_output_must_be_a_net(tmp_path):
    with pytest.raises(UsageError, match="ends in .net"):
        check_places(tmp_path / "weights.pt")


@needs_onnx
def test_an_onnx_file_is_kept_whole_and_may_have_the_name_of_the_result(model, tmp_path):
    first = save_with_ann(traced(model), tmp_path / "a.net", as_target(model, tmp_path))
    target = load_trained(str(first.files["onnx"]))
    check_places(tmp_path / "a.net", target.path)
    kept = save_with_ann(traced(target.model), tmp_path / "a.net", target)
    assert (
        kept.files == {"ann": tmp_path / "a.ann.onnx"} and target.path.exists()
    )  # its earlier companion, and now its source
    again = load_kept(tmp_path / "a.net", load(tmp_path / "a.net"))
    values = torch.rand(2, 1, 8, 8)
    assert torch.equal(again.model(values), target.model(values))
