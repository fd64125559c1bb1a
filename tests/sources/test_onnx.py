"""ONNX files give the networks that they were exported from, and hostile ones are refused in a sentence."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.backends import run
from rmp_lava.conversion.check import check
from rmp_lava.conversion.pipeline import convert
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import CheckpointError, UsageError
from rmp_lava.sources.models import load_trained
from rmp_lava.sources.onnx.network import read_network

onnx = pytest.importorskip("onnx", reason="onnx is not installed next to Lava")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed next to Lava")
helper, F = onnx.helper, nn.functional
FLOAT = onnx.TensorProto.FLOAT
RANDOM = np.random.default_rng(0)


# Networks


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.inner, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 10)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(x + self.inner(x))
        x = F.adaptive_avg_pool2d(F.max_pool2d(x, 2), 1)
        return self.last(x.view(x.size(0), -1))


class Concatenating(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.inner = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Linear(128, 10)

    def forward(self, x):
        x = torch.relu(self.stem(x))
        x = F.avg_pool2d(torch.relu(self.norm(torch.cat([x, self.inner(x)], 1))), 2)
        return torch.log_softmax(self.last(x.flatten(1)), 1)


NETWORKS = {
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)),
    "vgg": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(4, 6, 3), nn.ReLU(),
        nn.Flatten(), nn.Dropout(), nn.Linear(24, 10),
    ),
    "resnet": Residual,
    "densenet": Concatenating,
    "mobilenet": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.ReLU6(), nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.LeakyReLU(0.1),
        nn.Conv2d(4, 8, 1), nn.Hardtanh(0, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10),
    ),
    "autoencoder": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, stride=2, padding=1), nn.PReLU(4), nn.ConvTranspose2d(4, 4, 2, stride=2), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(4, 4, 2), nn.ReLU(), nn.PixelShuffle(2),
        nn.Conv2d(1, 1, 2, stride=4),
    ),
}  # fmt: skip


def settled(name: str) -> nn.Module:
    torch.manual_seed(0)
    model = NETWORKS[name]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
    return model.eval()


def exported(model: nn.Module, path: Path, shape=(1, 8, 8), **options) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is deprecated
        axes = {"image": {0: "n"}} if options.pop("any_number", True) else None
        torch.onnx.export(
            model, (torch.zeros(2, *shape),), path, input_names=["image"], dynamic_axes=axes, dynamo=False, **options
        )
    return path


def runtime(path: Path, images: np.ndarray) -> np.ndarray:
    options = onnxruntime.SessionOptions()  # optimised, it multiplies with integers in place of real numbers
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    return session.run(None, {session.get_inputs()[0].name: images})[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_file_gives_the_network_that_the_module_gives(name, tmp_path):
    model, images = settled(name), RANDOM.random((4, 1, 8, 8), dtype=np.float32)
    kept = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}  # else batch norm is folded
    target = load_trained(str(exported(model, tmp_path / "m.onnx", **kept)))
    assert target.shape == (1, 8, 8) and target.name == "m" and target.kind == "onnx"
    with torch.no_grad():
        found = target.model(torch.from_numpy(images)).numpy()
        assert np.array_equal(found, model(torch.from_numpy(images)).numpy())
    np.testing.assert_allclose(found, runtime(tmp_path / "m.onnx", images), atol=1e-5)
    ours, theirs = (trace(m, make_input("current", (1, 8, 8)), images) for m in (target.model, model))
    for mine, other in zip(ours, theirs, strict=True):
        assert [s.weight.tolist() for s in mine.synapses] == [s.weight.tolist() for s in other.synapses]
        assert mine.neurons == other.neurons and mine.shape == other.shape
        assert (mine.clip is None) == (other.clip is None) and np.array_equal(mine.clip, other.clip)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dense", "densenet"])
def test_a_file_gives_the_spikes_that_the_module_gives(name, tmp_path):
    model, images = settled(name), RANDOM.random((8, 1, 8, 8), dtype=np.float32)
    path = exported(model, tmp_path / "m.onnx")  # with batch normalisation folded by the exporter, where it can be
    ours, theirs = (convert(m, images, steps=4, method="paper") for m in (read_network(path), model))
    one, other = (run(each.integer, images, 8, record=("spikes",)) for each in (ours, theirs))
    assert all(np.array_equal(*pair) for pair in zip(one.spikes.values(), other.spikes.values(), strict=True))
    assert np.array_equal(one.output, other.output)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["vgg", "resnet", "densenet"])
def test_folded_batch_norm_and_a_fixed_number_of_images(name, tmp_path):
    model, images = settled(name), RANDOM.random((2, 1, 8, 8), dtype=np.float32)
    path = exported(model, tmp_path / "m.onnx", any_number=False)
    network = read_network(path)
    found = network(torch.from_numpy(images)).numpy()
    np.testing.assert_allclose(found, runtime(path, images), atol=1e-5)
    more = torch.rand(5, 1, 8, 8)  # the file takes two images, the network any number
    assert torch.allclose(network(more), model(more), atol=1e-5)
    assert check(network, images).convertible


@pytest.mark.slow
def test_layers_have_the_names_of_the_modules(tmp_path):
    network = read_network(exported(settled("resnet"), tmp_path / "m.onnx"))
    names = {name for name, module in network.named_modules() if "weight" in dict(module.named_buffers(recurse=False))}
    assert {"inner", "last"} <= names and "last.weight" in network.state_dict()
    found = check(
        read_network(exported(nn.Sequential(nn.Conv2d(1, 2, 3), nn.SiLU()), tmp_path / "n.onnx")),
        torch.rand(2, 1, 8, 8),
    )
    assert "1.Mul" in [f.where for f in found.obstacles]  # PyTorch writes SiLU as a sigmoid and a product


@pytest.mark.slow
def test_torchscript_becomes_onnx_as_its_refusal_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model, images = settled("vgg"), torch.rand(3, 1, 8, 8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(model, images), "s.pt")
        with pytest.raises(UsageError) as refused:
            load_trained("s.pt")
        call = str(refused.value).partition(": ")[2].rpartition(", with its")[0]
        exec(call.replace("1, 3, 32, 32", "1, 1, 8, 8"), {"torch": torch})
    assert torch.allclose(load_trained("s.onnx").model(images), model(images), atol=1e-6)


# Operators


def graph(
    path: Path, nodes: list, shape: tuple, weights: dict | None = None, *, opset: int = 18, kind=FLOAT, **changes
) -> Path:
    """A file with these nodes from "x" to "y"."""
    tensors = [onnx.numpy_helper.from_array(np.asarray(value), name) for name, value in (weights or {}).items()]
    inputs = [helper.make_tensor_value_info("x", kind, shape)]
    result = onnx.TensorProto.INT64 if nodes[-1].op_type == "ArgMax" else FLOAT
    content = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", result, None)], tensors)
    model = helper.make_model(content, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    for name, value in changes.items():
        getattr(model, name).extend(value)
    path.write_bytes(model.SerializeToString())
    return path


def values(*shape: int) -> np.ndarray:
    return RANDOM.normal(size=shape).astype(np.float32)


def node(op: str, *more: str, **attributes):
    return helper.make_node(op, ["x", *more], ["y"], **attributes)


IMAGE, ROW, FLAT = ("n", 4, 7, 6), ("n", 4, 9), ("n", 6)
CASES = {
    "conv": (
        IMAGE,
        [node("Conv", "w", "b", pads=[1, 0, 2, 1], strides=[2, 1], dilations=[1, 2], group=2)],
        {"w": values(6, 2, 3, 2), "b": values(6)},
    ),
    "conv same": (IMAGE, [node("Conv", "w", auto_pad="SAME_LOWER", strides=[2, 2])], {"w": values(6, 4, 3, 2)}),
    "conv 1d": (ROW, [node("Conv", "w", "b", pads=[1, 1])], {"w": values(3, 4, 3), "b": values(3)}),
    "transposed": (
        IMAGE,
        [node("ConvTranspose", "w", strides=[2, 2], pads=[1, 0, 0, 1], output_padding=[1, 0])],
        {"w": values(4, 3, 3, 2)},
    ),
    "transposed same": (
        IMAGE,
        [node("ConvTranspose", "w", strides=[2, 2], auto_pad="SAME_UPPER")],
        {"w": values(4, 3, 3, 3)},
    ),
    "gemm": (FLAT, [node("Gemm", "w", "b", alpha=0.5, beta=2.0)], {"w": values(6, 3), "b": values(1, 3)}),
    "matmul": (
        FLAT,
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["b", "h"], ["y"])],
        {"w": values(6, 3), "b": values(3)},
    ),
    "max": (IMAGE, [node("MaxPool", kernel_shape=[3, 2], strides=[2, 2], pads=[0, 0, 1, 0])], {}),
    "max same": (IMAGE, [node("MaxPool", kernel_shape=[2, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {}),
    "max same lower": (IMAGE, [node("MaxPool", kernel_shape=[2, 2], strides=[1, 1], auto_pad="SAME_LOWER")], {}),
    "max ceil": (IMAGE, [node("MaxPool", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)], {}),
    "average": (IMAGE, [node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])], {}),
    "average same": (IMAGE, [node("AveragePool", kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")], {}),
    "average pads": (IMAGE, [node("AveragePool", kernel_shape=[3, 3], pads=[0, 1, 2, 0], count_include_pad=1)], {}),
    "global": (ROW, [node("GlobalMaxPool")], {}),
    "norm": (
        IMAGE,
        [node("BatchNormalization", "s", "b", "m", "v", epsilon=0.01)],
        {"s": values(4), "b": values(4), "m": values(4), "v": values(4) ** 2},
    ),
    "clip": (FLAT, [node("Clip", "", "high")], {"high": np.float32(0.4)}),
    "clip old": (FLAT, [node("Clip", min=-0.1, max=0.4)], {}, 9),
    "prelu": (IMAGE, [node("PRelu", "s")], {"s": values(4, 1, 1)}),
    "hard sigmoid": (FLAT, [node("HardSigmoid", alpha=0.3)], {}),
    "smallest": (FLAT, [node("Min", "a", "b")], {"a": values(6), "b": np.float32(0.1)}),
    "mean of": (FLAT, [node("Mean", "a")], {"a": values(6)}),
    "shuffle": (
        IMAGE,
        [
            helper.make_node("Reshape", ["x", "s"], ["a"]),
            helper.make_node("Transpose", ["a"], ["b"], perm=[0, 2, 1, 3, 4]),
            helper.make_node("Reshape", ["b", "t"], ["y"]),
        ],
        {"s": np.array([0, 2, 2, 7, 6]), "t": np.array([-1, 4, 7, 6])},
    ),
    "squeeze": (
        IMAGE,
        [
            helper.make_node("ReduceMean", ["x", "i"], ["m"]),
            helper.make_node("Squeeze", ["m", "i"], ["s"]),
            helper.make_node("Unsqueeze", ["s", "j"], ["y"]),
        ],
        {"i": np.array([2, 3]), "j": np.array([-1])},
    ),
    "slice": (
        IMAGE,
        [node("Slice", "b", "e", "a", "t")],
        {"b": np.array([1, -1]), "e": np.array([2**40, -(2**63)]), "a": np.array([2, -1]), "t": np.array([2, -2])},
    ),
    "split": (
        IMAGE,
        [
            helper.make_node("Split", ["x", "s"], ["a", "b"], axis=1),
            helper.make_node("Concat", ["b", "a"], ["y"], axis=-3),
        ],
        {"s": np.array([1, 3])},
    ),
    "gather": (IMAGE, [node("Gather", "i", axis=2)], {"i": np.array([3, -1])}),
    "gather one": (IMAGE, [node("Gather", "i", axis=-1)], {"i": np.array(2)}),
    "pad": (IMAGE, [node("Pad", "p", "v")], {"p": np.array([0, 0, 1, 0, 0, 0, 2, 1]), "v": np.float32(0.5)}),
    "pad channels": (IMAGE, [node("Pad", "p", "", "a")], {"p": np.array([1, 2]), "a": np.array([1])}),
    "reflect": (IMAGE, [node("Pad", "p", mode="reflect")], {"p": np.array([0, 0, 1, 1, 0, 0, 2, 1])}),
    "nearest": (
        IMAGE,
        [node("Resize", "", "s", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric")],
        {"s": np.array([1, 1, 2, 3], np.float32)},
    ),
    "nearest smaller": (
        IMAGE,
        [
            node(
                "Resize", "", "", "s", mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric"
            )
        ],
        {"s": np.array([2, 4, 3, 5])},
        18,
        2,
    ),
    "nearest half": (IMAGE, [node("Resize", "", "s", mode="nearest")], {"s": np.array([1, 1, 2, 2], np.float32)}),
    "linear": (IMAGE, [node("Resize", "", "s", mode="linear")], {"s": np.array([1, 1, 2, 2], np.float32)}),
    "corners": (
        IMAGE,
        [node("Resize", "", "s", mode="linear", coordinate_transformation_mode="align_corners")],
        {"s": np.array([1, 1, 3, 3], np.float32)},
    ),
    "cubic": (IMAGE, [node("Resize", "", "s", mode="cubic")], {"s": np.array([1, 1, 2, 2], np.float32)}),
    "depth": (IMAGE, [node("DepthToSpace", blocksize=2)], {}),
    "depth crd": (IMAGE, [node("DepthToSpace", blocksize=2, mode="CRD")], {}),
    "space": (("n", 2, 4, 6), [node("SpaceToDepth", blocksize=2)], {}),
    "reduce": (IMAGE, [node("ReduceMax", axes=[-1], keepdims=0)], {}, 13),
    "softmax": (FLAT, [node("Softmax")], {}),
    "argmax": (FLAT, [node("ArgMax", axis=1)], {}),
    "weights of integers": (
        FLAT,
        [helper.make_node("DequantizeLinear", ["w", "s", "z"], ["d"], axis=1), node("MatMul", "d")],
        {"w": np.arange(18, dtype=np.uint8).reshape(6, 3), "s": values(3) ** 2, "z": np.array([3, 9, 0], np.uint8)},
    ),
    "levels": (
        FLAT,
        [
            helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        {"s": np.float32(0.1), "z": np.uint8(4)},
    ),
    "shapes": (
        IMAGE,
        [
            helper.make_node("Shape", ["x"], ["s"]),
            helper.make_node("Gather", ["s", "i"], ["n"]),
            helper.make_node("Gather", ["s", "j"], ["c"]),
            helper.make_node("Div", ["c", "j2"], ["d"]),
            helper.make_node("Concat", ["n", "d", "m"], ["t"], axis=0),
            helper.make_node("Reshape", ["x", "t"], ["y"]),
        ],
        {"i": np.array([0]), "j": np.array([1]), "j2": np.array([3]), "m": np.array([-1])},
    ),
    "made": (
        FLAT,
        [
            helper.make_node(
                "ConstantOfShape", ["s"], ["c"], value=onnx.numpy_helper.from_array(np.array([2], np.float32))
            ),
            node("Mul", "c"),
        ],
        {"s": np.array([6])},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_compute_what_onnxruntime_computes(name, tmp_path):
    shape, nodes, weights, *more = CASES[name]
    opset, batch = more[0] if more else 18, more[1] if len(more) > 1 else 5
    path = graph(tmp_path / "g.onnx", nodes, (batch, *shape[1:]) if len(more) > 1 else shape, weights, opset=opset)
    images = values(batch, *shape[1:])
    found = read_network(path)(torch.from_numpy(images)).numpy()
    expected = runtime(path, images)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_images_with_channels_last_are_images(tmp_path):
    """As TensorFlow's exporters write them: everything but convolutions and poolings has the channels last."""
    first = {"perm": [0, 3, 1, 2]}
    last = {"perm": [0, 2, 3, 1]}
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["n"]),
        helper.make_node("Transpose", ["n"], ["t"], **first),
        helper.make_node("Conv", ["t", "w"], ["c"]),
        helper.make_node("Transpose", ["c"], ["l"], **last),
        helper.make_node("Add", ["l", "b"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Pad", ["r", "p"], ["q"]),
        helper.make_node("Concat", ["q", "q"], ["d"], axis=3),
        helper.make_node("Transpose", ["d"], ["e"], **first),
        helper.make_node("MaxPool", ["e"], ["m"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Transpose", ["m"], ["k"], **last),
        helper.make_node("ReduceMean", ["k"], ["g"], axes=[1, 2], keepdims=0),
        helper.make_node("Reshape", ["k", "f"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["o"]),
        helper.make_node("Concat", ["o", "g"], ["y"], axis=1),
    ]
    weights = {
        "scale": values(2) ** 2,
        "w": values(3, 2, 3, 3),
        "b": values(3),
        "p": np.array([0, 1, 0, 0, 0, 1, 0, 0]),
        "f": np.array([-1, 36]),
        "v": values(36, 5),
    }
    path = graph(tmp_path / "g.onnx", nodes, ("n", 6, 6, 2), weights, opset=13)
    target, images = load_trained(str(path)), values(4, 6, 6, 2)
    assert target.shape == (2, 6, 6)
    moved = torch.from_numpy(np.moveaxis(images, 3, 1).copy())
    np.testing.assert_allclose(target.model(moved).numpy(), runtime(path, images), rtol=1e-4, atol=1e-5)
    names = [name for name, module in target.model.named_modules() if "Transpose" in name]
    assert len(names) == 1  # before the dense layer


# Hostile files


def refusal(path: Path, *arguments) -> str:
    with pytest.raises((UsageError, CheckpointError)) as found:
        load_trained(str(path), None, *arguments)
    text = str(found.value)
    assert "\n" not in text and "; " in text  # found; what to do
    return text


@pytest.fixture
def dense(tmp_path) -> Path:
    return graph(tmp_path / "g.onnx", [node("Gemm", "w")], FLAT, {"w": values(6, 3)})


def changed(path: Path, change) -> Path:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("content", [b"", b"weights", b"\x00" * 40, b"\x3a\xff\xff\xff\x7f", bytes(range(256)) * 4])
def test_files_that_are_no_onnx(tmp_path, content):
    (tmp_path / "a.onnx").write_bytes(content)
    assert "is no ONNX file" in refusal(tmp_path / "a.onnx")


def test_files_that_are_not_there(tmp_path):
    assert "does not exist" in refusal(tmp_path / "a.onnx")


def test_every_truncation_is_refused(dense):
    content = dense.read_bytes()
    for length in range(0, len(content), 7):
        dense.write_bytes(content[:length])
        refusal(dense)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, 2**40), "has shape (1099511627776, 3) but 18 values"),
        (lambda m: m.graph.initializer[0].dims.__setitem__(0, -6), "has shape (-6, 3)"),
        (lambda m: setattr(m.graph.initializer[0], "data_type", 8), "has type"),
        (lambda m: setattr(m.graph.node[0], "op_type", "LSTM"), "operators that are not known here ('LSTM')"),
        (lambda m: setattr(m.graph.node[0], "domain", "com.microsoft"), "('com.microsoft.Gemm')"),
        (lambda m: m.graph.node[0].input.__setitem__(0, "z"), "its input 'z' is not computed before it"),
        (lambda m: m.graph.node[0].attribute.append(helper.make_attribute("odd", 3)), "has the attribute odd"),
        (lambda m: setattr(m.opset_import[0], "version", 3), "needs version 3 of ONNX's operators; 7 to"),
        (lambda m: setattr(m.opset_import[0], "version", 999), "needs version 999"),
        (lambda m: m.graph.output.append(m.graph.output[0]), "has 2 outputs"),
        (lambda m: m.graph.input.append(helper.make_tensor_value_info("z", FLOAT, [1])), "has 2 inputs"),
        (lambda m: setattr(m.graph.output[0], "name", "w"), "does not depend on its input"),
        (lambda m: m.functions.append(onnx.FunctionProto()), "inline_local_functions"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 16), "type 16 is none of"),
        (lambda m: m.graph.input[0].type.tensor_type.shape.dim.__delitem__(1), "pass it, for example --shape"),
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[1], "dim_value", 2**40), "is too large"),
        (lambda m: m.graph.node.insert(0, helper.make_node("Identity", ["y"], ["x2"])), "is not computed before it"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(dense, change, text):
    assert text in refusal(changed(dense, change))


def test_results_that_are_too_large_are_never_computed(tmp_path):
    sizes = np.array([2**30, 2**30])
    bombs = [
        [helper.make_node("ConstantOfShape", ["s"], ["c"]), node("Add", "c")],
        [helper.make_node("Expand", ["one", "s"], ["c"]), node("Add", "c")],
        [helper.make_node("Reshape", ["x", "t"], ["a"]), helper.make_node("Expand", ["a", "r"], ["y"])],
    ]
    weights = {"s": sizes, "one": values(1), "t": np.array([0, 6, 1]), "r": np.array([1, 6, 2**40])}
    for nodes in bombs:
        refusal(graph(tmp_path / "g.onnx", nodes, FLAT, weights))


def test_an_open_shape_is_asked_for(tmp_path):
    path = graph(tmp_path / "g.onnx", [node("Relu")], ("n", 3, "h", "w"))
    assert "--shape 3,32,32" in refusal(path)
    assert "takes images of shape (3, any, any), but (1, 8, 8) is given" in refusal(path, (1, 8, 8))
    assert load_trained(str(path), None, (3, 8, 8)).shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("nodes", "text"),
    [
        ([node("Reshape", "s")], "does not keep the images of a batch apart"),
        ([node("Flatten", axis=0)], "does not keep the images of a batch apart"),
        ([node("Conv", "x")], "depends on the image"),
        ([helper.make_node("Dropout", ["x"], ["h", "mask"]), helper.make_node("Add", ["h", "mask"], ["y"])], "is not computed"),
        ([helper.make_node("QuantizeLinear", ["x", "q"], ["h"]), helper.make_node("Relu", ["h"], ["y"])], "dequantise them"),
    ],
)  # fmt: skip
def test_what_no_network_of_images_computes(tmp_path, nodes, text):
    assert text in refusal(graph(tmp_path / "g.onnx", nodes, (1, 6), {"s": np.array([2, 3]), "q": np.float32(0.1)}))


