"""The benchmarks' own parts: networks, the page; no measurement."""

import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import rmp_lava
from rmp_lava import machine
from rmp_lava.network import Input, Neurons

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmarks(monkeypatch):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("benchmarks/ is part of the repository, not of the package")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import busy, gpu, measure, networks, render, run

    yield {"busy": busy, "gpu": gpu, "measure": measure, "networks": networks, "render": render, "run": run}


@pytest.mark.parametrize("name", ["digits-cnn", "resnet20"])
@pytest.mark.slow
def test_every_layer_spikes_at_a_realistic_rate(benchmarks, name):
    network = benchmarks["networks"].build(name)
    spikes = benchmarks["networks"].spikes_for(network, 2, 32)
    result = rmp_lava.run(network, spikes, 32, "fast")
    for layer in network:
        rate = result.spike_counts[layer.name] / 2 / 32 / layer.size
        assert 0.02 < rate < 0.2, layer.name
    assert not any(result.saturations.values())


@pytest.mark.slow
def test_networks_have_the_sizes_of_their_originals(benchmarks):
    networks = benchmarks["networks"]
    vgg = networks.build("vgg16", width=0.125)
    assert [layer.shape[0] for layer in vgg][:13] == [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64]
    assert len(networks.convolutions(vgg)) == 13
    resnet = networks.build("resnet20")
    assert sum(s.weight.shape[-1] == 3 for layer in resnet for s in layer.synapses if s.weight.ndim == 4) == 19
    assert networks.build("digits-cnn") == networks.build("digits-cnn")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-cnn", "resnet20"])
def test_fast_counts_what_a_simulator_without_delays_counts(benchmarks, name, tmp_path):
    networks, measure = benchmarks["networks"], benchmarks["measure"]
    network = networks.build(name)
    spikes = networks.spikes_for(network, 3, 16)
    rmp_lava.save(network, tmp_path / "network.net")
    np.save(tmp_path / "spikes.npy", spikes)
    job = {"kind": "fast", "network": str(tmp_path / "network.net"), "spikes": str(tmp_path / "spikes.npy")}
    job |= {"batch": 3, "steps": 16, "threads": 1, "least_seconds": 0.0001, "check_samples": 2, "check_steps": 9}
    answer = measure.measure(job)
    assert answer["counts"] == networks.expected_counts(network, spikes[:2, :9])
    assert answer["sample_steps"] == 48
    assert all(0 < rate < 0.3 for rate in answer["rates"].values())


