"""The convolution models of `rmp_lava.processes.conv_models` give the results of Lava's own models, in each step."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from commands import run_main
from hypothesis import example, given, settings, strategies as st
from profiles import examples
from strategies import Case, assert_same_run

import rmp_lava
from rmp_lava.backends import Lava, Reference
from rmp_lava.errors import UsageError
from rmp_lava.network import INPUT, Conv, Dense, Input, Layer, Neurons, SpikingNetwork

lava = pytest.mark.lava
# A sum beyond 32 bits is cast as it is in Lava's model.
overflow = pytest.mark.filterwarnings("ignore:invalid value encountered in cast")

WEIGHTS = {
    "8 bits": lambda rng, shape: rng.integers(-256, 256, shape),
    "one sign": lambda rng, shape: rng.integers(0, 256, shape),
    "limits": lambda rng, shape: rng.choice([-256, 255], shape),
    "wide": lambda rng, shape: rng.integers(-(2**20), 2**20, shape),
    "nothing": lambda rng, shape: np.zeros(shape, dtype=int),
}
MESSAGES = {
    "spikes": lambda rng, shape: rng.integers(0, 2, shape),
    "few": lambda rng, shape: rng.random(shape) < 0.05,
    "graded": lambda rng, shape: rng.integers(0, 256, shape),
    "negative": lambda rng, shape: rng.integers(-300, 300, shape),
    "16 bits": lambda rng, shape: rng.choice([-65535, 65535], shape),
    "32 bits": lambda rng, shape: rng.choice([-(2**31), 0, 2**31 - 1], shape),
    "nothing": lambda rng, shape: np.zeros(shape, dtype=int),
}
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw):
    """Arguments of Lava's Conv but for the weight, and the weight's shape."""
    groups = draw(st.integers(1, 3))
    in_channels, out_channels = (groups * draw(st.integers(1, 3)) for _ in range(2))
    kernel, stride, dilation = draw(pairs), draw(pairs), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    fewest = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)]
    size = [n + draw(st.integers(0, 5)) for n in fewest]
    arguments = {
        "input_shape": (*size, in_channels),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "num_message_bits": draw(st.sampled_from([0, 8, 16])),
    }
    return arguments, (out_channels, *kernel, in_channels // groups)


class _Wire:
    """A port of a ProcessModel that is stepped without a runtime."""

    value = None

    def recv(self):
        return self.value

    def send(self, value):
        self.value = value


def stepped(model_class, process, messages, weights):
    """What a model sends and keeps in each step; Vars as Lava's builder makes them, weights written in place."""
    model = model_class(process.proc_params)
    for var in process.vars:
        setattr(model, var.name, np.full(var.shape, var.init, dtype=getattr(model_class, var.name).d_type))
    model.s_in, model.a_out = _Wire(), _Wire()
    found = []
    for message, weight in zip(messages, weights, strict=True):
        model.weight[...] = weight
        model.s_in.value = message.astype(model_class.s_in.d_type)
        model.run_spk()
        assert model.a_buf.dtype == model_class.a_buf.d_type
        found.append((model.a_out.value, model.a_buf))
    return np.array(found)


def both(tag, arguments, messages, weights):
    from lava.proc.conv.models import PyConvModelFixed, PyConvModelFloat
    from lava.proc.conv.process import Conv as LavaConv

    from rmp_lava.processes.conv_models import BLAS_CONV

    lavas = {"fixed_pt": PyConvModelFixed, "floating_pt": PyConvModelFloat}[tag]
    process = LavaConv(weight=weights[0], **arguments)
    return [stepped(model, process, messages, weights) for model in (BLAS_CONV[tag][LavaConv], lavas)]


def drawn(geometry, kinds, seed, messages_of=MESSAGES):
    """Messages of these kinds, one step each; the weights change after two steps."""
    arguments, shape = geometry
    rng = np.random.default_rng(seed)
    weight_kinds, message_kinds = kinds
    first, second = (WEIGHTS[kind](rng, shape) for kind in weight_kinds)
    messages = [messages_of[kind](rng, arguments["input_shape"]) for kind in message_kinds]
    return arguments, messages, [first, first, *[second] * (len(messages) - 2)]


