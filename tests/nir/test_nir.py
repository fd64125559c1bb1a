"""NIR files there and back, what they cannot hold, and hostile ones."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from profiles import examples
from strategies import networks
from typer.testing import CliRunner

from rmp_lava import netx
from rmp_lava.backends import run
from rmp_lava.cli import app
from rmp_lava.conversion.quantize import quantize
from rmp_lava.errors import ConversionError, NetFileError, RmpLavaWarning, UsageError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork
from rmp_lava.nir import from_nir, load_nir, save_nir, to_nir
from rmp_lava.sources.models import load_trained

needs_nir = pytest.mark.skipif(importlib.util.find_spec("nir") is None, reason="nir is not installed next to Lava")
RANDOM = np.random.default_rng(0)


def weights(*shape: int) -> np.ndarray:
    """Multiples of 1/64, whose sums are exact in any order."""
    return (RANDOM.integers(-32, 40, size=shape) / 64).astype(np.float32)


def residual() -> SpikingNetwork:
    """A pooling that was folded, two synapses of a layer, a flat read-out, each kind of reset."""
    pooled = weights(4, 3, 1, 1).repeat(2, 2).repeat(2, 3)
    first = Conv(INPUT, weights(3, 2, 3, 3), padding=(1, 1))
    second = (Conv("a/b", pooled, stride=(2, 2), pool=(2, 2)), Conv("a/b", weights(4, 3, 1, 1), stride=(2, 2)))
    layers = (
        Layer("a/b".replace("/", "_"), (3, 6, 6), (first,), Neurons(0.75, "soft", 0.25, bias=weights(3) / 8)),
        Layer("p", (4, 3, 3), tuple(s.replace(source="a_b") for s in second), Neurons(0.5, "hard")),
        Layer("d", (5,), (Dense("p", weights(5, 36)),), Neurons(1.0, "none", bias=weights(5))),
    )
    return SpikingNetwork("n", Input((2, 6, 6), "spikes"), layers, "balanced", "potential")


def quietly(call, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RmpLavaWarning)
        return call(*arguments, **options)


def same_run(one: SpikingNetwork, other: SpikingNetwork, steps: int = 10, integer: bool = False) -> bool:
    levels = one.input.levels or 1
    if one.input.encoding == "spikes":
        images = RANDOM.integers(0, 2, size=(2, steps, *one.input.shape))
    else:
        images = (RANDOM.integers(0, levels + 1, size=(2, *one.input.shape)) / levels).astype(np.float32)
    a, b = (run(each, images, steps, "reference", record=("spikes",)) for each in (one, other))
    if integer and any(a.saturations.values()):
        return True  # real numbers do not saturate
    pairs = list(zip(a.spikes.values(), b.spikes.values(), strict=True))
    pairs = pairs[:-1] if one.readout == "total" else pairs  # there the last layer comes back as one that integrates
    factor = 64 if integer and one.readout != "count" else 1  # state units
    return all(np.array_equal(*pair) for pair in pairs) and np.array_equal(a.output, b.output * factor)


# There and back


@needs_nir
@pytest.mark.parametrize("through", ["file", "graph"])
def test_a_network_comes_back_with_the_same_spikes(through, tmp_path):
    network = residual()
    if through == "file":
        quietly(save_nir, network, tmp_path / "n.nir")
        back = load_nir(tmp_path / "n.nir")
    else:
        back = from_nir(quietly(to_nir, network))
    assert [layer.shape for layer in back] == [layer.shape for layer in network]
    assert [layer.neurons.reset for layer in back] == ["soft", "hard", "none"]
    assert same_run(network, back)


@needs_nir
@settings(max_examples=examples(100), deadline=None)
@given(networks(encodings=("spikes", "current", "poisson")))
def test_every_network_comes_back_or_is_refused(network):
    try:
        back = from_nir(quietly(to_nir, network))
    except (ConversionError, UsageError) as error:
        assert "; " in str(error)
        return
    assert same_run(network, back, 6, integer=network.is_integer)


@needs_nir
def test_what_nir_cannot_say_is_in_the_metadata_and_warned_of():
    with pytest.warns(RmpLavaWarning, match=r"no soft resets .* and no initial potentials: the metadata"):
        graph = to_nir(residual())
    neurons = graph.nodes["a_b"]
    assert neurons.metadata == {"reset": "soft", "v_init": 0.25} and not neurons.v_reset.any()
    assert graph.nodes["p"].metadata == {"reset": "hard"} and "d" not in graph.nodes


@needs_nir
def test_hard_resets_are_nirs_own_and_not_warned_of():
    network = residual()
    layers = tuple(each.replace(neurons=each.neurons.replace(reset="hard", v_init=0)) for each in network.layers[:2])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        to_nir(network.replace(layers=(*layers, network.layers[2])))


@needs_nir
def test_rows_of_features_keep_their_shape_in_nir():
    """nir 1.0.8 computes both sides of an output from the height of a kernel."""
    first = Conv(INPUT, weights(3, 2, 1, 3), padding=(0, 1), stride=(1, 2))
    layer = Layer("c", (3, 1, 4), (first,), Neurons(0.5, "hard"))
    network = SpikingNetwork("n", Input((2, 1, 7), "spikes"), (layer,), "balanced", "count")
    assert same_run(network, from_nir(to_nir(network)))
    odd = layer.replace(shape=(3, 1, 6), synapses=(Conv(INPUT, weights(3, 2, 1, 2)),))
    with pytest.raises(ConversionError, match="kernel of 1 x 2, whose output nir takes for another shape"):
        to_nir(network.replace(layers=(odd,)))


@needs_nir
def test_other_libraries_read_what_we_write():
    import nirtorch

    snn = pytest.importorskip("snntorch", reason="snntorch is not installed")
    assert nirtorch and snn
    from snntorch.import_nir import import_from_nir

    network = residual()
    hard = tuple(each.replace(neurons=each.neurons.replace(reset="hard", v_init=0)) for each in network.layers[:1])
    network = network.replace(layers=hard, readout="count")
    theirs = import_from_nir(to_nir(network))
    convolution = next(module for module in theirs.modules() if hasattr(module, "weight"))
    assert np.array_equal(convolution.weight.detach().numpy(), network["a_b"].synapses[0].weight)
    assert next(m for m in theirs.modules() if isinstance(m, snn.Leaky)).threshold == 0.75


@needs_nir
@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda n: n.replace(stage="analog"), "has no thresholds yet; convert it first"),
        (lambda n: n.replace(layers=n.layers[:1], readout="count", wait=2), "neurons that wait 2 steps"),
        (
            lambda n: n.replace(input=Input((2, 6, 6), "rate", 255, Neurons(255, "soft", 127))),
            "input population .* convert it with encoding 'current' or 'poisson'",
        ),
        (
            lambda n: n.replace(
                layers=(n.layers[0].replace(neurons=Neurons(1.0, bias=weights(3, 6, 6))), *n.layers[1:])
            ),
            "differs between the pixels of a channel",
        ),
    ],
)
def test_networks_that_nir_cannot_hold_are_refused(change, text):
    with pytest.raises((ConversionError, UsageError), match=text):
        to_nir(change(residual()))


# Graphs of other libraries


def neurons(kind: str = "IF", shape: tuple = (3,), **values):
    import nir

    given = {"r": np.ones(shape), "v_threshold": np.full(shape, 0.75), "v_reset": np.zeros(shape)}
    if kind == "LIF":
        given |= {"tau": np.full(shape, np.inf), "v_leak": np.zeros(shape), "r": np.full(shape, np.inf)}
    if kind == "CubaLIF":
        given |= {"tau_syn": np.full(shape, 1e-4), "tau_mem": np.full(shape, np.inf), "r": np.full(shape, np.inf)}
        given |= {"v_leak": np.zeros(shape), "w_in": np.ones(shape)}
    return getattr(nir, kind)(**given | {name: np.broadcast_to(value, shape) for name, value in values.items()})


def chain(*nodes, shape: tuple = (4,)):
    import nir

    return nir.NIRGraph.from_list(nir.Input(np.array(shape)), *nodes, type_check=False)


def dense():
    import nir

    return nir.Linear(weights(3, 4))


def affine():
    import nir

    return nir.Affine(weights(3, 4), weights(3))


@needs_nir
@pytest.mark.parametrize(
    ("kind", "values", "dt"),
    [
        ("IF", {"r": 1.0}, 1.0),
        ("IF", {"r": 1e4}, 1e-4),
        ("LIF", {}, 1.0),
        ("CubaLIF", {}, 1e-4),
    ],
)
def test_inputs_add_up_as_they_are_in_each_librarys_unit_of_time(kind, values, dt):
    graph = chain(dense(), neurons(kind, **values))
    network = from_nir(graph, dt=1e-4 if kind == "CubaLIF" else None)
    (layer,) = network
    assert np.array_equal(layer.synapses[0].weight, graph.nodes["linear"].weight)
    assert layer.neurons == Neurons(0.75, "hard") and network.provenance["dt"] == pytest.approx(dt)
    assert network.input.encoding == "spikes" and network.readout == "count"


@needs_nir
def test_gains_and_thresholds_that_differ_become_weights():
    graph = chain(dense(), neurons(v_threshold=np.array([0.5, 1.0, 2.0]), r=2.0))
    weight = graph.nodes["linear"].weight
    (layer,) = from_nir(graph, dt=0.5)
    assert np.array_equal(layer.synapses[0].weight, weight * np.array([2, 1, 0.5])[:, None])
    assert layer.neurons.threshold == 1
    (layer,) = from_nir(graph, dt=1.0)
    assert np.array_equal(layer.synapses[0].weight, weight * np.array([4, 2, 1])[:, None])


@needs_nir
def test_linear_nodes_between_populations_become_one_layer():
    import nir

    graph = chain(
        nir.Scale(np.full((2, 6, 6), 0.5)),
        nir.Conv2d((6, 6), weights(3, 2, 3, 3), 1, "same", 1, 1, weights(3)),
        nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])),
        neurons(shape=(3, 3, 3)),
        nir.SumPool2d(np.array([3, 3]), np.array([3, 3]), np.array([0, 0])),
        nir.Flatten({"input": np.array([3, 1, 1])}, 0, -1),
        nir.Affine(weights(4, 3), weights(4)),
        shape=(2, 6, 6),
    )
    network = from_nir(graph, reset="soft")
    assert [layer.shape for layer in network] == [(3, 3, 3), (4,)] and network.readout == "potential"
    assert network["if"].synapses[0].weight.shape == (3, 2, 4, 4) and network["affine"].synapses[0].weight.shape == (
        4,
        27,
    )
    assert quantize(network, steps=8).is_integer


@needs_nir
def test_what_is_no_network_of_ours_is_refused():
    import nir

    shape = np.array([3])
    cases = {
        "loses 2 in each time step": chain(dense(), neurons("LIF", tau=5e-5, r=0.5)),
        "leaks to another potential than 0": chain(dense(), neurons("LIF", tau=1e-3, r=10.0, v_leak=0.1)),
        "takes nothing of its input": chain(dense(), neurons("LIF", r=1.0)),
        "bias and a current with memory": chain(affine(), neurons("CubaLIF", tau_syn=1e-2, w_in=100.0)),
        "another potential than 0": chain(dense(), neurons(v_reset=-0.1)),
        "thresholds that are not positive": chain(dense(), neurons(v_threshold=0.0)),
        "of kind 'Delay'": chain(dense(), nir.Delay(np.ones(3))),
        "for an input of shape": chain(dense(), shape=(5,)),
        "not one layer of synapses": chain(
            nir.Conv2d((6, 6), weights(3, 2, 3, 3), 1, 1, 1, 1, weights(3)),
            nir.Conv2d((6, 6), weights(3, 3, 3, 3), 1, 1, 1, 1, weights(3)),
            shape=(2, 6, 6),
        ),
    }
    recurrent = nir.NIRGraph(
        {"input": nir.Input(shape), "n": neurons(), "w": nir.Linear(weights(3, 3)), "output": nir.Output(shape)},
        [("input", "n"), ("n", "w"), ("w", "n"), ("n", "output")],
        type_check=False,
    )
    cases["connected in a circle"] = recurrent
    cases["graph of its own"] = chain(recurrent, shape=(3,))
    for text, graph in cases.items():
        with pytest.raises(ConversionError, match=text) as found:
            from_nir(graph, dt=1e-4)
        assert "; " in str(found.value)
    with pytest.raises(ConversionError, match="leaks and has a soft reset"):
        from_nir(chain(dense(), neurons("LIF", tau=1e-3, r=10.0)), dt=1e-4, reset="soft")
    with pytest.raises(UsageError, match="has time constants; pass dt"):
        from_nir(chain(dense(), neurons("LIF", tau=1e-3, r=10.0)))
    with pytest.raises(UsageError, match="pass dt"):
        from_nir(chain(dense(), neurons(r=2.0), nir.Linear(weights(3, 3)), neurons(r=1.0)))


# Neurons that leak


def leaky() -> SpikingNetwork:
    """Loihi's integers, such as lava-dl's networks have them: a leak, memory of currents, and decays by neuron."""
    even = lambda *shape: 2 * RANDOM.integers(-60, 70, size=shape)  # noqa: E731
    decays = {"current_decay": RANDOM.integers(1, 2000, size=6), "voltage_decay": 128}
    layers = (
        Layer(
            "a", (5,), (Dense(INPUT, even(5, 8)),), Neurons(90, "hard", 0, 64 * np.arange(-2, 3), 0, voltage_decay=410)
        ),
        Layer("b", (6,), (Dense("a", even(6, 5)),), Neurons(150, "hard", **decays)),
        Layer("c", (3,), (Dense("b", even(3, 6)),), Neurons(40, "hard", voltage_decay=np.array([0, 100, 4096]))),
    )
    return SpikingNetwork("n", Input((8,), "spikes"), layers, "integer", "count")


@needs_nir
def test_integers_that_leak_come_back_as_they_are(tmp_path):
    network = leaky()
    with pytest.warns(RmpLavaWarning, match="leaks in Loihi's integers, which drop fractions"):
        save_nir(network, tmp_path / "n.nir")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = load_nir(tmp_path / "n.nir")
    for layer, other in zip(network, back, strict=True):
        assert layer.neurons == other.neurons and layer.synapses == other.synapses
    assert same_run(network, back, 20, integer=True)


@needs_nir
def test_real_numbers_that_leak_are_rounded_and_said_to_be():
    graph = chain(dense(), neurons("LIF", tau=np.array([1e-3, 2e-3, np.inf]), r=np.array([10.0, 20.0, np.inf])))
    with pytest.warns(RmpLavaWarning, match="weights are rounded to 8 bits .* and decays to 1/4096"):
        network = from_nir(graph, dt=1e-4)
    (layer,) = network
    assert network.is_integer and layer.neurons.voltage_decay.tolist() == [410, 205, 0]
    ratio = layer.synapses[0].weight / layer.neurons.threshold
    np.testing.assert_allclose(ratio, graph.nodes["linear"].weight / 0.75, atol=0.005)


@needs_nir
def test_thresholds_of_single_neurons_are_written():
    network = leaky()
    thresholds = np.array([40, 50, 60])
    last = network.output.replace(neurons=network.output.neurons.replace(threshold=thresholds))
    graph = quietly(to_nir, network.replace(layers=(*network.layers[:2], last)))
    assert np.array_equal(graph.nodes["c"].v_threshold, thresholds)


# Files


@pytest.fixture
def file(tmp_path) -> Path:
    """As nir writes it, without the package."""
    path = tmp_path / "n.nir"
    with h5py.File(path, "w") as made:
        made["version"] = "1.0.8"
        top = made.create_group("node")
        top["type"] = "NIRGraph"
        top.create_dataset("edges", data=[("input", "w"), ("w", "n"), ("n", "output")])
        parts = {
            "input": {"type": "Input", "shape": np.array([4])},
            "output": {"type": "Output", "shape": np.array([3])},
            "w": {"type": "Linear", "weight": weights(3, 4)},
            "n": {"type": "IF", "r": np.ones(3), "v_threshold": np.ones(3), "v_reset": np.zeros(3)},
        }
        for name, values in parts.items():
            for key, value in values.items():
                top[f"nodes/{name}/{key}"] = value
    return path


def test_files_are_read_without_the_package(file):
    (layer,) = load_nir(file)
    assert layer.name == "n" and layer.neurons == Neurons(1.0, "hard")


def test_where_a_net_file_is_expected_the_command_is_named(file):
    with pytest.raises(NetFileError, match="it is a NIR file, not a .net file; `rmp-lava nir` makes one of it"):
        netx.load(file)
    with pytest.raises(UsageError, match="`rmp-lava nir .*n.nir n.net` makes a .net file of it"):
        load_trained(str(file))


def test_damaged_files_are_refused_in_a_sentence(file, tmp_path):
    content = file.read_bytes()
    for length in range(0, len(content), 397):
        (tmp_path / "short.nir").write_bytes(content[:length])
        with pytest.raises(NetFileError, match="short.nir"):
            load_nir(tmp_path / "short.nir")
    with pytest.raises(NetFileError, match="pass the path of a .nir file"):
        load_nir(tmp_path / "none.nir")


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("type", "Input", "NIRGraph is expected"),
        ("nodes/n/type", "Custom", "of kind 'Custom'"),
        ("nodes/n/r", None, "has no r"),
        ("nodes/n/v_threshold", np.array([1.0, np.nan, 1.0]), "NaN"),
        ("nodes/n/v_threshold", np.array([1.0, np.inf, 1.0]), "not positive"),
        ("nodes/w/weight", np.ones(4), "weights of shape"),
        ("nodes/input/shape", np.array([2**40]), "has shape"),
        ("nodes/input", None, "has 0 nodes of kind Input"),
        ("edges", np.array([[1, 2]]), "strings are expected"),
        ("edges", None, "is missing"),
        ("nodes/n/metadata/reset", "sometimes", "reset is 'sometimes'"),
        ("nodes/n/metadata/reset", 3, "metadata of node 'n' say that reset is '3'"),
        ("nodes/n/metadata/v_init", "half", "metadata of node 'n' say that v_init is 'half'"),
        ("nodes/input/metadata/dt", 0.0, "dt is 0.0; pass a positive number"),
    ],
)
def test_contradictions_are_refused(file, key, value, text):
    with h5py.File(file, "a") as made:
        if f"node/{key}" in made:
            del made[f"node/{key}"]
        if value is not None:
            made[f"node/{key}"] = value
    with pytest.raises((NetFileError, ConversionError, UsageError), match=text):
        load_nir(file)


def test_a_huge_dataset_that_is_not_there_is_not_allocated(file):
    with h5py.File(file, "a") as made:
        del made["node/nodes/w/weight"]
        made["node/nodes/w"].create_dataset("weight", shape=(2**20, 2**20), dtype="f4", chunks=(1, 2**20))
    with pytest.raises(NetFileError, match="at most"):
        load_nir(file)


# The command


@needs_nir
def test_the_command_exchanges_files(tmp_path):
    path, back, again = tmp_path / "n.net", tmp_path / "n.nir", tmp_path / "b.net"
    netx.save(residual(), path)
    call = CliRunner().invoke
    with pytest.warns(RmpLavaWarning):
        assert call(app, ["nir", str(path), str(back)]).exit_code == 0
    assert call(app, ["nir", str(back), str(again), "--steps", "8"]).exit_code == 0
    assert netx.load(again).is_integer
    for arguments, text in (([back, tmp_path / "x.nir"], "either order"), ([path, back, "--dt", "1"], "leave it out")):
        assert text in str(call(app, ["nir", *map(str, arguments)]).exception)
