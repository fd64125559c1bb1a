"""Shared by all tests: hypothesis profiles, skipping of Lava tests, and a file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

_ANY = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("default", **_ANY)
settings.register_profile("ci", derandomize=True, print_blob=True, **_ANY)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture
def net(tmp_path) -> Path:
    """A file with every key of the format."""
    from net_files import conv_network

    from rmp_lava.netx import save

    return save(conv_network(), tmp_path / "a.net")


@pytest.fixture(scope="module")
def no_waiting_for_the_disk():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def pytest_collection_modifyitems(items):
    from rmp_lava.backends.lava.simulator import availability

    reason = availability()
    if reason:
        for item in items:
            if "lava" in item.keywords and item.get_closest_marker("lava"):
                item.add_marker(pytest.mark.skip(reason=reason))
