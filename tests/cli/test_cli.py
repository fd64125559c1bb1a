"""The command line: a user's error is one sentence and exit code 2; JSON is JSON; help is quick."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from commands import run_main

from rmp_lava import doctor
from rmp_lava.backends.lava import simulator
from rmp_lava.netx import load, save

pytestmark = pytest.mark.usefixtures("one_thread")


LENET = Path(__file__).resolve().parents[2] / "exports" / "reference" / "fashion-lenet.net"
STAGES = ["trained ANN", "folded", "clipped", "float SNN", "integer SNN"]
MINE = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

def unsuitable():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.Sigmoid(), nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(72, 2))

def pair():
    return net(), "configuration"

made = net()
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory) -> Path:
    """A folder with a checkpoint and its network, made by the commands themselves."""
    folder = tmp_path_factory.mktemp("work")
    assert run_main("train", "digits-cnn", "--epochs", 1, "--output", folder / "d.pt") == 0
    assert run_main("convert", folder / "d.pt", "--steps", 8, "--calibration", 50, "--encoding", "rate") == 0
    (folder / "mine.py").write_text(MINE)
    sys.modules.pop("mine", None)  # that of the documentation
    (folder / "needing.py").write_text("import no_such_package")
    (folder / "notes.txt").write_text("notes")
    return folder


# The whole pipeline


@pytest.mark.slow
def test_train_convert_info_run(work, call):
    code, output, _ = call("info", work / "d.net")
    assert code == 0
    for part in ("digits-cnn", "conv1", "soft reset", "Input: 1x8x8, rate", "14,316 weights", "lava-dl"):
        assert part in output
    code, output, _ = call("run", work / "d.net", "--backend", "fast", "--compare", "--samples", 30)
    assert code == 0
    assert "Every spike and final potential equals the reference." in output and "Accuracy: " in output
    code, output, _ = call("run", work / "d.net", "--backend", "reference", "--samples", 3, "--power-of-two")
    assert code == 0 and "Activity per inference, 8 steps" in output


def test_accuracy_is_of_the_images_and_labels_given(work, call, tmp_path):
    images = np.zeros((4, 1, 8, 8), dtype=np.float32)
    images[:2, :, ::2] = 1
    np.save(tmp_path / "images.npy", images)
    arguments = ("run", work / "d.net", "--images", tmp_path / "images.npy", "--steps", 4, "--json", "-")
    predictions = json.loads(call(*arguments)[1])["predictions"]
    np.save(tmp_path / "labels.npy", [predictions[0], (predictions[1] + 1) % 10, predictions[2], predictions[3]])
    found = json.loads(call(*arguments, "--labels", tmp_path / "labels.npy")[1])
    assert found["accuracy"] == 0.75 and found["samples"] == 4 and found["steps"] == 4


def test_convert_prints_the_accuracy_of_each_stage(work, call, tmp_path):
    options = ("--steps", 4, "--calibration", 20, "--validation", 30, "--reset", "hard", "--output", tmp_path / "h.net")
    code, output, _ = call("convert", work / "d.pt", *options, "--json", tmp_path / "h.json")
    assert code == 0
    for part in ("trained ANN", "float SNN", "integer SNN", "hard reset", "Rates against activations"):
        assert part in output
    result = json.loads((tmp_path / "h.json").read_text())
    assert [stage["name"] for stage in result["stages"]] == STAGES
    assert [stage["images"] for stage in result["stages"]] == [30] * 5
    assert [layer["layer"] for layer in result["layer_fidelity"]] == ["conv1", "conv2", "dense"]
    assert result["loss"][:60] in output
    assert result["net"] == str(tmp_path / "h.net") and load(result["net"]).layers[0].neurons.reset == "hard"


def test_a_convertible_checkpoint(work, call):
    code, output, _ = call("check", work / "d.pt")
    assert code == 0 and "This network converts." in output


def test_differences_from_the_reference_are_exit_code_1(work, call, monkeypatch):
    monkeypatch.setattr("rmp_lava.report.runs.compare_with_reference", lambda *_: ["layer 'conv1': 3 spikes differ"])
    code, output, _ = call("run", work / "d.net", "--compare", "--samples", 1)
    assert code == 1 and "3 spikes differ" in output


@pytest.mark.parametrize(
    "command, key",
    [
        (("info", "d.net"), "layers"),
        (("run", "d.net", "--samples", "2"), "accuracy"),
        (("check", "d.pt"), "convertible"),
    ],
)
def test_json_alone_is_on_standard_output(work, call, monkeypatch, command, key):
    monkeypatch.chdir(work)
    code, output, _ = call(*command, "--json", "-")
    assert code == 0 and key in json.loads(output)


# Errors


def damaged(work: Path, folder: Path, change) -> Path:
    path = folder / "bad.net"
    path.write_bytes((work / "d.net").read_bytes())
    with h5py.File(path, "r+") as file:
        change(file)
    return path


def put(key, value):
    def change(file):
        del file[key]
        file[key] = value

    return change


@pytest.mark.parametrize(
    "change, found",
    [
        (lambda file: file.attrs.modify("rmp_lava_format", 99), "update rmp-lava"),
        (lambda file: file.__delitem__("layer/1/weight"), "/layer/1/weight is missing"),
        (put("layer/1/neuron/vThMant", 0), "threshold is 0"),
        (put("layer/1/neuron/type", np.bytes_("ALIF")), "'ALIF'"),
        (put("layer/1/source", np.bytes_("dense")), "a cycle"),
        (put("layer/1/weight", h5py.ExternalLink("x.h5", "/x")), "a link"),
    ],
)
@pytest.mark.parametrize("command", ["info", "run"])
def test_bad_networks(work, tmp_path, error, command, change, found):
    assert found in error(command, damaged(work, tmp_path, change))


@pytest.mark.parametrize("command", ["info", "run"])
def test_targets_that_are_not_networks(work, tmp_path, error, command):
    assert "does not exist" in error(command, tmp_path / "none.net")
    assert "not a file" in error(command, tmp_path)
    assert "is not a .net file" in error(command, work / "d.pt")
    (tmp_path / "short.net").write_bytes((work / "d.net").read_bytes()[:5000])
    assert "short.net" in error(command, tmp_path / "short.net")


@pytest.mark.parametrize("command", ["convert", "check"])
def test_targets_that_are_not_checkpoints(work, tmp_path, error, command):
    (tmp_path / "text.pt").write_text("weights\n")
    assert "does not exist" in error(command, tmp_path / "none.pt")
    assert "text.pt is not a checkpoint" in error(command, tmp_path / "text.pt")
    # A .net names a network too, but its checkpoint is there, and holds more.
    words = {"convert": "the trained network of", "check": "is converted already"}[command]
    assert words in error(command, work / "d.net")


def test_doctor_has_a_line_for_each_requirement_of_a_board(call, monkeypatch):
    monkeypatch.setattr(simulator, "availability", lambda: "not asked here; wait")  # the doctor would run it
    found = json.loads(call("doctor", "--json", "-")[1])["parts"]
    boards = [each for each in found if each["part"].startswith("Loihi 2 (never run on hardware): ")]
    assert len(boards) == 6 and all(each["works"] or each["remedy"] for each in boards)
    extension = next(each for each in boards if "lava-loihi 0.7.0" in each["part"])
    assert not extension["works"] and extension["found"].startswith("missing: ")


def test_a_run_has_the_items_of_neurobench_and_measures_nothing(work, call):
    found = json.loads(call("run", work / "d.net", "--samples", 2, "--json", "-")[1])
    assert found["measurement"] is None and not found["neurobench"]["measured"]
    assert 0 <= found["neurobench"]["activation_sparsity"] <= 1 and found["neurobench"]["footprint"] > 0


def test_invalid_boards_are_an_error(work, error):
    options = ("run", work / "d.net", "--samples", 1, "--backend", "loihi2")
    assert "pass only one of them" in error(*options, "--partition", "kp", "--host", "h")
    assert "is not a valid name" in error(*options, "--host", "-x")
    assert "is for backend 'loihi2'" in error("run", work / "d.net", "--samples", 1, "--partition", "kp")


def test_an_unavailable_backend_is_an_error(work, error):
    assert "'loihi2' cannot run" in error("run", work / "d.net", "--samples", 1, "--backend", "loihi2")
    if simulator.availability() is not None:
        assert "'lava' cannot run" in error("run", work / "d.net", "--samples", 1, "--backend", "lava")


@pytest.mark.parametrize(
    "array, found",
    [
        (np.zeros((2, 8, 9)), "images have shape (2, 8, 9)"),
        (np.zeros((2, 1, 28, 28)), "images have shape (2, 1, 28, 28)"),
        (np.zeros((0, 1, 8, 8)), "there are no images"),
        (np.full((2, 1, 8, 8), 255), "values in [255, 255]"),
        (np.full((2, 1, 8, 8), -0.1), "values in [-0.1, -0.1]"),
        (np.full((2, 1, 8, 8), np.nan), "NaN"),
        (np.full((2, 1, 8, 8), "a"), "dtype"),
        (np.array(0.5), "is no array"),
    ],
)
def test_images_that_do_not_fit(work, tmp_path, error, array, found):
    np.save(tmp_path / "images.npy", array)
    assert found in error("run", work / "d.net", "--images", tmp_path / "images.npy")


def test_images_are_never_unpickled(work, tmp_path, error):
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}, None], dtype=object), allow_pickle=True)
    assert "objects.npy is not a readable .npy file" in error(
        "run", work / "d.net", "--images", tmp_path / "objects.npy"
    )
    (tmp_path / "text.npy").write_text("not numpy")
    assert "text.npy is not a readable" in error("run", work / "d.net", "--images", tmp_path / "text.npy")
    assert "none.npy" in error("run", work / "d.net", "--images", tmp_path / "none.npy")


def test_labels_that_do_not_fit(work, tmp_path, error):
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 8, 8)))
    np.save(tmp_path / "labels.npy", [1, 2, 3])
    options = ("--images", tmp_path / "images.npy", "--labels", tmp_path / "labels.npy")
    assert "one label per image" in error("run", work / "d.net", *options)
    np.save(tmp_path / "labels.npy", [1, 10])
    assert "labels run from 1 to 10; count classes from 0" in error("run", work / "d.net", *options)
    np.save(tmp_path / "labels.npy", [0, 10])
    assert "of 11 classes, but network 'digits-cnn' has 10 outputs" in error("run", work / "d.net", *options)


@pytest.mark.parametrize(
    "arguments, found",
    [
        (("run", "d.net", "--steps", "-5"), "steps are -5"),
        (("run", "d.net", "--steps", "0"), "steps are 0"),
        (("run", "d.net", "--blank", "-1"), "blank steps are -1"),
        (("run", "d.net", "--samples", "0"), "samples are 0"),
        (("run", "d.net", "--data", "cifar"), "data set 'cifar' is unknown"),
        (("run", "d.net", "--data", "fashion-mnist", "--data-dir", "missing"), "not found in"),
        (
            ("run", "d.net", "--data-dir", "missing"),
            "the digits are part of this package, but directory missing was given",
        ),
        (("run", "d.net", "--images", "d.pt", "--data-dir", "here"), "both images and the folder here of a data set"),
        (("run", "d.net", "--device", "abacus"), "device 'abacus' cannot be used"),
        (
            ("run", "d.net", "--samples", "1", "--implementation", "stock"),
            "is for backend 'reference' or 'lava' or 'loihi2'",
        ),
        (
            ("run", "none.net", "--json", "d.pt/x.json"),
            "x.json cannot be written (d.pt is a file, not a folder); choose",
        ),
        (("convert", "d.pt", "--output", "d.pt/x.net"), "x.net cannot be written"),
        (("train", "vgg-16"), "model 'vgg-16' is unknown"),
        (("train", "fashion-cnn", "--data-dir", "missing"), "not found in"),
        (("convert", "d.pt", "--steps", "-1"), "steps are -1"),
        (("convert", "d.pt", "--percentile", "0"), "percentile is 0.0"),
        (("convert", "d.pt", "--alpha", "0"), "alpha"),
        (("convert", "d.pt", "--calibration", "0"), "calibration takes 0"),
        (("convert", "d.pt", "--profile", "loihi3"), "'loihi3' is unknown"),
        (
            ("convert", "d.pt", "--steps", "2", "--calibration", "9", "--for-lava-dl"),
            "cannot run in lava-dl's loader: layers 'conv1', 'conv2'",
        ),
        (("convert", "d.pt", "--percentile", "99"), "thresholds 'error' take none"),
        (("convert", "d.pt", "--method", "paper", "--channelwise"), "channelwise thresholds come from activations"),
        (("convert", "d.pt", "--validation", "137"), "validation takes 137 images; allowed are 1..136"),
        (("convert", "d.pt", "--output", "d.pt"), "name a file that ends in .net"),
        (("convert", "d.pt", "--output", "new", "--json", "./new"), "--output and --json would both write new; choose"),
        (("run", "d.net", "--json", "new.npz", "--output", "new.npz"), "--json and --output would both write new.npz"),
        (("nir", "d.net", "new.nir", "--json", "new.nir"), "--json and TARGET would both write new.nir"),
        (("--log-file", "new.json", "info", "d.net", "--json", "new.json"), "--log-file and --json would both write"),
        (("convert", "d.pt", "--data", "digits", "--images", "d.pt"), "both images and the data set"),
        (("convert", "d.pt", "--weights", "d.pt"), "has its own"),
        (("convert", "mine:net"), "pass --data or --images"),
        (("convert", "mine:net", "--data", "digits", "--shape", "3,8,8"), "has images of shape (1, 8, 8)"),
        (("convert", "mine:unsuitable", "--data", "digits"), "(GroupNorm) normalises by the image's own statistics"),
        (("tune", "d.pt", "--steps", "0"), "steps are 0"),
        (("tune", "d.pt", "--epochs", "0"), "epochs is 0"),
        (("tune", "d.pt", "--device", "abacus"), "device 'abacus' is unknown"),
        (("tune", "d.pt", "--resume"), "d-tuned.tune.pt does not exist"),
        (("tune", "d.pt", "--teacher", "better.pt"), "better.pt does not exist"),
        (("tune", "d.pt", "--teacher", "d.pt", "--no-distill"), "nothing is learned from them"),
        (("tune", "d.pt", "--teacher", "mine:unsuitable"), "teacher 1: "),
        (("check", "mine:net"), "needs the shape"),
        (("check", "json:nothing", "--shape", "3"), "json:nothing cannot be found"),
        (("check", "no.such.module:f", "--shape", "3"), "module 'no' is neither in the current folder"),
        (("check", "json.loads"), "write json:loads, with a colon"),
        (("check", "./mine.py:net"), "write the module as Python imports it: mine:net"),
        (("check", "mine.py"), "name the function in it that returns the network, such as mine:net"),
        (("check", "mine:nett"), "write mine:net"),
        (("check", "mine:pair", "--shape", "3"), "which is entry 0 here, so add a function that returns it"),
        (("check", "mine:made", "--shape", "3"), "such as: def trained(): return made"),
        (("check", "needing:net"), "'no_such_package', which it imports, is not installed"),
        (("check", "."), "is a folder; pass a checkpoint of `rmp-lava train`"),
        (("run", "d.net", "--json", "d.pt"), "d.pt exists and is not named as a .json file, so it is not replaced"),
        (("run", "d.net", "--output", "d.pt"), "d.pt exists and is not named as a .npz file, so it is not replaced"),
        (("upgrade", "d.net", "d.pt"), "d.pt exists and is not named as a .net file, so it is not replaced"),
        (("zoo", "digits-soft", "--output", "d.pt"), "d.pt exists and is not named as a .net file"),
        (("sweep", "a.toml", "--csv", "d.net"), "d.net exists and is not named as a .csv file"),
        (("sweep", "a.toml"), "a.toml cannot be read (No such file or directory); correct the path of the study"),
        (("info", "d.net", "--log-file", "d.net"), "d.net exists and is no text, so no log is appended to it"),
        (
            ("estimate", "d.net", "--compare", LENET),
            "inputs of shape (1, 8, 8) and (1, 28, 28); only networks for the same",
        ),
        (("check", "notes.txt"), "is no trained network that can be read"),
        (("check", "json:loads", "--shape", "3"), "json:loads() failed (TypeError"),
        (("check", "os:getcwd", "--shape", "3"), "must return a torch.nn.Module"),
        (("check", "torch.nn:ReLU", "--shape", "3,x"), "shape '3,x' is not valid"),
    ],
)
def test_invalid_arguments(work, error, monkeypatch, arguments, found):
    monkeypatch.chdir(work)
    files = (work / "d.net", work / "d.pt")
    before = [file.read_bytes() for file in files]
    assert found in error(*arguments)
    assert [file.read_bytes() for file in files] == before


def test_targets_without_a_unit_are_refused_before_the_run(work, tmp_path, error, monkeypatch):
    monkeypatch.setattr("rmp_lava.backends.run", lambda *_, **__: pytest.fail("it ran"))
    save(load(work / "d.net").replace(output_scale=None), tmp_path / "d.net")
    np.save(tmp_path / "images.npy", np.zeros((2, 1, 8, 8), dtype=np.float32))
    np.save(tmp_path / "targets.npy", np.zeros((2, 10), dtype=np.float32))
    files = ("--images", tmp_path / "images.npy", "--labels", tmp_path / "targets.npy")
    assert "has no output_scale" in error("run", tmp_path / "d.net", *files)


def test_without_a_number_of_steps_or_a_data_set_the_option_is_named(work, tmp_path, error):
    bare = save(load(work / "d.net").replace(balanced_steps=None, dataset=None), tmp_path / "bare.net")
    assert "--data" in error("run", bare)
    assert "--steps" in error("run", bare, "--data", "digits")


def test_a_network_that_does_not_convert(work, call, monkeypatch, tmp_path):
    monkeypatch.chdir(work)
    code, output, text = call("check", "mine:unsuitable", "--shape", "1,8,8", "--json", tmp_path / "found.json")
    assert code == 2 and text == ""
    for part in ("use ReLU", "use BatchNorm2d", "2 obstacles found."):
        assert part in output
    report = json.loads((tmp_path / "found.json").read_text())
    assert not report["convertible"] and [f["where"] for f in report["findings"]] == ["1", "2"]


def test_obstacles_are_listed_before_information(work, call, monkeypatch):
    monkeypatch.chdir(work)
    (work / "both.py").write_text(
        "from torch import nn\ndef net():\n    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), "
        "nn.GroupNorm(1, 2), nn.Flatten(), nn.Linear(72, 2))\n"
    )
    code, output, _ = call("check", "both:net", "--shape", "1,8,8", "--json", "-")
    severities = [finding["severity"] for finding in json.loads(output)["findings"]]
    assert (
        code == 2 and severities == sorted(severities, reverse=True) and set(severities) == {"obstacle", "information"}
    )


# Networks from elsewhere, and what is kept of them


def test_a_function_with_weights_is_converted_and_restored(work, call, monkeypatch):
    monkeypatch.chdir(work)
    options = ("--data", "digits", "--calibration", 20, "--validation", 20, "--steps", 4)
    code, output, text = call("convert", "mine:net", *options)
    assert code == 0, text
    assert "exports/net.net" in output and "exports/net.ann.pt" in output
    network = load(work / "exports" / "net.net")
    options = (*options, "--weights", "exports/net.ann.pt", "--output", "again.net")
    assert call("convert", "mine:net", *options)[0] == 0
    again = load(work / "again.net")
    assert again.layers == network.layers
    assert again.provenance["weights_sha256"] == network.companions[0].sha256 == again.companions[0].sha256
    code, output, _ = call("info", "again.net")
    assert code == 0 and "Trained network: again.ann.pt is there, unchanged" in output


def test_own_images_without_labels_give_layers_and_the_agreement_with_the_trained_network(
    work, call, monkeypatch, tmp_path
):
    monkeypatch.chdir(work)
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((30, 1, 8, 8), dtype=np.float32))
    options = ("--images", tmp_path / "x.npy", "--steps", 4, "--output", tmp_path / "own.net", "--json", "-")
    code, output, text = call("convert", "d.pt", *options)
    found = json.loads(output)
    assert code == 0 and [stage["name"] for stage in found["stages"]] == STAGES and len(found["layer_fidelity"]) == 3
    assert (
        found["stages"][1] | {"accuracy": 1.0, "kind": "agreement"} == found["stages"][1]
        and "mean_iou" not in found["stages"][4]
    )
    assert "images of x.npy have no labels, so each stage is compared with the trained network" in text
    assert "Agreement with the trained network on validation images, T = 4" in text


def test_the_users_files_are_not_replaced(work, call, error, tmp_path):
    options = ("--calibration", 10, "--validation", 5, "--steps", 2, "--output", tmp_path / "a.net")
    (tmp_path / "a.onnx").write_text("mine")
    assert "a.onnx exists" in error("convert", work / "d.pt", *options)
    assert (tmp_path / "a.onnx").read_text() == "mine" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.slow
def test_tune_writes_a_network_and_goes_on_where_it_stopped(work, call, tmp_path):
    options = ("--steps", 2, "--epochs", 1, "--calibration", 20, "--validation", 20, "--output", tmp_path / "t.net")
    code, output, text = call("tune", work / "d.pt", *options, "--json", tmp_path / "first.json")
    assert code == 0, text
    assert "Epoch 1 of 1: loss" in output and "integer SNN, tuned" in output
    network = load(tmp_path / "t.net")
    assert network.provenance["method"] == "tune" and network.provenance["balance"]["thresholds"] == "tuned"
    assert all(layer.neurons.v_init > 0 for layer in network.layers[:-1])
    code, output, _ = call("tune", work / "d.pt", *options, "--resume", "--json", tmp_path / "second.json")
    first, second = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("first", "second"))
    assert code == 0 and "Epoch" not in output and second == first
    assert load(tmp_path / "t.net") == network
    code, _, text = call("tune", work / "d.pt", *options, "--resume", "--teacher", work / "d.pt")
    assert code == 0 and load(tmp_path / "t.net") == network, text  # it is its own teacher anyway
    code, _, text = call("tune", work / "d.pt", *options, *2 * ("--teacher", work / "d.pt"))
    assert code == 0 and len(load(tmp_path / "t.net").provenance["tune"][0]["teachers"]) == 2, text


# Processes


def test_characters_that_the_encoding_of_the_output_lacks_are_replaced(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    assert run_main("zoo", "digits-soft") == 0
    sys.stdout.flush()
    assert b"40.9 ?J for each image" in written.getvalue()


def child(*arguments) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True, timeout=60)


def test_help_imports_nothing_heavy():
    program = (
        "import sys, rmp_lava.cli; heavy = {'torch', 'numpy', 'h5py', 'lava', 'sklearn', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    assert child("-c", program).stderr == ""
    found = child("-m", "rmp_lava", "--help")
    assert found.returncode == 0 and found.stderr == ""
    for command in ("demo", "train", "check", "convert", "tune", "info", "run", "doctor"):
        assert f"  {command} " in found.stdout


@pytest.mark.slow
def test_as_a_module():
    found = child("-m", "rmp_lava", "--version")
    assert found.returncode == 0 and found.stdout.startswith("rmp-lava ")
    found = child("-m", "rmp_lava", "info", "none.net")
    assert found.returncode == 2 and found.stdout == ""
    assert found.stderr == "error: none.net does not exist or is not a file; pass the path of a .net file\n"


@pytest.mark.slow
def test_wrong_usage_is_exit_code_2():
    for arguments in (
        ["run"],
        ["convert", "a.pt", "--reset", "half"],
        ["nothing"],
        ["run", "a.net", "--steps", "many"],
    ):
        found = child("-m", "rmp_lava", *arguments)
        assert found.returncode == 2 and "Error" in found.stderr and "Traceback" not in found.stderr


def test_doctor_says_of_each_extra_what_is_missing():
    project = (Path(__file__).resolve().parents[2] / "pyproject.toml").read_text()
    named = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    assert set(re.findall(r"^(\w+) = \[", named, re.MULTILINE)) == {*doctor.EXTRAS, "dev"}
    requirements = [
        "numpy>=1; python_version >= '3.8' and extra == 'fast'",
        'nosuch-package>=2; extra == "cluster"',
        "h5py; extra == 'cluster'",
        "nosuch; python_version < '3.8' and extra == 'lava'",
        "nosuch; extra == 'dev'",
        "torch>=2.3",
    ]
    fast, cluster = doctor.extras(requirements)
    assert fast.severity == "ok" and fast.where == "extra [fast]: compiled neurons" and "numpy " in fast.found
    assert cluster.sentence().endswith("not installed: nosuch-package; pip install '.[cluster]' in the checkout")


def test_doctor_prints_commands_unchanged(call):
    code, output, _ = call("doctor")
    assert code == 0
    if sys.version_info[:2] != (3, 10):
        assert ".[lava]" in output.replace("\n", "")


def test_labels_without_images_and_impossible_demo_are_refused(work, call, tmp_path):
    for arguments in (
        ("run", work / "d.net", "--labels", tmp_path / "none.npy"),
        ("run", work / "d.net", "--seed", -1),
        ("run", work / "d.net", "--backend", "reference", "--compare"),
        ("run", work / "d.net", "--confidence", 0.9, "--compare"),
        ("demo", "--samples", -1, "--output", tmp_path),
        ("demo", "--steps", 0, "--output", tmp_path),
        ("convert", work / "d.pt", "--output", tmp_path / "x.net", "--seed", -1),
    ):
        code, _, error = call(*arguments)
        assert code == 2 and error.startswith("error: ")
    assert not list(tmp_path.iterdir())
