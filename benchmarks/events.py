"""Dense against event-driven sums, one thread, by share of active neurons:  python -m benchmarks.events [--largest 4]

For convolutions of 3x3 and dense layers, with the time of listing the events. `pays` is the choice that `fast` makes. Messages
above 1 are counts of spikes, or graded.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import numpy as np
import torch
import typer

from rmp_lava.backends.fast.events import EventSums
from rmp_lava.backends.fast.synapses import Arithmetic, make_sums
from rmp_lava.network import Conv, Dense

from .clock import repeated

LEAST_SECONDS = 0.3
DENSITIES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3)
CASES = (
    (16, 32, 32),
    (32, 16, 64),
    (64, 32, 8),
    (64, 8, 128),
    (128, 16, 16),
    (256, 8, 64),
    (512, 4, 64),
    (512, 2, 256),
    (512, 1, 256),
)
"""Channels of source and target, height and width, sets of messages; size 1 is a dense layer."""


def measure(channels: int, size: int, sets: int, largest: int) -> list[tuple[float, float, float, bool]]:
    """For each density: it, microseconds per set of dense and of event-driven sums, and whether `fast` chooses the latter."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-127, 128, (channels, channels, 3, 3)).astype(np.int16)
    synapse = Conv("a", weight, padding=(1, 1)) if size > 1 else Dense("a", weight[:, :, 0, 0].copy())
    shape = (channels, size, size) if size > 1 else (channels,)
    device = torch.device("cpu")
    dense, events = (
        make_sums(synapse, shape, Arithmetic(device, torch.float32, k, largest)) for k in ("auto", "events")
    )
    assert isinstance(events.events, EventSums)
    rows = []
    for density in DENSITIES:
        active = rng.random((sets, *dense.shape)) < density
        messages = torch.from_numpy((active * rng.integers(1, largest + 1, active.shape)).astype(np.uint8))
        assert torch.equal(dense._compute(dense.kernel, messages), events(messages))
        # The fastest of many calls, in CPU time, so that other processes count little.
        calls = [partial(sums._compute, sums.kernel, messages) for sums in (dense, events)]
        seconds = [min(repeated(call, LEAST_SECONDS, cpu=True)) for call in calls]
        rows.append(
            (density, *(1e6 * s / sets for s in seconds), dense.events is not None and dense.events.pay(messages))
        )
    return rows


def main(largest: Annotated[int, typer.Option(min=1, max=127, help="Largest message.")] = 1) -> None:
    """Print a Markdown table."""
    torch.set_num_threads(1)
    print("| channels | size | " + " | ".join(f"{density:.0%}" for density in DENSITIES) + " |")
    print("| ---: | ---: |" + " ---: |" * len(DENSITIES))
    for channels, size, sets in CASES:
        cells = [
            f"{dense / events:.1f}{'' if pays else ' (dense)'}"
            for _, dense, events, pays in measure(channels, size, sets, largest)
        ]
        print(f"| {channels} | {f'{size}x{size}' if size > 1 else 'dense'} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    typer.run(main)
