"""Populations of neurons that advance many steps at a time: compiled by numba if it is installed, otherwise by PyTorch.

Both follow `rmp_lava.neuron.step`; in integer networks every spike and state is equal.
"""

from __future__ import annotations

import warnings
from copy import copy
from functools import cache, cached_property
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ...errors import RmpLavaWarning
from ...network import NO_MEMORY, Neurons
from ...network.values import per_neuron
from ...neuron import Range, union
from ...registers import MAX_STATE, REGISTER_LIMIT, STATE_SHIFT
from ..batches import Part
from .synapses import EXACT_FLOAT32, flat, from_memory, memory_shape

fused: ModuleType | None
WHY_NOT_COMPILED = ""
try:
    fused = import_module(".fused", __package__)
except ImportError as error:  # numba is in the extra [fast]; it also refuses numpy versions that it does not know
    fused = None
    WHY_NOT_COMPILED = str(error).partition("\n")[0]

_RESETS = {"soft": 0, "hard": 1, "none": 2}


@cache
def warn_of_slow_neurons() -> None:
    """Warn, once in a process, if numba is missing."""
    if fused is None:
        warnings.warn(
            f"neurons are not compiled ({WHY_NOT_COMPILED}), which takes several times as long; pip install numba",
            RmpLavaWarning,
            stacklevel=2,
        )


@cache
def triton_kernel() -> ModuleType | None:
    """The neurons' kernel for GPUs; None without Triton, which comes with PyTorch's builds for CUDA."""
    try:
        return import_module(".triton_kernel", __package__)
    except ImportError:
        return None


def make_population(
    neurons: Neurons, shape: tuple[int, ...], samples: int, *, integer: bool, device: torch.device, largest_input: float
) -> Population:
    """A population at the start of its samples; `largest_input` bounds its |input|, in weight units."""
    kind, state, keeps_current = choose_population(neurons, device.type, integer, largest_input)
    return kind(neurons, shape, samples, state, device, keeps_current)


def choose_population(
    neurons: Neurons, device: str, integer: bool, largest_input: float
) -> tuple[type[Population], torch.dtype, bool]:
    """The kind of a population, the dtype of its state, and whether its current is kept."""
    # A current without memory equals the input, unless the input wraps.
    keeps_current = neurons.is_leaky and (neurons.has_memory or largest_input >= REGISTER_LIMIT)
    # A current wraps once per step, by 2^24: inputs above 2^18 can take it beyond 32 bits.
    wide = integer and largest_input >= (2 * REGISTER_LIMIT if keeps_current else EXACT_FLOAT32)
    compiled = fused is not None and device == "cpu"
    if integer and compiled and neurons.is_uniform and not (wide and keeps_current):
        return FusedPopulation, torch.int32, keeps_current
    if not integer and compiled and not neurons.is_leaky:
        return FusedFloatPopulation, torch.float32, keeps_current
    if integer and not wide and device == "cuda" and triton_kernel() is not None:
        return TritonPopulation, torch.int32, keeps_current
    return TorchPopulation, torch.int64 if wide else torch.int32 if integer else torch.float32, keeps_current


