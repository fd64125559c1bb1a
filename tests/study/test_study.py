"""Studies as values: what a file may say, the points of a grid, and the store."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest

from rmp_lava.errors import DataError, UsageError
from rmp_lava.netx import load, save
from rmp_lava.report.sweep import sweep_csv, sweep_table
from rmp_lava.study.cluster import Cluster, expected_workers
from rmp_lava.study.grid import Plan, points
from rmp_lava.study.job import Job
from rmp_lava.study.jobs import execute
from rmp_lava.study.store import Store
from rmp_lava.study.study import Source, Study, read_study
from rmp_lava.study.sweep import Row

REFERENCE = Path(__file__).resolve().parents[2] / "exports" / "reference"


def read(tmp_path, text: str) -> Study:
    path = tmp_path / "a.toml"
    path.write_text(text)
    return read_study(path)


def test_a_file_is_a_study(tmp_path):
    study = read(
        tmp_path,
        """
        network = "mine.models:net"
        weights = "net.pt"
        networks = { b = "b.pt", c = { target = "c:net", weights = "c.pt" } }
        nets = { d = "d.net" }
        images = [100, 300]
        at = [2, 4]
        mean = [0.5, 0.4, 0.3]
        [grid]
        alpha = [1.0, 0.7]
        steps = 8
        [cluster]
        threads = 2
        directives = ["--constraint=cpu"]
        """,
    )
    assert study.networks == {
        "net": Source("mine.models:net", "net.pt"),
        "b": Source("b.pt"),
        "c": Source("c:net", "c.pt"),
    }
    assert study.nets == {"d": "d.net"} and study.images == (100, 300) and study.at == (2, 4)
    assert study.grid == {"steps": (8,), "form": ("integer",), "seed": (0,), "alpha": (1.0, 0.7)}
    assert study.cluster.threads == 2 and study.cluster.directives == ("--constraint=cpu",)
    assert study.preparation == {"mean": [0.5, 0.4, 0.3]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "study 'a' names no network; give network, networks or nets"),
        ("netwrok = 'a.pt'", "'netwrok' is no entry of .*; did you mean 'network'"),
        ("network = 3", "network is 3; give text"),
        ("network = 'a.pt'\ngrid = 3", "grid is 3 in .*; make it a table"),
        ("network = 'a.pt'\n[grid]\nalhpa = 1", "'alhpa' is no axis of .grid.; did you mean 'alpha'"),
        ("network = 'a.pt'\n[grid]\nalpha = []", "axis 'alpha' has the values ..; give at least one"),
        (
            "network = 'a.pt'\n[grid]\nseed = [1, 1]",
            "axis 'seed' has the values .1, 1.; give at least one, and each once",
        ),
        ("network = 'a.pt'\n[grid]\nsteps = 0", "steps is 0; give integers of 1 or more"),
        ("network = 'a.pt'\n[grid]\nwait = 't'", "wait is 't'; give integers of 0 or more"),
        ("network = 'a.pt'\n[grid]\nform = 'int'", "form is 'int'; choose integer or float"),
        ("network = 'a.pt'\nimages = [5, 5]", r"images are \[5, 5\]; give a number, or the first one"),
        ("network = 'a.pt'\nimages = 0", "images are 0; give a number, or the first one"),
        ("network = 'a.pt'\nblock = true", "block is True in .*; give an integer"),
        ("network = 'a.pt'\n[nets]\na = 'a.net'", "'a' is among the networks and the nets"),
        ("network = 'a.pt'\n[networks]\na = 'b.pt'", "network and networks both name 'a'"),
        ("[networks]\na = { weights = 'a.pt' }", "network 'a' has no target; give the trained network"),
        ("weights = 'a.pt'\n[nets]\na = 'a.net'", "weights are given in .*, but no network; give network"),
        ("network = 'a.pt'\nmean = [1979-05-27]", "mean is .*1979.*; give numbers, text, true or false"),
        ("network = 'a.pt'\n[grid]\nalpha = 1979-05-27", "alpha is .*1979.*; give numbers, text, true or false"),
        ("network = 'a.pt'\n[cluster]\nworkers = 0", "workers of .cluster. is 0; give at least 1"),
        ("network = 'a.pt'\n[cluster]\nmemory = 4", "memory of .cluster. is 4, which has another type"),
    ],
)
def test_mistakes_in_a_file_are_one_sentence(tmp_path, text, words):
    with pytest.raises(UsageError, match=words):
        read(tmp_path, text)


def grid(**axes) -> Study:
    values = {axis: tuple(value) if isinstance(value, list) else (value,) for axis, value in axes.items()}
    return Study("a", {"n": Source("n.pt")}, {"spiking": "s.net"}, grid=values)


def test_each_combination_is_a_point_once():
    found, left_out = points(grid(steps=[4, 8], wait=[0, 4, "T"], seed=[0, 1]))
    waits = {(point.network, point.axes["steps"], point.axes["wait"]) for point in found}
    assert waits == {(n, *each) for n in ("n", "spiking") for each in ((4, 0), (4, 4), (8, 0), (8, 4), (8, 8))}
    assert len(found) == 2 * 2 * 5 and left_out == 0
    # A spiking network is converted already.
    found, _ = points(grid(alpha=[1.0, 0.7], steps=4))
    assert [point.axes.get("alpha") for point in found] == [1.0, 0.7, None]


def test_what_a_spiking_network_cannot_do_is_left_out(tmp_path):
    places = {name: str(REFERENCE / f"digits-{name}.net") for name in ("soft", "hard")}
    network = load(places["soft"])
    last = network.output.replace(neurons=network.output.neurons.replace(largest_spike=3))
    places["graded"] = str(tmp_path / "graded.net")
    save(network.replace(layers=(*network.layers[:-1], last)), places["graded"])
    axes = {"steps": (8,), "wait": (0, 4), "reset": ("soft", "hard")}
    plan = Plan(Study("a", {}, places, data="digits", grid=axes), tmp_path / "store")
    found = {(point.network, point.axes["wait"], point.axes["reset"]) for point in plan.points}
    assert found == {("soft", 0, "soft"), ("soft", 4, "soft"), ("soft", 0, "hard")} | {
        ("hard", 0, "soft"),
        ("hard", 0, "hard"),
        ("graded", 0, "soft"),
    }
    assert plan.left_out == 3 * 4 - len(found)


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        (
            {"pooling": ["fold", "foldd"]},
            "pooling is 'foldd'; choose one of auto, fold, layer .with pooling 'foldd', steps 16",
        ),
        ({"encoding": "poison"}, "encoding is 'poison'; choose"),
        ({"readout": 3}, "readout is 3; choose"),
        ({"search": "best"}, "search is 'best'; choose"),
        ({"threshold_form": "even"}, "threshold_form is 'even'; choose"),
        ({"weight_bits": [4, 9]}, "weights of 9 bits are asked for; choose 2 to 8"),
        ({"weight_bits": "8"}, "weight_bits is '8'; give one number"),
        ({"profile": "loihi3"}, "profile 'loihi3' is unknown"),
        ({"profile": 2}, "profile is 2; give the name"),
        ({"method": "paper", "percentile": "99"}, "percentile is '99'; allowed are"),
        ({"alpha": [1.0, float("nan")]}, "alpha is nan; give positive numbers"),
        ({"channelwise": "no"}, "channelwise is 'no'; choose True or False"),
        ({"steps": [4, 2**21]}, "steps are 2097152; allowed are"),
    ],
)
def test_no_combination_is_measured_if_a_conversion_would_refuse_one(axes, words):
    with pytest.raises(UsageError, match=words):
        points(grid(**axes))


def test_what_neurons_cannot_do_is_left_out_and_mistakes_are_refused():
    found, left_out = points(grid(steps=4, wait=[0, 8], reset=["soft", "hard", "shared"]))
    assert {(point.axes["wait"], point.axes["reset"]) for point in found} == {(0, "soft"), (0, "hard"), (0, "shared")}
    assert left_out == 2 * 3
    with pytest.raises(UsageError, match=r"thresholds is 'eror'; choose .*\(with .*thresholds 'eror'"):
        points(grid(thresholds="eror"))
    with pytest.raises(UsageError, match="balanced_steps and wait are both given"):
        points(grid(balanced_steps=64, wait=2))


@pytest.mark.parametrize("place", ["slrum", "local:0", "local:two", "slurm:3", ""])
def test_a_place_without_workers_is_refused(place):
    with pytest.raises(UsageError, match=f"--cluster is '{place}'; choose local, local:N, tcp://"):
        expected_workers(place, Cluster())
    assert expected_workers("local:3", Cluster()) == 3 and expected_workers("slurm", Cluster(workers=5)) == 5


def half(settings, places, path):
    if settings["of"] == 13:
        raise ZeroDivisionError("unlucky")
    return {"is": settings["of"] / 2}


def test_a_job_is_named_by_its_settings_and_measured_once(tmp_path):
    job = Job(half, {"of": 3}, {"at": "a"}, {"network": "n"})
    assert job.key == Job(half, {"of": 3}, {"at": "b"}).key != Job(half, {"of": 4}).key
    first = execute(job, str(tmp_path), 1)
    assert first.content["result"] == {"is": 1.5} and first.content["about"] == {"network": "n"}
    changed = json.loads(Store(tmp_path).path(job.key).read_text()) | {"result": {"is": 7}}
    Store(tmp_path).put(job.key, changed)
    assert execute(job, str(tmp_path), 1).content["result"] == {"is": 7}
    failed = execute(Job(half, {"of": 13}), str(tmp_path), 1)
    assert failed.content is None and failed.error == "ZeroDivisionError: unlucky" and "half" in failed.trace


def test_a_measurement_is_made_once_for_the_same_settings(tmp_path):
    store, made = Store(tmp_path), []
    for settings in ({"steps": 8}, {"steps": 8}, {"steps": 16}, {"steps": 16}):
        result = store.once("a/b", settings, lambda settings=settings: made.append(1) or {"is": settings["steps"]})
        assert result == {"is": settings["steps"]}
    assert len(made) == 2
    forced = Store(tmp_path, again=True)
    for _ in range(2):  # again means once more, not each time
        forced.once("a/b", {"steps": 16}, lambda: made.append(1) or {})
    assert len(made) == 3
    (tmp_path / "a" / "b.json").write_text("{")
    with pytest.raises(DataError, match="b.json is damaged; delete it"):
        store.once("a/b", {"steps": 16}, dict)


def test_stores_are_merged(tmp_path, net):
    here, there = Store(tmp_path / "a"), Store(tmp_path / "b")
    from rmp_lava import load

    network = load(net)
    here.once("k/both", {"n": 1}, lambda: {"is": 1})
    there.once("k/both", {"n": 1}, lambda: {"is": 2})
    there.once("k/there", {"n": 3}, lambda: {"is": 3})
    there.network("network/n", {"n": 4}, lambda: network)
    (tmp_path / "b" / "results.json").write_text("[]")  # in the folder, but no measurement
    assert here.merge(tmp_path / "b") == (2, 1)
    assert here.once("k/both", {"n": 1}, dict) == {"is": 1} and here.once("k/there", {"n": 3}, dict) == {"is": 3}
    assert here.network("network/n", {"n": 4}, lambda: pytest.fail("made again"))[0] == network
    # A network whose file is lost or changed is made again.
    here.path("network/n").with_suffix(".net").write_bytes(b"other")
    assert here.stored("network/n", {"n": 4}) is None
    with pytest.raises(DataError, match="is no folder"):
        here.merge(tmp_path / "c")


def row(steps: int, *accuracy: tuple[float, ...], **axes) -> Row:
    return Row("n", {"steps": steps, **axes}, accuracy, 0.9, 200, 10.0, 2000.0, {"a": 0.1}, 0.0)


def test_tables_have_mean_and_spread_over_seeds():
    rows = [row(2, (0.5, 0.7), (0.6, 0.8), wait=0), row(2, (0.5, 0.85), wait=2)]
    lines = [line.split() for line in sweep_table("s", rows, (1, 2, 4)).to_text().splitlines()[2:]]
    assert lines[0] == "n 0 55.00 ± 7.07 75.00 ± 7.07 – -15.00 2 200 10 2,000".split()
    assert lines[1] == "n T 50.00 85.00 – -5.00 1 200 10 2,000".split()
    table = list(csv.DictReader(io.StringIO(sweep_csv(rows))))
    assert [(each["t"], float(each["accuracy"]), each["spread"] != "") for each in table[1:3]] == [
        ("2", 0.75, True),
        ("1", 0.5, False),
    ]


def test_plots_show_mean_and_spread():
    plot = pytest.importorskip("rmp_lava.plot")
    over_time = plot.study([row(2, (0.5, 0.7), (0.6, 0.8), wait=0), row(2, (0.5, 0.85), wait=2)]).axes[0]
    means = [list(line.get_ydata()) for line in over_time.lines]
    assert np.allclose(means[0], [55, 75]) and np.allclose(means[1], [50, 85])
    (band,) = over_time.collections
    assert np.allclose(band.get_paths()[0].get_extents().intervaly, [55 - 7.0711, 75 + 7.0711])
    assert [text.get_text() for text in over_time.get_legend().get_texts()] == ["wait 0", "wait T"]
    at_each = plot.study([row(2, (0.5, 0.7)), row(4, (0.5, 0.6, 0.7, 0.8))]).axes[0]
    assert np.allclose(at_each.lines[0].get_xydata(), [(2, 70), (4, 80)])
    with pytest.raises(UsageError, match="shows the rows of one network, not of"):
        plot.study([])
