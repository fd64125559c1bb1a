"""Backend `fast`: the reference's integers and spikes, batched over samples and time, in bounded memory.

`synapses` has the exact kernels, `events` (and `event_kernel`) those for few spikes, `neurons` (and `fused`) the neuron
updates, `streams` the messages between layers, `layers` one layer, `simulation` a batch of samples, `windows` one whose neurons
wait, `sigma_delta` one of a sigma-delta network. `extents` (and `extent_kernel`) and `courses` tell whether a window may be
computed at once, `tallies` counts messages and operations. `batching` fits a run into a memory budget, `confidence` stops samples
early. `layerwise` is the public face for passes that simulate one layer at a time. On a CPU, each batch runs in its own thread.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import cache, partial
from typing import TypeVar

import numpy as np
import torch

from ...choices import Record
from ...encoding import Encoder
from ...errors import BackendError, BackendUnavailableError
from ...network import SpikingNetwork
from ...progress import Progress
from ...readout import output_unit
from ...results import Run
from ...schedule import Schedule
from ...threads import limited_to, usable_cores
from ..batches import Part, join
from ..options import Fast
from . import neurons
from .batching import choose_batching
from .layers import Prepared
from .sigma_delta import PreparedSigmaDelta, SigmaDeltaSimulation
from .simulation import BatchSimulation
from .synapses import OF_BYTES
from .windows import WindowSimulation

_T = TypeVar("_T")
_Begin = Callable[..., BatchSimulation | SigmaDeltaSimulation]
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Parameters of glibc's `mallopt`."""
_SMALL = 2**27
"""Products of a run, a few milliseconds' worth."""


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    plan: Schedule,
    options: Fast = Fast(),
    *,
    seed: int = 0,
    record: Collection[Record] = (),
    progress: bool = False,
) -> Run:
    """Prepare a network and run it once: `FastNetwork`, which lists what is raised."""
    started = time.perf_counter()
    result = FastNetwork(network, options).run(images, plan, seed=seed, record=record, progress=progress)
    return replace(result, seconds=time.perf_counter() - started)


class FastNetwork:
    """A network whose kernels are verified and whose weights are packed, for any number of runs; see `rmp_lava.run`.

    Integer networks agree with the reference in every spike and potential. Float networks compute in float32: rounding
    can move a potential across its threshold, so nearly all of their spikes agree.

    Raises
    ------
    UsageError
        If `options.confidence` is set and the network has no output scale.
    BackendError
        If the kernel is not available on this machine or for this network.
    BackendUnavailableError
        If the device does not exist.
    """

    def __init__(self, network: SpikingNetwork, options: Fast) -> None:
        self.network, self.options = network, options
        self._place = _device(options.device)
        if options.confidence is not None:
            output_unit(network)  # refuses a network without a scale, before it runs
        if options.kernel in OF_BYTES and network.is_sigma_delta:
            raise BackendError(
                f"kernel {options.kernel!r} sums spikes, and sigma-delta networks send graded messages; choose 'auto'"
            )
        if options.kernel in OF_BYTES and not network.is_integer:
            raise BackendError(f"kernel {options.kernel!r} is for integer networks; quantise the network first")
        if self._place.type == "cpu" and not network.is_sigma_delta:
            neurons.warn_of_slow_neurons()
        fan_outs = (s.fan_out(network.source_shape(s.source)) for layer in network for s in layer.synapses)
        self._products = sum(int(each.sum()) for each in fan_outs)
        self._prepared: dict[int | None, Prepared | PreparedSigmaDelta] = {}
        self._lock = threading.Lock()
        if not network.wait:
            self._prepared_for(None)

    def _prepared_for(self, steps: int | None) -> Prepared | PreparedSigmaDelta:
        """Synapses of a network; where neurons wait they depend on T."""
        with self._lock, torch.no_grad():
            if steps not in self._prepared:
                if self.network.is_sigma_delta:
                    self._prepared[steps] = PreparedSigmaDelta(self.network, self._place)
                else:
                    self._prepared[steps] = Prepared(self.network, self._place, self.options.kernel, steps=steps)
            return self._prepared[steps]

    def _simulation(self, plan: Schedule) -> tuple[_Begin, Callable[[], str]]:
        """What begins to simulate a batch, and what tells after the run how sums were computed."""
        prepared = self._prepared_for(plan.steps if plan.wait else None)
        if isinstance(prepared, PreparedSigmaDelta):
            return partial(SigmaDeltaSimulation, prepared), prepared.describe
        kind = WindowSimulation if plan.wait else BatchSimulation
        begin = partial(kind, prepared, confidence=self.options.confidence)
        return begin, partial(prepared.describe, prepared.event_counts())

    def run(
        self,
        images: np.ndarray,
        plan: Schedule,
        *,
        seed: int = 0,
        record: Collection[Record] = (),
        progress: bool = False,
    ) -> Run:
        """Run samples through the network.

        Raises
        ------
        UsageError
            If the memory budget is too small.
        """
        network, options, started = self.network, self.options, time.perf_counter()
        _keep_freed_memory()
        begin, describe = self._simulation(plan)
        # Threads cost more than they save where all of the work takes a millisecond.
        small = len(images) * plan.steps * self._products < _SMALL
        threads = 1 if small else min(torch.get_num_threads(), usable_cores())
        batching = choose_batching(
            network,
            plan,
            len(images),
            device=self._place.type,
            threads=threads,
            memory=options.memory,
            step_by_step=options.confidence is not None,
        )
        with (
            torch.no_grad(),
            limited_to(threads),
            Progress("fast simulation, steps of samples", len(images) * plan.steps, shown=progress) as bar,
        ):
            batches = range(0, len(images), batching.samples)

            def simulate(first: int, stopped: threading.Event) -> list[tuple[np.ndarray, Part]]:
                def ended(samples: int, steps: int) -> None:
                    bar.advance(samples * steps)
                    if stopped.is_set():
                        raise _Stopped

                some, index = images[first : first + batching.samples], options.first_sample + first
                encoder = Encoder(network.input, some, plan.steps, seed=seed, first_sample=index)
                return [(first + rows, part) for rows, part in begin(encoder, plan, batching, record).run(ended)]

            found = [part for parts in _in_threads(simulate, batches, batching.workers) for part in parts]
        rows = np.concatenate([rows for rows, _ in found])
        in_order = (np.diff(rows) > 0).all()
        neurons_in_words = _describe_neurons(network, self._place)
        return join(
            plan,
            [part for _, part in found],
            order=None if in_order else np.argsort(rows),
            backend="fast",
            execution=f"torch {torch.__version__} on {options.device}, {describe()}, {neurons_in_words}",
            implementation="native",
            seconds=time.perf_counter() - started,
        )


