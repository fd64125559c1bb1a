"""What files of ours and of lava-dl store in the same way: sigma-delta neurons."""

from __future__ import annotations

import numpy as np

from ..network import SDNN_EXPONENT, SigmaDelta
from .untrusted import Group


def read_sigma_delta(group: Group, entry: Group, bias: np.ndarray | None) -> SigmaDelta:
    """SDNN neurons: lava-dl's loader makes a Delta of the input, a Sigma where there is a key sigma_output, else a SigmaDelta."""
    if "activation" in entry and entry.text("activation") != "relu":
        raise entry.fail(f"{entry.where('activation')} is {entry.text('activation')!r}; lava-dl's loader has relu only")
    is_input, is_sigma = group.text("type") == "input", "sigma_output" in entry
    return SigmaDelta(
        # lava-dl's loader leaves that of a Sigma aside
        threshold=entry.integer("vThMant", 0) if is_sigma else entry.integer("vThMant"),
        reset="none" if is_sigma and not is_input else "soft",
        bias=None if is_input else bias,
        spike_exponent=entry.integer("spikeExp", SDNN_EXPONENT),
        state_exponent=entry.integer("stateExp", SDNN_EXPONENT),
    )
