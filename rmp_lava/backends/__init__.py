"""One call, one result type: `run` a network on samples on the chosen backend, and on no other.

A backend that cannot run raises an error that says why; nothing else runs instead. `options` has a frozen value for each
backend; importing this module imports neither PyTorch nor Lava.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Collection
from functools import partial
from numbers import Integral
from typing import TYPE_CHECKING, Literal, TypedDict

import numpy as np

from .. import choices
from ..choices import Backend, Record
from ..encoding import check_images
from ..errors import RangeOverflowError, RmpLavaWarning, UsageError
from ..network import SpikingNetwork
from ..registers import MAX_STATE
from ..results import Run
from ..schedule import schedule
from .options import BackendOptions, Fast, Lava, Loihi2, Reference, options_of

__all__ = ["BackendOptions", "Fast", "Lava", "Loihi2", "PreparedNetwork", "Reference", "prepare", "run"]

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from typing_extensions import Unpack


class Settings(TypedDict, total=False):
    """Of a run on any backend, see `run`."""

    seed: int
    blank: int | None
    power_of_two: bool | None
    record: Collection[Record]
    strict: bool
    progress: bool


_Runner = Callable[..., Run]
"""Of images and a schedule, with a seed, what to record, and whether to show progress."""


def run(
    network: SpikingNetwork,
    images: np.ndarray,
    steps: int,
    backend: Backend | BackendOptions | PreparedNetwork = "fast",
    *,
    seed: int = 0,
    blank: int | None = None,
    power_of_two: bool | None = None,
    record: Collection[Record] = (),
    strict: bool = False,
    progress: bool = False,
) -> Run:
    """Run samples through a spiking network.

    Parameters
    ----------
    network : SpikingNetwork
    images : numpy.ndarray
        (samples, *input shape) in [0, 1], or uint8 pixels, which represent pixel / 255; for encoding "spikes"
        (samples, steps, *input shape).
    steps : int
        T, time steps of each population's window per sample, see `rmp_lava.schedule`.
    backend : {"reference", "fast", "lava", "loihi2"}, Reference, Fast, Lava or Loihi2
        A value with the backend's options, or its name for the defaults. `PreparedNetwork.run` passes itself.
    seed : int
        Seed of the Poisson encoding.
    blank, power_of_two
        Lengthen the period, see `rmp_lava.schedule.schedule`. Blank steps are not observed. blank None: 0, or 1 for stock
        neurons, which need it to subtract the threshold of the last spike. power_of_two None: True on loihi2, which
        cannot reset otherwise.
    record : collection of {"counts", "spikes", "potentials"}
        What to keep of every layer: spikes per neuron, every spike, final membrane potentials.
    strict : bool
        Raise an error if a state reaches the limits of its register.
    progress : bool
        Show on standard error how far it is, see `rmp_lava.progress`.

    Returns
    -------
    Run
        `Run.execution` says what ran.

    Raises
    ------
    UsageError, DataError
        If an argument or the images are not valid.
    BackendUnavailableError
        If the backend cannot run on this machine.
    BackendError
        If the backend fails.
    RangeOverflowError
        In strict mode, if a state saturated, or wrapped in stock neurons.

    Warns
    -----
    RmpLavaWarning
        If a read-out that integrates reached the limits of its register, so that outputs are wrong.
    """
    prepared = backend if isinstance(backend, PreparedNetwork) else None
    chosen = backend.options if isinstance(backend, PreparedNetwork) else options_of(backend)
    if prepared is not None and prepared.network is not network:
        raise UsageError("the network is another than the one that was prepared; call run of what `prepare` returned")
    _check_call(network, chosen, record, seed, strict)
    lengthened = isinstance(chosen, Loihi2) if power_of_two is None else power_of_two
    plan = schedule(network, steps, blank=_blank(blank, chosen), power_of_two=lengthened)
    images = check_images(images, network.input)
    runner = _runner(network, chosen) if prepared is None else prepared.fast.run
    result = runner(images, plan, seed=seed, record=record, progress=progress)
    log.info(
        "ran %r on %s: %d samples, T = %d, in %.2f s, %s",
        network.name,
        result.backend,
        len(images),
        steps,
        result.seconds,
        result.execution,
    )
    if strict:
        _refuse_overflow(result)
    _warn_of_full_register(network, result, stacklevel=3 if prepared is None else 4)
    return result


def prepare(network: SpikingNetwork, backend: Literal["fast"] | Fast = "fast") -> PreparedNetwork:
    """Verify kernels and pack weights once, for many runs of few samples.

    Parameters
    ----------
    network : SpikingNetwork
    backend : "fast" or Fast
        The others start anew for each run.

    Raises
    ------
    UsageError
        For another backend.
    BackendUnavailableError, BackendError
        If the backend cannot run this network on this machine.
    """
    chosen = options_of(backend)
    if not isinstance(chosen, Fast):
        raise UsageError(f"backend {chosen.name!r} starts anew for each run; prepare networks for 'fast', or call run")
    return PreparedNetwork(network, chosen)


class PreparedNetwork:
    """A network that is ready to run, made by `prepare`; several threads may run it.

    network, options : What it was made of. The network's weights are copied: a change of them needs `prepare` again.
    """

    def __init__(self, network: SpikingNetwork, options: Fast) -> None:
        from .fast import FastNetwork

        self.network, self.options = network, options
        self.fast = FastNetwork(network, options)

    def run(self, images: np.ndarray, steps: int, **settings: Unpack[Settings]) -> Run:
        """As `rmp_lava.run`, with its settings."""
        return run(self.network, images, steps, self, **settings)


def _runner(network: SpikingNetwork, chosen: BackendOptions) -> _Runner:
    if isinstance(chosen, Reference):
        from . import reference

        return partial(reference.run, network, options=chosen)
    if isinstance(chosen, Fast):
        from . import fast

        return partial(fast.run, network, options=chosen)
    if isinstance(chosen, Lava):
        from .lava import simulator

        return partial(simulator.run, network, options=chosen)
    from . import loihi2

    return partial(loihi2.run, network, options=chosen)


def _check_call(
    network: SpikingNetwork, chosen: BackendOptions, record: Collection[str], seed: int, strict: bool
) -> None:
    if isinstance(record, str):
        raise UsageError(f"record is the string {record!r}; pass a collection such as ({record!r},)")
    unknown = sorted(set(record) - set(choices.options(Record)))
    if unknown:
        raise UsageError(f"{unknown[0]!r} cannot be recorded; choose from {choices.listed(Record)}")
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise UsageError(f"seed is {seed!r}; it must be an integer of 0 or more")
    if network.is_sigma_delta:
        _check_sigma_delta(chosen)
    if network.is_graded and (chosen.implementation == "stock" or isinstance(chosen, Loihi2)):
        raise UsageError(
            "stock neurons send single spikes, and graded ones were never lowered to a board; run them natively on 'reference', "
            "'fast' or 'lava', or convert without spike_bits"
        )
    if isinstance(chosen, Lava | Loihi2):
        if strict:
            raise UsageError(
                f"backend {chosen.name!r} does not detect saturation, so it cannot be strict; use 'reference' or 'fast'"
            )
        if chosen.neuron_program is not None and not network.is_integer:
            raise UsageError("neuron_program runs integer networks only; quantise the network first")


def _check_sigma_delta(chosen: BackendOptions) -> None:
    if isinstance(chosen, Loihi2):
        raise UsageError(
            "sigma-delta networks are not lowered to backend 'loihi2'; save them, and let lava-dl's loader run them on the board"
        )
    if chosen.implementation == "stock":
        raise UsageError("sigma-delta neurons are Lava's own already; leave out implementation='stock'")
    if isinstance(chosen, Lava) and chosen.neuron_program is not None:
        raise UsageError("neuron_program is for RMP neurons; leave it out for a sigma-delta network")
    if isinstance(chosen, Fast) and chosen.confidence is not None:
        raise UsageError("sigma-delta networks have no spikes whose number grows confident; leave out confidence")


def _blank(blank: int | None, chosen: BackendOptions) -> int:
    least = 1 if chosen.implementation == "stock" else 0
    if blank is not None and blank < least:
        raise UsageError(
            f"blank steps are {blank}; implementation {chosen.implementation!r} needs at least {least}, so pass more"
        )
    return least if blank is None else blank


def _warn_of_full_register(network: SpikingNetwork, result: Run, *, stacklevel: int) -> None:
    if network.is_sigma_delta:
        _warn_of_wide_sums(result, stacklevel=stacklevel + 1)
        return
    if not network.is_integer or not network.integrates:
        return
    last = network.output
    # Backends that do not count saturated updates show them in potentials that stayed at the limit.
    potentials = result.output + network.output_offset * result.schedule.steps
    at_limit = 0 if last.neurons.reset != "none" else int((np.abs(potentials) >= MAX_STATE).any(axis=1).sum())
    updates = result.saturations.get(last.name, 0)
    if not updates and not at_limit:
        return
    found = f"in {updates:,} updates" if updates else f"for {at_limit:,} of {result.samples:,} samples"
    steps, balanced = result.schedule.steps, network.balanced_steps
    meant = f"; network {network.name!r} was converted for T = {balanced}" if balanced and balanced < steps else ""
    warnings.warn(
        f"the read-out {last.name!r} reached the limits of its 24-bit register {found} of T = {steps}, so outputs are "
        f"wrong{meant}; convert it for T = {steps}, or run fewer steps",
        RmpLavaWarning,
        stacklevel=stacklevel,
    )


def _warn_of_wide_sums(result: Run, *, stacklevel: int) -> None:
    wide = {name: result.saturations[name] + result.large_inputs[name] for name in result.saturations}
    name = max(wide, key=wide.__getitem__, default="")
    if wide.get(name):
        warnings.warn(
            f"sums of layer {name!r} left the 24 bits of a chip's state {wide[name]:,} times; Lava's simulator wraps those of "
            "convolutions, and a chip all of them, so send smaller frames",
            RmpLavaWarning,
            stacklevel=stacklevel,
        )


def _refuse_overflow(result: Run) -> None:
    # Native neurons never wrap; in stock neurons what wraps saturates next, so wrapping is reported first.
    for name, count in result.large_inputs.items() if result.implementation == "stock" else ():
        if count:
            raise RangeOverflowError(
                f"stock neurons of layer {name!r} wrapped {count} times at 2^17 weight units of current or potential; convert "
                "for fewer steps or with smaller weights (soft reset: --for-board), or run without strict"
            )
    for name, count in result.saturations.items():
        if count:
            raise RangeOverflowError(
                f"layer {name!r} saturated its 24-bit membrane potential {count} times; "
                "choose a smaller weight scale, smaller frames or fewer steps, or run without strict"
            )
