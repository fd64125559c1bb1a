"""What runs on a GPU, where it has never run: the neurons' kernel in Triton's interpreter, and 8-bit matrix products.

The interpreter is chosen when Triton is imported, so the cases run in a process of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest


def triton_is_missing() -> bool:
    try:
        return int(metadata.version("triton").partition(".")[0]) < 3
    except metadata.PackageNotFoundError:
        return True


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        triton_is_missing(), reason="Triton 3 is not installed; PyTorch's CUDA builds bring it, or: pip install triton"
    ),
]
PROGRAM = """
import sys
from unittest.mock import patch
import numpy as np, torch
from hypothesis import given, settings, strategies as st
from strategies import assert_same_run, cases
from rmp_lava.backends import Fast, fast
from rmp_lava.backends.fast import events, neurons, synapses
from rmp_lava.backends.fast.batching import Batching
from rmp_lava.errors import BackendError

made, kernels = [], set()
choose = synapses.Sums._choose_kernel
events.kernel = None

def kernel_of_a_gpu(sums, source, weight, wanted, largest):
    try:
        found = choose(sums, source, weight, "int8-matmul", largest)
    except BackendError:
        found = choose(sums, source, weight, "float32", largest)
    kernels.add(found)
    return found

def on_a_gpu(model, shape, samples, *, integer, device, largest_input):
    # The choice that is made for a GPU, and tensors of the CPU.
    fits = integer and not model.is_leaky and largest_input < 2**24
    kind = neurons.TritonPopulation if fits else neurons.TorchPopulation
    made.append(kind)
    state = torch.int32 if fits else torch.int64
    return kind(model, shape, samples, state, device, False)

batchings = st.builds(Batching, st.integers(1, 3), st.integers(1, 3), st.just(1), st.sampled_from([1, 600, 2**21]))

@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(cases(max_layers=2, max_steps=4, waiting=WAITING), batchings)
def check(case, batching):
    if WAITING:
        batching = Batching(batching.samples, case.steps, 1, batching.block_bytes)
    with patch.object(fast, "choose_batching", lambda *_, **__: batching), \\
            patch("rmp_lava.backends.fast.layers.make_population", on_a_gpu), \\
            patch("rmp_lava.backends.fast.streams.make_population", on_a_gpu), \\
            patch.object(synapses.Sums, "_choose_kernel", kernel_of_a_gpu):
        found = case.run(Fast())
    expected = case.run("reference")
    assert_same_run(found, expected)
    for what in ("saturations", "large_inputs", "potential_ranges", "waiting_ranges"):
        assert dict(getattr(found, what)) == dict(getattr(expected, what)), what

check()
assert neurons.TritonPopulation in made
assert "int8-matmul" in kernels or torch.__version__ < "2.6"
"""


@pytest.mark.parametrize("waiting", [False, True])
def test_every_spike_potential_and_limit_equals_the_reference(waiting):
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM.replace("WAITING", str(waiting))],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
