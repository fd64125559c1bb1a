"""Files of format version 1, in whose JSON logs was what is in typed fields since version 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..choices import Stage
from ..errors import NetworkError
from ..network import Companion, Layer, SpikingNetwork, WeightError
from ..network.pooling import folded_pool
from ..registers import MAX_STEPS

_FIELDS = {"spike_value", "threshold", "clip", "weight_error", "potential_peak"}
_FIELDS |= {"potential_expected", "balanced_over_steps"}


def stage_of(number_format: str, provenance: Mapping[str, Any]) -> Stage:
    """The stage of a network from its number format, "float" or "int"; the log shows whether a float network was balanced.

    Raises
    ------
    NetworkError
        If the number format is neither.
    """
    if number_format == "int":
        return "integer"
    if number_format != "float":
        raise NetworkError(f"number format {number_format!r} is unknown; it is 'float' or 'int'")
    return "balanced" if "balance" in provenance else "analog"


def upgraded(network: SpikingNetwork) -> SpikingNetwork:
    """A network of a version 1 file with its typed fields, as far as its logs contain them.

    Raises
    ------
    NetworkError, NetFileError
        If a log contains a value that its field does not allow.
    """
    log = network.provenance
    steps = _entry(log.get("balance"), "steps")
    share, scale = log.get("validation_fraction"), log.get("output_scale")
    return network.replace(
        layers=tuple(_upgraded_layer(layer, network) for layer in network),
        output_scale=float(scale) if type(scale) is int else scale,  # the network refuses another type
        balanced_steps=steps if type(steps) is int and 1 <= steps <= MAX_STEPS else None,
        dataset=log["dataset"] if isinstance(log.get("dataset"), str) else None,
        validation_fraction=share if isinstance(share, float) and 0 < share < 1 else None,
        companions=tuple(_companions(log)),
        provenance={key: value for key, value in log.items() if key not in ("ann", "onnx", "output_scale")},
    )


def _companions(log: Mapping[str, Any]) -> list[Companion]:
    found = []
    for kind in ("ann", "onnx"):
        file, sha256 = _entry(log.get(kind), "file"), _entry(log.get(kind), "sha256")
        if isinstance(file, str):
            function = log.get("function")
            weights_alone = kind == "ann" and file.endswith(".pt") and isinstance(function, str)
            found.append(Companion(kind, file, str(sha256), function if weights_alone else None))
    return found


def _upgraded_layer(layer: Layer, network: SpikingNetwork) -> Layer:
    log = layer.record
    scale = log.get("threshold") if network.stage == "analog" else log.get("spike_value")
    try:
        return layer.replace(
            synapses=tuple(s.replace(pool=folded_pool(s, network.source_shape(s.source))) for s in layer.synapses),
            activation_scale=scale,
            clip=log.get("clip"),
            potential_peak=log.get("potential_peak"),
            weight_error=None if log.get("weight_error") is None else WeightError(log["weight_error"]),
            record={key: value for key, value in log.items() if key not in _FIELDS},
        )
    except NetworkError as error:
        raise NetworkError(f"layer {layer.name!r}: {error}") from None


def _entry(log: object, key: str) -> Any:
    return log.get(key) if isinstance(log, Mapping) else None
