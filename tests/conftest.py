"""Shared by all tests: Hypothesis profiles, skipping of Lava tests, no waiting for the disk, and a file."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from browser import Browser

_ANY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", **_ANY)
settings.register_profile("ci", derandomize=True, print_blob=True, **_ANY)
# A few of the examples, always the same ones: `make check` chooses it by --hypothesis-profile=fast.
settings.register_profile("fast", max_examples=6, derandomize=True, database=None, **_ANY)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """Files are written whole or not at all, which costs an fsync each; tests need none, as no test cuts the power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_lines_on_progress() -> Iterator[None]:
    """Tests compare what a command writes to standard error, whatever the time that it takes."""
    from rmp_lava import progress

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progress, "FIRST", 3600.0)
        patch.setattr(progress, "LONG", 3600.0)
        yield


@pytest.fixture(scope="session")
def _net(tmp_path_factory) -> Path:
    from net_files import conv_network

    from rmp_lava.netx import save

    return save(conv_network(), tmp_path_factory.mktemp("net") / "a.net")


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Such small networks gain nothing from a second thread, and lose much where other processes run too."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def call(capsys) -> Callable[..., tuple[int, str, str]]:
    """Call the command line in this process: (exit code, standard output, standard error)."""
    from commands import run_main

    def run(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        return (run_main(*arguments), *capsys.readouterr())

    return run


@pytest.fixture
def error(call) -> Callable[..., str]:
    """Call the command line, and see it end with one sentence on standard error and nothing else."""

    def run(*arguments: object) -> str:
        code, _, text = call(*arguments)
        assert code == 2
        assert text.startswith("error: ") and text.endswith("\n") and text.count("\n") == 1, text
        return text

    return run


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real one; tests that open pages are skipped without it."""
    from browser import MISSING, Browser, find

    command = find()
    if command is None:
        pytest.skip(MISSING)
    pytest.importorskip("axe_core_python")
    with Browser(command) as opened:
        yield opened


@pytest.fixture
def net(_net, tmp_path) -> Path:
    """A file with every key of the format, of which a test may make what it likes."""
    return Path(shutil.copyfile(_net, tmp_path / "a.net"))


_LONGEST = {"test_fashion_mnist_is_learned_and_kept_in_integers", "test_conversion_is_measured_and_shown"}
"""Tests of minutes, which start first."""
_EXPENSIVE = {"converted_digits", "trained_digits", "browser"}
"""Fixtures that train a network or start a browser; tests that use them are slow."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    for item in items:
        if _EXPENSIVE & set(item.fixturenames):
            item.add_marker("slow")
        if "browser" in item.fixturenames:
            item.add_marker(pytest.mark.xdist_group("browser"))  # which starts once
    if hasattr(config, "workerinput"):
        # Of several workers none is left with a long test at the end.
        items.sort(key=lambda item: (item.get_closest_marker("slow") is None, item.name not in _LONGEST))
    if not any(item.get_closest_marker("lava") for item in items):
        return
    from rmp_lava.backends.lava.simulator import availability

    reason = availability()
    if reason:
        for item in items:
            if item.get_closest_marker("lava"):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """The weights of a test's networks do not depend on the tests that its worker ran before."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(zlib.crc32(item.nodeid.encode()))


def _hide_current_test():
    """Runs of Lava share a template as long as the environment stays, in which pytest writes the name of each test."""
    os.environ.pop("PYTEST_CURRENT_TEST", None)


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup():
    _hide_current_test()


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call():
    _hide_current_test()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item):
    if item.get_closest_marker("slow"):
        gc.collect()  # networks of ImageNet's size lie in cycles, and the next one needs the memory


def pytest_collection_finish():
    # Imports and tests live to the end: the garbage collector need not look at them, about a tenth of what tests cost.
    gc.freeze()
    gc.set_threshold(10_000)
