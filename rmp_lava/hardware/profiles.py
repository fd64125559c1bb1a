"""Hardware profiles: TOML files in which each number has a unit, a source and a kind. No limit of a chip lives in code."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ProfileError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KINDS = ("documented", "derived", "unknown")
_REQUIRED = (
    "weight_mixed_min",
    "weight_mixed_max",
    "weight_mixed_step",
    "weight_single_sign_max",
    "threshold_max",
    "bias_mantissa_max",
    "bias_exponent_max",
    "current_max",
    "potential_max",
    "message_max",
)
_MAY_BE_NEGATIVE = ("weight_mixed_min",)


@dataclass(frozen=True)
class Limit:
    """One number of a profile."""

    value: int
    unit: str
    kind: str
    source: str


@dataclass(frozen=True)
class Profile:
    """A chip's limits by name."""

    name: str
    description: str
    limits: dict[str, Limit]

    def __getitem__(self, name: str) -> int:
        """The value of a limit."""
        return self.limits[name].value


def _folders() -> list[Path]:
    package = Path(__file__).resolve().parents[1]
    # An installed package brings the profiles along; a checkout has them at its root.
    return [folder for folder in (package / "hw_profiles", package.parent / "hw_profiles") if folder.is_dir()]


def profile_names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted({path.stem for folder in _folders() for path in folder.glob("*.toml")})


def load_profile(name: str) -> Profile:
    """A profile by name, or by path if it ends in `.toml`.

    Raises
    ------
    ProfileError
        If it does not exist, or if a key is missing, unknown, mistyped or absurd.
    """
    if name.endswith(".toml"):
        path = Path(name)
    else:
        path = next((f / f"{name}.toml" for f in _folders() if (f / f"{name}.toml").is_file()), None)
        if path is None:
            raise ProfileError(
                f"hardware profile {name!r} is unknown; choose {', '.join(profile_names())}, or pass a .toml path"
            )
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"{path} cannot be read ({error.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ProfileError(f"{path} is not valid TOML ({error})") from None
    return _parse(path, content)


def _parse(path: Path, content: dict[str, Any]) -> Profile:
    unknown = sorted(set(content) - {"name", "description", "limits"})
    if unknown:
        raise ProfileError(f"{path}: key {unknown[0]!r} is unknown; allowed are name, description, limits")
    for key in ("name", "description"):
        if not isinstance(content.get(key), str):
            raise ProfileError(f"{path}: {key} is missing or no text")
    tables = content.get("limits")
    if not isinstance(tables, dict):
        raise ProfileError(f"{path}: table limits is missing")
    for key in sorted(set(tables) ^ set(_REQUIRED)):
        what = "missing" if key in _REQUIRED else f"unknown; known are {', '.join(_REQUIRED)}"
        raise ProfileError(f"{path}: limits.{key} is {what}")
    return Profile(
        content["name"], content["description"], {key: _parse_limit(path, key, tables[key]) for key in _REQUIRED}
    )


def _parse_limit(path: Path, key: str, table: Any) -> Limit:
    where = f"{path}: limits.{key}"
    if not isinstance(table, dict) or set(table) != {"value", "unit", "kind", "source"}:
        raise ProfileError(f"{where} needs exactly value, unit, kind and source")
    value = table["value"]
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 2**31:
        raise ProfileError(f"{where}.value is {value!r}; expected a whole number")
    if value < 0 and key not in _MAY_BE_NEGATIVE or value == 0:
        raise ProfileError(f"{where}.value is {value}; it must be positive")
    for text in ("unit", "source"):
        if not isinstance(table[text], str) or not table[text]:
            raise ProfileError(f"{where}.{text} is missing or no text")
    if table["kind"] not in KINDS:
        raise ProfileError(f"{where}.kind is {table['kind']!r}; choose one of {', '.join(KINDS)}")
    return Limit(value, table["unit"], table["kind"], table["source"])
