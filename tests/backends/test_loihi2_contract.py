"""The contract with lava-loihi, kept on modules made for it: what is called, with what, and what is missing is named."""

from __future__ import annotations

import dataclasses
import enum
import re
import types
from pathlib import Path

import numpy as np
import pytest

import rmp_lava
from rmp_lava.backends.loihi2 import Board, api
from rmp_lava.backends.loihi2.contract import CONTRACT, ApiName, Parameter, problems
from rmp_lava.errors import BackendError, BackendUnavailableError
from rmp_lava.network import INPUT, Dense, Input, Layer, Neurons, SpikingNetwork, populations
from rmp_lava.schedule import schedule


class Probe:
    def __init__(self, num_steps, *, buffer_size=1024): ...


class Positional:
    def __init__(self, num_steps, /): ...


class Demanding:
    def __init__(self, num_steps, board): ...


class Open:
    def __init__(self, **anything): ...


class Reader:
    def __init__(self, num_steps): ...

    def connect_var(self, var, *, precision=24): ...

    def select(self, process): ...


class Generation(enum.Enum):
    N3B3 = "N3B3"


def function(num_steps): ...


STAND_INS = types.SimpleNamespace(
    Probe=Probe,
    Positional=Positional,
    Demanding=Demanding,
    Open=Open,
    Reader=Reader,
    Generation=Generation,
    function=function,
    value=3,
)


@pytest.mark.parametrize(
    ("name", "kind", "parameters", "members", "sentence"),
    [
        ("Probe", "class", ("num_steps",), {}, None),
        ("Open", "class", ("num_steps",), {}, None),
        ("function", "function", ("num_steps",), {}, None),
        ("Generation", "class", (), {"N3B3": None}, None),
        ("Absent", "class", (), {}, "some.module.Absent of lava-loihi is missing"),
        ("Probe", "class", ("steps",), {}, "has no parameter 'steps', only (num_steps, buffer_size)"),
        ("Positional", "class", ("num_steps",), {}, "has no parameter 'num_steps'"),
        ("Demanding", "class", ("num_steps",), {}, "also requires 'board'"),
        ("Probe", "class", (), {}, "also requires 'num_steps'"),
        ("function", "class", (), {}, "is not a class but function"),
        ("Probe", "function", ("num_steps",), {}, "is not a function but type"),
        ("value", "function", (), {}, "is not a function but int"),
        ("Generation", "class", (), {"N3B3": None, "N3C1": None}, "has no N3C1"),
        ("Reader", "class", ("num_steps",), {"connect_var": 1}, None),
        ("Reader", "class", ("num_steps",), {"read": 1}, "has no read"),
        ("Reader", "class", ("num_steps",), {"select": 2}, "has a select that does not take 2 by position"),
    ],
)
def test_the_contract_finds_what_is_missing_or_different(name, kind, parameters, members, sentence):
    parameters = tuple(Parameter(each, int, "steps") for each in parameters)
    entry = ApiName(f"some.module.{name}", kind, parameters, "a public notebook", members)
    found = problems([entry], {"some.module": STAND_INS}.__getitem__)
    assert (found == []) if sentence is None else (len(found) == 1 and sentence in found[0]), found


def test_a_library_that_breaks_at_import_is_a_finding_not_a_crash():
    def broken(name):
        raise OSError("libnx.so: cannot open shared object file")

    found = problems(CONTRACT, broken)
    assert len(found) == len(CONTRACT) and all("libnx.so" in sentence for sentence in found)


@pytest.mark.lava
def test_lava_itself_keeps_to_the_contract():
    ours = [name for name in CONTRACT if name.package == "lava-nc"]
    assert {name.dotted.rpartition(".")[2] for name in ours} == {
        "use_slurm_host",
        "use_ethernet_host",
        "ChipGeneration",
        "Loihi2HwCfg",
    }
    assert problems(ours) == []


