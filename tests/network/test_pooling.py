"""A pooling that was folded into weights is found in them, and only where it is there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from rmp_lava.network import Conv, Dense
from rmp_lava.network.pooling import folded_pool, is_folded, per_block, repeat_in_blocks

RNG = np.random.default_rng(0)
KERNEL = RNG.integers(-9, 10, (4, 3, 3, 3))


def folded(block=2, stride=(1, 1), padding=(1, 1), **changed) -> Conv:
    pairs = (tuple(block * n for n in each) for each in (stride, padding))
    return Conv("x", repeat_in_blocks(KERNEL, (block, block)), *pairs, **changed)


@pytest.mark.parametrize("block", [2, 3, 4])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_a_folded_pooling_is_found_and_taken_out_without_any_change(block, stride):
    conv, shape = folded(block, stride), (3, 5 * block, 4 * block)
    assert folded_pool(conv, shape) == (block, block)
    small = per_block(conv.replace(pool=(block, block)))
    np.testing.assert_array_equal(small.weight, KERNEL)
    x = torch.from_numpy(RNG.integers(0, 2, (2, *shape))).double()
    whole = functional.conv2d(x, torch.tensor(conv.weight).double(), None, conv.stride, conv.padding)
    sums = functional.avg_pool2d(x, block, divisor_override=1)
    assert torch.equal(
        whole, functional.conv2d(sums, torch.tensor(small.weight).double(), None, small.stride, small.padding)
    )


def test_blocks_within_blocks_are_found_at_once():
    assert folded_pool(folded(4), (3, 8, 8)) == (4, 4)
    # A source of 6 rows has no blocks of 4, but such of 2.
    assert folded_pool(folded(4), (3, 6, 8)) == (2, 2)


@pytest.mark.parametrize(
    ("conv", "shape"),
    [
        (Conv("x", KERNEL), (3, 8, 8)),  # nothing is repeated
        (folded().replace(stride=(1, 2)), (3, 8, 8)),  # windows begin within blocks
        (folded().replace(padding=(1, 2)), (3, 8, 8)),
        (folded().replace(dilation=(2, 1)), (3, 16, 16)),  # equal weights, but not of neighbours
        (folded(), (3, 7, 8)),  # half a block at the end, which a window with padding reaches
        (Dense("x", np.ones((2, 3))), (3,)),
    ],
)
def test_where_blocks_do_not_fit_there_are_none(conv, shape):
    assert folded_pool(conv, shape) is None
    assert not is_folded(conv.replace(pool=(2, 2)), shape)


def test_a_single_weight_that_differs_undoes_the_blocks():
    weight = repeat_in_blocks(KERNEL, (2, 2))
    weight[3, 2, 5, 4] += 1
    assert folded_pool(folded().replace(weight=weight), (3, 8, 8)) is None