class Population:
    """State of a population during a batch, and statistics of it. Neurons are in memory order (`synapses`).

    v : (samples, neurons) membrane potentials in state units; in weight units in float networks.
    u : The same for currents; (samples, 0) if they have no memory.
    threshold : In the units of v; (neurons,) int64 where they differ.
    bias : (neurons,) in the units of v, or (0,).
    counts : (samples, neurons) int32: messages of each neuron so far.
    keeps : () or (neurons,) float64 shares that the decays of current and voltage leave.
    v_range, u_range, waiting_range : As in `rmp_lava.neuron.State`.
    """

    def __init__(
        self,
        neurons: Neurons,
        shape: tuple[int, ...],
        samples: int,
        state: torch.dtype,
        device: torch.device,
        keeps_current: bool,
    ) -> None:
        self.neurons, self.shape = neurons, shape
        self.integer = not state.is_floating_point
        self.scale = 1 << STATE_SHIFT if self.integer else 1
        self.samples, self.size = samples, int(np.prod(shape))
        self.state, self.device = state, device
        number = int if self.integer else float
        self.threshold: Any
        if not isinstance(neurons.threshold, np.ndarray):
            self.threshold = number(neurons.threshold) * self.scale
        else:
            each = flat(per_neuron(neurons.threshold, shape))
            self.threshold = torch.tensor(each.astype(np.int64) * self.scale, device=device)
        self.v_init = number(neurons.v_init) * self.scale
        self.u = torch.zeros((samples, self.size if keeps_current else 0), dtype=state, device=device)
        bias = neurons.bias_per_neuron(shape)
        self.bias = torch.zeros(0, dtype=state, device=device)
        if bias is not None:
            bias = flat(bias)
            bias = bias.astype(np.int64) << neurons.bias_exponent if self.integer else bias.astype(np.float32)
            self.bias = torch.tensor(bias, device=device).to(state)
        self.keeps = [_share_left(rate, shape).to(device) for rate in (neurons.current_decay, neurons.voltage_decay)]
        self._silent: dict[int, tuple[np.ndarray, np.ndarray]] = {}
        """Number of steps -> `FusedPopulation.silent`; as constant as the bias."""
        self.saturations = 0
        self.v_range: Range | None = None
        self.u_range: Range | None = None
        self.waiting_range: Range | None = None

    def start(self, samples: int) -> Population:
        """As many samples of the same neurons, of which none has advanced; their constants are shared."""
        other = copy(self)
        other.samples, other.u = samples, self.u.new_zeros((samples, self.u.shape[1]))
        return other

    @cached_property
    def v(self) -> torch.Tensor:  # bursts need neither this nor counts, which are a large part of the memory
        return torch.full((self.samples, self.size), self.v_init, dtype=self.state, device=self.device)

    @cached_property
    def counts(self) -> torch.Tensor:
        return torch.zeros((self.samples, self.size), dtype=torch.int32, device=self.device)

    def advance(
        self,
        currents: torch.Tensor | None,
        out: torch.Tensor,
        steps: slice,
        rows: slice,
        *,
        fires: bool = True,
        potentials: torch.Tensor | None = None,
    ) -> np.ndarray:
        """Advance some samples by some steps.

        Parameters
        ----------
        currents : torch.Tensor or None
            (steps or 1, rows, neurons) input in weight units; a single step is the input of every step. None: neither messages
            nor bias.
        out : torch.Tensor
            (all steps, samples, neurons) uint8, contiguous; receives the spikes.
        steps, rows : slice
            Which steps of `out`, and which samples.
        fires : bool
            Whether neurons may spike; if not, `out` receives zeros.
        potentials : torch.Tensor or None
            (all steps, samples, neurons) of v's dtype, contiguous; receives v after each step.

        Returns
        -------
        numpy.ndarray
            (steps,) int64 messages of all neurons.
        """
        raise NotImplementedError

    def advance_window(self, currents: torch.Tensor, out: torch.Tensor, steps: slice, rows: slice, wait: int) -> None:
        """As `advance`, through steps of a window in which neurons wait: the spikes of step t go to step t - wait of `out`."""
        cut = min(max(wait, steps.start), steps.stop)
        constant, waiting = len(currents) == 1, cut - steps.start
        if waiting:
            some = currents if constant else currents[:waiting]
            self.advance(some, out, slice(steps.start, cut), rows, fires=False)
        firing = slice(cut - wait, steps.stop - wait)
        if firing.stop > firing.start:
            self.advance(currents if constant else currents[waiting:], out, firing, rows)

    def burst(self, total: torch.Tensor, out: torch.Tensor, steps: int) -> np.ndarray:
        """Take the input and bias of all steps at once, then spike in as many: the whole window of soft-reset neurons that wait.

        A neuron spikes in each step from the first one on, until its potential does not exceed the threshold any more. This
        holds where no potential saturates on the way, or where every step's input is the same, so that a potential moves in one
        direction only. `settle` enters what follows from it.

        Parameters
        ----------
        total : torch.Tensor
            (samples, neurons) sum of the input over all steps, in weight units.
        out : torch.Tensor
            (samples, neurons) uint8, contiguous; receives the number of spikes, which `counts` does not.

        Returns
        -------
        numpy.ndarray
            (samples, 2) lowest and highest potential before the first spike, in the units of v.
        """
        after = self._before_spikes(total, steps)
        if self.integer:
            fired = torch.div(after - 1, self.threshold, rounding_mode="floor")
        else:
            fired = torch.ceil(after / self.threshold) - 1
        out[:] = fired.clamp_(0, steps).to(torch.uint8)
        return torch.stack(torch.aminmax(after, dim=1), dim=1).cpu().numpy()

    def settle(
        self, total: torch.Tensor, out: torch.Tensor, steps: int, rows: slice, ends: np.ndarray, *, keep: bool
    ) -> None:
        """Enter the statistics of a burst whose result holds.

        Parameters
        ----------
        total, out, steps, ends
            As `burst` took them and wrote and returned them.
        rows : slice
            Which samples they are.
        keep : bool
            Whether `v` receives the potentials at the end.
        """
        low, high = ends[:, 0].min().item(), ends[:, 1].max().item()
        if self.integer and (low <= -MAX_STATE or high >= MAX_STATE):
            self.saturations += self._saturated_updates(total, steps)
        # Where neurons spiked, v stays above 0: a lowest v that is not, is that of a neuron that did not.
        if keep or low > 0:
            low = self._settle(total, out, steps, self.v[rows] if keep else None)
        self._saw((low, high), None)

    def _settle(self, total: torch.Tensor, out: torch.Tensor, steps: int, v: torch.Tensor | None) -> float:
        """The lowest v that was compared with the threshold; v receives what is left after the spikes."""
        after = self._before_spikes(total, steps)
        fired = out.to(self.state)
        after -= fired * self.threshold
        if v is not None:
            v[:] = after
        # The last spike came after the last comparison.
        return (after + self.threshold * (fired == steps)).min().item()

    def _before_spikes(self, total: torch.Tensor, steps: int) -> torch.Tensor:
        """(samples, neurons) potentials after the input and bias of all steps."""
        after = self._within_32_bits(total).to(self.state) * self.scale + self.v_init
        if len(self.bias):
            after += self.bias * steps
        return after.clamp_(-MAX_STATE, MAX_STATE) if self.integer else after

    def _within_32_bits(self, total: torch.Tensor) -> torch.Tensor:
        """Sums as they are, or at +-2^24: a larger one saturates any potential."""
        clipped = self.integer and total.dtype != torch.float32
        return total.clamp(-EXACT_FLOAT32, EXACT_FLOAT32) if clipped else total

    def _saturated_updates(self, total: torch.Tensor, steps: int) -> int:
        """Updates in which potentials left the register, where each step's input is one of `steps` equal parts."""
        each = total.long() * self.scale // steps + (self.bias.long() if len(self.bias) else 0)
        room = MAX_STATE - self.v_init * each.sign()
        within = torch.where(each == 0, steps, room // each.abs().clamp(min=1))
        return int((steps - within).clamp(min=0).sum())

    def potentials(self) -> np.ndarray:
        """(samples, *shape) membrane potentials: int64 in state units, or float64 in weight units."""
        return in_order(self.v, self.shape, np.int64 if self.integer else np.float64)

    def neuron_counts(self) -> np.ndarray:
        """(samples, *shape) int64 spikes of each neuron."""
        return in_order(self.counts, self.shape, np.int64)

    def keep(self, rows: torch.Tensor) -> None:
        """Drop all samples but the given rows."""
        for name in ("v", "u", "counts"):
            if name in vars(self):
                setattr(self, name, getattr(self, name)[rows])
        self.samples = len(rows)

    def report(self, part: Part, name: str, large_inputs: int) -> None:
        """Enter the population's statistics into a part, and restart its counts; ranges continue."""
        part.note(name, self.saturations, large_inputs, self.v_range, self.u_range)
        self.saturations = 0

    def _saw(self, v_range: Range, u_range: Range | None, fires: bool = True) -> None:
        if fires:
            self.v_range = union(self.v_range, v_range)
        else:
            self.waiting_range = union(self.waiting_range, v_range)
        if u_range is not None and self.neurons.has_memory:
            self.u_range = union(self.u_range, u_range)


class FusedPopulation(Population):
    """Integer neurons on the CPU, compiled by numba."""

    def advance(
        self,
        currents: torch.Tensor | None,
        out: torch.Tensor,
        steps: slice,
        rows: slice,
        *,
        fires: bool = True,
        potentials: torch.Tensor | None = None,
    ) -> np.ndarray:
        if currents is not None and currents.dtype != torch.float32:
            # Larger inputs saturate any potential, so they may be clipped to what 32 bits hold.
            currents = currents.clamp(-EXACT_FLOAT32, EXACT_FLOAT32).to(torch.float32)
        given, per_input = _flat(currents if currents is not None else _nothing(self.v[rows]))
        spikes, per_spike = _flat(out[steps, rows])
        bias = self.bias if len(self.bias) and currents is not None else self.v.new_zeros(self.v.shape[1])
        sent = np.zeros(steps.stop - steps.start, dtype=np.int64)
        assert fused is not None
        saturations, v_low, v_high, u_low, u_high = fused.advance(
            given.numpy(),
            self.v[rows].numpy(),
            self.u[rows].numpy(),
            bias.numpy(),
            self.counts[rows].numpy(),
            spikes.numpy(),
            (per_input, per_spike),
            sent,
            np.int32(self.threshold),
            _RESETS[self.neurons.reset if fires else "none"],
            float(self.keeps[1]),
            float(self.keeps[0]),
            np.int32(self.neurons.largest_spike),
            _after_each_step(potentials, steps, rows, self.v),
        )
        self.saturations += int(saturations)
        self._saw((int(v_low), int(v_high)), (int(u_low), int(u_high)), fires)
        return sent

    def burst(self, total: torch.Tensor, out: torch.Tensor, steps: int) -> np.ndarray:
        ends = np.empty((len(total), 2), dtype=np.int32)
        assert fused is not None
        given = self._within_32_bits(total).numpy()
        fused.burst(given, *self.silent(steps), np.int32(self.threshold), np.int32(steps), out.numpy(), ends)
        return ends

    def _settle(self, total: torch.Tensor, out: torch.Tensor, steps: int, v: torch.Tensor | None) -> float:
        assert fused is not None
        given, (silent, _) = self._within_32_bits(total).numpy(), self.silent(steps)
        rest = np.empty((len(total), 0), dtype=np.int32) if v is None else v.numpy()
        return int(fused.settle(given, silent, np.int32(self.threshold), np.int32(steps), out.numpy(), rest))

    def silent(self, steps: int) -> tuple[np.ndarray, np.ndarray]:
        """(neurons,) potentials after so many steps without messages: int32, and float32 or (0,), see `fused.burst`."""
        if steps not in self._silent:
            assert fused is not None
            silent = np.full(self.size, self.v_init, dtype=np.int32)
            if len(self.bias):
                silent += self.bias.numpy() * np.int32(steps)
            exact = np.abs(silent).max() < EXACT_FLOAT32 and (steps + 1) * self.threshold < fused.EXACT_PRODUCT
            self._silent[steps] = silent, silent.astype(np.float32)[: self.size if exact else 0]
        return self._silent[steps]


class FusedFloatPopulation(Population):
    """Float neurons without leak on the CPU, compiled by numba."""

    def advance(
        self,
        currents: torch.Tensor | None,
        out: torch.Tensor,
        steps: slice,
        rows: slice,
        *,
        fires: bool = True,
        potentials: torch.Tensor | None = None,
    ) -> np.ndarray:
        given, per_input = _flat((currents if currents is not None else _nothing(self.v[rows])).to(torch.float32))
        spikes, per_spike = _flat(out[steps, rows])
        sent = np.zeros(steps.stop - steps.start, dtype=np.int64)
        assert fused is not None
        low, high = fused.advance_float(
            given.numpy(),
            self.v[rows].numpy(),
            (self.bias if currents is not None else self.bias[:0]).numpy(),
            self.counts[rows].numpy(),
            spikes.numpy(),
            (per_input, per_spike),
            sent,
            np.float32(self.threshold),
            _RESETS[self.neurons.reset if fires else "none"],
            _after_each_step(potentials, steps, rows, self.v),
        )
        self._saw((float(low), float(high)), None, fires)
        return sent


def _after_each_step(potentials: torch.Tensor | None, steps: slice, rows: slice, v: torch.Tensor) -> np.ndarray:
    """(steps, rows, neurons) that receives potentials; no steps if none does."""
    some: np.ndarray = (v.new_empty((0, 0, 0)) if potentials is None else potentials[steps, rows]).numpy()
    return some


def _flat(values: torch.Tensor) -> tuple[torch.Tensor, tuple[int, int]]:
    """The memory of (steps, rows, neurons) as one axis, and its strides along rows and steps; 0 for a single step."""
    if values.shape[2] > 1 and values.stride(2) != 1:
        values = values.contiguous()  # only an input may be a copy
    (steps, rows, size), (per_step, per_row, _) = values.shape, values.stride()
    length = (rows - 1) * per_row + (steps - 1) * per_step + size
    return values.as_strided((length,), (1,)), (per_row, per_step if steps > 1 else 0)


class TritonPopulation(Population):
    """Integer neurons on a GPU. Never run on one: the tests run the kernel in Triton's interpreter."""

    @cached_property
    def _constants(self) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor] | None]:
        """(neurons,) int32 thresholds, and shares that decays leave, in units of 1/4096; None without leak."""
        size = self.v.shape[1:]
        threshold = torch.as_tensor(self.threshold, device=self.v.device).to(torch.int32).expand(size).contiguous()
        if not self.neurons.is_leaky:
            return threshold, None
        current, voltage = ((keep * NO_MEMORY).to(torch.int32).expand(size).contiguous() for keep in self.keeps)
        return threshold, (current, voltage)

    @cached_property
    def _limits(self) -> dict[bool, list[torch.Tensor]]:
        """What the kernel returned for blocks of steps in which neurons may spike, and may not."""
        return {True: [], False: []}

    def advance(
        self,
        currents: torch.Tensor | None,
        out: torch.Tensor,
        steps: slice,
        rows: slice,
        *,
        fires: bool = True,
        potentials: torch.Tensor | None = None,
    ) -> np.ndarray:
        """As `Population.advance`, but every step counts as active: the host would have to wait for the number of spikes."""
        if potentials is not None:
            for t in range(steps.start, steps.stop):
                at = t - steps.start if currents is not None and len(currents) > 1 else 0
                current = None if currents is None else currents[at : at + 1]
                self.advance(current, out, slice(t, t + 1), rows, fires=fires)
                potentials[t, rows] = self.v[rows]
            return np.ones(steps.stop - steps.start, dtype=np.int64)
        if currents is not None:
            if currents.dtype != torch.float32:
                currents = currents.clamp(-EXACT_FLOAT32, EXACT_FLOAT32).to(torch.float32)
            currents = currents.transpose(0, 1).contiguous()
        kernel = triton_kernel()
        assert kernel is not None
        limits = kernel.advance(
            currents,
            self.v[rows],
            self.u[rows],
            self.bias,
            *self._constants,
            self.counts[rows],
            out[steps, rows].transpose(0, 1),
            _RESETS[self.neurons.reset if fires else "none"],
            self.neurons.largest_spike,
        )
        self._limits[fires].append(limits)
        return np.ones(steps.stop - steps.start, dtype=np.int64)

    def report(self, part: Part, name: str, large_inputs: int) -> None:
        for fires, limits in self._limits.items():
            if limits:
                low, high, saturated, u_low, u_high = torch.stack(limits).cpu().long().unbind(dim=1)
                self.saturations += int(saturated.sum())
                self._saw((int(low.min()), int(high.max())), (int(u_low.min()), int(u_high.max())), fires)
                limits.clear()
        super().report(part, name, large_inputs)


