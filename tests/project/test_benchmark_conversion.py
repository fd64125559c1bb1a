"""The benchmark of what integers keep, on a few of its architectures."""

import re
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("benchmarks/ is part of the repository, not of the package")
    monkeypatch.syspath_prepend(str(ROOT))
    from benchmarks import architectures, conversion

    return architectures, conversion


def test_every_architecture_is_built_and_takes_the_patterns(benchmark):
    architectures, _ = benchmark
    images = torch.from_numpy(architectures.patterns(4, 0)[0])
    assert len(architectures.ARCHITECTURES) >= 20
    for build in architectures.ARCHITECTURES.values():
        assert build()(images).shape == (4, architectures.CLASSES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp_batch_norm", "mobilenet_v1", "preactivation", "zero_branch"])
def test_integers_agree_with_the_trained_network(benchmark, name):
    _, conversion = benchmark
    (row,) = conversion.measure(name, [64], 0)
    found = re.search(r"float agrees +([\d.]+)%  integer +([\d.]+)%", row)
    assert found, row  # neither refused by check, nor after it
    floating, integer = map(float, found.groups())
    assert integer >= 97 and integer >= floating - 1, row
