"""Every public table in which lava-loihi's compiler prints how it placed a network, as data.

Copied figures, no code: notebooks of github.com/lava-nc/lava-dl and github.com/lava-nc/lava-optimization, by commit. Each row has
what is known of the population, and the printed columns AxonIn, Neurons, Synapses, AxonMap and Cores, in numbers (older
compiler: whole part of the mean over a layer's cores) or in per cent (newer compiler: its fullest core). AxonMem is not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Dense:
    """A dense layer. Bits are the fewest that a notebook's weights take, or those that the printed words leave."""

    inputs: int
    outputs: int
    bits: int
    slots: int = 1
    targets: int = 0


@dataclass(frozen=True)
class FanIn:
    """`each` inputs to every neuron, one weight of one bit per input; non-zero weights are stored."""

    outputs: int
    each: int


@dataclass(frozen=True)
class FanOut:
    """`each` neurons to every input, weights of one bit; non-zero weights are stored. S4D neurons take two slots."""

    inputs: int
    each: int


@dataclass(frozen=True)
class Hidden:
    """A layer whose non-zero weights alone are stored, and are not public: between one and `most` per input."""

    inputs: int
    outputs: int
    most: int
    slots: int = 1
    targets: int = 0


@dataclass(frozen=True)
class Conv:
    """A 2-D convolution of the row below; `source` is the number of its channels, 0 for neurons of the input."""

    shape: tuple[int, int, int]
    source: int
    bits: int
    stride: tuple[int, int]
    block: tuple[int, int, int]
    kernel: int = 3


class Row(NamedTuple):
    known: Dense | FanIn | FanOut | Hidden | Conv
    axons_in: float
    neurons: float
    words: float
    axon_map: float
    cores: int


class Table(NamedTuple):
    """One table, rows from the network's end to its input as printed; several notebooks may print the same one."""

    sources: tuple[str, ...]
    percent: bool
    iteration: int | None
    rows: tuple[Row, ...]

    @property
    def name(self) -> str:
        return self.sources[0]


NETX = "lava-dl {} netx/{}"
SSM = "lava-dl {} state_space_models/{}"
OPTIMIZATION = "lava-optimization {} tutorials/{}"
SCIFAR = "sCIFAR/test_full_scifar_network_on_loihi.ipynb"

PILOTNET_CONVS = (
    Row(Conv((64, 2, 20), 64, 4, (1, 1), (16, 2, 64)), 1, 2048, 2880, 1280, 2),
    Row(Conv((64, 4, 22), 48, 4, (2, 1), (8, 4, 64)), 1, 2048, 2160, 29, 3),
    Row(Conv((48, 7, 24), 36, 4, (2, 2), (8, 7, 48)), 2, 2688, 1620, 112, 3),
    Row(Conv((36, 15, 49), 24, 4, (2, 2), (4, 15, 36)), 2, 2160, 864, 113, 13),
    Row(Conv((24, 32, 99), 3, 5, (2, 2), (4, 32, 24)), 2, 3072, 81, 253, 25),
)
S4D_OUT = Row(FanIn(128, 64), 51.20, 1.54, 25.20, 0.39, 3)
S4D_IN = Row(FanOut(128, 64), 0.80, 99.98, 2.80, 12.79, 5)
SMALL_OUT = Row(FanIn(128, 4), 3.20, 3.13, 3.20, 0.80, 1)
SMALL_IN = Row(FanOut(128, 4), 0.80, 25.01, 0.80, 3.20, 1)


def encoder(words: float) -> Row:
    return Row(Hidden(3, 128, 128), 0.02, 3.13, words, 0.80, 1)


def mixer(words: float) -> Row:
    return Row(Hidden(128, 128, 128), 0.80, 3.13, words, 0.80, 1)


def reader(words: float) -> Row:
    return Row(Hidden(128, 10, 10), 0.80, 0.24, words, 0.06, 1)


