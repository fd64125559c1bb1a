"""Tests for rmp_lava.threads: never more threads than cores that the process may use, and idle ones sleep."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from rmp_lava import threads


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A function that writes control groups of a machine with 8 cores, and returns its root."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setattr(threads, "_settled", {})

    def write(groups: str, **files: str):
        for path, text in {"proc/self/cgroup": groups, **files}.items():
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).write_text(text)
        return tmp_path

    return write


@pytest.mark.parametrize(("limit", "cores"), [("150000 100000", 2), ("max 100000", 8), ("50000 100000", 1), ("", 8)])
def test_quota_of_version_2_rounded_up(machine, limit, cores):
    root = machine("0::/jobs/one\n", **{"sys/fs/cgroup/jobs/cpu.max": limit, "sys/fs/cgroup/jobs/one/cpu.max": "max"})
    assert threads.usable_cores({}, root) == cores


def test_the_least_quota_of_all_groups_counts(machine):
    files = {"sys/fs/cgroup/a/cpu.max": "300000 100000", "sys/fs/cgroup/a/b/cpu.max": "700000 100000"}
    assert threads.usable_cores({}, machine("0::/a/b\n", **files)) == 3


@pytest.mark.parametrize("controllers", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize(("quota", "cores"), [("400000", 4), ("-1", 8)])
def test_quota_of_version_1(machine, controllers, quota, cores):
    # The path is the host's: in the container only the root exists.
    folder = f"sys/fs/cgroup/{controllers}"
    root = machine(
        f"3:memory:/m\n1:{controllers}:/docker/x\n",
        **{f"{folder}/cpu.cfs_quota_us": quota, f"{folder}/cpu.cfs_period_us": "100000"},
    )
    assert threads.usable_cores({}, root) == cores


@pytest.mark.parametrize(("allocated", "cores"), [("2", 2), ("32", 8), ("0", 1), ("", 8), ("4(x2)", 8)])
def test_allocation_of_slurm(machine, allocated, cores):
    assert threads.usable_cores({"SLURM_CPUS_PER_TASK": allocated}, machine("")) == cores


def test_settings_of_the_user_stay(machine):
    machine("")
    for given in ({"OMP_WAIT_POLICY": "ACTIVE"}, {"GOMP_SPINCOUNT": "9"}, {"KMP_BLOCKTIME": "1"}):
        found = {"OMP_NUM_THREADS": "7", "SLURM_CPUS_PER_TASK": "2"} | given
        threads.settle(found)
        assert found == {"OMP_NUM_THREADS": "7", "SLURM_CPUS_PER_TASK": "2"} | given
        assert threads.of_user(found) == found


def test_fewer_cores_than_the_machine_has_are_fewer_threads(machine):
    machine("")
    found = {"SLURM_CPUS_PER_TASK": "2"}
    threads.settle(found)
    assert found["OMP_NUM_THREADS"] == "2" and found["OMP_WAIT_POLICY"] == "PASSIVE"
    assert threads.of_user(found) == {"SLURM_CPUS_PER_TASK": "2"}


def test_all_cores_need_no_number_of_threads(machine):
    machine("")
    found = {}
    threads.settle(found)
    assert set(found) == {"OMP_WAIT_POLICY", "KMP_BLOCKTIME"}


def test_the_number_of_threads_comes_back():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ZeroDivisionError), threads.limited_to(1):
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError
        assert torch.get_num_threads() == 2
        with threads.limited_to(3):
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_idle_threads_of_pytorch_sleep():
    # Between its calls, a second thread that spins would add the waiting time to the CPU time.
    program = """
import rmp_lava, time, torch
torch.set_num_threads(2)
a = torch.ones(200, 200)
for _ in range(5):
    a @ a
started = time.process_time()
for _ in range(200):
    a @ a
    time.sleep(0.002)
print(time.process_time() - started)
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "KMP", "GOMP"))}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.2
