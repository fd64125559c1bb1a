"""The child process in which a circuit runs on Lava: `python -m rmp_lava.selftest.worker JOB_FOLDER`.

As for networks (`rmp_lava.backends.lava.worker`): Lava forks, hangs and leaves processes behind, so it gets a group of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..backends.circuit import from_summary
from ..backends.lava.worker import run_steps, serve


def main(folder: Path) -> None:
    """Read `job.json`, run its circuit between the ends that it names, write `result.json` last."""
    from .lava_circuit import build
    from .lava_ends import ends_of

    job = json.loads((folder / "job.json").read_text())
    built = build(from_summary(job["circuit"]), ends_of(job))
    seconds = run_steps(built.process, built.ends.run_config(), built.steps, folder)
    recording = built.read()
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
