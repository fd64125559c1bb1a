"""Checkpoints are written atomically; hostile or damaged files are never read as weights."""

from __future__ import annotations

import io
import os
import pickle
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from profiles import examples

from rmp_lava.errors import CheckpointError
from rmp_lava.training import checkpoint, torch_file
from rmp_lava.training.checkpoint import FORMAT, load_checkpoint, load_model, save_checkpoint
from rmp_lava.training.models import MODELS, digits_cnn

METADATA = {"dataset": "digits", "seed": 0, "test_accuracy": 0.98, "class_names": ["0", "1"], "note": None}


def save(path, model=None, **changed):
    arguments = {"model_name": "digits-cnn", "model": model or digits_cnn(), "metadata": METADATA, **changed}
    save_checkpoint(path, **arguments)
    return arguments["model"]


def content(path) -> dict:
    return torch.load(path, weights_only=True)


def check_one_sentence(message: str, path) -> None:
    assert str(path) in message
    assert "\n" not in message and not message.endswith(".")
    assert ";" in message or ", so " in message


def test_round_trip_keeps_weights_and_metadata_and_the_random_state(tmp_path):
    model = save(tmp_path / "a.pt")
    before = torch.get_rng_state()
    loaded, metadata = load_model(tmp_path / "a.pt")
    assert torch.equal(torch.get_rng_state(), before)
    assert metadata == METADATA | {"model": "digits-cnn", "options": {}}
    assert not loaded.training
    images = torch.rand(4, 1, 8, 8)
    assert torch.equal(loaded(images), model.eval()(images))
    assert os.listdir(tmp_path) == ["a.pt"]


def test_loaded_model_can_be_trained_on(tmp_path):
    save(tmp_path / "a.pt")
    model, _ = load_model(tmp_path / "a.pt")
    model(torch.rand(4, 1, 8, 8)).sum().backward()
    assert all(weight.grad is not None for weight in model.parameters())


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_failed_write_leaves_the_old_checkpoint_and_no_temporary_file(tmp_path, monkeypatch, failure, where):
    path = tmp_path / "a.pt"
    save(path)
    old = path.read_bytes()

    def fail(*_):
        raise failure

    with monkeypatch.context() as patch:
        patch.setattr(torch_file.os, where, fail)
        with pytest.raises(CheckpointError if isinstance(failure, OSError) else KeyboardInterrupt):
            save(path)
    assert path.read_bytes() == old
    assert os.listdir(tmp_path) == ["a.pt"]


def test_written_file_follows_the_umask_and_links_are_written_through(tmp_path):
    target, link = tmp_path / "store" / "real.pt", tmp_path / "link.pt"
    target.parent.mkdir()
    save(target)
    target.unlink()
    link.symlink_to(target)
    (tmp_path / "plain").write_bytes(b"")
    save(link)
    assert link.is_symlink()
    assert target.stat().st_mode == (tmp_path / "plain").stat().st_mode
    load_model(link)


def test_unwritable_paths_are_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path, words in ((tmp_path / "file" / "a.pt", "file is a file, not a folder"), (tmp_path, "it is a folder")):
        with pytest.raises(CheckpointError, match=words) as caught:
            save(path)
        check_one_sentence(str(caught.value), path)


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil-was-here",))


def torch_bytes(value) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (b"", "has 0 bytes"),
        (b"\x89PNG and more", "not a PyTorch zip file"),
        (pickle.dumps(Evil()), "not a PyTorch zip file"),
        (torch_bytes(Evil()), "could run code"),
        (torch_bytes(digits_cnn()), "could run code"),
        (torch_bytes(digits_cnn().state_dict()), "not a checkpoint of rmp-lava"),
        (torch_bytes([1, 2]), "not a checkpoint of rmp-lava"),
    ],
    ids=["empty", "png", "pickle", "code", "module", "state_dict", "list"],
)
def test_foreign_file_is_refused_and_runs_nothing(tmp_path, monkeypatch, found, words):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    path.write_bytes(found)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(path)
    check_one_sentence(str(caught.value), path)
    assert os.listdir(tmp_path) == ["a.pt"]


def test_missing_file_folder_and_pipe_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in ((tmp_path / "no.pt", "does not exist"), (tmp_path, "regular"), (tmp_path / "pipe", "regular")):
        with pytest.raises(CheckpointError, match=words) as caught:
            load_checkpoint(path)
        check_one_sentence(str(caught.value), path)


def _with(**changed):
    return lambda whole: {**whole, **changed}


