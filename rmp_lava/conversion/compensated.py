"""Rounding of weights such that later weights of a row make up for the error of earlier ones (GPTQ; Frantar et al., ICLR 2023).

What counts is the error of the sums on given inputs, not that of the weights: of two inputs that are large together, one weight
is rounded up where the other was rounded down.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 128
"""Weights whose errors are passed on within the block at once, and to all later blocks together."""
_DAMPING = 0.01
"""Of the mean square of the inputs, added to each, as some inputs are always zero."""


def compensated(weights: np.ndarray, inputs: np.ndarray, limit: int) -> np.ndarray:
    """Weights as integers whose sums over the inputs stay close.

    Parameters
    ----------
    weights : numpy.ndarray
        (rows, n) real numbers, in units of the integers.
    inputs : numpy.ndarray
        (observations, n) inputs that the weights meet, in any unit.
    limit : int
        Largest magnitude of a result.

    Returns
    -------
    numpy.ndarray
        int64 (rows, n).
    """
    n = weights.shape[1]
    inputs = inputs.astype(np.float64)
    products = inputs.T @ inputs / max(1, len(inputs))
    power = np.diag(products).copy()
    if not power.any():
        return _rounded(weights, limit)
    products[np.diag_indices(n)] += _DAMPING * power.mean()
    # The largest inputs first, while there are weights left to make up for them.
    order = np.argsort(-power, kind="stable")
    # The rows of the factor say how an error of one weight is best spread over those after it.
    factor = np.linalg.cholesky(np.linalg.inv(products[np.ix_(order, order)])).T
    left, found = weights[:, order].astype(np.float64), np.empty((len(weights), n), dtype=np.int64)
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        errors = np.empty((len(weights), stop - start))
        for i in range(start, stop):
            found[:, i] = _rounded(left[:, i], limit)
            errors[:, i - start] = (left[:, i] - found[:, i]) / factor[i, i]
            left[:, i + 1 : stop] -= np.outer(errors[:, i - start], factor[i, i + 1 : stop])
        left[:, stop:] -= errors @ factor[start:stop, stop:]
    result = np.empty_like(found)
    result[:, order] = found
    return result


def _rounded(weights: np.ndarray, limit: int) -> np.ndarray:
    return np.clip(np.rint(weights), -limit, limit).astype(np.int64)
