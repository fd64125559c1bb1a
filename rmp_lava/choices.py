"""The choices that are made by name, each written once; `options` lists them for messages and the command line."""

from __future__ import annotations

from typing import Any, Literal, get_args

from .errors import UsageError

Stage = Literal["analog", "balanced", "integer"]
"""How far a network has come: traced, with thresholds of 1; with balanced thresholds; with the integers that Loihi stores."""
SpikingReset = Literal["soft", "hard"]
Reset = Literal[SpikingReset, "none"]
TunedEncoding = Literal["current", "spikes"]
ImageEncoding = Literal["poisson", "rate", "current"]
TrainedEncoding = Literal[ImageEncoding, "spikes"]
"""Of networks that `convert` makes; "spikes" are events, whose mean the trained network takes."""
Encoding = Literal[TrainedEncoding, "frames"]
Readout = Literal["count", "potential", "total"]
"""Spikes of the last layer; its membrane potential; the potential and the threshold for each spike: all that it integrated."""
ConvertReadout = Literal["potential", "count"]
"""What a conversion is asked for; `quantize` reads out the total where a potential alone would cost bits of the weights."""
NeuronKind = Literal["rmp", "sigma-delta"]
"""What a conversion makes: neurons that spike at rates, or lava-dl's sigma-delta neurons, which send graded changes."""
Implementation = Literal["native", "stock"]
"""Of the RMP neuron: a neuron model of its own, or Lava's unmodified LIF with a self-synapse."""
Compiler = Literal["nxtf", "older", "newer"]
"""Whose rules place a network on cores: NxTF's on Loihi 1, one of two generations of lava-loihi's on Loihi 2."""
Dynamics = Literal["rates", "spikes"]
"""What tuning trains through: firing rates of constant inputs, or every spike."""
Backend = Literal["reference", "fast", "lava", "loihi2"]
Record = Literal["counts", "spikes", "potentials", "waiting"]
"""What a run keeps of every layer: spike count per neuron, every spike, final membrane potentials, and the range of potentials
while neurons wait."""
Kernel = Literal["auto", "int8", "int8-matmul", "float32", "events"]
"""What computes the weighted sums of backend fast."""
ConvModel = Literal["blas", "lava"]
"""What computes convolutions on backend lava: matrix products, or Lava's own model."""
SelftestBackend = Literal["lava", "loihi2"]
"""What runs the self-test: Lava's CPU simulator, or a board."""
MeasuredInput = Literal["chip", "host"]
"""Where the input of a measurement comes from: held by the network on the chip, or sent by the host in each step."""
Method = Literal["low-latency", "paper"]
"""How thresholds are found, see `rmp_lava.conversion.balancing.METHODS`."""
TracedPooling = Literal["fold", "layer"]
"""Average pooling: folded into the next weights, or a population of its own."""
Pooling = Literal["auto", TracedPooling]
"""auto: folded where that leaves the weights their 8 bits, else populations that average just as many neurons as needed."""
ObservedThresholds = Literal["v_in", "activation", "error"]
Thresholds = Literal[ObservedThresholds, "tuned"]
InitialPotential = Literal["zero", "half", "best"]
BiasCalibration = Literal["none", "bias"]
SearchFor = Literal["accuracy", "outputs"]
Replaced = Literal["activations", "gates", "leaky-relu", "max-pooling"]
"""What `tune` may replace before it trains, see `rmp_lava.conversion.replacement`."""
Cost = Literal["energy", "latency"]
"""What an inference costs, see `rmp_lava.plot.frontier`."""
Aim = Literal["accuracy", "energy", "latency"]
"""What T and wait are chosen for, see `rmp_lava.conversion.frontier`."""
ScoreKind = Literal["classification", "segmentation", "regression", "agreement"]
"""What outputs are compared with: a class for each image, or for each pixel; real targets; the trained network's outputs."""
ThresholdForm = Literal["stock", "free", "dense_rec"]
DatasetName = Literal["digits", "fashion-mnist", "cifar10", "cifar100", "imagenet", "nmnist", "dvs-gesture", "shd"]
StudyArray = Literal["train_images", "train_labels", "test_images", "test_labels"]
ModelName = Literal[
    "digits-cnn",
    "fashion-cnn",
    "nmnist-cnn",
    "vgg16-cifar",
    "resnet20-cifar",
    "vgg16-imagenet",
    "resnet34-imagenet",
]
Augmentation = Literal["none", "crop-flip", "crop-flip-cutout"]
Mixing = Literal["none", "cutmix"]
Precision = Literal["float32", "bfloat16"]
"""Of the sums of layers during training."""
LogLevel = Literal["debug", "info", "warning", "error"]
Optimizer = Literal["adam", "sgd", "muon"]


def options(choice: Any) -> tuple[str, ...]:
    """The names that a `Literal` of this module allows."""
    return get_args(choice)


def listed(choice: Any) -> str:
    """The same names as an error message lists them."""
    return ", ".join(options(choice))


def check_choice(name: str, value: object, choice: Any) -> None:
    """Raise `UsageError` unless a value is one that a `Literal` of this module allows."""
    if value not in options(choice):
        raise UsageError(f"{name} is {value!r}; choose one of {listed(choice)}")
