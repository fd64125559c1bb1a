"""Sentences on a run, and its comparison with the reference."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from ..backends import Reference, run
from ..errors import DataError, UsageError
from ..files import StrPath, write_atomically
from ..network import SpikingNetwork
from ..results import Run
from ..scores import Score
from ..words import percent


def steps_for(network: SpikingNetwork, steps: int | None) -> int:
    """T as given, or the T that the network was balanced for; raises `UsageError` if neither is known."""
    if steps is not None:
        return steps
    if network.balanced_steps is not None:
        return network.balanced_steps
    raise UsageError(f"network {network.name!r} does not record its number of steps; pass --steps")


def describe_run(result: Run, what: str, score: Score | None) -> list[str]:
    """Sentences on a run: backend, time, score, early exit, limits reached."""
    lines = [f"Ran {what} on: {result.execution}, {result.seconds:.1f} s"]
    if score is not None:
        lines.append(f"{score.title}: {score}")
    if result.steps_used is not None:
        used = result.steps_used
        lines.append(
            f"Early exit: {used.mean():.1f} of {result.schedule.steps} steps on average, "
            f"median {np.median(used):g}; {percent((used == result.schedule.steps).mean(), 2)} of the samples took all steps"
        )
    saturation = result.limits_reached()
    if saturation:
        low = any(count and result.lower_limit_only(name) for name, count in result.saturations.items())
        remark = (
            "; the lower limit rarely matters, as neurons so far below their threshold do not fire soon" if low else ""
        )
        lines.append(f"Limits reached: {saturation}{remark}")
    if result.implementation == "stock":
        lines.append(f"Stock neurons: {_crossing(result)}")
    return lines


def write_arrays(path: StrPath, result: Run) -> None:
    """Write a run's arrays to an .npz file: "output", and what was recorded, as "spikes/LAYER" and "potentials/LAYER"."""
    arrays: dict[str, Any] = {"output": result.output}
    for what, recorded in (("spikes", result.spikes), ("potentials", result.potentials)):
        arrays |= {f"{what}/{name}": array for name, array in recorded.items()}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_atomically(path, content.getbuffer(), DataError)


def _crossing(result: Run) -> str:
    crossing = {name: count for name, count in result.boundary_spikes.items() if count}
    if not crossing:
        return "no membrane potential carries over into the next sample"
    listed = ", ".join(f"{name} in {count:,} samples" for name, count in crossing.items())
    return f"membrane potentials carry over into the next sample: {listed}; pass more --blank steps"


def compare_with_reference(network: SpikingNetwork, images: np.ndarray, result: Run, seed: int) -> list[str]:
    """Differences from the reference, of a run that recorded spikes and potentials; empty if there are none."""
    expected = run(
        network,
        images,
        result.schedule.steps,
        Reference(result.implementation),
        record=("spikes", "potentials"),
        seed=seed,
        blank=result.schedule.blank,
        progress=True,
    )
    differences = []
    for what, wanted, found in (
        ("spikes", expected.spikes, result.spikes),
        ("final potentials", expected.potentials, result.potentials),
    ):
        for name, values in wanted.items():
            count = int((values != found[name]).sum())
            if count:
                differences.append(f"layer {name!r}: {count:,} {what} differ")
    return differences
