"""The commands `profiles`, `fit` and `estimate`: what they print, their JSON, exit codes, and errors of one sentence."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compiled_networks import mnist, pilotnet

from rmp_lava.cli.options import to_compare
from rmp_lava.hardware import load_profile
from rmp_lava.netx import save

pytestmark = pytest.mark.usefixtures("one_thread")

REFERENCE = Path(__file__).resolve().parents[2] / "exports" / "reference" / "digits-soft.net"


@pytest.fixture(scope="module")
def nets(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("nets")
    return {network.name: save(network, folder / f"{network.name}.net") for network in (pilotnet(), mnist())}


def test_profiles_are_listed(call):
    code, output, _ = call("profiles")
    assert code == 0
    for name in ("loihi1", "kapoho_bay", "oheo_gulch", "hala_point"):
        assert name in output
    found = json.loads(call("profiles", "--json", "-")[1])["profiles"]
    chips = {each["name"]: (each["chip"], each["chips"], each["usable_cores"]) for each in found}
    assert chips["hala_point"] == ("loihi2", 1152, 140544) and chips["loihi2"] == ("loihi2", 1, 122)
    assert chips["vpx"] == ("loihi2", 16, 1952)
    assert "16 chips" in call("profiles", "vpx")[1]


def test_a_profile_is_shown_with_every_source(call):
    code, output, _ = call("profiles", "oheo_gulch")
    assert code == 0 and "documented, of the board" in output and "unknown" in output
    found = json.loads(call("profiles", "oheo_gulch", "--json", "-")[1])["values"]
    assert set(found) == {key for key, _ in load_profile("oheo_gulch")}
    assert found["board.chips"]["value"] == 1 and "brief" in found["board.chips"]["source"]
    assert found["energy.static_power"]["of_the_board"] and not found["cores.neurons"]["of_the_board"]
    assert found["energy.hop"]["value"] is None and found["energy.hop"]["source"]


def test_published_figures_are_shown_beside_predicted_ones(call, tmp_path):
    path = tmp_path / "anchors.json"
    code, output, _ = call("profiles", "--anchors", "--json", path)
    found = json.loads(path.read_text())["anchors"]
    assert code == 0 and f"{len(found)} of {len(found)} published figures lie between their bounds" in output
    assert len(found) >= 19 and all(each["holds"] and each["source"] for each in found)
    assert {each["board"] for each in found} == {"oheo_gulch", "vpx", "loihi1"}
    code, output, _ = call("profiles", "vpx", "--anchors")
    assert code == 0 and "2 of 2 published" in output and "PilotNet" not in output
    assert "No published measurement of nahuku8" in call("profiles", "nahuku8", "--anchors")[1]


def test_both_compilers_are_shown_where_they_differ(call, nets):
    _, output, _ = call("fit", nets["pilotnet"])
    assert "Where the two compilers differ" in output and "the newer one takes 77" in output
    _, output, _ = call("fit", nets["pilotnet"], "--compiler", "newer")
    assert "Fits: 77 of 122 usable cores" in output and "the older one takes 74" in output
    _, output, _ = call("fit", REFERENCE)
    assert "Where the two compilers differ" not in output


def test_what_fewer_weights_or_bits_save_is_shown(call, nets):
    _, output, _ = call("fit", nets["mnist"], "--profile", "oheo_gulch")
    assert "90% of dense weights pruned" in output and "weights of 4 bits" in output
    found = json.loads(call("fit", nets["mnist"], "--json", "-")[1])
    cores = {each["change"]: each["cores"] for each in found["savings"]}
    assert cores["weights of 2 bits"] < found["cores"] and not found["sparse"]
    pruned = json.loads(call("fit", nets["mnist"], "--sparse", "--json", "-")[1])
    assert pruned["sparse"] and not any(each["change"].startswith("non-zero") for each in pruned["savings"])


def test_a_network_that_fits(call, nets):
    code, output, error = call("fit", nets["pilotnet"])
    assert code == 0 and error == ""
    assert "Fits: 74 of 122 usable cores of oheo_gulch." in output
    assert "never run on hardware" in output and "caution" in output and "the input has" in output
    found = json.loads(call("fit", nets["pilotnet"], "--json", "-")[1])
    assert found["fits"] and found["cores"] == 74 and [layer["cores"] for layer in found["layers"]][:2] == [13, 25]


def test_differences_on_a_board_are_listed_for_stock_neurons(call, tmp_path):
    path = tmp_path / "lowering.json"
    stock = ("fit", REFERENCE, "--implementation", "stock")
    code, output, error = call(*stock, "--steps", 20, "--data", "digits", "--samples", 8, "--json", path)
    assert code == 0 and error == "" and "On 4 images, simulated exactly, spikes differ" in output
    found = json.loads(path.read_text())["lowering"]
    assert found["schedule"]["period"] == 32 and found["images"] == 4
    assert {"range", "wrap", "spikes"} <= {each["kind"] for each in found["findings"]}
    assert "depends on the images" in call(*stock)[1]
    code, _, error = call("fit", REFERENCE, "--steps", 20)
    assert code == 2 and "pass --implementation stock too" in error


def test_stock_neurons_are_mapped_even_if_the_number_of_steps_is_unknown(call, nets):
    code, output, _ = call("fit", nets["mnist"], "--implementation", "stock")
    assert code == 0 and "depends on T" in output


def test_a_network_that_does_not_fit_has_exit_code_1_and_remedies(call, nets, tmp_path):
    board = tmp_path / "small.toml"
    board.write_text(
        'name = "small"\ndescription = "few cores"\nchip = "loihi2"\ncompiler = "older"\n'
        '[board.chips]\nvalue = 1\nunit = "chip"\nkind = "documented"\nsource = "x"\n'
        '[cores.usable_per_chip]\nvalue = 40\nunit = "core"\nkind = "documented"\nsource = "x"\n'
    )
    code, output, error = call("fit", nets["pilotnet"], "--profile", board, "--json", tmp_path / "fit.json")
    assert code == 1 and error == ""
    assert "Does not fit: 74 cores, and the board small has 40." in output
    assert "board oheo_gulch has 122 cores on 1 chip" in output
    found = json.loads((tmp_path / "fit.json").read_text())
    assert not found["fits"] and len(found["remedies"]) == 2 and "40 cores" in found["remedies"][1]


def test_a_layer_that_no_core_holds_is_named_and_not_counted(call, tmp_path):
    board = tmp_path / "narrow.toml"
    board.write_text(
        'name = "narrow"\ndescription = "few words"\nchip = "loihi2"\n'
        '[board.chips]\nvalue = 1\nunit = "chip"\nkind = "documented"\nsource = "x"\n'
        '[cores.synapse_words]\nvalue = 100\nunit = "word"\nkind = "documented"\nsource = "x"\n'
    )
    code, output, _ = call("fit", REFERENCE, "--profile", board, "--json", tmp_path / "fit.json")
    layers = json.loads((tmp_path / "fit.json").read_text())["layers"]
    others = sum(layer["cores"] for layer in layers if not layer["obstacles"])
    assert code == 1 and f"however it is split; the others take {others} cores." in " ".join(output.split())
    _, output, _ = call("estimate", REFERENCE, "--profile", board, "--samples", 2, "--steps", 4)
    assert f"> {others}" in call("fit", REFERENCE, "--profile", board)[1]
    hopeless = [layer["name"] for layer in layers if layer["obstacles"]]
    assert hopeless and f"assumes that one core holds all of {', '.join(hopeless)}" in " ".join(output.split())


def test_stock_neurons_take_more(call, nets):
    native, stock = (
        json.loads(call("fit", REFERENCE, "--implementation", each, "--json", "-")[1]) for each in ("native", "stock")
    )
    words = [sum(layer["usage"]["synapse_words"]["largest"] for layer in each["layers"]) for each in (native, stock)]
    assert words[1] > words[0]


def test_an_estimate_is_marked_as_one_and_lists_what_is_missing(call, tmp_path):
    path = tmp_path / "estimate.json"
    code, output, _ = call("estimate", REFERENCE, "--samples", 3, "--steps", 8, "--json", path)
    assert code == 0
    for part in (
        "Estimated, per inference of 8 steps on oheo_gulch",
        "Not included: ",
        "hops between cores",
        "3 simulated",
    ):
        assert part in output
    assert "never run on hardware" in output and "measured" not in output.replace("Never measured", "")
    text = " ".join(output.split())
    assert "dynamic energy per inference; " in text and ".." in text and "Bounds: the spread of published runs" in text
    assert "of the dynamic energy is active power" not in text
    # Eight chips cost more than the few neurons.
    _, output, _ = call("estimate", REFERENCE, "--samples", 3, "--steps", 8, "--profile", "kapoho_point")
    assert "of the dynamic energy is active power, which no published run bounds from below" in " ".join(output.split())
    found = json.loads(path.read_text())
    assert found["status"] == "estimated, not measured" and found["samples"] == 3
    operations = sum(layer["joules"] for layer in found["layers"])
    assert found["dynamic_joules"] == pytest.approx(operations + found["parts_joules"]["active_power"])
    dynamic = found["between"]["dynamic_joules"]
    assert dynamic["low"] < dynamic["value"] == found["dynamic_joules"] < dynamic["high"]
    assert [other["steps"] for other in found["other_steps"]] == [4, 8, 16]
    assert found["coefficients"]["message"]["value"] is None
    stock = json.loads(
        call("estimate", REFERENCE, "--samples", 3, "--steps", 8, "--implementation", "stock", "--json", "-")[1]
    )
    assert stock["dynamic_joules"] > found["dynamic_joules"] and stock["implementation"] == "stock"


def test_an_estimate_on_the_users_images(call, tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((2, 1, 8, 8)))
    code, output, _ = call("estimate", REFERENCE, "--images", tmp_path / "x.npy", "--steps", 4, "--profile", "loihi1")
    assert code == 0 and "static power unknown" in output


@pytest.mark.parametrize(
    "arguments, found",
    [
        (("profiles", "loihi3"), "hardware profile 'loihi3' is unknown; do you mean loihi2"),
        (("profiles", "none.toml"), "none.toml cannot be read"),
        (("fit", "none.net"), "none.net does not exist"),
        (("fit", REFERENCE, "--profile", "abacus"), "'abacus' is unknown; choose"),
        (("fit", REFERENCE, "--samples", "3"), "apply to stock neurons only; pass --implementation stock too"),
        (("fit", REFERENCE, "--seed", "3"), "apply to stock neurons only; pass --implementation stock too"),
        (
            ("fit", REFERENCE, "--implementation", "stock", "--steps", "4", "--samples", "3"),
            "--samples is given, but no images",
        ),
        (
            ("fit", REFERENCE, "--implementation", "stock", "--steps", "4", "--data-dir", "here"),
            "but directory here was given",
        ),
        (("fit", REFERENCE, "--compiler", "nxtf"), "oheo_gulch has no compiler 'nxtf'; choose one of older, newer"),
        (("estimate", REFERENCE, "--profile", "abacus"), "'abacus' is unknown"),
        (("estimate", REFERENCE, "--steps", "0"), "steps are 0"),
        (("estimate", REFERENCE, "--samples", "0"), "samples are 0"),
        (("estimate", REFERENCE, "--data", "cifar"), "data set 'cifar' is unknown"),
    ],
)
def test_errors_are_one_sentence(call, arguments, found):
    code, _, error = call(*arguments)
    assert code == 2 and error.startswith("error: ") and error.count("\n") == 1 and found in error


@pytest.mark.parametrize("columns", ["80", "120"])
def test_tables_keep_to_the_terminal(call, nets, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    code, output, _ = call("fit", nets["pilotnet"])
    mapping, _, _ = output.partition("└")
    lines = [line for line in mapping.split("\n") if "│" in line]
    assert code == 0 and lines and ("24×32×99" in output) == (columns == "120")
    # No cell is broken into two lines: each layer and the sum have one each.
    assert len(lines) == 11


def test_networks_to_compare_are_named_by_their_files(nets, tmp_path):
    other, same = tmp_path / "other.net", tmp_path / "pilotnet.net"
    for copy in (other, same):
        copy.write_bytes(nets["pilotnet"].read_bytes())
    own = nets["pilotnet"]
    assert [network.name for network in to_compare(own, None)] == ["pilotnet"]
    assert [network.name for network in to_compare(own, [other])] == ["pilotnet", "other"]
    assert [network.name for network in to_compare(own, [same, other])] == [str(own), str(same), "other"]


@pytest.mark.slow
def test_networks_side_by_side(call):
    arguments = ("--samples", 2, "--steps", 4, "--profile", "loihi2", "--compare", REFERENCE)
    code, output, _ = call("estimate", REFERENCE, *arguments)
    assert code == 0 and "Side by side" in output
    short, whole = json.loads(call("estimate", REFERENCE, *arguments, "--json", "-")[1])["compared"]
    assert (short["steps"], whole["steps"]) == (4, 128)
    assert 0 < short["messages"] < whole["messages"] and 0 < short["dynamic_energy"] < whole["dynamic_energy"]
    assert short["neurons"] == "spiking" and 0 <= whole["score"]["accuracy"] <= 1
