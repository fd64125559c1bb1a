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
    kind, *others = neurons.choose_population(model, "cuda", integer, largest_input)
    made.append(kind)
    return kind(model, shape, samples, others[0], device, others[1])

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
    for what in ("saturations", "large_inputs", "potential_ranges", "current_ranges", "waiting_ranges"):
        assert dict(getattr(found, what)) == dict(getattr(expected, what)), what

check()
assert neurons.TritonPopulation in made
assert "int8-matmul" in kernels or torch.__version__ < "2.6"
"""


POPULATIONS = """
import numpy as np, torch
from rmp_lava.backends.fast.neurons import TorchPopulation, TritonPopulation, choose_population
from rmp_lava.network import Neurons

seen = []
for seed in range(16):
    rng = np.random.default_rng(seed)
    some = lambda low, high: int(rng.integers(low, high)) if rng.random() < 0.6 else rng.integers(low, high, (2, 1, 1))
    kind = ("plain", "leaky", "voltage only", "graded")[seed % 4]
    model = {"v_init": int(rng.integers(0, 99)), "reset": str(rng.choice(["soft", "hard", "none"]))}
    if rng.random() < 0.5:
        model |= {"bias": rng.integers(-4000, 4000, (2, 3, 5)), "bias_exponent": int(rng.integers(0, 8))}
    if kind == "leaky":
        model |= {"current_decay": some(0, 4096), "voltage_decay": some(0, 4097)}
    if kind == "voltage only":
        model |= {"voltage_decay": some(1, 4097)}
    if kind == "graded":
        model |= {"reset": "soft", "largest_spike": int(rng.integers(2, 256))}
    threshold = some(1, 2**17 + 1) if rng.random() < 0.3 else some(1, 400)
    if model["reset"] == "soft" and isinstance(threshold, np.ndarray):
        threshold = int(threshold.max())  # those of soft reset do not differ
    model = Neurons(threshold, **model)
    largest = int(rng.choice([300, 2**17 - 1, 2**18 - 1]))
    chosen, state, keeps = choose_population(model, "cuda", True, largest)
    assert chosen is TritonPopulation
    seen.append((model.is_uniform, keeps, model.is_leaky, model.largest_spike > 1))
    found = []
    for each, dtype in ((chosen, state), (TorchPopulation, torch.int64)):
        rng = np.random.default_rng(seed)
        population = each(model, (2, 3, 5), 3, dtype, torch.device("cpu"), keeps)
        out = torch.zeros((3, 9, 30), dtype=torch.uint8).transpose(0, 1)
        for steps, count, fires in ((slice(0, 4), 4, True), (slice(4, 6), 1, True), (slice(6, 9), 3, bool(seed % 3))):
            currents = torch.from_numpy(rng.integers(-largest, largest + 1, (count, 2, 30)).astype(np.float32))
            population.advance(currents, out, steps, slice(1, 3), fires=fires)
        if kind in ("plain", "graded"):
            population.advance(None, out, slice(8, 9), slice(0, 3))
        class Part:
            def note(self, *values):
                self.values = values
        part = Part()
        population.report(part, "x", 0)
        found.append((out.numpy(), *(x.long().numpy() for x in (population.v, population.u, population.counts)), part.values,
                      population.waiting_range))
    for a, b in zip(*found):
        assert np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b, (seed, kind, model, a, b)
assert all(any(each[i] == wanted for each in seen) for i in range(4) for wanted in (True, False))
"""


def test_neurons_of_every_kind_equal_those_of_pytorch():
    interpreted(POPULATIONS)


@pytest.mark.parametrize("waiting", [False, True])
def test_every_spike_potential_and_limit_equals_the_reference(waiting):
    interpreted(PROGRAM.replace("WAITING", str(waiting)))


def interpreted(program):
    root = Path(__file__).resolve().parents[2]
    path = os.pathsep.join([str(root), str(root / "tests" / "helpers"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
