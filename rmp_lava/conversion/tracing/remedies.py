"""Obstacles and remedies of unsupported operations, by the name of the operation or of the module's class."""

from __future__ import annotations

from .operation_kinds import key


class ObstacleError(Exception):
    """One operation cannot be converted; carries `found` and `remedy` of a `Finding`."""

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found)
        self.found, self.remedy = found, remedy


_STATE = "use a feed-forward network of Conv2d, Linear and ReLU"

ACTIVATION = "is an activation other than ReLU"
SWAP_ACTIVATION = (
    "`tune --replace activations` puts a clipped one there and trains it with this network as the teacher; or use ReLU, ReLU6 or "
    "LeakyReLU there and train again"
)
GATE = "multiplies activations by a gate"
SWAP_GATE = (
    "`tune --replace gates` leaves the gate out and trains without it, with this network as the teacher; or use a residual "
    "addition there and train again"
)

_UNSUPPORTED = (
    (
        "is maximum pooling over random windows",
        "use nn.MaxPool2d on images (N, channels, height, width), or nn.MaxPool3d on volumes",
        "fractional_max_pool2d fractional_max_pool3d",
    ),
    (
        "is an order of activations",
        "spikes compare two values at a time: use a maximum, or remove it",
        "max min maximum minimum sort topk argmax argmin median mode",
    ),
    (
        ACTIVATION,
        SWAP_ACTIVATION,
        "gelu silu mish sigmoid log_sigmoid tanh elu selu celu softplus softsign hardswish tanhshrink hardshrink",
    ),
    (
        ACTIVATION,
        "spiking neurons rectify: use ReLU, ReLU6 or LeakyReLU there and train again",
        "exp log sqrt rsqrt pow sin cos erf threshold sign square softmin reciprocal log1p expm1",
    ),
    (GATE, SWAP_GATE, "glu"),
    (
        "is attention",
        "attention multiplies activations by each other, which spikes cannot do: use convolutions instead",
        "multihead_attention multi_head_attention_forward scaled_dot_product_attention transformer transformer_encoder "
        "transformer_decoder transformer_encoder_layer transformer_decoder_layer",
    ),
    (
        "multiplies two activations",
        "spikes are only added: remove this branch, or use a residual addition, and train again",
        "mul div matmul bmm baddbmm einsum bilinear addcmul mm dot cosine_similarity",
    ),
    (
        "normalises by the image's own statistics",
        "its mean and variance depend on the image: use BatchNorm2d, which is folded, and train again",
        "layer_norm native_layer_norm group_norm native_group_norm instance_norm instance_norm1d instance_norm2d "
        "instance_norm3d local_response_norm cross_map_lrn2d rms_norm normalize norm std var var_mean",
    ),
    (
        "draws random numbers",
        "add noise in training only: if self.training",
        "rand_like randn_like randint_like bernoulli normal rand randn randint",
    ),
    (
        "compares activations",
        "use ReLU, LeakyReLU, clamp, or torch.maximum, which are written with ReLUs",
        "gt lt ge le eq ne greater less greater_equal less_equal where masked_fill heaviside",
    ),
    ("is a recurrent layer", _STATE, "lstm gru rnn lstm_cell gru_cell rnn_cell rnn_base rnn_tanh rnn_relu"),
    (
        "is an embedding of integers",
        f"spiking networks take values in [0, 1]: {_STATE}",
        "embedding embedding_bag",
    ),
    (
        "is a transposed convolution in three dimensions",
        "use nn.Conv3d, or two-dimensional ones on images (N, channels, height, width)",
        "conv_transpose3d",
    ),
    (
        "moves pixels to places that depend on activations",
        "use nn.Upsample or nn.ConvTranspose2d",
        "grid_sample max_unpool1d max_unpool2d max_unpool3d",
    ),
    (
        "pads volumes",
        "use the padding of nn.Conv3d, with zeros; other values need training again",
        "reflection_pad3d replication_pad3d circular_pad3d constant_pad3d zero_pad3d",
    ),
    ("reads the value of an activation into Python", "compute with tensors only", "item tolist bool float"),
)
"""What is found, the remedy, and the names of functions; a module's class has the same name in another spelling."""


_BY_NAME = {key(name): (found, remedy) for found, remedy, names in _UNSUPPORTED for name in names.split()}


def is_known(name: str) -> bool:
    """Whether an operation or a module's class is known to be unsupported."""
    return key(name) in _BY_NAME


def obstacle(name: str) -> ObstacleError:
    """The error for an unsupported operation or a module of an unsupported class."""
    if name.startswith("scaled_dot_product"):  # with the name of the kernel that PyTorch chose
        name = "scaled_dot_product_attention"
    if name.startswith("quantized "):  # a module of PyTorch's own quantisation
        remedy = (
            "pass the network in floating point, as it was before torch.ao.quantization.convert or quantize_dynamic"
        )
        return ObstacleError(f"({name.removeprefix('quantized ')}) holds integers of PyTorch's quantisation", remedy)
    found, remedy = _BY_NAME.get(
        key(name),
        (
            "is not supported",
            "use Conv2d, Linear, ReLU, BatchNorm, average pooling, addition, concatenation and reshaping",
        ),
    )
    return ObstacleError(f"({name}) {found}", remedy)