def apart(path: Path, location: str = "data.bin", **place: int) -> Path:
    """The file with its weights in another one."""

    def change(model):
        tensor = model.graph.initializer[0]
        (path.parent / "data.bin").write_bytes(b"head" + tensor.raw_data)
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in ({"location": location, "offset": 4, "length": 72} | place).items():
            tensor.external_data.add(key=key, value=str(value))

    return changed(path, change)


def test_weights_in_a_file_beside_it(dense):
    images = torch.rand(3, 6)
    expected = read_network(dense)(images)
    assert torch.equal(read_network(apart(dense))(images), expected)


@pytest.mark.parametrize("location", ["../data.bin", "/etc/passwd", "none.bin", "", ".", "a\0b", "link.bin"])
def test_weights_from_elsewhere_are_refused(dense, location):
    (dense.parent / "link.bin").symlink_to("/etc/passwd")
    assert "which is no file in its folder" in refusal(apart(dense, location))


@pytest.mark.parametrize("place", [{"length": 2**40}, {"offset": 10}, {"offset": -1}, {"length": "x"}])
def test_weights_that_their_file_does_not_hold(dense, place):
    assert "which does not hold them" in refusal(apart(dense, **place))


@pytest.mark.parametrize("place", [{"length": 8}, {"length": 0}])
def test_fewer_weights_than_their_shape_says(dense, place):
    assert "has shape (6, 3) but" in refusal(apart(dense, **place))


@pytest.mark.parametrize(
    "name", ["/".join("ab" * 40), ".".join("ab" * 40), "..", "forward", "weight", "a\nb", "training.x", "x" * 9999]
)
def test_names_of_any_kind(tmp_path, name):
    nodes = [helper.make_node("Relu", ["x"], ["h"], name=name), helper.make_node("Neg", ["h"], ["y"], name=name)]
    network = read_network(graph(tmp_path / "g.onnx", nodes, FLAT))
    assert torch.equal(network(torch.ones(2, 6)), -torch.ones(2, 6))
    assert all(len(each) < 1200 and each.isprintable() for each, _ in network.named_modules())
