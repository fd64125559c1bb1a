"""Training in the processes that `torchrun` has started: each takes its share of every batch, gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from ..errors import UsageError


def process_count() -> int:
    """Number of processes that `torchrun` has started for this training; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if distributed.is_torchelastic_launched() else 1


def is_leader() -> bool:
    """Whether this process writes files and prints: the first one, or the only one."""
    return process_count() == 1 or int(os.environ["RANK"]) == 0


@dataclass(frozen=True)
class Processes:
    """The `count` processes of a training, seen from number `rank`, which computes on `device`.

    In `from_first`, `total` and `agree` they wait for each other.
    """

    rank: int
    count: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes the checkpoint and shows progress."""
        return self.rank == 0

    def seed_apart(self, seed: int, epoch: int) -> None:
        """Seed every process but the first differently for this epoch, and equally after a resume."""
        if self.rank:
            (own,) = np.random.SeedSequence([seed, self.rank, epoch]).generate_state(1)
            torch.default_generator.manual_seed(int(own))
            if self.device.type == "cuda":
                torch.cuda.manual_seed(int(own))

    def from_first(self, values: torch.Tensor) -> torch.Tensor:
        """The first process's values, in all of them; shape and dtype must be equal everywhere."""
        if self.count == 1:
            return values
        shared = values.to(self.device)
        distributed.broadcast(shared, 0)
        return shared.to(values.device)

    def total(self, values: torch.Tensor) -> torch.Tensor:
        """The sum over the processes, in all of them."""
        if self.count > 1:
            distributed.all_reduce(values)
        return values

    def share_of(self, batch: torch.Tensor) -> torch.Tensor:
        """This process's part of the images of a batch."""
        return batch[self.rank :: self.count]

    def wrapped(self, model: nn.Module) -> nn.Module:
        """The model, wrapped so that a backward pass averages gradients over the processes."""
        return model if self.count == 1 else DistributedDataParallel(model)

    def agree(self, model: nn.Module) -> None:
        """Set the model's buffers, such as running means, to the first process's."""
        for buffer in model.buffers():
            buffer.copy_(self.from_first(buffer))


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the other processes of the training, on CPUs through gloo and on GPUs through NCCL (never run).

    With several processes, device 'cuda' is the GPU of the process's number on its machine. Raises `UsageError` if there are
    several, and the device has an index, or there are fewer GPUs than processes.
    """
    count, place = process_count(), torch.device(device)
    if count == 1:
        yield Processes(0, 1, place)
        return
    if place.index is not None:
        raise UsageError(
            f"device is {device!r}, but torchrun started {count} processes; give 'cuda', and each takes its own"
        )
    if place.type == "cuda":
        own, found = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if own >= found:
            raise UsageError(
                f"torchrun started more processes than the {found} GPUs of this machine; give --nproc-per-node {found}"
            )
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Processes(distributed.get_rank(), count, place)
    finally:
        distributed.destroy_process_group()
