"""Processes that read messages from files, and write spikes and potentials to files, in the run's own folder.

Lava copies variables between operating system processes value by value. Files make long runs possible and survive the processes.
"""

from __future__ import annotations

from lava.magma.core.process.ports.ports import InPort, OutPort, RefPort
from lava.magma.core.process.process import AbstractProcess
from lava.magma.core.process.variable import Var


class MessageSource(AbstractProcess):
    """Sends the messages in a file: sample after sample, each for `steps` steps of every `period`, then nothing.

    shape : Of the port, Lava order.
    path : `.npy` of shape (samples, steps or 1, *channel-first shape); 1 means the same message in every step.
    steps, period, lead_in : Steps of input per sample, steps from one sample to the next, steps before the first one.
    """

    def __init__(self, *, shape: tuple[int, ...], path: str, steps: int, period: int, lead_in: int) -> None:
        super().__init__(shape=shape, path=path, steps=steps, period=period, lead_in=lead_in)
        self.s_out = OutPort(shape=shape)


class Delay(AbstractProcess):
    """Delays messages by some steps, as synapses with a delay do.

    shape : Of both ports, Lava order.
    steps : At least 1.
    """

    def __init__(self, *, shape: tuple[int, ...], steps: int) -> None:
        if steps < 1:
            raise ValueError(f"steps are {steps}; a delay takes at least 1")
        super().__init__(shape=shape, steps=steps)
        self.s_in = InPort(shape=shape)
        self.s_out = OutPort(shape=shape)


class SpikeSink(AbstractProcess):
    """Counts each neuron's messages per sample in files, and optionally keeps every message.

    shape : Of the port, Lava order.
    paths : What to write -> `.npy` file. "counts", "last", "crossing": (samples, *channel-first shape), messages in each
        sample's observed steps, in the last one of them, and outside of them; "sums": what they add up to. "spikes": (samples,
        steps, *channel-first shape), every message of the observed steps. "done": (1,), number of finished samples, for a
        progress display.
    samples, steps, period, lead_in : Observed steps of a sample, steps from one sample to the next, and before the first one.
    wait : Steps of each sample before the observed ones.
    crosses : Steps of each period in which messages are "crossing", from 0.
    """

    def __init__(
        self,
        *,
        shape: tuple[int, ...],
        paths: dict[str, str],
        samples: int,
        steps: int,
        period: int,
        lead_in: int,
        wait: int = 0,
        crosses: tuple[int, ...] = (),
    ) -> None:
        super().__init__(
            shape=shape,
            paths=paths,
            samples=samples,
            steps=steps,
            period=period,
            lead_in=lead_in,
            wait=wait,
            crosses=crosses,
        )
        self.a_in = InPort(shape=shape)


class StateProbe(AbstractProcess):
    """Writes a Var to a file at the end of each sample's window.

    var : Of the probed Process.
    path : `.npy` (samples, *channel-first shape).
    samples, steps, period, lead_in : As for `SpikeSink`.
    """

    def __init__(self, *, var: Var, path: str, samples: int, steps: int, period: int, lead_in: int) -> None:
        super().__init__(path=path, samples=samples, steps=steps, period=period, lead_in=lead_in, shape=var.shape)
        self.state = RefPort(var.shape)
        self.state.connect_var(var)


class StateReader(AbstractProcess):
    """Sends a Var's values at the end of one step of each interval; they arrive in the next step.

    As lava-loihi's `lava.proc.embedded_io.state.Read` does on a board, and as lava-dl's tutorials do on the CPU
    (netx/pilotnet_snn/utils.py, `VoltageReader`).

    var : Of the Process that is read.
    interval, step : Reads at the end of step `step` and of every `interval` steps before and after.
    """

    def __init__(self, *, var: Var, interval: int, step: int) -> None:
        super().__init__(interval=interval, step=step, shape=var.shape)
        self.state = RefPort(var.shape)
        self.out = OutPort(var.shape)
        self.state.connect_var(var)


class StateSink(AbstractProcess):
    """Writes what a reader sends at the end of each sample's window to a file.

    shape : Of the port, Lava order.
    path : `.npy` (samples, *channel-first shape).
    samples, steps, period, lead_in : As for `SpikeSink`; messages arrive in the step after the window's last one, in every
        period.
    """

    def __init__(
        self, *, shape: tuple[int, ...], path: str, samples: int, steps: int, period: int, lead_in: int
    ) -> None:
        super().__init__(path=path, samples=samples, steps=steps, period=period, lead_in=lead_in, shape=shape)
        self.a_in = InPort(shape=shape)
