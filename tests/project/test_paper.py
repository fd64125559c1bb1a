"""The experiments of examples/paper: measurements, continuation after an interruption, and error messages."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer

import rmp_lava
from rmp_lava.errors import UsageError
from rmp_lava.study.store import Store
from rmp_lava.study.sweep import Row
from rmp_lava.training.checkpoint import load_model, save_checkpoint
from rmp_lava.training.data import load
from rmp_lava.training.train import train

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="examples/ is part of the repository only")


@pytest.fixture(scope="module")
def trained_digits(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("paper") / "digits.pt"
    train("digits-cnn", load("digits"), epochs=10, checkpoint_path=path, progress=False)
    return path


@pytest.fixture
def paper(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    from examples.paper import lab, neuron, resets

    return {"lab": lab, "neuron": neuron, "resets": resets}


def call(*arguments: object, folder: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "examples.paper", *map(str, arguments), "--output", str(folder / "out")]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.fixture
def refused(paper, monkeypatch, capsys):
    """What the command writes to stderr where it exits with 2; in this process, which has PyTorch loaded."""
    from examples.paper.__main__ import main
    from examples.paper.commands import called

    def call_in_process(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["examples.paper", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            called(main)
        assert caught.value.code == 2
        return capsys.readouterr().err

    return call_in_process


def made(folder: Path, **axes: object) -> rmp_lava.SpikingNetwork:
    """The only network of a store that was made with these values."""
    about = {path: json.loads(path.read_text())["about"] for path in folder.glob("network/*.json")}
    (path,) = (path for path, values in about.items() if values.items() >= axes.items())
    return rmp_lava.load(path.with_suffix(".net"))


SMALL = ("--images", 60, "--calibration", 40, "--reset-steps", 24, "--reset-images", 50, "--alpha", 1)
SMALL += ("--lossless-steps", 16, "--lossless-images", 55, "--conversion", "poisson", "--few-steps", 4)
SMALL += ("--waiting-images", 250)


@pytest.mark.slow
def test_one_command_measures_draws_and_writes_the_page(trained_digits, tmp_path):
    page = tmp_path / "results.md"
    done = call("--network", f"digits={trained_digits}", *SMALL, "--page", page, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    out, text = tmp_path / "out", page.read_text()
    results = json.loads((out / "results.json").read_text())["networks"]["digits"]
    # An independent run of the kept network gives the numbers that are reported.
    model, _ = load_model(trained_digits)
    digits = load("digits")
    shown = np.random.default_rng(1).permutation(len(digits.test_images))[:50]
    network = made(out, reset="hard", form="integer")
    again = rmp_lava.run(network, digits.test_images[shown], 24).accuracy_at(digits.test_labels[shown])
    np.testing.assert_allclose(results["resets"]["curves"]["hard-1-integer"]["accuracy"], again)
    # With soft reset's thresholds, too: the same integers, reset to zero.
    soft = made(out, reset="soft", alpha=1.0, form="integer")
    *hidden, last = soft.layers  # whose total is read out, which integrates
    hard = soft.replace(layers=(*(each.replace(neurons=each.neurons.replace(reset="hard")) for each in hidden), last))
    shared = rmp_lava.run(hard, digits.test_images[shown], 24).accuracy_at(digits.test_labels[shown])
    np.testing.assert_allclose(results["resets"]["curves"]["shared-1-integer"]["accuracy"], shared)
    assert [pair["thresholds"] for pair in results["resets"]["pairs"]] == ["own", "soft"]
    assert f"| hard reset, soft reset's thresholds, integer | 1 | {100 * shared[7]:.2f} |" in text
    assert f"| hard reset, integer | 1 | {100 * again[7]:.2f} | {100 * again[15]:.2f} |" in text
    with (out / "digits-resets.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24 and float(rows[-1]["hard-1-integer"]) == pytest.approx(again[-1])
    shown, many = np.random.default_rng(1).permutation(len(digits.test_images))[:55], {}
    assert "55 test images, drawn at random; trained network" in text
    for experiment in ("lossless", "settled"):
        network = made(out, balanced_steps={"lossless": 64, "settled": 256}[experiment], steps=16)
        again = rmp_lava.run(network, digits.test_images[shown], 16).accuracy_at(digits.test_labels[shown])
        np.testing.assert_allclose(results[experiment]["accuracy"], again)
        assert f"| accuracy (%) | {100 * again[7]:.2f} | {100 * again[15]:.2f} |" in text
        many[experiment] = again[15]
    assert results["lossless"]["accuracy"] != results["settled"]["accuracy"]
    row = results["latency"][0]
    assert row["seeds"] == 3 and row["spread"] > 0 and "(3 seeds)" in text
    best = max((many["lossless"], "paper's thresholds"), (many["settled"], "least error"))[1]
    waited = {(row["form"], row["wait"]): row for row in results["waiting"]}["integer", 4]
    few, how = max((row["accuracy"], "poisson"), (waited["accuracy"], "untuned, wait = T"))
    trained, few, many = (100 * share for share in (results["trained"]["accuracy"], few, max(many.values())))
    of_some = 100 * results["settled"]["trained"]
    summary = f"| {few:.2f} ({few - trained:+.2f}), {how} | {many:.2f} ({many - of_some:+.2f}), {best} |"
    assert f"| digits | {trained:.2f} {summary}" in text
    assert f"training {100 * load_model(trained_digits)[1]['train_accuracy']:.2f} %" in text
    for name in ("neuron", "digits-resets", "digits-activity", "digits-latency", "digits-waiting"):
        assert (out / f"{name}.svg").is_file() and (tmp_path / f"results-{name}.png").read_bytes()[1:4] == b"PNG"
        assert f"(results-{name}.png)" in text
    # Neurons that wait: the kept integers, on all images.
    shown = np.random.default_rng(1).permutation(len(digits.test_images))[:60]
    network = made(out, steps=4, wait=4, form="integer")
    again = rmp_lava.run(network, digits.test_images[shown], 4)
    assert network.wait == 4 and waited["accuracy"] == pytest.approx(again.accuracy(digits.test_labels[shown]))
    assert waited["operations"] == pytest.approx(sum(again.operations_per_sample.values()))
    assert f"| untuned | integers | T | {100 * waited['accuracy']:.2f} (" in text
    # Once more: nothing is measured again, and the page is the same.
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}
    assert call("--network", f"digits={trained_digits}", *SMALL, "--page", page, folder=tmp_path).returncode == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.glob("*/*.json")}
    assert page.read_text() == text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ("--only", "all"),
            "experiment 'all' is unknown; choose from neuron, waiting, resets, lossless, settled, latency, tuned",
        ),
        (("--only", "latency"), "only experiment 'neuron' runs without a network; give --network"),
        (("--only", "neuron", "--notes", "missing.md"), "notes file missing.md does not exist"),
        (("--only", "vgg:resets"), "--only names network 'vgg', but no --network has that name"),
        (("--only", "vgg:all"), "experiment 'all' is unknown"),
        (("--reset-encoding", "morse"), "encoding 'morse' is unknown; choose from poisson, rate, current"),
        (("--conversion", "fast"), "conversion 'fast' is unknown; choose from current"),
        (("--network", "a/b=c.pt"), "'a/b=c.pt' is not NAME=FILE"),
        (("--network", "digits"), "'digits' is not NAME=FILE"),
        (("--tuned", "vgg=a.net"), "--tuned names network 'vgg', but no --network has that name"),
        (("--network", "a=missing.pt"), "missing.pt does not exist"),
    ],
)
def test_mistakes_are_one_sentence(refused, tmp_path, arguments, words):
    error = refused(*arguments, "--output", tmp_path / "out")
    assert error.startswith("Error: ") and words in error and error.count("\n") == 1


@pytest.mark.parametrize("option", ["--images", "--few-steps", "--lossless-images", "--reset-steps", "--calibration"])
def test_numbers_below_one_are_refused(refused, tmp_path, option):
    assert option in refused(option, "-440", "--output", tmp_path / "out") and not (tmp_path / "out").exists()


def test_what_is_tuned_is_looked_at_before_anything_is_measured(paper, tmp_path):
    from examples.paper.__main__ import _tuned, _wanted

    soft = f"a={ROOT / 'exports' / 'reference' / 'digits-soft.net'}"
    assert _tuned([soft], _wanted(None, ["a"])) == {"a": [ROOT / "exports" / "reference" / "digits-soft.net"]}
    with pytest.raises(UsageError, match="but --only excludes waiting, latency and tuned"):
        _tuned([soft], _wanted(["lossless"], ["a"]))
    network = rmp_lava.load(ROOT / "exports" / "reference" / "digits-soft.net")
    rmp_lava.save(network.replace(balanced_steps=None), tmp_path / "a.net")
    with pytest.raises(UsageError, match="does not record the number of time steps"):
        _tuned([f"a={tmp_path / 'a.net'}"], _wanted(None, ["a"]))


def test_a_training_that_is_not_finished_is_refused(paper, trained_digits, tmp_path):
    model, metadata = load_model(trained_digits)
    metadata = metadata | {"epochs": 400, "epochs_done": 41}
    save_checkpoint(tmp_path / "a.pt", model_name="digits-cnn", model=model, metadata=metadata)
    with pytest.raises(UsageError, match="a.pt holds 41 of 400 epochs; finish its training"):
        paper["lab"].load_network("a", tmp_path / "a.pt")


def test_experiments_of_all_networks_and_of_one(paper):
    from examples.paper.__main__ import EXPERIMENTS, _wanted

    assert _wanted(["neuron", "a:resets", "b:latency", "b:tuned"], ["a", "b"]) == {
        None: {"neuron"},
        "a": {"neuron", "resets"},
        "b": {"neuron", "latency", "tuned"},
    }
    assert _wanted(None, ["a"]) == {None: set(EXPERIMENTS), "a": set(EXPERIMENTS)}


@pytest.mark.slow
def test_rates_of_the_neuron_are_what_the_paper_says(paper, tmp_path):
    measured = paper["neuron"].measure_neuron(Store(tmp_path))
    rates = np.array(measured["rates_in"])
    for eta in map(float, measured["out"]["soft"]):
        soft, hard = (np.array(measured["out"][reset][str(eta)]) for reset in ("soft", "hard"))
        np.testing.assert_allclose(soft, np.minimum(rates / eta, 1), atol=2e-3)
        np.testing.assert_allclose(hard, rates / np.ceil(eta), atol=2e-3)


def test_the_speedup_is_counted_to_the_first_step_with_this_accuracy(paper):
    def curve(*accuracy: float):
        return Row("a", {}, (accuracy,), None, 10, 0.0, 0.0, {"a": 0.1}, 0.0)

    hard = curve(0.1, 0.2, 0.6, 0.5)
    pair = paper["resets"].compare(0.5, curve(0.1, 0.7, 0.7, 0.5), hard, 0.79)
    assert (pair["hard_best"], pair["hard_steps"], pair["soft_steps"], pair["step_ratio"]) == (0.6, 3, 2, 1.5)
    assert pair["step_ratio_at"] == {"0.5": 1.5, "0.75": 1.5, "0.9": None, "0.95": None}
    pair = paper["resets"].compare(0.5, curve(0.1, 0.5, 0.5, 0.5), hard, 0.8)
    assert pair["soft_steps"] is None and pair["step_ratio"] is None
    # Hard reset that always names the most frequent class is best at step 1; chance is no accuracy to compare with.
    pair = paper["resets"].compare(1.0, curve(0.1, 0.15, 0.15, 0.6), curve(0.15, 0.1, 0.1, 0.1), 0.7, chance=0.15)
    assert (pair["hard_best"], pair["hard_steps"], pair["soft_steps"], pair["step_ratio"]) == (0.15, None, 4, None)


def test_the_summary_shows_the_best_conversion_and_what_was_not_measured(paper):
    from examples.paper.tables import summary_table

    def row(conversion: str, accuracy: float) -> dict:
        return {"conversion": conversion, "steps": 8, "accuracy": accuracy}

    def pairs(*times: float | None, thresholds: str = "own") -> dict:
        of_all = {"thresholds": thresholds, "hard_steps": 8, "soft_steps": 4}
        return {"pairs": [of_all | {"step_ratio": each} for each in times]}

    networks = {
        "a": {
            "trained": {"accuracy": 0.9},
            "latency": [row("rate", 0.7), row("current", 0.89)],
            "resets": pairs(2.0, 4.5),
        },
        "b": {
            "trained": {"accuracy": 0.8},
            "lossless": {"accuracy": [0.1, 0.79], "trained": 0.8},
            "settled": {"accuracy": [0.7, 0.81], "trained": 0.82},  # of fewer images
            "resets": pairs(3.0, None),
        },
        "c": {"trained": {"accuracy": 0.7}, "resets": pairs(3.0, 3.0)},
        "d": {
            "trained": {"accuracy": 0.7},
            "resets": {"pairs": [{"thresholds": "own", "step_ratio": None, "hard_steps": None, "soft_steps": 4}]},
        },
        "e": {
            "trained": {"accuracy": 0.7},
            "resets": {"pairs": pairs(1.0, None)["pairs"] + pairs(2.0, 2.5, thresholds="soft")["pairs"]},
        },
    }
    assert summary_table(networks) == [
        "| network | trained | T = 8 | T = 2 | soft reset reaches hard reset's best accuracy |",
        "|---|---|---|---|---|",
        "| a | 90.00 | 89.00 (-1.00), current | - | 2.0 to 4.5 times faster |",
        "| b | 80.00 | - | 81.00 (-1.00), least error | not at every alpha |",
        "| c | 70.00 | - | - | 3.0 times faster |",
        "| d | 70.00 | - | - | at every alpha; hard reset stays at chance |",
        "| e | 70.00 | - | - | own thresholds: not at every alpha; soft reset's thresholds: 2.0 to 2.5 times faster |",
    ]


@pytest.mark.parametrize("document", ["docs/guides/paper.md", "docs/results.md"])
def test_documents_call_the_experiments_with_options_that_exist(paper, document):
    from examples.paper.__main__ import main

    known = {option for parameter in typer.main.get_command(_app(main)).params for option in parameter.opts}
    lines = (ROOT / document).read_text().replace("\\\n", "").splitlines()
    calls = [line for line in lines if line.strip().startswith("python -m examples.paper ")]
    assert calls
    for line in calls:
        assert set(re.findall(r"--[a-z-]+", line)) <= known


def _app(function) -> typer.Typer:
    app = typer.Typer()
    app.command()(function)
    return app