def kinds(messages):
    return st.tuples(
        st.tuples(*[st.sampled_from(sorted(WEIGHTS))] * 2),
        st.lists(st.sampled_from(sorted(messages)), min_size=3, max_size=5),
    )


PLAIN = {"stride": 1, "padding": 0, "dilation": 1, "groups": 1, "num_message_bits": 16}


@lava
@overflow
@settings(max_examples=examples(300))
@given(geometries(), kinds(MESSAGES), st.integers(0, 2**32 - 1))
@example(
    ({**PLAIN, "input_shape": (3, 3, 20)}, (2, 3, 3, 20)), (("one sign", "limits"), ["16 bits", "nothing", "graded"]), 0
)
def test_integers_are_those_of_lavas_model(geometry, kinds, seed):
    ours, lavas = both("fixed_pt", *drawn(geometry, kinds, seed))
    np.testing.assert_array_equal(ours, lavas)


@lava
@overflow
@pytest.mark.parametrize("largest", [2**23, 2**24, 2**25, 2**31, 2**32])
@pytest.mark.parametrize("sign", [1, -1])
def test_sums_next_to_a_limit_are_exact_and_wrap_as_lavas_do(largest, sign):
    # 24 bits wrap, float32 stops being exact, and 32 bits overflow: sums around each, of one product and of four.
    arguments = {**PLAIN, "input_shape": (4, 1, 1)}
    weights = [np.full((1, 4, 1, 1), sign)] * 8
    lone = [np.array([largest + d, 0, 0, 0]) for d in (-1, 0, 1)]
    spread = [np.array([largest // 4 + d, *[largest // 4] * 3]) for d in (-1, 0, 1, 3)]
    messages = [m.clip(-(2**31), 2**31 - 1).reshape(4, 1, 1) for m in (*lone, *spread, spread[0])]
    ours, lavas = both("fixed_pt", arguments, messages, weights)
    np.testing.assert_array_equal(ours, lavas)
    assert ours.any()


@lava
@settings(max_examples=examples(100))
@given(geometries(), kinds(MESSAGES.keys() - {"32 bits"}), st.integers(0, 2**32 - 1))
def test_real_numbers_are_those_of_lavas_model(geometry, kinds, seed):
    arguments, messages, weights = drawn(geometry, kinds, seed)
    # Eighths: no sum is rounded, whatever its order.
    ours, lavas = both("floating_pt", arguments, [m / 8 for m in messages], [w / 8 for w in weights])
    np.testing.assert_array_equal(ours, lavas)
    rng = np.random.default_rng(seed)
    messages = [m * rng.normal(size=m.shape) for m in messages]
    ours, lavas = both("floating_pt", arguments, messages, [w * rng.normal(size=w.shape) for w in weights])
    np.testing.assert_allclose(ours, lavas, rtol=1e-9, atol=1e-6)


@lava
def test_a_layer_too_large_for_one_matrix_is_computed_in_parts(monkeypatch):
    from rmp_lava.processes import conv_models

    rng = np.random.default_rng(4)
    arguments = {**PLAIN, "input_shape": (9, 8, 4), "padding": (2, 1), "groups": 2}
    messages = [MESSAGES["graded"](rng, (9, 8, 4)) for _ in range(3)]
    weights = [WEIGHTS["8 bits"](rng, (6, 3, 2, 2))] * 3
    whole, lavas = both("fixed_pt", arguments, messages, weights)
    np.testing.assert_array_equal(whole, lavas)
    for elements in (1, 400):  # a column at a time; the last part smaller than the others
        monkeypatch.setattr(conv_models, "_BLOCK_ELEMENTS", elements)
        np.testing.assert_array_equal(both("fixed_pt", arguments, messages, weights)[0], whole)


# A user's Lava program, which takes only the mapping from rmp_lava. In a process of its own: importing
# Lava changes the start method of multiprocessing, and torch hangs after a fork.
PROGRAM = """
import sys
import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.conv.process import Conv
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source

which, tag, result = sys.argv[1:]
models = {}
if which == "blas":
    from rmp_lava.processes.conv_models import BLAS_CONV
    models = BLAS_CONV[tag]
rng = np.random.default_rng(0)
STEPS = 6
parts, found = [], {}
for arguments, weight in [
    (dict(stride=(2, 1), padding=(1, 0), groups=2, num_message_bits=16), (6, 3, 2, 2)),
    (dict(dilation=(1, 2), padding=2, num_message_bits=0, weight_exp=3), (3, 2, 3, 4)),
]:
    conv = Conv(weight=rng.integers(-256, 256, weight), input_shape=(7, 6, 4), **arguments)
    source = Source(data=rng.integers(-3, 60, (7, 6, 4, STEPS)) * (rng.random((7, 6, 4, STEPS)) < 0.2))
    sink = Sink(shape=conv.a_out.shape, buffer=STEPS)
    source.s_out.connect(conv.s_in)
    conv.a_out.connect(sink.a_in)
    parts.append((source, conv, sink))
config = Loihi2SimCfg(select_tag=tag, exception_proc_model_map=models)
for i, (source, conv, sink) in enumerate(parts):
    source.run(condition=RunSteps(num_steps=3), run_cfg=config)
    found[f"weight{i}"], found[f"sums{i}"] = conv.weight.get(), conv.a_buf.get()
    conv.weight.set(-3 * found[f"weight{i}"])
    source.run(condition=RunSteps(num_steps=3), run_cfg=config)
    found[f"sent{i}"], found[f"later{i}"] = sink.data.get(), conv.weight.get()
    found[f"model{i}"] = source.runtime._executable.proc_builders[conv].proc_model.__module__
    source.stop()
np.savez(result, **found)
"""


@lava
@pytest.mark.slow
@pytest.mark.parametrize("tag", ["fixed_pt", "floating_pt"])
def test_any_lava_program_takes_the_models(tag, tmp_path):
    found = {}
    for which in ("blas", "lava"):
        path = tmp_path / f"{which}.npz"
        root = str(Path(rmp_lava.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, which, tag, path],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": root},
        )
        assert done.returncode == 0, done.stderr
        found[which] = dict(np.load(path))
    for i in range(2):
        assert found["blas"].pop(f"model{i}") == "rmp_lava.processes.conv_models"
        assert found["lava"].pop(f"model{i}") == "lava.proc.conv.models"
        # The step that the weights are written after still sends the sums of the old ones.
        np.testing.assert_array_equal(found["blas"][f"sent{i}"][..., 3], found["blas"][f"sums{i}"])
        np.testing.assert_array_equal(found["blas"][f"later{i}"], -3 * found["blas"][f"weight{i}"])
        assert found["blas"][f"sent{i}"][..., 4:].any()
    for name, values in found["lava"].items():
        np.testing.assert_array_equal(found["blas"][name], values, err_msg=name)


def network(stage="integer", graded=True):
    """Two convolutions, one of them grouped and with graded messages, and a dense read-out."""
    rng = np.random.default_rng(8)

    def weight(*shape):
        return (2 * rng.integers(-40, 70, shape)).astype(np.int16 if stage == "integer" else np.float32)

    source = Input((2, 6, 5), "current" if graded else "spikes", 200 if graded else 1)
    first = Conv(INPUT, weight(4, 1, 3, 2), stride=(2, 1), padding=(1, 0), groups=2)
    second = Conv("first", weight(3, 4, 2, 2), dilation=(1, 2))
    shape1 = first.output_shape(source.shape)
    shape2 = second.output_shape(shape1)
    layers = (
        Layer("first", shape1, (first,), Neurons(9000 if graded else 90)),
        Layer("second", shape2, (second,), Neurons(150)),
        Layer("read", (4,), (Dense("second", weight(4, int(np.prod(shape2)))),), Neurons(1, "none")),
    )
    return SpikingNetwork("convolutions", source, layers, stage)


@lava
@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "implementation", "graded"),
    [("integer", "native", True), ("integer", "stock", False), ("balanced", "native", False)],
)
def test_runs_are_the_same_with_either_model_and_name_it(stage, implementation, graded):
    net = network(stage, graded)
    rng = np.random.default_rng(1)
    images = rng.random((2, *net.input.shape)) if graded else rng.random((2, 7, *net.input.shape)) < 0.4
    case = Case(net, images.astype(np.float32), 7)
    reference = case.run(Reference(implementation))
    assert all(reference.spike_counts[name] > 0 for name in ("first", "second"))
    runs = {model: case.run(Lava(implementation, conv_model=model)) for model in ("blas", "lava")}
    for run in runs.values():
        assert_same_run(run, reference)
    assert "convolutions by BLAS" in runs["blas"].execution
    assert case.run(Lava(implementation)).execution == runs["blas"].execution
    assert "convolutions by Lava's own model" in runs["lava"].execution


@lava
@pytest.mark.slow
def test_execution_does_not_mention_convolutions_without_any():
    layer = Layer("a", (1,), (Dense(INPUT, np.array([[9]])),), Neurons(5))
    case = Case(SpikingNetwork("dense", Input((1,), "spikes"), (layer,), "integer", "count"), np.ones((1, 2, 1)), 2)
    assert "convolution" not in case.run("lava").execution


def test_an_unknown_conv_model_is_refused():
    with pytest.raises(UsageError, match="conv model is 'scipy'; choose one of blas, lava"):
        Lava(conv_model="scipy")


def test_command_line_refuses_a_conv_model_for_another_backend(tmp_path, capsys):
    path = rmp_lava.save(network(), tmp_path / "net.net")
    np.save(tmp_path / "images.npy", np.zeros((1, 2, 6, 5)))
    arguments = [path, "--images", tmp_path / "images.npy", "--steps", 3, "--backend", "reference"]
    assert run_main("run", *arguments, "--conv-model", "lava") == 2
    assert (
        capsys.readouterr().err
        == "error: --conv-model lava is for backend 'lava'; backend 'reference' does not accept it\n"
    )


@lava
@pytest.mark.slow
def test_command_line_runs_with_the_model_asked_for(tmp_path, capsys):
    path = rmp_lava.save(network(), tmp_path / "net.net")
    np.save(tmp_path / "images.npy", np.full((1, 2, 6, 5), 0.7))
    arguments = [path, "--images", tmp_path / "images.npy", "--steps", 3, "--backend", "lava", "--compare"]
    assert run_main("run", *arguments, "--conv-model", "lava", "--json", tmp_path / "run.json") == 0
    summary = json.loads((tmp_path / "run.json").read_text())
    assert "convolutions by Lava's own model" in summary["execution"]
    assert summary["differences_from_reference"] == []


@lava
@pytest.mark.slow
@pytest.mark.parametrize("groups", [127, 128, 256])
def test_many_groups_do_not_wrap_to_8_bits(groups):
    """Lava's Conv holds the number of groups in 8 signed bits: 256 would be 0."""
    rng = np.random.default_rng(groups)
    spread = Conv(INPUT, (2 * rng.integers(-60, 100, (groups, 1, 1, 1))).astype(np.int16))
    apart = Conv("a", (2 * rng.integers(-60, 100, (groups, 1, 2, 2))).astype(np.int16), groups=groups)
    layers = (
        Layer("a", (groups, 3, 3), (spread,), Neurons(150)),
        Layer("b", (groups, 2, 2), (apart,), Neurons(200)),
    )
    network = SpikingNetwork("wide", Input((1, 3, 3), "spikes"), layers, "integer", "count")
    case = Case(network, rng.integers(0, 2, (2, 4, 1, 3, 3)), 4)
    expected = case.run("reference")
    assert expected.spike_counts["b"] > 0
    assert_same_run(expected, case.run("lava"))
    if groups > 127:
        with pytest.raises(
            rmp_lava.RmpLavaError, match=f"b: its convolution from 'a' has groups {groups}, which Lava holds in 8 bits"
        ):
            case.run(Lava(conv_model="lava"))
