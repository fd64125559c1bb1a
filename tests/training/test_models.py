"""The networks of the registry: their shapes, their options, and that the paper's forms keep the paper's rules."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import torch
from torch import fx, nn

from rmp_lava.choices import ModelName, options
from rmp_lava.cli import app
from rmp_lava.cli.training import train
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input
from rmp_lava.errors import UsageError
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data import DATASETS
from rmp_lava.training.data.cifar import CIFAR10
from rmp_lava.training.models import MODELS, model_spec
from rmp_lava.training.models.layers import CEILING, RoundedReLU, ScaleNorm
from rmp_lava.training.models.resnet import Block
from rmp_lava.training.recipe import Recipe

ZOO = [name for name, spec in MODELS.items() if spec.options]
CIFAR = [name for name in ZOO if name.endswith("-cifar")]
FORMS = pytest.mark.parametrize("batch_norm", [False, True])


def small(name: str, **options) -> nn.Module:
    """The network at a sixteenth of its channels."""
    return MODELS[name].build(**({"width": 1 / 16, **options} if MODELS[name].options else options))


def weight_count(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


@pytest.mark.parametrize("name", MODELS)
def test_registered_networks_have_the_shapes_they_declare(name):
    spec = MODELS[name]
    assert spec.name == name and (spec.dataset is None or spec.dataset in DATASETS)
    assert spec.outputs({}) == spec.classes
    with torch.no_grad():
        assert small(name).eval()(torch.rand(2, *spec.input_shape)).shape == (2, spec.classes)


@pytest.mark.parametrize("name", [name for name in MODELS if not name.startswith("resnet")])
def test_chains_rectify_after_each_layer_with_weights_but_the_last_and_pool_after_that(name):
    kinds = [type(module) for module in small(name) if not isinstance(module, (nn.Dropout, nn.Flatten))]
    for kind, after in zip(kinds, [*kinds[1:], None], strict=True):
        assert (kind in (nn.Conv2d, nn.Linear)) == (after in (nn.ReLU, None)), kinds
    assert kinds[-1] is nn.Linear


@pytest.mark.parametrize("name", MODELS)
def test_no_network_has_unsupported_layers(name):
    # Under the constraints of the paper: no bias, no normalisation, no other activation or pooling.
    allowed = (nn.Sequential, Block, nn.Conv2d, nn.Linear, nn.ReLU, nn.AvgPool2d, nn.Dropout, nn.Flatten, nn.Identity)
    network = small(name)
    assert all(isinstance(module, allowed) for module in network.modules())
    assert all(weight.ndim > 1 for weight in network.parameters()), "a bias"


@pytest.mark.parametrize("normalisation", ["batch_norm", "scale_norm"])
@pytest.mark.parametrize("name", ZOO)
def test_with_normalisation_dropout_is_before_dense_layers_only(name, normalisation):
    # Elsewhere it would change the variance that normalisation has measured, and cost a fifth of an epoch.
    network = small(name, **{normalisation: True})
    modules = [module for module in network.modules() if not list(module.children())]
    followers = [after for module, after in zip(modules, modules[1:], strict=False) if isinstance(module, nn.Dropout)]
    assert followers and all(isinstance(after, nn.Linear) for after in followers)


@pytest.mark.parametrize("name", ["vgg16-cifar", "vgg16-imagenet", "digits-cnn", "fashion-cnn"])
def test_initial_weights_keep_the_scale_of_activations(name):
    # PyTorch's default (uniform, variance 1 / (3 fan-in)) would pass every other test but shrink each layer's output.
    torch.manual_seed(0)
    for module in small(name).modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)) and module.weight.numel() > 900:
            fan_in = module.weight[0].numel()
            assert module.weight.var().item() * fan_in == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize(("name", "blocks", "growth"), [("resnet20-cifar", 8, 5), ("resnet34-imagenet", 16, 30)])
def test_activations_of_residual_networks_do_not_grow_with_depth(name, blocks, growth):
    # With the plain initialisation mean squares would grow tenfold over 8 blocks, and 100,000-fold over 16.
    torch.manual_seed(0)
    network, sizes = small(name, width=1 / 4), []
    for module in network.modules():
        if isinstance(module, Block):
            module.register_forward_hook(lambda *call: sizes.append(call[2].square().mean().item()))
    with torch.no_grad():
        network.eval()(torch.rand(2, *MODELS[name].input_shape))
    assert len(sizes) == blocks
    assert max(sizes) < growth * min(sizes)


@pytest.mark.parametrize(
    ("name", "weights", "convolutions", "dense"),
    [
        # Convolutions of VGG-16 as everywhere: 14,710,464 weights; dense layers 512 x 512 twice and 512 x 10.
        ("vgg16-cifar", 14_710_464 + 2 * 512 * 512 + 5_120, 13, 3),
        # VGG-16 as published, 138,357,544 with 13,416 biases.
        ("vgg16-imagenet", 138_357_544 - 13_416, 13, 3),
        ("resnet20-cifar", 11_253_440, 3 + 16 + 3, 1),
        # ResNet-34 as published, 21,797,672 with 17,024 of batch normalisation, 9,408 of the wide convolution, and
        # 1,000 biases; with 1,728 + 2 x 36,864 of the stack in its place.
        ("resnet34-imagenet", 21_797_672 - 17_024 - 9_408 - 1_000 + 1_728 + 2 * 36_864, 3 + 32 + 3, 1),
    ],
)
def test_full_width_has_the_published_size(name, weights, convolutions, dense):
    with torch.device("meta"):
        network = MODELS[name].build()
    kinds = [type(module) for module in network.modules()]
    assert (kinds.count(nn.Conv2d), kinds.count(nn.Linear)) == (convolutions, dense)
    assert weight_count(network) == weights


def published_vgg(width: float) -> nn.Sequential:
    """VGG-16 with batch normalisation, module by module as its weights were first trained for CIFAR-10."""
    layers, channels = [], 3
    for size in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if size:
            before, channels = channels, int(size * width)
            layers += [nn.Conv2d(before, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels), nn.ReLU()]
        else:
            layers.append(nn.AvgPool2d(2))
    layers.append(nn.Flatten())
    for _ in range(2):
        dense = nn.Linear(channels, channels, bias=False)
        layers += [nn.Dropout(0.1), dense, nn.BatchNorm1d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(channels, 10))


def test_vgg_with_batch_norm_takes_weights_in_their_order():
    other, network = published_vgg(1 / 16), small("vgg16-cifar", batch_norm=True)
    assert [type(module) for module in other] == [type(module) for module in network]
    other(torch.rand(8, 3, 32, 32))
    names = network.state_dict()
    network.load_state_dict(dict(zip(names, other.state_dict().values(), strict=True)))
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(network.eval()(images), other.eval()(images))


def test_activations_with_levels_are_rounded_in_training_alone():
    sums = torch.tensor([-1.0, 0.0, 0.2, 0.3, 1.99, 2.5], requires_grad=True)
    rounded = RoundedReLU(4)
    assert rounded(sums).tolist() == [0, 0, 0, 0.5, 2, 2]
    rounded(sums).sum().backward()
    assert sums.grad.tolist() == [0, 0, 1, 1, 1, 0]
    assert torch.equal(rounded.eval()(sums), sums.clamp(0, 2))
    with torch.autocast("cpu", torch.bfloat16):
        exact = RoundedReLU(256)(torch.arange(0, 514).to(torch.bfloat16) / 256)
    assert torch.equal(exact * 128, (exact * 128).round()) and exact.max() == 2


@pytest.mark.parametrize("name", CIFAR)
def test_networks_with_levels_are_of_clipped_relus_that_convert(name):
    network = small(name, batch_norm=True, levels=8)
    assert not any(isinstance(module, nn.ReLU) for module in network.modules())
    images = np.random.default_rng(0).random((4, 3, 32, 32), dtype=np.float32)
    traced = trace(network, make_input("current", (3, 32, 32)), images)
    assert all(layer.clip == CEILING for layer in traced if layer is not traced.output)


@pytest.mark.parametrize(("batch_norm", "levels"), [(False, 0), (True, 0), (True, 8)])
@pytest.mark.parametrize("name", CIFAR)
def test_every_weight_learns(name, batch_norm, levels):
    torch.manual_seed(0)
    network = small(name, batch_norm=batch_norm, levels=levels)
    nn.functional.cross_entropy(network(torch.rand(8, 3, 32, 32)), torch.arange(8)).backward()
    assert all(weight.grad is not None and weight.grad.abs().max() > 0 for weight in network.parameters())


@FORMS
@pytest.mark.parametrize("name", ZOO)
def test_graph_can_be_traced(name, batch_norm):
    network = small(name, batch_norm=batch_norm, classes=7).eval()
    images = torch.rand(1, *MODELS[name].input_shape)
    with torch.no_grad():
        assert torch.equal(fx.symbolic_trace(network)(images), network(images))


def test_shortcuts_are_the_identity_where_nothing_changes_shape():
    shortcuts = [module.shortcut for module in small("resnet20-cifar").modules() if isinstance(module, Block)]
    assert [isinstance(shortcut, nn.Identity) for shortcut in shortcuts] == [True, True] + 3 * [False, True]


def test_block_adds_before_its_last_relu():
    block = Block(2, 2, 1, False, 0.0, 0).eval()
    with torch.no_grad():
        block.conv1.weight.zero_()
        block.conv1.weight[[0, 1], [0, 1], 1, 1] = 1.0
        block.conv2.weight.zero_()
        block.conv2.weight[[0, 1], [0, 1], 1, 1] = -2.0
    images = torch.rand(1, 2, 4, 4)
    assert torch.equal(block(images), torch.zeros_like(images))  # relu(-2 x + x); relu(-2 x) + x would be x


def test_strided_block_adds_its_convolved_shortcut_unrectified():
    torch.manual_seed(0)
    block, images = Block(2, 4, 2, False, 0.0, 0), torch.rand(3, 2, 8, 8)
    conv2d = nn.functional.conv2d
    branch = conv2d(conv2d(images, block.conv1.weight, stride=2, padding=1).relu(), block.conv2.weight, padding=1)
    shortcut = conv2d(images, block.shortcut.conv.weight, stride=2)
    assert (shortcut < 0).any()
    assert torch.equal(block(images), (branch + shortcut).relu())


# --- options


@pytest.mark.parametrize("width", [1 / 64, 0.3, 2])
def test_width_scales_every_layer_but_the_last(width):
    with torch.device("meta"):  # of whose weights nobody asks
        network = small("vgg16-cifar", width=width)
    convolutions = [module for module in network if isinstance(module, nn.Conv2d)]
    expected = [max(1, round(width * channels)) for channels in (64, 64, 128, 128, 256, 256, 256, *6 * [512])]
    assert [module.out_channels for module in convolutions] == expected


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 0}, "option width of model 'vgg16-cifar' is 0; give a number above 0 and at most 4"),
        ({"width": 4.1}, "at most 4"),
        ({"width": float("nan")}, "option width"),
        ({"width": True}, "option width"),
        ({"width": "1"}, "option width"),
        ({"batch_norm": 1}, "option batch_norm of model 'vgg16-cifar' is 1; give True or False"),
        ({"classes": 1}, "an integer from 2 to 100,000"),
        ({"classes": 10.0}, "option classes"),
        ({"dropout": 1}, "a number from 0 to less than 1"),
        ({"dropout": -0.1}, "option dropout"),
        (
            {"depth": 3},
            "has no option 'depth'; its options are width, batch_norm, scale_norm, classes, dropout, levels",
        ),
    ],
)
def test_invalid_option_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        MODELS["vgg16-cifar"].build(**options)


def test_levels_need_a_normalisation_and_only_one_is_taken():
    with pytest.raises(UsageError, match="option levels of model 'vgg16-cifar' needs normalisation"):
        MODELS["vgg16-cifar"].build(levels=8)
    with pytest.raises(UsageError, match="is given both batch_norm and scale_norm; choose one"):
        MODELS["vgg16-cifar"].build(batch_norm=True, scale_norm=True)


@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 4, 4)])
def test_scale_norm_only_scales(shape):
    torch.manual_seed(0)
    norm, x = ScaleNorm(3), torch.randn(shape) * torch.tensor([0.1, 1.0, 20.0]).view(1, 3, *[1] * (len(shape) - 2)) + 1
    others = [i for i in range(x.ndim) if i != 1]
    with torch.no_grad():
        trained = norm(x)
        torch.testing.assert_close(trained.square().mean(dim=others), torch.ones(3), rtol=1e-2, atol=1e-3)
        for _ in range(200):
            norm(x)
        norm.eval()
        torch.testing.assert_close(norm(x), trained)
        torch.testing.assert_close(norm(3 * x), 3 * trained)


@pytest.mark.parametrize("shape", [(64, 3), (16, 3, 4, 4)])
def test_gradient_of_scale_norm_is_that_of_its_formula(shape):
    torch.manual_seed(0)
    norm, wanted = ScaleNorm(3), torch.randn(shape)
    torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    x = (torch.randn(shape) + 0.5).requires_grad_()
    square = x.square().mean(dim=[i for i in range(x.ndim) if i != 1], keepdim=True)
    formula = x * norm.weight.view(square.shape) * (square + norm.eps).rsqrt()
    torch.testing.assert_close(norm(x), formula)
    expected = torch.autograd.grad((formula * wanted).sum(), [x, norm.weight])
    torch.testing.assert_close(torch.autograd.grad((norm(x) * wanted).sum(), [x, norm.weight]), expected)


@pytest.mark.parametrize("name", CIFAR)
def test_nothing_but_weights_is_left_of_scale_norm(name):
    torch.manual_seed(0)
    network = small(name, scale_norm=True, levels=4)
    network(torch.rand(8, *MODELS[name].input_shape))  # statistics that are not one
    network.eval()
    images = np.random.default_rng(0).random((4, *MODELS[name].input_shape), dtype=np.float32)
    # trace compares its network's outputs with the network's own.
    traced = trace(network, make_input("current", images.shape[1:]), images)
    assert all(layer.neurons.bias is None for layer in traced)


def test_settled_options_are_plain_and_complete():
    settled = MODELS["vgg16-cifar"].settle({"width": 1})
    rest = {"batch_norm": False, "scale_norm": False, "classes": 10, "dropout": 0.1, "levels": 0}
    assert settled == {"width": 1.0, **rest}
    assert [type(value) for value in settled.values()] == [float, bool, bool, int, float, int]
    assert MODELS["digits-cnn"].settle() == {}


def test_recipe_follows_the_form():
    spec = MODELS["vgg16-cifar"]
    for norm in ("batch_norm", "scale_norm"):
        assert spec.recipe_for({norm: True}) is spec.normalised_recipe is not None
    assert spec.recipe_for({}) is spec.recipe
    assert MODELS["digits-cnn"].recipe_for({}) == Recipe(80, 32, 5e-3)


def test_unknown_model_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="'vgg-99' is unknown.*digits-cnn.*resnet34-imagenet"):
        model_spec("vgg-99")


def test_command_trains_and_its_checkpoint_loads_with_its_options(tmp_path, capsys):
    random = np.random.RandomState(0)
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    for name in (*CIFAR10.train, CIFAR10.test):
        records = random.randint(0, 256, (30, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(30) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    path = tmp_path / "a.pt"
    command = ["train", "vgg16-cifar", "--width", "0.0625", "--batch-norm", "--epochs", "1", "--precision", "float32"]
    app([*command, "--data-dir", str(tmp_path), "--output", str(path), "--json", "-"], standalone_mode=False)
    options = {"width": 0.0625, "batch_norm": True, "scale_norm": False, "classes": 10, "dropout": 0.1, "levels": 0}
    assert json.loads(capsys.readouterr().out)["options"] == options
    network, metadata = load_model(path)
    assert metadata["options"] == options and metadata["precision"] == "float32" and metadata["optimizer"] == "muon"
    assert network.conv1_1.out_channels == 4 and isinstance(network.bn1_1, nn.BatchNorm2d)


def test_command_refuses_models_without_a_data_set_and_options_that_do_not_apply(tmp_path, monkeypatch):
    monkeypatch.setitem(MODELS, "fashion-cnn", dataclasses.replace(MODELS["fashion-cnn"], dataset=None))
    for arguments, words in (
        (["fashion-cnn"], "model 'fashion-cnn' has no data set of its own; name one with --data"),
        (["digits-cnn", "--batch-norm"], "model 'digits-cnn' has no option 'batch_norm'"),
        (["vgg16-cifar", "--width", "5"], "option width of model 'vgg16-cifar' is 5.0"),
    ):
        with pytest.raises(UsageError, match=words):
            app(["train", *arguments, "--output", str(tmp_path / "a.pt")], standalone_mode=False)


def test_the_command_line_knows_every_network():
    assert options(ModelName) == tuple(MODELS)
    told = [" ".join(line.split()) for line in (train.__doc__ or "").splitlines()]
    for name, spec in MODELS.items():
        recipes = [
            f"{each.epochs} {each.batch_size} {each.learning_rate:g}"
            for each in (spec.recipe, spec.normalised_recipe)
            if each
        ]
        assert " ".join([name, recipes[0], *(f"({each})" for each in recipes[1:])]) in told
