"""Conversions on a cluster: the network is that of one process, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rmp_lava.conversion.pipeline import convert
from rmp_lava.errors import BackendError, UsageError
from rmp_lava.study.cluster import Cluster, calls
from rmp_lava.threads import limited_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("dask_jobqueue") is None, reason="Dask is not installed: the extra cluster"),
]
IMAGES = np.random.default_rng(0).random((48, 1, 6, 6), dtype=np.float32)


def model() -> nn.Module:
    torch.manual_seed(3)
    layers = (nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    return nn.Sequential(*layers).eval()


def in_process(folder: str, number: int) -> tuple[int, int]:
    """The number and its process, which ends itself in the first call with 13, and in each call with 66."""
    told = Path(folder) / "ended"
    if number == 66 or number == 13 and not told.exists():
        told.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 7:
        raise UsageError("number is 7")
    return number, os.getpid()


def test_a_search_on_workers_gives_the_network_of_one_process():
    options = {"steps": 4, "alpha": 2.0, "search": "outputs", "wait": "auto", "seed": 1}
    with limited_to(1):
        one = convert(model(), IMAGES, **options)
        with calls("local:2", Cluster()) as (there, _):
            many = convert(model(), IMAGES, calls=there, **options)
    assert many.request.again(steps=2, wait=0).steps == 2  # the workers are gone
    assert one.floating == many.floating and one.integer == many.integer
    assert one.floating.provenance == many.floating.provenance
    assert len(one.floating.provenance["balance"]["tried"]) == 8 and "search" in one.floating.provenance


def test_calls_survive_the_loss_of_the_only_worker_and_its_data(tmp_path):
    import dask

    # As on a machine that is so busy that a worker takes longer to start than Dask waits for it.
    impatient = dask.config.set({"distributed.deploy.lost-worker-timeout": "0 s"})
    with impatient, calls("local:1", Cluster()) as (there, _):
        assert list(there(in_process, str(tmp_path), [12]))[0][1] != os.getpid()
        found = list(there(in_process, str(tmp_path), [13, 14]))
        assert [number for number, _ in found] == [13, 14]
        with pytest.raises(UsageError, match="number is 7"):
            list(there(in_process, str(tmp_path), [7]))
        with pytest.raises(BackendError, match="give workers more memory"):
            list(there(in_process, str(tmp_path), [66]))
