"""The weights with which Lava's Dense computes once lava-dl's loader has set it up: it scales, rounds and clips them.

Follows netx/utils.py `optimize_weight_bits`, netx/hdf5.py `create_dense`, and lava/utils/weightutils.py `clip_weights` and
`truncate_weights`. Lava's Conv takes weights as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def effective_weights(parts: Sequence[np.ndarray], *, scaled: bool = True) -> list[np.ndarray]:
    """What a message of 1 adds through each weight of a layer.

    Parameters
    ----------
    parts : sequence of numpy.ndarray
        Integers (outputs, inputs): the weights, and recurrent ones, which the loader scales together. Each gets a Dense of its
        own, which takes weights that are all <= 0 for inhibitory ones.
    scaled : bool
        Whether sums are scaled back; the loader's recurrent layers with delays do not.

    Returns
    -------
    list of numpy.ndarray
        int64, as `parts`.

    Raises
    ------
    ValueError
        In words, if Dense cannot hold the weights, or rounds sums rather than weights.
    """
    parts = [part.astype(np.int64) for part in parts]
    low, high = min(int(part.min()) for part in parts), max(int(part.max()) for part in parts)
    if low == high == 0:
        return parts  # the loader divides by the largest weight, and stops
    if low < 0 < high or low < 0 and high > 254:
        parts = [np.clip(part, -256, 254) for part in parts]
        low, high = max(low, -256), min(high, 254)
    signed = not (high < 0 or low >= 0)
    if signed:
        scale = min(127 / high if high else np.inf, -128 / low)
    else:
        scale = -256 / low if high < 0 else 255 / high
    shift = int(np.floor(np.log2(scale))) + signed
    if shift < 0:
        raise ValueError(f"weights reach {low if high < 0 else high}, which its Dense cannot hold")
    even = next((n for n in range(8, 0, -1) if not any((part % 2**n).any() for part in parts)), 0)
    bits = 8 - shift - (even - signed)
    held = [_held(part << shift, bits) for part in parts]
    if not scaled:
        return held
    if any((part % (1 << shift)).any() for part in held):
        raise ValueError(f"weights of {low} clipped to 8 bits, whose sums its Dense rounds")
    return [part >> shift for part in held]


def _held(weight: np.ndarray, bits: int) -> np.ndarray:
    """What Dense keeps of weights of so many bits."""
    low, high = int(weight.min()), int(weight.max())
    mixed, sign = low < 0 < high, -1 if low < 0 and high <= 0 else 1
    magnitude = np.clip(sign * weight, -256 if mixed else 0, 255)
    cut = 8 - bits + mixed
    if cut < 0:  # numpy shifts by a negative number as by infinitely many bits
        return np.zeros_like(weight)
    result: np.ndarray = sign * (magnitude >> cut << cut)
    return result
