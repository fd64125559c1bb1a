"""Put a converted network into a Lava program of your own (Python 3.10 with Lava).

    python examples/lava_processes.py exports/reference/digits-soft.net

The network's Processes are ordinary Lava Processes, so you can connect others to their ports. `rmp_lava.run` does the same in
a separate process group, which is safer. Here everything runs in this interpreter, so PyTorch must not be imported.
"""

import sys

import numpy as np
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source

import rmp_lava
from rmp_lava.backends.lava.build import build
from rmp_lava.backends.lava.population import lava_shape
from rmp_lava.encoding import encode
from rmp_lava.schedule import schedule
from rmp_lava.training.data import load

LEAD_IN = 1


def main(path: str, steps: int = 64) -> None:
    """Run one digit and print the spike count of each class."""
    network = rmp_lava.load(path)
    plan = schedule(network, steps)
    digits = load("digits")
    image, label = digits.test_images[:1], digits.test_labels[0]
    messages = encode(network.input, image, steps)[0]

    # One lead-in step, then the input's window. The output's window starts `depth` steps later; the input is then silent.
    first = LEAD_IN + plan.depth
    data = np.zeros((*lava_shape(network.input.shape), first + steps), dtype=np.int32)
    data[..., LEAD_IN : LEAD_IN + steps] = messages.transpose(3, 2, 1, 0)  # (width, height, channels, time)
    source = Source(data=data)
    output = build(network, source.s_out, plan, lead_in=LEAD_IN)[network.output.name]
    sink = Sink(shape=output.shape, buffer=first + steps)
    output.s_out.connect(sink.a_in)
    try:
        source.run(RunSteps(first + steps), Loihi2SimCfg(select_tag="fixed_pt"))
        counts = sink.data.get()[..., first:].sum(axis=-1).astype(int)  # the output's window of T steps
    finally:
        source.stop()
    print(f"digit {label}: spikes per class {counts.tolist()}, prediction {counts.argmax()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "exports/reference/digits-soft.net")
