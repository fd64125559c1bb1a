"""The child process in which a circuit runs on Lava: `python -m rmp_lava.selftest.worker JOB_FOLDER`.

As for networks (`rmp_lava.backends.lava_worker`): Lava forks, hangs and leaves processes behind, so it gets a group of its own.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

from ..backends.lava_worker import run_steps, serve
from .circuit import from_summary


def main(folder: Path) -> None:
    """Read `circuit.json`, run it on the CPU simulator, write `result.json` last."""
    from lava.magma.core.run_configs import Loihi2SimCfg

    from .lava_circuit import build

    built = build(from_summary(json.loads((folder / "circuit.json").read_text())))
    seconds = run_steps(built.process, Loihi2SimCfg(select_tag="fixed_pt"), built.circuit.steps, folder)
    recording = built.read(f"Lava {version('lava-nc')} CPU simulator, fixed_pt, Python {sys.version.split()[0]}")
    built.process.stop()
    result = {
        "seconds": seconds,
        "execution": recording.execution,
        "spikes": {name: each.tolist() for name, each in recording.spikes.items()},
        "currents": {name: each.tolist() for name, each in recording.currents.items()},
    }
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    serve(main, Path(sys.argv[1]))
