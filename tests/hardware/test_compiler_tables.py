"""Our rules against every public table of lava-loihi's compiler: cores, words, axons, blocks and its number of passes."""

from __future__ import annotations

import functools

import numpy as np
import pytest
from compiler_tables import TABLES, Conv, Dense, FanIn, FanOut, Hidden, Row, Table

from rmp_lava.hardware import load_profile
from rmp_lava.hardware.demand import Demand, SynapseDemand
from rmp_lava.hardware.placement import LayerMapping, place

COMPILERS = {False: load_profile("loihi2").with_compiler("older"), True: load_profile("loihi2")}


def demand_of(known, name: str, source: str, most: bool) -> Demand:
    def dense(inputs, outputs, bits, stored=None, slots=1) -> Demand:
        synapse = SynapseDemand(source, "dense", inputs, bits, stored=stored)
        return Demand(name, (outputs,), (synapse,), slots)

    match known:
        case Dense(inputs, outputs, bits, slots):
            return dense(inputs, outputs, bits, slots=slots)
        case FanIn(outputs, each):
            return dense(outputs * each, outputs, 1, np.eye(outputs, dtype=bool).repeat(each, axis=1))
        case FanOut(inputs, each):
            return dense(inputs, inputs * each, 1, np.eye(inputs, dtype=bool).repeat(each, axis=0), slots=2)
        case Hidden(inputs, outputs, number, slots):
            stored = np.zeros((outputs, inputs), dtype=bool)
            stored[: number if most else 1] = True
            return dense(inputs, outputs, 8, stored, slots)
        case Conv(shape, channels, bits, stride, _, kernel):
            synapse = SynapseDemand(source, "conv", channels, bits, (kernel, kernel), stride)
            return Demand(name, shape, (synapse,) if channels else ())
    raise TypeError(known)


def placed(table: Table, percent: bool, most: bool = True) -> list[LayerMapping]:
    """The table's populations, in its order."""
    if any(isinstance(row.known, Conv) for row in table.rows):
        return chained(table, percent)
    return [alone(row.known, percent, most) for row in table.rows]


def chained(table: Table, percent: bool) -> list[LayerMapping]:
    """Populations each of which is the target of the row below it."""
    demands, source = [], "(input)"
    for i, row in reversed(list(enumerate(table.rows))):
        demands.append(demand_of(row.known, f"layer{i}", source, True))
        source = f"layer{i}"
    return list(reversed(place(demands, {}, COMPILERS[percent])))


@functools.cache
def alone(known, percent: bool, most: bool) -> LayerMapping:
    """One population, with as many targets as the row gives it."""
    demand = demand_of(known, "a", "(input)", most)
    number = getattr(known, "targets", 0)
    targets = [Demand(f"b{k}", (1,), (SynapseDemand("a", "dense", demand.size, 1),)) for k in range(number)]
    return place([demand, *targets], {}, COMPILERS[percent])[0]


def columns(layer: LayerMapping, row: Row, percent: bool) -> dict[str, float]:
    usage, slots = layer.usage, layer.demand.slots
    names = {"axons_in": "axons_in", "neurons": "neurons", "words": "synapse_words", "axon_map": "axons_out"}
    if percent:
        of = {"neurons": 4095 / slots}
        return {column: 100 * usage[name].largest / of.get(column, 16000) for column, name in names.items()}
    found = {column: int(usage[name].mean * (slots if column == "neurons" else 1)) for column, name in names.items()}
    # Of convolutions the older compiler prints a full block, of dense layers the mean.
    return found | ({"neurons": usage["neurons"].largest} if isinstance(row.known, Conv) else {})


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_is_reproduced(table):
    layers = placed(table, table.percent)
    for layer, row in zip(layers, table.rows, strict=True):
        found, where = columns(layer, row, table.percent), (table.name, row)
        exact = 0.0051 if table.percent else 0
        assert layer.cores == row.cores, where
        for column in ("axons_in", "neurons", "axon_map"):
            assert found[column] == pytest.approx(getattr(row, column), abs=exact), (column, where)
        if isinstance(row.known, Hidden):
            continue
        assert found["words"] == pytest.approx(row.words, abs=exact), where
        if isinstance(row.known, Conv):
            channels, rows, width = layer.block
            assert (width, rows, channels) == row.known.block, where
    if table.iteration is not None:
        assert max(layer.passes for layer in layers) == table.iteration


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_words_of_unknown_weights_lie_between_one_and_all(table):
    fewest, most = (placed(table, table.percent, most) for most in (False, True))
    for low, high, row in zip(fewest, most, table.rows, strict=True):
        if isinstance(row.known, Hidden) and row.known.most > 1:
            found = [columns(each, row, table.percent)["words"] for each in (low, high)]
            assert found[0] - 0.006 <= row.words <= found[1] + 0.006 and low.cores == high.cores == row.cores


def test_every_public_table_is_here():
    names = [source for table in TABLES for source in table.sources]
    assert len(TABLES) == 31 and len(set(names)) == len(names) == 33
    known = [row for table in TABLES for row in table.rows if not isinstance(row.known, Hidden)]
    assert len(known) == 113
    split = [row for row in known if row.cores > 1 and not isinstance(row.known, Conv)]
    assert len(split) == 46


def test_the_other_compiler_places_the_same_networks_differently():
    """A table tells the two compilers apart, so a profile has to choose."""
    by_name = {table.name: table for table in TABLES}
    for name, cores in (
        ("lava-dl 94d8c724 netx/pilotnet_snn/benchmark.ipynb", (74, 77)),
        ("lava-dl 94d8c724 netx/oxford/run.ipynb", (5, 5)),
        ("lava-dl 94d8c724 netx/mnist/run.ipynb", (8, 5)),
    ):
        found = tuple(sum(layer.cores for layer in placed(by_name[name], percent)) for percent in (False, True))
        assert found == cores, name
