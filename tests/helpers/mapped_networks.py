"""Small networks to map, and profiles with other numbers."""

from __future__ import annotations

import dataclasses

from compiled_networks import weights

from rmp_lava.encoding import make_input
from rmp_lava.hardware import Profile, load_profile
from rmp_lava.network import Dense, Layer, Neurons, SpikingNetwork

LOIHI2 = load_profile("loihi2")
OLDER = LOIHI2.with_compiler("older")


def changed(profile: Profile, **values) -> Profile:
    """A profile with other numbers in its section `cores`."""
    cores = {
        key: dataclasses.replace(quantity, value=values.get(key, quantity.value))
        for key, quantity in profile.sections["cores"].items()
    }
    return dataclasses.replace(profile, sections={**profile.sections, "cores": cores})


def network_of(shape, *layers: Layer, readout="count") -> SpikingNetwork:
    return SpikingNetwork("n", make_input("poisson", shape), layers, "integer", readout)


def dense(name, source, inputs, outputs, **neurons) -> Layer:
    return Layer(name, (outputs,), (Dense(source, weights((outputs, inputs), -256, 254)),), Neurons(500, **neurons))
