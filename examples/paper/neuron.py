"""A single neuron: its output rate for each input rate, with soft and hard reset, at several thresholds.

Han, Srinivasan and Roy (CVPR 2020, section 3, figure 2): with eta = V_th / V_in, a neuron that subtracts its threshold
fires at rate f_in / eta, up to one spike per step; one that resets to zero fires at f_in / ceil(eta). The
neuron is `rmp_lava.neuron`, in Loihi's integers.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rmp_lava.network import Neurons
from rmp_lava.neuron import initial_state, step
from rmp_lava.study.store import Store

WEIGHT = 1000
"""V_in: the weight of the only synapse."""
ETAS = (0.8, 1.25, 1.75, 2.5, 3.75)
"""None is an integer; integers would only test whether a potential equal to the threshold fires."""
WIDE_ETAS = tuple(round(float(eta), 3) + 0.0005 for eta in np.geomspace(0.12, 16, 120))
RATES = tuple(i / 40 for i in range(1, 41))
STEPS = 4000


def measure_neuron(store: Store) -> dict[str, Any]:
    """Output rates of both resets.

    Returns
    -------
    dict
        "rates_in": input rates; "out": reset -> eta -> output rates; "wide_etas", "kept": reset -> for each of these etas
        f_out V_th / (f_in V_in) at an input rate of one half, which is 1 if no input is lost.
    """
    settings = {"weight": WEIGHT, "etas": ETAS, "wide_etas": WIDE_ETAS, "rates": RATES, "steps": STEPS}

    def measure() -> dict[str, Any]:
        out = {reset: {str(eta): _rates(reset, eta, RATES) for eta in ETAS} for reset in ("soft", "hard")}
        kept = {
            reset: [_rates(reset, eta, (0.5,))[0] * int(eta * WEIGHT) / WEIGHT / 0.5 for eta in WIDE_ETAS]
            for reset in ("soft", "hard")
        }
        return {"rates_in": RATES, "out": out, "wide_etas": WIDE_ETAS, "kept": kept}

    return store.once("neuron/rates", settings, measure)


def _rates(reset: str, eta: float, rates: tuple[float, ...]) -> list[float]:
    """Spikes per step of a neuron for each rate of evenly spaced input spikes."""
    neurons = Neurons(threshold=int(eta * WEIGHT), reset=reset)
    state = initial_state(neurons, (len(rates),), 1, integer=True)
    counts, before = np.zeros(len(rates)), np.zeros(len(rates))
    for t in range(1, STEPS + 1):
        sent = np.floor(np.asarray(rates) * t + 1e-9)
        counts += step(neurons, state, (WEIGHT * (sent - before))[None], integer=True)[0]
        before = sent
    return (counts / STEPS).tolist()
