"""Training with torchrun, on CPUs, gives the weights of a single process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rmp_lava.training.checkpoint import load_checkpoint

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = """
import json, sys
import numpy as np
from rmp_lava.training.data import Dataset
from rmp_lava.training.distributed import is_leader
from rmp_lava.training.train import train

settings = json.loads(sys.argv[1])
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (47, 3, 32, 32), dtype=np.uint8)
labels = np.arange(47) % 10
data = Dataset("cifar10", images, labels, images[:9], labels[:9], tuple("abcdefghij"), "made here")
stop = settings.pop("stop", None)

def on_epoch(record):
    if record.epoch == stop:
        raise KeyboardInterrupt

try:
    result = train("vgg16-cifar", data, epochs=2, batch_size=14, optimizer="sgd", progress=False, validation_fraction=0.2,
                   learning_rate=0.02, on_epoch=on_epoch, precision="float32", **settings)
    print("result", result.history[-1].loss, flush=True)
except KeyboardInterrupt:
    print("stopped", flush=True)
"""


def run(tmp_path: Path, processes: int, **settings) -> subprocess.CompletedProcess:
    script = tmp_path / "script.py"
    script.write_text(f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + SCRIPT)
    launch = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launch, str(script), json.dumps(settings)]
    return subprocess.run(command, capture_output=True, text=True, timeout=280, env=_environment())


def _environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def trained(tmp_path: Path, name: str, processes: int, **settings) -> dict[str, torch.Tensor]:
    done = run(tmp_path, processes, checkpoint_path=str(tmp_path / name), **settings)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("result") == processes, done.stdout + done.stderr
    return load_checkpoint(tmp_path / name).state_dict


EXACT = {"options": {"width": 0.0625, "dropout": 0.0}, "augmentation": "none"}


@pytest.mark.slow
def test_two_processes_give_the_weights_of_one(tmp_path):
    one, two = (trained(tmp_path, f"{count}.pt", count, **EXACT) for count in (1, 2))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-3, atol=1e-5, msg=name)
    start = run(tmp_path, 1, checkpoint_path=str(tmp_path / "other.pt"), **EXACT, seed=1)
    assert start.returncode == 0
    other = load_checkpoint(tmp_path / "other.pt").state_dict
    assert not all(torch.allclose(other[name], value, rtol=1e-3, atol=1e-5) for name, value in one.items())


@pytest.mark.slow
def test_resumed_training_of_two_processes_is_the_uninterrupted_one_bit_for_bit(tmp_path):
    settings = {"options": {"width": 0.0625, "batch_norm": True}}
    whole = trained(tmp_path, "whole.pt", 2, **settings)
    path = str(tmp_path / "part.pt")
    assert "stopped" in run(tmp_path, 2, checkpoint_path=path, stop=1, **settings).stdout
    assert len(load_checkpoint(path).training["history"]) == 1
    refused = run(tmp_path, 1, checkpoint_path=path, resume=True, **settings)
    assert "was made with processes 2, but 1 was given" in refused.stderr
    part = trained(tmp_path, "part.pt", 2, resume=True, **settings)
    assert all(torch.equal(part[name], value) for name, value in whole.items())


@pytest.mark.slow
def test_command_prints_once_and_small_batches_are_refused(tmp_path):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "rmp_lava"]
    train = [*launch, "train", "digits-cnn", "--epochs", "1", "--output", str(tmp_path / "a.pt")]
    done = subprocess.run(train, capture_output=True, text=True, timeout=280, cwd=ROOT, env=_environment())
    assert done.returncode == 0 and done.stdout.count("Epoch 1 of 1") == 1 and done.stdout.count("Checkpoint:") == 1
    train += ["--batch-size", "3"]
    done = subprocess.run(train, capture_output=True, text=True, timeout=280, cwd=ROOT, env=_environment())
    assert done.returncode != 0 and "for 2 processes; give a batch_size of at least 4" in done.stderr