@pytest.mark.lava
def test_neurons_without_a_model_for_neuro_cores_are_never_simulated_instead():
    # Lava's own configuration falls back on a Python model.
    from lava.magma.core.run_configs import Loihi2HwCfg
    from lava.proc.lif.models import PyLifModelBitAcc
    from lava.proc.lif.process import LIF

    from rmp_lava.backends.loihi2.adapters import ON_THE_HOST
    from rmp_lava.processes.io import MessageSource
    from rmp_lava.processes.io_models import PyMessageSourceFixed
    from rmp_lava.processes.rmp import RMP
    from rmp_lava.processes.rmp_models import PyRmpModelFixed

    neurons = LIF(shape=(2,))
    assert Loihi2HwCfg().select(neurons, [PyLifModelBitAcc]) is PyLifModelBitAcc
    config = api.run_config(ON_THE_HOST, [])
    with pytest.raises(BackendError, match="no model of LIF for a neuro-core, and PyLifModelBitAcc would simulate it"):
        config.select(neurons, [PyLifModelBitAcc])
    with pytest.raises(
        BackendError, match="PyRmpModelFixed is a Python model of RMP, which would simulate it on the host"
    ):
        api.run_config(ON_THE_HOST, [], {RMP: PyRmpModelFixed})
    source = MessageSource(shape=(2,), path="none", steps=1, period=1, lead_in=0)
    assert config.select(source, [PyMessageSourceFixed]) is PyMessageSourceFixed


@pytest.mark.lava
@pytest.mark.parametrize("board", [Board(partition="oheogulch"), Board(host="192.0.2.1")])
def test_selecting_a_board_without_lava_loihi_is_an_error_of_one_sentence(board):
    with pytest.raises(BackendUnavailableError, match="cannot be reached: .*not installed"):
        api.select_board(board)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (None, "measured no core_idx"),
        (["a"], "measured no core_idx"),
        ([], r"core_idx has shape \(0,\)"),
        ([[1.0]], r"core_idx has shape \(1, 1\)"),
        ([float("nan")], "finite numbers in one row, which neuro-core"),
    ],
)
def test_readings_that_are_not_numbers_are_refused(values, sentence):
    probe = types.SimpleNamespace() if values is None else types.SimpleNamespace(core_idx=values)
    with pytest.raises(BackendError, match=f"Loihi2Memory.* ?{sentence}"):
        api.reading("memory", probe)


class ChipGeneration(enum.Enum):
    N3B3 = "N3B3"


def as_the_contract_has_it(name: str) -> types.SimpleNamespace:
    """A module whose names take the contract's keywords and nothing else; it measures nothing."""

    def stands_in(entry: ApiName):
        if entry.dotted.endswith("ChipGeneration"):
            return ChipGeneration

        def called(self, **keywords):
            wanted = {parameter.name for parameter in entry.parameters}
            assert set(keywords) <= wanted, f"{entry.dotted} was called with {sorted(keywords)}"
            self.keywords = keywords
            for port in entry.ports:
                setattr(self, port, port)

        members = {member: lambda *_: None for member in entry.members}
        made = type(entry.dotted, (), {"__init__": called, **members})
        return made if entry.kind == "class" else lambda **keywords: made(**keywords)

    entries = [entry for entry in CONTRACT if entry.dotted.rpartition(".")[0] == name]
    assert entries, f"{name} is called, but the contract has nothing of it"
    return types.SimpleNamespace(**{entry.dotted.rpartition(".")[2]: stands_in(entry) for entry in entries})


class Port:
    """A port of neurons."""

    def __init__(self, shape=(3, 2, 1)) -> None:
        self.shape, self.connected = shape, []
        self.connect = self.connected.append


def test_calls_are_those_of_the_contract(monkeypatch):
    monkeypatch.setattr(api, "_module", as_the_contract_has_it)
    port = Port()
    assert api.into_chip(port, 16, convolution=True) == api.into_chip(port, 0, convolution=False) == "out"
    assert api.out_of_chip(port) == "out" and port.connected == ["inp"] * 3
    assert api.state_out_of_chip(port, 8, 12) == "out"
    made = {kind: api.probe(kind, 64).keywords for kind in api.PROBES}
    assert made == {"power": {"num_steps": 64}, "time": {}, "activity": {}, "memory": {}}
    for board in (Board(partition="kp"), Board(node="og-1"), Board(host="h")):
        assert api.select_board(board) == board.describe()


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (
            lambda: api.into_chip(Port([3]), 0, convolution=False),
            r"shape of .*PyToNxAdapter is \[3\]; it must be tuple: neurons",
        ),
        (
            lambda: api.into_chip(Port(), 2.0, convolution=True),
            "num_message_bits of .* is 2.0; it must be int: bits of",
        ),
        (lambda: api.into_chip(Port(), True, convolution=True), "num_message_bits of .* is True; it must be int"),
        (lambda: api.out_of_chip(Port(None)), "shape of .*NxToPyAdapter is None; it must be tuple"),
        (
            lambda: api.state_out_of_chip(Port(), 8.0, 12),
            "interval of .*Read is 8.0; it must be int: time steps from one",
        ),
        (lambda: api.probe("power", "64"), "num_steps of .*Loihi2Power is '64'; it must be int: time steps of the run"),
    ],
)
def test_what_is_passed_is_of_the_contract_s_types(monkeypatch, call, sentence):
    monkeypatch.setattr(api, "_module", as_the_contract_has_it)
    with pytest.raises(BackendError, match=sentence):
        call()


