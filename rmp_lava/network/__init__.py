"""The one data structure: a `SpikingNetwork` of layers, each with its synapses and one population of neurons.

Every pass (conversion, balancing, quantisation) takes a `SpikingNetwork` and returns a new one. All classes are frozen and
their arrays read-only.

Shapes follow PyTorch: an image is (channels, height, width), a flat population (neurons,). Flattening is C order.
A network passes through three stages: `"analog"` (trained weights, no thresholds yet), `"balanced"` (real thresholds) and
`"integer"` (the integers that Loihi 2 stores).
Thresholds, initial potentials and currents are in weight units at every stage.
"""

from ..choices import Encoding, Readout, Reset, Stage
from .layers import INPUT, Companion, Input, Layer, WeightError
from .neurons import NO_MEMORY, SDNN_EXPONENT, Neurons, SigmaDelta
from .populations import Population, Window, delays, histories, longest_delays, populations, windows
from .spiking_network import SpikingNetwork
from .synapses import Conv, Dense, Synapse

__all__ = [
    "INPUT",
    "NO_MEMORY",
    "SDNN_EXPONENT",
    "Companion",
    "Conv",
    "Dense",
    "Encoding",
    "Input",
    "Layer",
    "Neurons",
    "Population",
    "Readout",
    "Reset",
    "SigmaDelta",
    "SpikingNetwork",
    "Stage",
    "Synapse",
    "WeightError",
    "Window",
    "delays",
    "histories",
    "longest_delays",
    "populations",
    "windows",
]
