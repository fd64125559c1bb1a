"""Nine networks of torchvision as they are: random weights, settled batch normalisation, small images.

    python -m benchmarks.conversion --torchvision [--only resnet18,googlenet]

Random weights amplify every small error from layer to layer, far more than trained ones: in RegNet's 68 layers one of 0.3 %
becomes one of 100 %. So what is measured is whether the spiking network is the same function: the error of the traced network,
and that of the float spiking network, which falls with T. What integers keep of trained networks is measured on trained ones.
"""

from __future__ import annotations

import gc
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import rmp_lava
from benchmarks.architectures import patterns
from rmp_lava.conversion.analog import AnalogNetwork
from rmp_lava.conversion.balance import balance
from rmp_lava.conversion.balancing import Balancing
from rmp_lava.conversion.outputs import analog_outputs, trained_outputs
from rmp_lava.conversion.scale import unscale
from rmp_lava.conversion.spike_activations import ClipFloor
from rmp_lava.conversion.trace import trace
from rmp_lava.encoding import make_input

SIZES = {
    "alexnet": 64, "vgg11_bn": 32, "resnet18": 64, "squeezenet1_1": 64, "googlenet": 64, "densenet121": 32,
    "shufflenet_v2_x0_5": 64, "mobilenet_v2": 32, "regnet_x_400mf": 32,
}  # fmt: skip
"""Networks and sides of their images."""
NAMES = tuple(SIZES)
STEPS = (16, 256, 4096, 65536)
_IMAGES = 8
HEAD = (
    "| network | image | layers | neurons | traced | "
    + " | ".join(f"T = {steps}" for steps in STEPS)
    + " | integers, T = 16 | time |\n"
    "|---|---|---|---|---|" + "---|" * (len(STEPS) + 2)
)


def build(name: str) -> nn.Module:
    """A network of torchvision with ten outputs, in evaluation mode, its batch normalisation settled on random images."""
    import torchvision.models

    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    model: nn.Module = getattr(torchvision.models, name)(num_classes=10, **options)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of all batches
        norm.reset_running_stats()
    if norms:
        model.eval()
        for norm in norms:
            norm.train()
        with torch.no_grad():
            for seed in range(2):
                model(torch.from_numpy(images_for(name, 16, seed)))
    return model.eval()


def images_for(name: str, count: int, seed: int) -> np.ndarray:
    """Patterns of the network's size, float32 (count, 3, side, side) in [0, 1]."""
    size = SIZES[name]
    smooth = torch.from_numpy(patterns(count, seed)[0])
    return functional.interpolate(smooth, size=(size, size), mode="bilinear").numpy()


def errors(name: str, steps: tuple[int, ...] = STEPS) -> tuple[rmp_lava.SpikingNetwork, float, list[float], float]:
    """The analog network, its largest error as a share of the largest output, and errors of spiking networks.

    These are of the float network after each of `steps`, and of the integer network after the first: root mean square, as a share
    of the standard deviation over images of the trained network's outputs. Neurons wait for T steps; thresholds are the largest
    activations on the same images, so that nothing is clipped.
    """
    model, images = build(name), images_for(name, _IMAGES, 9999)
    expected = trained_outputs(model, images)
    analog = trace(model, make_input("current", images.shape[1:]), images)
    traced = float(np.abs(analog_outputs(analog, images) - expected).max() / np.abs(expected).max())
    del model
    gc.collect()  # three copies of VGG are two gigabytes

    def error(found: np.ndarray) -> float:
        return float(np.sqrt(np.mean((found - expected) ** 2)) / np.std(expected - expected.mean(axis=0)))

    first = steps[0]
    floating = balance(analog, images, first, Balancing(thresholds="activation", v_init="half", wait=first))
    ran = [rmp_lava.run(each, images, first).in_trained_units(each) for each in (floating, rmp_lava.quantize(floating))]
    later = [error(outputs_of_rates(floating, images, count)) for count in steps[1:]]
    return analog, traced, [error(ran[0]), *later], error(ran[1])


@torch.no_grad()
def outputs_of_rates(floating: rmp_lava.SpikingNetwork, images: np.ndarray, steps: int) -> np.ndarray:
    """What a balanced network gives after T steps where neurons wait for all of them: rates follow from sums, without spikes."""
    analog = AnalogNetwork(unscale(floating))
    for layer in floating:
        if layer.neurons.reset != "none":
            scale = torch.tensor(np.asarray(layer.activation_scale), dtype=torch.float32)
            analog[layer.name].activation = ClipFloor(scale.clone, steps)
    outputs: torch.Tensor = analog(torch.from_numpy(images))
    return outputs.numpy()


def row(name: str) -> str:
    """A row of the table, and the time it took."""
    started = time.perf_counter()
    analog, traced, floating, integer = errors(name)
    shares = " | ".join(f"{100 * each:.2g} %" for each in (*floating, integer))
    seconds = time.perf_counter() - started
    size, layers = f"{SIZES[name]} x {SIZES[name]}", len(analog.layers)
    return f"| {name} | {size} | {layers} | {analog.neuron_count:,} | {traced:.0e} | {shares} | {seconds:.0f} s |"
