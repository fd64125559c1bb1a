"""Measurements on disk. Each is made once, so an interruption loses little and figures can be redrawn."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import rmp_lava
from rmp_lava.errors import DataError
from rmp_lava.files import sha256_of, write_atomically
from rmp_lava.machine import describe, environment
from rmp_lava.network import SpikingNetwork


@dataclass
class Store:
    """A folder of measurements, one JSON file each.

    Parameters
    ----------
    folder : Path
    again : bool
        Whether to repeat existing measurements.
    """

    folder: Path
    again: bool = False
    _made: set[str] = field(default_factory=set)

    def once(self, key: str, settings: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the measurement of this name; measure it unless it is stored with the same settings.

        Parameters
        ----------
        key : str
            A relative path without suffix.
        settings : mapping
            Everything that determines the outcome; JSON values.
        measure : callable
            Returns JSON values.

        Returns
        -------
        dict
            What `measure` returned.
        """
        path = self.folder / f"{key}.json"
        wanted = json.loads(json.dumps(dict(settings)))
        if path.is_file() and not (self.again and key not in self._made):
            content = _read(path)
            if content["settings"] == wanted:
                return content["result"]
        started = time.perf_counter()
        result = json.loads(json.dumps(measure()))
        content = {
            "settings": wanted,
            "result": result,
            "seconds": round(time.perf_counter() - started, 1),
            "machine": describe(),
            "versions": environment(),
        }
        write_atomically(path, (json.dumps(content, indent=1) + "\n").encode())
        self._made.add(key)
        return result

    def network(
        self, key: str, settings: Mapping[str, Any], make: Callable[[], SpikingNetwork]
    ) -> tuple[SpikingNetwork, dict[str, Any]]:
        """A converted network, stored as KEY.net next to its measurement, because conversion takes minutes too.

        Returns
        -------
        tuple of SpikingNetwork and dict
            The network as loaded from the file, and its identity for the settings of measurements.
        """
        path = self.folder / f"{key}.net"

        def measure() -> dict[str, Any]:
            rmp_lava.save(make(), path)
            return {"net": sha256_of(path)}

        identity = self.once(key, settings, measure)
        if not path.is_file() or sha256_of(path) != identity["net"]:
            (self.folder / f"{key}.json").unlink()
            identity = self.once(key, settings, measure)
        return rmp_lava.load(path), identity

    def everything(self, under: str) -> dict[str, dict[str, Any]]:
        """Key -> whole content (settings, result, seconds, machine, versions) of the measurements under a folder."""
        return {
            path.relative_to(self.folder).with_suffix("").as_posix(): _read(path)
            for path in sorted((self.folder / under).rglob("*.json"))
        }


def checksum(*arrays: np.ndarray) -> int:
    """CRC-32 of arrays, so that a measurement identifies its images."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array), value)
    return value


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        if set(content) >= {"settings", "result"}:
            return content
    except (OSError, ValueError, TypeError):
        pass
    raise DataError(f"measurement {path} is damaged; delete it to repeat it")