def _with_weight(name, change):
    return lambda whole: {**whole, "state_dict": {**whole["state_dict"], name: change(whole["state_dict"][name])}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_with(format="other"), "not a checkpoint of rmp-lava"),
        (_with(format_version=3), "version 3, but at most 2 is known; upgrade"),
        (_with(format_version=0), "version 0; 1 to 2"),
        (_with(format_version=True), "version True"),
        (_with(format_version="1"), "version '1'"),
        (_with(model="vgg-99"), "of unknown model 'vgg-99'; known are digits-cnn"),
        (_with(model=["digits-cnn"]), "of unknown model"),
        (_with(model="fashion-cnn"), "has weights .* but model 'fashion-cnn' has"),
        (_with(options=None), "a NoneType as options"),
        (_with(options={"width": 2.0}), "model 'digits-cnn' has no option 'width'"),
        (_with(options={1: 2}), "has no option 1"),
        (_with(state_dict=None), "has weights NoneType"),
        (_with(state_dict={}), "has weights"),
        (_with(metadata=None), "no metadata"),
        (_with(metadata={"a": torch.zeros(1)}), "no metadata"),
        (_with(metadata={1: "a"}), "no metadata"),
        (_with(training=[1]), "a list as training state"),
        (_with_weight("conv1.weight", lambda w: w * float("nan")), "in conv1.weight that are NaN or infinite"),
        (_with_weight("dense.weight", lambda w: w / 0), "in dense.weight that are NaN or infinite"),
        (_with_weight("conv1.weight", lambda w: w.T), "conv1.weight as float32"),
        (_with_weight("conv1.weight", lambda w: w.double()), "conv1.weight as float64"),
        (_with_weight("conv1.weight", lambda w: w.tolist()), "no tensor conv1.weight"),
        (_with_weight("conv1.weight", lambda w: w.to_sparse()), "more than tensors"),
        (_with_weight("conv1.weight", lambda w: w.to("meta")), "conv1.weight"),
    ],
)
@pytest.mark.filterwarnings("ignore:The use of `x.T`")
def test_content_that_does_not_fit_is_refused(tmp_path, change, words):
    path = tmp_path / "a.pt"
    save(path)
    torch.save(change(content(path)), path)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(path)
    check_one_sentence(str(caught.value), path)


def test_file_of_format_version_1_loads_at_the_defaults_of_all_options(tmp_path):
    path = tmp_path / "a.pt"
    model = MODELS["vgg16-cifar"].build(width=1 / 64)
    save(path, model, model_name="vgg16-cifar", options={"width": 1 / 64})
    new = content(path)
    old = {name: value for name, value in new.items() if name != "options"} | {"format_version": 1}
    torch.save(old, path)
    with pytest.raises(CheckpointError, match=r"conv1_1.weight as float32 \(1, 3, 3, 3\), but float32 \(64, 3, 3, 3\)"):
        load_checkpoint(path)
    save(path)
    old = {name: value for name, value in content(path).items() if name != "options"} | {"format_version": 1}
    torch.save(old, path)
    assert load_checkpoint(path).options == {}
    load_model(path)


@pytest.mark.parametrize("norm", ["batch_norm", "scale_norm"])
@pytest.mark.parametrize("name", ["vgg16-cifar", "resnet20-cifar"])
def test_options_decide_what_is_built_and_counters_of_normalisation_survive(tmp_path, name, norm):
    options = {"width": 1 / 16, norm: True, "classes": 3}
    model = MODELS[name].build(**options)
    model(torch.rand(4, 3, 32, 32))
    save(tmp_path / "a.pt", model, model_name=name, options=options)
    loaded, metadata = load_model(tmp_path / "a.pt")
    rest = {"batch_norm": False, "scale_norm": False, "dropout": 0.1, "levels": 0}
    assert metadata["options"] == {**rest, **options}
    assert all(torch.equal(loaded.state_dict()[key], tensor) for key, tensor in model.state_dict().items())
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), model.eval()(images)) and loaded(images).shape == (2, 3)
    assert all(weight.requires_grad for weight in loaded.parameters())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 1e9}, "option width of model 'vgg16-cifar' is 1000000000.0"),
        ({"width": "1"}, "option width"),
        ({"classes": 10**12}, "option classes"),
        ({"depth": 3}, "has no option 'depth'"),
        ({"width": 1 / 32}, "conv1_1.weight as float32"),
        ({"width": 1 / 64, "batch_norm": True}, "has weights"),
    ],
)
def test_options_of_a_file_are_checked(tmp_path, options, words):
    path = tmp_path / "a.pt"
    small = {"width": 1 / 64}
    save(path, MODELS["vgg16-cifar"].build(**small), model_name="vgg16-cifar", options=small)
    torch.save({**content(path), "options": options}, path)
    with pytest.raises(CheckpointError, match=words) as caught:
        load_checkpoint(path)
    check_one_sentence(str(caught.value), path)
    assert len(str(caught.value)) < 1000 + len(str(path))


