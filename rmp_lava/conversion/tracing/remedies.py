"""Obstacles and remedies of unsupported operations, by the name of the operation or of the module's class."""

from __future__ import annotations

from .findings import ObstacleError

_ACTIVATION = "spiking neurons rectify: use ReLU (or ReLU6) there and train again"
_MAX_POOLING = (
    "use nn.AvgPool2d with the same kernel and stride, or a convolution with that stride, and train again "
    "(fine-tuning is often enough)"
)
_NORM = "its mean and variance depend on the image: use BatchNorm2d, which is folded, and train again"
_PRODUCT = "spikes are only added: remove this branch, or use a residual addition, and train again"
_ONE_D = "only two-dimensional convolutions are supported: use Conv2d with a kernel of height 1"
_STATE = "use a feed-forward network of Conv2d, Linear and ReLU"
_UPSAMPLING = "remove the upsampling, or train a network that classifies at the smaller size"

_KINDS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "maximum pooling": (
        "is maximum pooling",
        _MAX_POOLING,
        ("max_pool1d", "max_pool2d", "max_pool3d", "MaxPool1d", "MaxPool2d", "MaxPool3d", "AdaptiveMaxPool1d",
         "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "FractionalMaxPool2d", "FractionalMaxPool3d", "adaptive_max_pool2d",
         "amax", "max", "fractional_max_pool2d", "maximum"),
    ),
    "activation": (
        "is an activation other than ReLU",
        _ACTIVATION,
        ("GELU", "gelu", "SiLU", "silu", "Mish", "mish", "Sigmoid", "sigmoid", "LogSigmoid", "Tanh", "tanh", "LeakyReLU",
         "leaky_relu", "RReLU", "rrelu", "PReLU", "prelu", "ELU", "elu", "SELU", "selu", "CELU", "celu", "Softplus",
         "softplus", "Softsign", "softsign", "Hardswish", "hardswish", "Hardsigmoid", "hardsigmoid", "GLU", "glu", "exp",
         "log", "sqrt", "rsqrt", "pow", "abs", "sin", "cos", "Tanhshrink", "Hardshrink", "Softshrink", "Threshold",
         "threshold", "sign", "square", "Softmin", "softmin"),
    ),
    "attention": (
        "is attention",
        "attention multiplies activations by each other, which spikes cannot do: use convolutions instead",
        ("MultiheadAttention", "scaled_dot_product_attention", "TransformerEncoderLayer", "TransformerDecoderLayer",
         "TransformerEncoder", "TransformerDecoder", "Transformer", "multi_head_attention_forward"),
    ),
    "product": (
        "multiplies two activations", _PRODUCT,
        ("mul", "div", "matmul", "bmm", "baddbmm", "einsum", "Bilinear", "bilinear", "addcmul", "mm", "dot",
         "CosineSimilarity", "cosine_similarity"),
    ),
    "normalisation": (
        "normalises by the image's own statistics",
        _NORM,
        ("LayerNorm", "layer_norm", "GroupNorm", "group_norm", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d",
         "instance_norm", "LocalResponseNorm", "local_response_norm", "RMSNorm", "rms_norm", "normalize",
         "native_layer_norm", "native_group_norm", "CrossMapLRN2d", "std", "var", "norm", "var_mean"),
    ),
    "recurrent": (
        "is a recurrent layer", _STATE,
        ("LSTM", "GRU", "RNN", "LSTMCell", "GRUCell", "RNNCell", "RNNBase", "lstm", "gru", "rnn_tanh", "rnn_relu"),
    ),
    "embedding": (
        "is an embedding of integers",
        "spiking networks take values in [0, 1]: " + _STATE,
        ("Embedding", "EmbeddingBag", "embedding", "embedding_bag"),
    ),
    "one or three dimensions": (
        "is a convolution in one or three dimensions",
        _ONE_D,
        ("Conv1d", "conv1d", "Conv3d", "conv3d", "AvgPool1d", "avg_pool1d", "AvgPool3d", "avg_pool3d",
         "AdaptiveAvgPool1d", "adaptive_avg_pool1d", "AdaptiveAvgPool3d", "adaptive_avg_pool3d", "BatchNorm3d"),
    ),
    "transposed convolution": (
        "is a transposed convolution", _UPSAMPLING,
        ("ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d", "conv_transpose1d", "conv_transpose2d",
         "conv_transpose3d", "Fold", "fold"),
    ),
    "upsampling": (
        "changes the size of an image by interpolation",
        _UPSAMPLING,
        ("Upsample", "interpolate", "UpsamplingNearest2d", "UpsamplingBilinear2d", "grid_sample", "upsample",
         "MaxUnpool2d"),
    ),
    "pixel shuffle": (
        "moves pixels between channels", _UPSAMPLING,
        ("PixelShuffle", "PixelUnshuffle", "pixel_shuffle", "pixel_unshuffle"),
    ),
    "padding": (
        "pads with values other than zero",
        "pad with zeros and train again",
        ("ReflectionPad1d", "ReflectionPad2d", "ReplicationPad2d", "CircularPad2d", "ReflectionPad3d",
         "ReplicationPad1d", "ReplicationPad3d"),
    ),
    "values": (
        "reads the value of an activation into Python", "compute with tensors only", ("item", "tolist", "bool", "float"),
    ),
}  # fmt: skip
_BY_NAME = {name: (found, remedy) for found, remedy, names in _KINDS.values() for name in names}


def is_known(name: str) -> bool:
    """Whether an operation or a module's class is known to be unsupported."""
    return name in _BY_NAME


def obstacle(name: str) -> ObstacleError:
    """The error for an unsupported operation or a module of an unsupported class."""
    if name.startswith("scaled_dot_product"):  # with the name of the kernel that PyTorch chose
        name = "scaled_dot_product_attention"
    found, remedy = _BY_NAME.get(
        name,
        (
            "is not supported",
            "use Conv2d, Linear, ReLU, BatchNorm, average pooling, addition, concatenation and reshaping",
        ),
    )
    return ObstacleError(f"({name}) {found}", remedy)