class TorchPopulation(Population):
    """Integer or float neurons on any device."""

    def advance(
        self,
        currents: torch.Tensor | None,
        out: torch.Tensor,
        steps: slice,
        rows: slice,
        *,
        fires: bool = True,
        potentials: torch.Tensor | None = None,
    ) -> np.ndarray:
        out = out[steps, rows]
        for t in range(len(out)):
            current = None if currents is None else currents[t if len(currents) > 1 else 0]
            out[t] = self._step(current, self.v[rows], self.u[rows], fires)
            if potentials is not None:
                potentials[steps.start + t, rows] = self.v[rows]
        if not fires or self.neurons.reset == "none":
            return np.zeros(len(out), dtype=np.int64)
        sent = out if self.neurons.largest_spike == 1 else out != 0
        self.counts[rows] += sent.sum(dim=0, dtype=torch.int32)
        return sent.sum(dim=(1, 2), dtype=torch.int64).cpu().numpy()

    def _step(self, current: torch.Tensor | None, v: torch.Tensor, u: torch.Tensor, fires: bool) -> torch.Tensor:
        """Advance v and u (rows, neurons), which are views, in place by one step of input in weight units; returns spikes."""
        u_range = None
        if current is not None:
            current = current.to(v.dtype) * self.scale
            if u.shape[1]:
                u.copy_(_wrap24(_decay(u, self.keeps[0]) + current))
                u_range = _limits(u)
                current = u
            if np.any(self.neurons.voltage_decay):
                v.copy_(_decay(v, self.keeps[1]))
            v += current
            if len(self.bias):
                v += self.bias
        low, high = _limits(v)
        if self.integer and (low < -MAX_STATE or high > MAX_STATE):
            self.saturations += int(torch.count_nonzero(v.abs() > MAX_STATE))
            v.clamp_(-MAX_STATE, MAX_STATE)
            low, high = _limits(v)
        self._saw((low, high), u_range, fires)
        if not fires or self.neurons.reset == "none":
            return torch.zeros((), dtype=torch.uint8, device=v.device)
        spikes = v > self.threshold
        if self.neurons.largest_spike > 1:
            spikes = torch.div(v - 1, self.threshold, rounding_mode="floor").clamp_(0, self.neurons.largest_spike)
        if self.neurons.reset == "soft":
            v.sub_(spikes.to(v.dtype), alpha=self.threshold)
        else:
            v.masked_fill_(spikes, 0)
        return spikes


def in_order(values: torch.Tensor, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Numbers of neurons (samples, neurons in memory order) as (samples, *shape)."""
    array: np.ndarray = values.cpu().numpy().astype(dtype)
    return from_memory(array.reshape(len(array), *memory_shape(shape)), 1)


def _nothing(like: torch.Tensor) -> torch.Tensor:
    """One step of no input."""
    return torch.zeros((1, *like.shape), dtype=torch.float32)


def _limits(values: torch.Tensor) -> Range:
    low, high = torch.aminmax(values)
    return low.item(), high.item()


def _wrap24(u: torch.Tensor) -> torch.Tensor:
    u = torch.where(u > MAX_STATE + 1, u - 2**24, u)
    return torch.where(u <= -MAX_STATE - 1, u + 2**24, u)


def _share_left(rate: int | np.ndarray, shape: tuple[int, ...]) -> torch.Tensor:
    if isinstance(rate, np.ndarray):
        rate = flat(per_neuron(rate, shape))
    return torch.tensor(1 - rate / NO_MEMORY, dtype=torch.float64)


def _decay(state: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    # A 24-bit number times 12 bits is exact in float64, and casting it rounds towards zero as Loihi does.
    return (state.double() * keep).to(state.dtype)