@cache
def _keep_freed_memory() -> None:
    """Let the C library keep what blocks free for the next ones: pages returned after each block took a third of the time.

    Of glibc only, see mallopt(3), and never over the user's variables.
    """
    if not any(name.startswith("MALLOC_") for name in os.environ):
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
        if mallopt is not None:
            for parameter, size in ((_TRIM_THRESHOLD, 2**28), (_MMAP_THRESHOLD, 2**25)):
                mallopt(parameter, size)


class _Stopped(Exception):
    """Ends a thread because another one failed, or because of Ctrl-C."""


def _in_threads(simulate: Callable[[int, threading.Event], _T], batches: range, workers: int) -> list[_T]:
    """`simulate(first sample, stop event)` of each batch, in order; the batches share torch's threads."""
    stopped = threading.Event()
    workers = min(workers, len(batches))
    if workers <= 1:
        return [simulate(first, stopped) for first in batches]

    def simulate_in_thread(first: int) -> _T:
        with torch.no_grad():  # threads do not inherit it
            return simulate(first, stopped)

    threads = torch.get_num_threads()
    share = max(1, threads // workers)
    pool = ThreadPoolExecutor(workers, "fast", initializer=torch.set_num_threads, initargs=(share,))
    try:
        futures = [pool.submit(simulate_in_thread, first) for first in batches]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()  # raises what failed
        return [future.result() for future in futures]
    finally:
        stopped.set()
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)  # the workers changed it


def _describe_neurons(network: SpikingNetwork, device: torch.device) -> str:
    kind = "integer neurons" if network.is_integer else "float32 neurons"
    if network.is_sigma_delta:
        return "sigma-delta neurons"
    if device.type == "cuda" and network.is_integer and (kernel := neurons.triton_kernel()) is not None:
        return f"{kind} compiled by Triton {kernel.VERSION}"
    leaky = any(layer.neurons.is_leaky for layer in network)
    if device.type != "cpu" or (leaky and not network.is_integer):  # only integers with leak are compiled
        return kind
    if neurons.fused is None:
        why = neurons.WHY_NOT_COMPILED
        return f"{kind} not compiled ({why}; pip install '.[fast]' in the checkout makes them several times faster)"
    return f"{kind} compiled by numba {neurons.fused.VERSION}"


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise BackendUnavailableError(
            f"device {name!r} cannot be used ({str(error).splitlines()[0]}); use 'cpu'"
        ) from None
    return device