MIXER, READER = Row(Dense(128, 128, 8), 0.80, 3.13, 32.80, 0.80, 1), Row(Dense(128, 10, 8), 0.80, 0.24, 3.20, 0.06, 1)
OVERVIEW = (Row(FanIn(10, 64), 4.00, 0.24, 4.00, 0.06, 1), Row(FanOut(10, 64), 0.06, 31.26, 0.88, 4.00, 1))


def four_blocks(mixers: tuple[float, float, float, float], output: float, first: float) -> tuple[Row, ...]:
    blocks = [row for words in mixers for row in (mixer(words), S4D_OUT, S4D_IN)]
    return (reader(output), *blocks, encoder(first))


def first_scifar(output: Row, mix: float, bits: int, first: float) -> tuple[Row, ...]:
    middle = Row(Hidden(64, 64, 64), 0.40, 1.56, mix, 0.40, 1)
    states = (Row(FanIn(64, 64), 25.60, 1.56, 25.60, 0.40, 1), Row(FanOut(64, 64), 0.40, 99.98, 2.80, 12.79, 3))
    return (output, middle, *states, Row(Dense(3, 64, bits), 0.02, 1.56, first, 0.40, 1))


TABLES = (
    Table(
        (NETX.format("94d8c724", "mnist/run.ipynb"),),
        True,
        5,
        (
            Row(Dense(64, 10, 8), 0.40, 0.24, 1.60, 0.06, 1),
            Row(Dense(128, 64, 8), 0.80, 1.56, 16.80, 0.40, 1),
            Row(Dense(784, 128, 8), 4.90, 1.22, 78.40, 0.31, 3),
        ),
    ),
    Table(
        (NETX.format("94d8c724", "oxford/run.ipynb"), NETX.format("76c8fbb6", "oxford/run.ipynb")),
        False,
        None,
        (Row(Dense(256, 200, 8), 256, 100, 8064, 100, 2), Row(Dense(200, 256, 8), 200, 85, 5400, 85, 3)),
    ),
    Table(
        (NETX.format("94d8c724", "pilotnet_sdnn/benchmark.ipynb"),),
        False,
        None,
        (
            Row(Dense(10, 1, 6), 10, 1, 10, 1, 1),
            Row(Dense(50, 10, 6), 50, 10, 150, 10, 1),
            Row(Dense(100, 50, 6), 100, 50, 1500, 50, 1),
            Row(Dense(2560, 100, 4), 2560, 8, 7253, 8, 12),
            PILOTNET_CONVS[0],
            Row(Conv((64, 4, 22), 48, 5, (2, 1), (8, 4, 64)), 1, 2048, 2592, 29, 3),
            *PILOTNET_CONVS[2:],
        ),
    ),
    Table(
        (NETX.format("94d8c724", "pilotnet_snn/benchmark.ipynb"),),
        False,
        None,
        (
            Row(Dense(10, 1, 6), 10, 1, 10, 1, 1),
            Row(Dense(50, 10, 5), 50, 10, 150, 10, 1),
            Row(Dense(100, 50, 4), 100, 50, 1300, 50, 1),
            Row(Dense(2560, 100, 3), 2560, 8, 7253, 8, 12),
            *PILOTNET_CONVS,
            Row(Conv((3, 66, 200), 0, 8, (1, 1), (16, 66, 3)), 1, 3168, 0, 1015, 13),
        ),
    ),
    Table(
        (NETX.format("94d8c724", "yolo_kp/run.ipynb"), NETX.format("16f4bb23", "yolo_kp/run_eth.ipynb")),
        True,
        3,
        (
            Row(Conv((48, 14, 14), 512, 7, (1, 1), (4, 14, 48), 1), 0.01, 65.64, 19.20, 16.80, 4),
            Row(Conv((512, 14, 14), 256, 5, (1, 1), (8, 7, 64)), 0.01, 87.52, 86.40, 0.35, 32),
            Row(Conv((256, 14, 14), 512, 5, (1, 1), (2, 7, 256), 1), 0.01, 87.52, 67.20, 0.09, 14),
            Row(Conv((512, 14, 14), 256, 5, (1, 1), (8, 7, 64)), 0.01, 87.52, 86.40, 0.35, 32),
            Row(Conv((256, 14, 14), 256, 3, (2, 2), (8, 7, 64)), 0.01, 87.52, 72.00, 0.35, 16),
            Row(Conv((256, 28, 28), 128, 5, (1, 1), (4, 7, 128)), 0.01, 87.52, 79.20, 0.17, 56),
            Row(Conv((128, 28, 28), 64, 4, (2, 2), (4, 7, 128)), 0.01, 87.52, 39.60, 0.17, 28),
            Row(Conv((64, 56, 56), 32, 4, (2, 2), (4, 14, 64)), 0.01, 87.52, 10.80, 0.35, 56),
            Row(Conv((32, 112, 112), 16, 5, (2, 2), (8, 14, 32)), 0.01, 87.52, 3.60, 0.70, 112),
            Row(Conv((16, 224, 224), 3, 4, (2, 2), (8, 28, 16)), 0.01, 87.52, 0.34, 1.40, 224),
        ),
    ),
    Table(
        (SSM.format("e13525ab", "play_with_complex_numbers.ipynb"),),
        True,
        1,
        (
            Row(Dense(2, 2, 1), 0.01, 0.05, 0.01, 0.01, 1),
            Row(Dense(2, 2, 1, slots=3), 0.01, 0.15, 0.01, 0.01, 1),
        ),
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/profiling_scripts/num_cores_estimate.ipynb"),),
        True,
        6,
        (
            Row(Dense(256, 256, 4), 1.60, 3.10, 51.20, 0.79, 3),
            Row(FanIn(256, 16), 25.60, 6.25, 25.60, 1.60, 1),
            Row(FanOut(256, 16), 1.60, 99.98, 3.21, 12.79, 3),
        ),
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/profiling_scripts/profiling_slayer_version.ipynb"),),
        True,
        1,
        (
            Row(Dense(10, 10, 1), 0.06, 0.24, 0.19, 0.06, 1),
            reader(2.39),
            mixer(30.60),
            SMALL_OUT,
            SMALL_IN,
            encoder(0.66),
        ),
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/profiling_scripts/profiling_torch_version.ipynb"),),
        True,
        1,
        (
            Row(FanIn(10, 1), 0.06, 0.24, 0.06, 0.06, 1),
            reader(3.08),
            mixer(30.21),
            SMALL_OUT,
            SMALL_IN,
            encoder(0.67),
        ),
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/validation_scripts/s4d_validation.ipynb, first"),), True, 1, (encoder(0.65),)
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/validation_scripts/s4d_validation.ipynb, second"),),
        True,
        1,
        (SMALL_OUT, SMALL_IN, encoder(0.65)),
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/validation_scripts/s4d_validation.ipynb, third"),),
        True,
        1,
        (READER, MIXER, SMALL_OUT, SMALL_IN, encoder(0.65)),
    ),
    Table(
        (SSM.format("e13525ab", "sCIFAR/validation_scripts/validate_scifar_trained_with_slayer.ipynb"),),
        True,
        1,
        (reader(2.39), mixer(30.60), SMALL_OUT, SMALL_IN, encoder(0.66)),
    ),
    Table(
        (SSM.format("f4ee8919", "sCIFAR/validation_scripts/s4d_validation.ipynb"),),
        True,
        1,
        (MIXER, SMALL_OUT, SMALL_IN, encoder(0.65)),
    ),
    Table(
        (SSM.format("862fb3a6", "play_with_complex_numbers.ipynb"),),
        True,
        1,
        (Row(Dense(1, 1, 1), 0.01, 0.02, 0.01, 0.01, 1), Row(Dense(1, 1, 1, slots=2), 0.01, 0.05, 0.01, 0.01, 1)),
    ),
    # Printed six times.
    Table((SSM.format("862fb3a6", "sCIFAR/overview.ipynb"),), True, 1, OVERVIEW),
    Table(
        (SSM.format("862fb3a6", "sCIFAR/profiling_scripts/profiling_torch_version.ipynb"),),
        True,
        1,
        (Row(FanIn(3, 1), 0.02, 0.07, 0.02, 0.02, 1),),
    ),
    Table(
        (SSM.format("85d8130d", f"{SCIFAR}, first"),),
        True,
        1,
        first_scifar(Row(Dense(64, 10, 6), 0.40, 0.24, 1.20, 0.06, 1), 7.17, 5, 0.34),
    ),
    # Printed twice.
    Table(
        (SSM.format("85d8130d", f"{SCIFAR}, second"),),
        True,
        1,
        first_scifar(Row(Hidden(64, 10, 10), 0.40, 0.24, 1.46, 0.06, 1), 7.88, 6, 0.36),
    ),
    Table(
        (SSM.format("b623e3a3", SCIFAR),),
        True,
        7,
        (Row(Dense(128, 10, 6), 0.80, 0.24, 2.40, 0.06, 1), mixer(27.72), S4D_OUT, S4D_IN, encoder(0.67)),
    ),
    Table(
        (SSM.format("acab2edb", SCIFAR),),
        True,
        7,
        (reader(2.18), mixer(27.72), S4D_OUT, S4D_IN, encoder(0.67)),
    ),
    Table((SSM.format("cdc7b331", SCIFAR),), True, 7, four_blocks((28.81, 28.81, 28.82, 28.81), 2.20, 0.68)),
    Table((SSM.format("378fd1ff", SCIFAR),), True, 7, four_blocks((0.80, 0.80, 0.80, 0.80), 2.20, 0.68)),
    Table((SSM.format("c0fae4a1", SCIFAR),), True, 7, four_blocks((28.11, 27.32, 27.42, 27.87), 2.93, 0.72)),
    Table((SSM.format("66d93ae9", SCIFAR),), True, 7, (*(S4D_OUT, S4D_IN) * 4, encoder(0.67))),
    Table(
        (OPTIMIZATION.format("3e2a9f7d", "demo_01_satellite_scheduler.ipynb"),),
        True,
        1,
        (
            Row(Dense(100, 1, 8), 0.62, 0.02, 0.62, 0.01, 1),
            Row(Hidden(72, 100, 1, targets=2), 0.45, 2.44, 0.49, 1.25, 1),
        ),
    ),
    Table(
        (OPTIMIZATION.format("3e2a9f7d", "tutorial_01_solving_qp.ipynb"),),
        False,
        None,
        (
            Row(Hidden(264, 144, 1, slots=2), 264, 288, 400, 144, 1),
            Row(Hidden(408, 264, 1, slots=2), 408, 528, 754, 264, 1),
        ),
    ),
    # Numbers with a total, from the time between the two formats.
    Table(
        (OPTIMIZATION.format("3e2a9f7d", "tutorial_QUBO_solver.ipynb"),),
        False,
        1,
        (
            Row(Dense(100, 1, 8, slots=2, targets=3), 100, 2, 100, 3, 1),
            Row(Hidden(200, 100, 1, targets=4), 200, 100, 370, 400, 1),
        ),
    ),
    Table(
        (OPTIMIZATION.format("56ffc8a5", "tutorial_02_solving_qubos.ipynb"),),
        False,
        None,
        (
            Row(Dense(1000, 1, 8, targets=2), 1000, 1, 1000, 2, 1),
            Row(Dense(1000, 1000, 1, targets=2), 1000, 47, 9952, 95, 21),
        ),
    ),
    Table(
        (OPTIMIZATION.format("51fa4f94", "tutorial_02_solving_qubos.ipynb"),),
        False,
        None,
        (
            Row(Dense(25, 1, 8), 25, 1, 25, 1, 1),
            Row(Dense(25, 25, 1, slots=2, targets=2), 25, 50, 150, 50, 1),
        ),
    ),
    Table(
        (OPTIMIZATION.format("7a498a39", "tutorial_02_solving_qubos.ipynb"),),
        False,
        None,
        (
            Row(Dense(10, 1, 8), 10, 1, 10, 1, 1),
            Row(Dense(10, 10, 1, slots=2, targets=2), 10, 20, 30, 20, 1),
        ),
    ),
)
