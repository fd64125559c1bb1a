"""Measurements on disk. Each is made once, so an interruption loses little and figures can be redrawn."""

from __future__ import annotations

import json
import shutil
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..files import sha256_of, write_atomically
from ..machine import describe, environment, peak_resident
from ..network import SpikingNetwork
from ..netx import load, save

NET = "net"
"""Entry of a result that is the SHA-256 of the network next to its measurement."""


@dataclass
class Store:
    """A folder of measurements, one JSON file each; several processes may write to it.

    A measurement is a dict of "settings", "result", "seconds", "peak_bytes" (of the process so far), "machine" and "versions".

    Parameters
    ----------
    folder : Path
    again : bool
        Whether to repeat existing measurements.
    """

    folder: Path
    again: bool = False
    _made: set[str] = field(default_factory=set)

    def path(self, key: str) -> Path:
        """The file of a measurement."""
        return self.folder / f"{key}.json"

    def stored(self, key: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """The measurement of this name with these settings, and with its network if it is of one; None if there is none.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        path = self.path(key)
        if (self.again and key not in self._made) or not path.is_file():
            return None
        content = _read(path)
        if content["settings"] != _plain(settings):
            return None
        net = content["result"].get(NET)
        return content if net is None or _has(path.with_suffix(".net"), net) else None

    def measure(
        self, key: str, settings: Mapping[str, Any], measure: Callable[[], dict[str, Any]], **log: Any
    ) -> dict[str, Any]:
        """The whole measurement of this name; made unless it is stored with the same settings.

        Parameters
        ----------
        key : str
            A relative path without suffix.
        settings : mapping
            Everything that determines the outcome; JSON values.
        measure : callable
            Returns JSON values.
        **log
            More entries of the measurement, for people and estimates.
        """
        content = self.stored(key, settings)
        if content is None:
            started = time.perf_counter()
            result = measure()
            content = {
                "settings": _plain(settings),
                "result": _plain(result),
                "seconds": round(time.perf_counter() - started, 3),
                "peak_bytes": peak_resident(),
                **_here(),
                **log,
            }
            self.put(key, content)
        return content

    def once(self, key: str, settings: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What `measure` returned, now or when the measurement of this name and these settings was made."""
        result: dict[str, Any] = self.measure(key, settings, measure)["result"]
        return result

    def put(self, key: str, content: Mapping[str, Any]) -> None:
        """Store a whole measurement."""
        write_atomically(self.path(key), (json.dumps(content, indent=1) + "\n").encode(), DataError)
        self._made.add(key)

    def network(
        self, key: str, settings: Mapping[str, Any], make: Callable[[], SpikingNetwork]
    ) -> tuple[SpikingNetwork, dict[str, Any]]:
        """A converted network, stored as KEY.net next to its measurement, because conversion takes minutes too.

        Returns
        -------
        tuple of SpikingNetwork and dict
            The network as loaded from the file, and its identity for the settings of measurements.
        """
        path = self.path(key).with_suffix(".net")

        def measure() -> dict[str, Any]:
            save(make(), path)
            return {NET: sha256_of(path)}

        identity = self.once(key, settings, measure)
        return load(path), identity

    def everything(self, under: str = "") -> dict[str, dict[str, Any]]:
        """Key -> whole measurement of those in a folder and below; files directly in the store's own folder are others."""
        files = (self.folder / under).rglob("*.json") if under else self.folder.glob("*/**/*.json")
        return {path.relative_to(self.folder).with_suffix("").as_posix(): _read(path) for path in sorted(files)}

    def merge(self, other: Path) -> tuple[int, int]:
        """Copy the measurements of another store that this one lacks, and networks with them.

        Returns
        -------
        tuple of int
            How many were copied, and how many of both differ in their settings or results and stayed as they are here.

        Raises
        ------
        DataError
            If the other folder does not exist, or a measurement is damaged.
        """
        if not other.is_dir():
            raise DataError(f"{other} is no folder; name a folder of measurements that a sweep has written")
        copied = differing = 0
        for key, content in Store(other).everything().items():
            if self.path(key).is_file():
                mine = _read(self.path(key))
                differing += any(mine[name] != content[name] for name in ("settings", "result"))
                continue
            net = content["result"].get(NET)
            if net is not None:
                source = (other / key).with_suffix(".net")
                if not _has(source, net):
                    continue  # the network is lost, and is made again
                target = self.path(key).with_suffix(".net")
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, target)
            self.put(key, content)
            copied += 1
        return copied, differing


def checksum(*arrays: np.ndarray) -> int:
    """CRC-32 of arrays, so that a measurement identifies its images."""
    value = 0
    for array in arrays:
        value = zlib.crc32(np.ascontiguousarray(array).data, value)
    return value


@lru_cache(maxsize=1)
def _here() -> dict[str, Any]:
    """Machine and versions; they take longer to find than a small measurement."""
    return {"machine": describe(), "versions": environment()}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON returns them."""
    plain: dict[str, Any] = json.loads(json.dumps(dict(values)))
    return plain


def _has(path: Path, sha256: str) -> bool:
    return path.is_file() and sha256_of(path) == sha256


def _read(path: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        if set(content) >= {"settings", "result"} and isinstance(content["result"], dict):
            return content
    except (OSError, ValueError, TypeError, RecursionError):
        pass
    raise DataError(f"measurement {path} is damaged; delete it to repeat it")