def test_weights_that_share_memory_in_the_file_do_not_once_loaded(tmp_path):
    path = tmp_path / "a.pt"
    options = {"width": 1 / 64, "batch_norm": True}
    save(path, MODELS["vgg16-cifar"].build(**options), model_name="vgg16-cifar", options=options)
    whole = content(path)
    whole["state_dict"]["bn1_2.weight"] = whole["state_dict"]["bn1_1.weight"]
    torch.save(whole, path)
    model, _ = load_model(path)
    with torch.no_grad():
        model.bn1_1.weight += 1
    assert model.bn1_2.weight.item() == 1


def test_counter_of_another_type_is_refused(tmp_path):
    path = tmp_path / "a.pt"
    options = {"width": 1 / 64, "batch_norm": True}
    save(path, MODELS["vgg16-cifar"].build(**options), model_name="vgg16-cifar", options=options)
    torch.save(_with_weight("bn1_1.num_batches_tracked", torch.Tensor.float)(content(path)), path)
    with pytest.raises(CheckpointError, match=r"bn1_1.num_batches_tracked as float32 \(\), but int64 \(\)"):
        load_checkpoint(path)


@pytest.fixture(scope="module")
def whole_file(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.pt"
    save(path)
    return path.read_bytes()


@settings(max_examples=examples(60), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_truncation_anywhere_is_noticed(tmp_path, whole_file, data):
    path = tmp_path / "a.pt"
    path.write_bytes(whole_file[: data.draw(st.integers(0, len(whole_file) - 1))])
    with pytest.raises(CheckpointError):
        load_checkpoint(path)


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit_never_changes_weights_silently(tmp_path, whole_file, position, bit):
    path = tmp_path / "a.pt"
    path.write_bytes(whole_file)
    good = load_checkpoint(path).state_dict
    damaged = bytearray(whole_file)
    damaged[int(position * len(damaged))] ^= 1 << bit
    path.write_bytes(damaged)
    try:
        weights = load_checkpoint(path).state_dict
    except CheckpointError:
        return
    # Some bytes mean nothing (padding, time stamps).
    assert all(torch.equal(weights[name], good[name]) for name in good)


def repack(path, whole: bytes, compression=zipfile.ZIP_STORED, change=lambda name, data: data) -> None:
    with zipfile.ZipFile(io.BytesIO(whole)) as source, zipfile.ZipFile(path, "w", compression) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))


def test_compressed_archive_is_refused_before_it_is_unpacked(tmp_path, whole_file):
    repack(tmp_path / "a.pt", whole_file, zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="is compressed"):
        load_checkpoint(tmp_path / "a.pt")


def test_storage_longer_than_its_record_is_not_read(tmp_path):
    # The pickle claims a million elements of a record that has ten: PyTorch believes it.
    whole = torch_bytes({"format": FORMAT, "weights": torch.zeros(1_000_000)})

    def shorten(name, data):
        return data[:40] if name.endswith("data/0") else data

    repack(tmp_path / "a.pt", whole, change=shorten)
    with pytest.raises(CheckpointError, match="larger than the file|could run code"):
        load_checkpoint(tmp_path / "a.pt")


def test_file_too_large_is_refused_unread(tmp_path):
    path = tmp_path / "a.pt"
    with path.open("wb") as file:
        file.truncate(torch_file.MAX_BYTES + 1)
    with pytest.raises(CheckpointError, match="bytes; allowed are 1 to"):
        load_checkpoint(path)


def test_metadata_that_names_one_list_many_times_is_checked_once(tmp_path, monkeypatch):
    nested = [1]
    for _ in range(2):
        nested = [nested] * 5_000  # 25 million values, of 10,000 references
    save(tmp_path / "many.pt", metadata={"list": nested})
    real, calls = checkpoint._is_plain, []

    def counted(*arguments):
        calls.append(None)
        assert len(calls) < 20_000
        return real(*arguments)

    monkeypatch.setattr(checkpoint, "_is_plain", counted)
    load_checkpoint(tmp_path / "many.pt")
    save(tmp_path / "deep.pt", metadata={"list": [[[[1]]]]})
    with pytest.raises(CheckpointError, match="no metadata dictionary of plain values"):
        load_checkpoint(tmp_path / "deep.pt")