@pytest.mark.lava
def test_shapes_of_lavas_ports_are_of_the_contract_s_type():
    from lava.proc.lif.process import LIF

    port = LIF(shape=(3, 2, 1)).s_out
    for each in (port, port.flatten(), port.reshape((6,)), port.transpose([2, 1, 0]), LIF(shape=(2,)).u):
        assert isinstance(each.shape, tuple) and all(isinstance(length, int) for length in each.shape)


@pytest.mark.parametrize(
    ("port", "call"),
    [
        ("inp", lambda: api.into_chip(Port(), 0, convolution=False)),
        ("out", lambda: api.out_of_chip(Port())),
        ("out", lambda: api.state_out_of_chip(Port(), 8, 12)),
    ],
)
def test_an_instance_without_a_port_is_an_error_of_one_sentence(monkeypatch, port, call):
    lacking = tuple(
        dataclasses.replace(entry, ports=tuple(each for each in entry.ports if each != port)) for entry in CONTRACT
    )
    monkeypatch.setattr(f"{__name__}.CONTRACT", lacking)  # of the stand-ins, not of the api
    monkeypatch.setattr(api, "_module", as_the_contract_has_it)
    with pytest.raises(BackendUnavailableError, match=f"of lava-loihi has no {port}; expected as in .*"):
        call()


def test_every_number_of_the_contract_has_a_meaning_and_every_entry_a_source():
    for entry in CONTRACT:
        assert entry.source.startswith(("lava-nc 0.10.0, ", "https://github.com/lava-nc/"))
        assert all(parameter.meaning for parameter in entry.parameters)
        assert all(result.unit and result.meaning for result in entry.results)


def test_lava_loihi_is_called_in_one_module():
    package = Path(rmp_lava.__file__).parent
    names = re.compile(
        r"lava\.(proc\.embedded_io|utils\.(loihi|slurm))|Loihi2HwCfg|Loihi2(Power|Execution|Activity|Memory)"
    )
    found = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if names.search(path.read_text())}
    # `requirements` looks for a module; `processes.io` names what its own Process corresponds to.
    asked = {"backends/loihi2/requirements.py", "processes/io.py"}
    assert found == {"backends/loihi2/api.py", "backends/loihi2/contract.py"} | asked


@pytest.mark.lava
@pytest.mark.parametrize(("steps", "wait"), [(1, 0), (2, 0), (8, 0), (2, 1), (4, 4), (8, 3)])
def test_the_clock_has_the_neurons_that_mapping_counts(steps, wait):
    """Pulses whose steps differ by whole periods come from the same neurons."""
    from rmp_lava.backends.lava.pulses import Pulses
    from rmp_lava.backends.lava.stock_lif import stock_population
    from rmp_lava.hardware import map_network

    layers = [Layer("0", (2,), (Dense(INPUT, 2 * np.eye(2, dtype=np.int16)),), Neurons(2, v_init=1))]
    for i in range(1, 6):
        neurons = Neurons(2, v_init=1) if i < 4 or wait else Neurons(2, "hard", v_init=i - 4)
        if wait and i > 3:
            neurons = Neurons(2, v_init=-i, bias=np.array(1))
        layers.append(Layer(str(i), (2,), (Dense(str(i - 1), 2 * np.eye(2, dtype=np.int16)),), neurons))
    network = SpikingNetwork("deep", Input((2,), "spikes"), tuple(layers), "integer", "count", wait=wait)
    plan = schedule(network, steps, blank=1)
    pulses = Pulses(plan.period, steps if wait else None)
    for each in populations(network):
        stock_population(each, plan, 1, 0, pulses)
    pulses.connect()
    counted = map_network(network, "oheo_gulch", "stock", period=plan.period, steps=steps)["(clock)"].size
    assert len(pulses._clock.neurons) == counted
