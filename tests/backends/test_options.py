"""The options of each backend are frozen values that check themselves."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

import rmp_lava
from rmp_lava.backends import Fast, Lava, Loihi2, Reference
from rmp_lava.backends.options import KINDS, options_of
from rmp_lava.choices import Backend, options
from rmp_lava.cli.networks import backend_options
from rmp_lava.errors import UsageError


def test_a_name_is_the_short_form_of_the_value_with_all_defaults():
    assert tuple(KINDS) == options(Backend)
    for name, kind in KINDS.items():
        assert kind.name == name and options_of(name) == kind()
    assert options_of(value := Fast(kernel="int8")) is value


@pytest.mark.parametrize("backend", ["gpu", "", None, Fast, 3, ["fast"]])
def test_nothing_else_is_a_backend(backend):
    with pytest.raises(UsageError, match="is unknown; choose one of reference, fast, lava, loihi2"):
        rmp_lava.run(None, np.ones((1, 1)), 1, backend)


@pytest.mark.parametrize(
    ("kind", "values", "found"),
    [
        (Reference, {"implementation": "own"}, "implementation is 'own'; choose one of native, stock"),
        (Fast, {"kernel": "int4"}, "kernel is 'int4'; choose one of auto, int8, int8-matmul, float32"),
        (Fast, {"memory": 0}, "memory is 0; allowed are positive integers"),
        (Fast, {"memory": "1 GiB"}, "memory is 1 GiB; allowed are positive integers"),
        (Fast, {"confidence": 0}, "confidence is 0; it must be above 0 and at most 1"),
        (Fast, {"confidence": float("nan")}, "confidence is nan"),
        (Lava, {"time_limit": float("inf")}, "time limit is inf; it must be a positive number of seconds"),
        (Lava, {"implementation": "stock", "neuron_program": "a:b"}, "neuron_program replaces native neurons"),
    ],
)
def test_values_check_themselves(kind, values, found):
    with pytest.raises(UsageError, match=found):
        kind(**values)


def test_values_are_frozen_and_compare():
    assert Lava("stock") == Lava(implementation="stock") != Lava() and {Fast(): 1}[Fast()] == 1
    with pytest.raises(FrozenInstanceError):
        Fast().device = "cuda"


def test_the_command_line_makes_the_value_of_its_backend():
    assert backend_options("fast", device=None, kernel="int8", implementation="native") == Fast(kernel="int8")
    assert backend_options("lava", implementation="stock", time_limit=3.0) == Lava("stock", time_limit=3.0)
    own = Loihi2(implementation="native", neuron_program="a:b")
    assert backend_options("loihi2", neuron_program="a:b") == own


@pytest.mark.parametrize(
    ("backend", "given", "found"),
    [
        (
            "reference",
            {"kernel": "int8"},
            "--kernel int8 is for backend 'fast'; backend 'reference' does not accept it",
        ),
        ("fast", {"time_limit": 3.0}, "--time-limit 3.0 is for backend 'lava' or 'loihi2'; backend 'fast' does not"),
        ("fast", {"implementation": "stock"}, "is for backend 'reference' or 'lava' or 'loihi2'"),
        ("lava", {"measure": "chip"}, "--measure chip is for backend 'loihi2'"),
    ],
)
def test_the_command_line_refuses_options_of_other_backends(backend, given, found):
    with pytest.raises(UsageError, match=found):
        backend_options(backend, **given)


def test_options_import_neither_torch_nor_lava():
    code = "import sys; from rmp_lava import Fast, Lava, Loihi2, Reference; print({'torch', 'lava'} & {*sys.modules})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