def test_networks_with_neurons_of_another_kind_are_expected_to_spike_as_the_reference(benchmarks):
    networks = benchmarks["networks"]
    digits = networks.build("digits-cnn")
    driven = digits.replace(input=Input((1, 8, 8), "spikes", levels=200, neurons=Neurons(50, "hard")))
    spikes = networks.spikes_for(driven, 2, 6)
    assert spikes.max() == 100  # one spike each
    found = networks.expected_counts(driven, spikes)
    result = rmp_lava.run(driven, spikes, 6, "fast")
    assert found == {layer.name: result.message_counts[layer.name].tolist() for layer in driven}
    # Input neurons that answer each message with a spike change nothing for the next layers.
    assert found == networks.expected_counts(digits, spikes // 100)


@pytest.mark.lava
@pytest.mark.slow
def test_steps_of_lava_count_until_the_last_window_closes(benchmarks, tmp_path):
    networks, measure = benchmarks["networks"], benchmarks["measure"]
    network = networks.build("digits-cnn")
    spikes = networks.spikes_for(network, 2, 5)
    rmp_lava.save(network, tmp_path / "network.net")
    np.save(tmp_path / "spikes.npy", spikes)
    job = {"kind": "lava", "network": str(tmp_path / "network.net"), "spikes": str(tmp_path / "spikes.npy")}
    answer = measure.measure(job | {"batch": 2, "steps": 5, "conv_model": "blas"})
    assert answer["counts"] == networks.expected_counts(network, spikes)
    assert answer["sample_steps"] == 2 * 5 + 3


def test_the_input_of_a_sample_does_not_depend_on_the_batch(benchmarks):
    networks = benchmarks["networks"]
    network = networks.build("digits-cnn")
    assert np.array_equal(networks.spikes_for(network, 3, 8)[:2], networks.spikes_for(network, 2, 8))


def measurement(seconds, engine, **more):
    job = {"engine": engine, "batch": 4, "steps": 8, "network_name": "net"}
    memory = {"resident_before": 2**27, "resident_peak": 2**28}
    return (
        {"seconds": [seconds], "job": job, "execution": f"{engine} ran", "environment": {"torch": "2"}} | memory | more
    )


@pytest.fixture
def results(benchmarks):
    run, counts = benchmarks["run"], {"layer": [5, 7]}
    found = {
        "engines/net/fast/1": measurement(0.032, "fast", counts=counts, rates={"layer": 0.1}),
        "engines/net/fast/2": measurement(0.064, "fast", counts=counts, rates={"layer": 0.1}),
        "engines/net/sinabs/1": measurement(0.128, "sinabs", counts=counts),
        "engines/net/norse-iaf/1": measurement(0.096, "norse-iaf", counts={"layer": [5, 1]}),
        "engines/net/lava-stock/1": measurement(9.6, "lava-stock", counts={"layer": [9]}, sample_steps=96),
        "engines/net/lava-blas/1": {"error": "Lava | failed", "job": {"batch": 1, "steps": 8}},
        "one/net/fast/1": measurement(0.004, "fast", start_up=2.5, sample_steps=8),
        "activity/0.02/fast/1": measurement(0.016, "fast", rates={"layer": 0.021}),
        "activity/0.02/fast-dense/1": measurement(0.064, "fast-dense", rates={"layer": 0.021}),
        "growth/steps/8": measurement(1.0, "fast"),
        "growth/steps/16": measurement(2.0, "fast"),
        "throughput/core": measurement(
            1.0,
            "fast",
            layers=[{"name": "c", "multiplications": 500, "seconds": {"int8": 1e-4, "float32": 1e-3}}],
        ),
    }
    network = {"title": "A network", "note": "", "neurons": 3, "parameters": 9, "multiplications": 500, "depth": 1}
    return {
        "format": run.FORMAT,
        "date": "2026-01-01",
        "machine": machine.describe(),
        "commit": "abc",
        "settings": json.loads(json.dumps(vars(run.quick_settings(1)))),
        "networks": {"net": network | {"expected": {"checked": counts, "lava": {"layer": [9]}}}},
        "measurements": found,
    }


def test_page_shows_medians_ratios_and_differences(benchmarks, results):
    page = benchmarks["render"].markdown(results)
    section = page.split("## A network")[1].split("\n## ")[0]
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("|")}
    assert "1.5 (1..2)" in rows["rmp-lava fast"]
    assert "| 2.7 | 67 | 256 (128) | all 12 equal |" in rows["rmp-lava fast"]
    assert "| 1 | 25 |" in rows["sinabs"]
    # Faster, but with other spikes: not the peer that others are compared with.
    assert "| 1.3 | 33 | 256 (128) | -50.0%; most in layer: 6 for 12 |" in rows["norse (IAF, resets to zero)"]
    assert "| - | all 9 equal |" in rows["Lava, its own Conv"]
    assert "not measured: Lava / failed" in rows["Lava, our BLAS Conv"]
    assert "| 1e-05 | 1e-05 (c) | 1e-06 | 6.67e-07 | 7% |\n" in page
    assert "convolutions take 0.10 ms per sample-step, `fast` 1.50, the fastest peer 4.00." in page
    assert "`fast` would be 40.0 times as fast as that peer; it is 2.7 times as fast, with event-driven sums" in page
    assert len({line.count("|") for line in rows.values()}) == 1
    assert "| A network | rmp-lava fast | 8 | 0.5 (2,000 steps / s) | 2.5 |" in page
    assert "| 2% | 2.1% | 0.5 | 2 | 4 | - |" in page


@pytest.mark.slow
def test_conversion_is_measured_and_shown(benchmarks, tmp_path):
    command = ["--quick", "--rounds", "2", "--conversion", "--folder", str(tmp_path)]
    done = CliRunner().invoke(benchmarks["run"].app, command, catch_exceptions=False)
    assert done.exit_code == 0
    assert "VGG-16 with batch normalisation at 0.125 of its channels" in done.output
    assert re.search(r"with 16 calibration images: \d+ s \(\d+ to \d+ in 2 rounds\)", done.output)
    measured = json.loads((tmp_path / "results.json").read_text())["measurements"]
    assert list(measured) == ["conversion/1", "conversion/2"] and measured["conversion/1"]["seconds"][0] > 0


@pytest.mark.slow
def test_pictures_are_written(benchmarks, results, tmp_path):
    pytest.importorskip("matplotlib")
    paths = benchmarks["render"].write(results, tmp_path)
    assert [path.name for path in paths] == ["benchmarks.md", "benchmarks-engines.png", "benchmarks-steps.png"]
    assert all(path.stat().st_size for path in paths)


