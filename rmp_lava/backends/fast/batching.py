"""Cut samples into batches and time into chunks, so that memory stays within a budget for any T."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ...errors import UsageError
from ...network import SpikingNetwork, histories
from ...schedule import Schedule

DEFAULT_MEMORY = {"cpu": 2**30, "cuda": 2**33}
"""Bytes of a run unless the caller chooses."""
BLOCK_BYTES = {"cpu": 2**23, "cuda": 2**28}
"""Weighted sums per block: on a CPU they should still be in the last cache when the neurons read them. In less, a call of a
convolution costs as much as its products."""
_WINDOW_BLOCK_BYTES = {"cpu": 2**22, "cuda": 2**28}
"""The same where neurons wait: sums of a window are read by fewer instructions, so that memory counts more."""
_WORTHWHILE = {"cpu": 2**22, "cuda": 2**28}
"""Messages of the largest layer in a chunk above which a larger batch is no faster: they should stay in the last cache."""
_LEAST_SETS = 256
"""Samples times steps of a chunk that are worthwhile nevertheless, because they share the weights."""
_STEPS, _STEPS_OF_FEW, _FEW = 32, 64, 8
"""Steps of a chunk, and those where there are only so few samples."""
_SAMPLES_OF_WINDOWS = 2
"""Where neurons wait, sums over all steps of a window take as much as so many steps."""
_STATE_BYTES, _CURRENT_BYTES = 12, 8
"""Per neuron: membrane potential, up to eight bytes, and spike count; and the current of leaky neurons."""
_READ_OUT_BYTES = 24
"""Per output and step: spike counts so far, or potentials, from which predictions are made."""
_SMALLEST_BLOCK = 2**18
_BLOCKS = 6
"""Copies of a block that convolutions make: messages as floats, sums of several synapses (also in float64), scratch."""


@dataclass(frozen=True)
class Batching:
    """`samples` per batch in each of `workers` threads, `steps` per chunk, weighted sums in blocks of `block_bytes`."""

    samples: int
    steps: int
    workers: int
    block_bytes: int

    def block_steps(self, samples: int, size: int) -> int:
        """Steps whose sums for all samples fit into a block, for a population of `size` neurons; at least 1."""
        return max(1, min(self.steps, self.block_bytes // (4 * samples * size)))

    def blocks(self, steps: int, samples: int, size: int) -> Iterator[tuple[slice, slice]]:
        """Blocks of (steps, samples) of a population of `size` neurons: all steps of some samples, or some of one sample.

        Each is one piece of memory (`streams`), and a neuron's state is read and written as seldom as possible.
        """
        rows = max(1, min(samples, self.block_bytes // (4 * size * steps)))
        length = self.block_steps(rows, size)
        for row in range(0, samples, rows):
            for first in range(0, steps, length):
                yield slice(first, min(steps, first + length)), slice(row, min(samples, row + rows))


def choose_batching(
    network: SpikingNetwork,
    plan: Schedule,
    samples: int,
    *,
    device: str,
    threads: int,
    memory: int | None = None,
    step_by_step: bool = False,
) -> Batching:
    """Batches and chunks within `memory` bytes (None: 1 GiB, on a GPU 8 GiB), in addition to the network, images and results.

    Raises
    ------
    UsageError
        If one step of one sample, or its whole window where neurons wait, does not fit into the budget that the user chose.
    """
    kind = device if device in BLOCK_BYTES else "cuda"
    workers = min(threads, samples) if kind == "cpu" else 1
    budget = (DEFAULT_MEMORY[kind] if memory is None else memory) // workers
    history = max(histories(network).values())
    sizes = [int(np.prod(network.input.shape)), *(layer.size for layer in network)]
    available = -(-samples // workers)
    # Neurons that wait send their first message when later layers have received nothing yet: their windows are kept whole.
    least = plan.steps if plan.wait else 1
    usual = _STEPS if available > _FEW else _STEPS_OF_FEW
    steps = least if step_by_step else max(least, min(plan.steps, usual))
    sets = max(_LEAST_SETS, _WORTHWHILE[kind] // max(sizes))
    batch = max(1, min(available, sets // (_SAMPLES_OF_WINDOWS if plan.wait else steps)))
    found = Batching(batch, steps, workers, (_WINDOW_BLOCK_BYTES if plan.wait else BLOCK_BYTES)[kind])

    leaky = any(each.neurons is not None and each.neurons.is_leaky for each in (network.input, *network))
    state = _STATE_BYTES + _CURRENT_BYTES * leaky

    def needed(batching: Batching) -> int:
        # A real-valued input and graded messages take four bytes, a spike one.
        streams = (batching.steps + history) * (sum(sizes) * (4 if network.is_sigma_delta else 1) + 3 * sizes[0])
        block = max(batching.block_bytes, 4 * batching.samples * max(sizes))
        read_out = batching.steps * network.output.size * _READ_OUT_BYTES
        return batching.samples * (streams + read_out + state * sum(sizes)) + _BLOCKS * block

    while needed(found) > budget and (smaller := _smaller(found, least)) is not None:
        budget = budget * found.workers // smaller.workers
        found = smaller
    # Equal batches, so that no worker waits for the last batch of another.
    batches = -(-samples // (found.workers * found.samples))
    found = replace(found, samples=-(-samples // (found.workers * batches)))
    if memory is not None and needed(found) > budget:
        raise UsageError(
            f"a memory budget of {memory} bytes is too small: {'the window' if plan.wait else 'one step'} of one sample needs "
            f"{needed(found)}; allow more"
        )
    return found


def _smaller(found: Batching, least: int) -> Batching | None:
    """What to try where memory is short: shorter chunks first, fewer workers last; `least` is the shortest chunk."""
    shorter = replace(found, steps=max(least, found.steps // 2))
    if found.steps > max(8, least):
        return shorter
    if found.samples > 1:
        return replace(found, samples=found.samples // 2)
    if found.block_bytes > _SMALLEST_BLOCK:
        return replace(found, block_bytes=found.block_bytes // 2)
    if found.steps > least:
        return shorter
    return replace(found, workers=found.workers - 1) if found.workers > 1 else None
