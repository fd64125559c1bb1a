"""Upper bound of the machine's throughput: the same convolutions alone, in 8 bits and in float32.

8-bit products of 0/1 spikes and halved even weights, summed in 32 bits, are exact, so `fast` is compared
with this. `measure` calls it in its own process.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F

from .clock import repeated


def measure(job: dict) -> dict:
    """Time each convolution of `job["convolutions"]` on `job["images"]` images (samples times steps) at once.

    Several numbers of images are tried: few stay in the caches, many keep the cores busy. The fastest counts.

    Returns
    -------
    dict
        `layers`: name, multiplications of one image, seconds per image for "int8" (None where this torch has no such
        operator) and "float32", best of the calls that fit into `least_seconds`, and the number of images that took.
    """
    torch.set_num_threads(job["threads"])
    with torch.inference_mode():
        return {"layers": [_layer(conv, job["images"], job["least_seconds"]) for conv in job["convolutions"]]}


def _layer(conv: dict, images: list[int], least_seconds: float) -> dict:
    answer = {"name": conv["name"], "multiplications": conv["multiplications"], "seconds": {}, "images": {}}
    for kind in ("int8", "float32"):
        calls = {n: call for n in images if (call := _call(kind, conv, n)) is not None}
        timed = []
        for n, call in calls.items():
            call()
            timed.append((min(repeated(call, least_seconds)) / n, n))
        answer["seconds"][kind], answer["images"][kind] = min(timed, default=(None, None))
    return answer


def _call(kind: str, conv: dict, images: int) -> Callable[[], torch.Tensor] | None:
    spikes = (torch.rand(images, *conv["input"]) < 0.1).to(torch.uint8)
    weight = torch.randint(-63, 64, conv["kernel"], dtype=torch.int8)
    if kind == "float32":
        real, real_weight = spikes.float(), weight.float()
        return lambda: F.conv2d(real, real_weight, None, conv["stride"], conv["padding"])
    try:
        call = int8_convolution(spikes.to(memory_format=torch.channels_last), weight, conv["stride"], conv["padding"])
        call()
    except (RuntimeError, AttributeError, NotImplementedError):  # another release of torch, or not an x86 processor
        return None
    return call


def int8_convolution(spikes: torch.Tensor, weight: torch.Tensor, stride, padding) -> Callable[[], torch.Tensor]:
    """A call of oneDNN's 8-bit convolution: uint8 spikes (channels last), int8 weights, float32 sums."""
    channels = len(weight)
    ones, zeros = torch.ones(channels), torch.zeros(channels, dtype=torch.int64)
    onednn = torch.ops.onednn
    packed = onednn.qconv_prepack(weight, ones, 1.0, 0, stride, padding, [1, 1], 1, list(spikes.shape))
    return lambda: onednn.qconv2d_pointwise(
        spikes, 1.0, 0, packed, ones, zeros, None, stride, padding, [1, 1], 1, 1.0, 0, torch.float32, "none", [], ""
    )