def test_results_of_an_earlier_version_are_refused(benchmarks, results, tmp_path):
    file = tmp_path / "results.json"
    command = ["--render", str(file), "--to", str(tmp_path / "page")]
    file.write_text(json.dumps(results | {"format": 1}))
    refused = CliRunner().invoke(benchmarks["run"].app, command, env={"COLUMNS": "300"})
    assert refused.exit_code == 2 and "has format 1; this version renders 3, so measure again" in refused.output
    assert not (tmp_path / "page").exists()
    file.write_text(json.dumps(results))
    assert CliRunner().invoke(benchmarks["run"].app, command).exit_code == 0
    assert (tmp_path / "page" / "benchmarks.md").is_file()


def test_machine_is_described():
    description = machine.describe()
    assert description["cores"] >= 1 and description["memory"] > 2**28
    assert machine.peak_resident() > 2**20
    assert machine.environment()["python"] == sys.version.split()[0]


@pytest.mark.slow
def test_a_network_of_torchvision_is_the_limit_of_its_spikes(benchmarks):
    try:
        import torchvision.models  # noqa: F401 - the benchmark imports it
    except (ImportError, RuntimeError) as error:  # RuntimeError: built for another PyTorch
        pytest.skip(f"torchvision does not load: {error}")
    from benchmarks import torchvision_networks

    analog, traced, floating, _ = torchvision_networks.errors("squeezenet1_1", (16, 256, 4096))
    assert len(analog.layers) > 40 and traced < 1e-4
    assert floating[1] < floating[0] / 4 and floating[2] < floating[1] / 4 and floating[2] < 0.02


@pytest.mark.slow
def test_rates_without_spikes_are_those_of_neurons_that_wait(benchmarks):
    from benchmarks import tasks, torchvision_networks as networks
    from rmp_lava.conversion.balance import balance
    from rmp_lava.conversion.balancing import Balancing
    from rmp_lava.conversion.trace import trace

    images = tasks.digits().test_images[:8]
    analog = trace(tasks.vgg().eval(), Input(images.shape[1:], "current", None), images)
    floating = balance(analog, images, 8, Balancing(thresholds="activation", v_init="half", wait=8))
    ran = rmp_lava.run(floating, images, 8).in_trained_units(floating)
    np.testing.assert_allclose(networks.outputs_of_rates(floating, images, 8), ran, atol=1e-5)


@pytest.mark.slow
def test_a_network_of_leaky_relus_keeps_its_accuracy_at_16_steps(benchmarks):
    from benchmarks import tasks

    before, after = tasks.scores(*tasks.trained("leaky"))[1]
    assert before > 0.95 and after > before - 0.01


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_to_its_end_on_a_cpu_and_finds_what_it_compares_equal(
    benchmarks, monkeypatch, tmp_path
):
    gpu = benchmarks["gpu"]
    small = gpu.Settings("cpu", True, {"digits-cnn": (3, 2, [4])}, 3, ["digits-soft"], 5.0, 300.0, 64, 0.0625, 1, 0.001)
    monkeypatch.setattr(gpu, "settings_for", lambda device, quick: small)
    monkeypatch.setattr(gpu, "PEERS", ())
    for resume in (False, True):  # the second time nothing is measured
        gpu.main("cpu", True, resume, tmp_path, None, None)
    page = (tmp_path / "gpu.md").read_text()
    assert "**Never run on a GPU.**" in page
    assert "Every spike, potential and output is the reference's." in page
    assert "not measured" not in page.lower()
    row = next(line for line in page.splitlines() if line.startswith("| digits-cnn"))
    assert row.endswith(" equal |")
    assert "3 random graphs" in page
    results = json.loads((tmp_path / "results.json").read_text())
    results["settings"]["device"] = "cuda"
    results["measurements"]["equality"]["different"] = ["graph 1 (auto)"]
    assert "Never run" not in gpu.page(results)
    assert "**Different: graph 1 (auto).**" in gpu.page(results)


@pytest.mark.slow
def test_a_command_is_timed_alone_and_next_to_a_busy_process(benchmarks):
    busy = benchmarks["busy"]
    found = busy.measure({"command": ["info", "exports/reference/digits-soft.net"], "processes": 1, "rounds": 1})
    assert all(len(each) == 1 and each[0] > 0 for each in found.values())
    with pytest.raises(RuntimeError, match="No such command"):
        busy.seconds_of(["nothing"])
