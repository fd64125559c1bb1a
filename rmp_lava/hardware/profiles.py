"""Hardware profiles: TOML files in which each number has a unit, a source and a kind. The code has no numbers of chips.

A chip's file has every key of `schema.SCHEMA`, of kind "unknown" where no public source gives a value, and names the compiler
whose rules apply. Where a chip has two generations of the compiler, sections named after them have what differs. A board's file
names its chip and the number of chips; every value that it omits is that of the chip. `comparison/processors.toml` next to them
has figures of other processors, to compare estimates with.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from ..choices import Compiler, check_choice, options
from ..errors import ProfileError, UsageError
from .anchors import Anchor, parse_anchors
from .schema import BOARD, ENERGY, GENERATIONS, SCHEMA, Quantity, Rule, check_names, check_texts, parse_quantity

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


_STEPS = ("weight_mixed_step", "weight_single_sign_step")


@dataclass(frozen=True)
class Profile:
    """The numbers of a chip, or of a board with chips.

    Parameters
    ----------
    name, description : str
    chip : str
        Name of the chip; for a chip its own name.
    chips : int or None
        None where the number is not public.
    sections : mapping
        Section -> key -> `Quantity`; a board has the section "board" too. "cores" has the values of `compiler`; what the
        generations of a compiler differ in is in sections named after them as well.
    compiler : {"nxtf", "older", "newer"}
        Whose rules place networks on cores.
    own : frozenset of str
        Keys ("section.key") that a board's own file gives; empty for a chip.
    anchors : tuple of Anchor
        Published measurements on the chip, whatever the board.
    """

    name: str
    description: str
    chip: str
    chips: int | None
    sections: Mapping[str, Mapping[str, Quantity]]
    compiler: Compiler
    own: frozenset[str] = frozenset()
    anchors: tuple[Anchor, ...] = ()

    @property
    def compilers(self) -> tuple[Compiler, ...]:
        """Generations of the compiler that this profile knows, its own alone if there are no others."""
        return tuple(name for name in GENERATIONS if name in self.sections) or (self.compiler,)

    def with_compiler(self, compiler: Compiler) -> Profile:
        """The same chip or board, with the rules and limits of another generation of the compiler.

        Raises
        ------
        UsageError
            If there is no such compiler.
        ProfileError
            If the profile does not know it.
        """
        check_choice("compiler", compiler, Compiler)
        if compiler == self.compiler:
            return self
        if compiler not in self.compilers:
            raise ProfileError(
                f"hardware profile {self.name} has no compiler {compiler!r}; choose one of {', '.join(self.compilers)}"
            )
        cores = {**self.sections["cores"], **self.sections[compiler]}
        return replace(self, sections={**self.sections, "cores": cores}, compiler=compiler)

    @property
    def is_board(self) -> bool:
        """Whether this is a board, not a chip by itself."""
        return self.name != self.chip

    @property
    def usable_cores(self) -> int | None:
        """Usable cores of all its chips; None where their number is unknown."""
        return None if self.chips is None else self.chips * self["cores.usable_per_chip"]

    def with_weight_bits(self, bits: int) -> Profile:
        """The same, with fewer bits for each weight: coarser steps within the same range.

        Raises
        ------
        UsageError
            If there are not 2 bits to as many as weights have.
        """
        most = self["cores.weight_bits"]
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= most:
            raise UsageError(f"weights of {bits!r} bits are asked for; choose 2 to {most}, as many as {self.name} has")
        shift, limits = most - bits, dict(self.sections["limits"])
        if not shift:
            return self
        steps = {key: self.weight_step(key == "weight_mixed_step") << shift for key in _STEPS}
        even, single = steps["weight_mixed_step"], steps["weight_single_sign_step"]
        changed = {
            **steps,
            "weight_mixed_min": -(-self["weight_mixed_min"] // even * even),
            "weight_mixed_max": self["weight_mixed_max"] // even * even,
            "weight_single_sign_max": self["weight_single_sign_max"] // single * single,
        }
        if not changed["weight_mixed_min"] < 0 < changed["weight_mixed_max"]:
            raise UsageError(f"weights of {bits} bits have one sign only on {self.name}; choose more bits")
        source = f"the limit for {most} bits, for weights of {bits} bits"
        limits |= {key: Quantity(value, "weight unit", "derived", source) for key, value in changed.items()}
        cores = dict(self.sections["cores"])
        cores["weight_bits"] = Quantity(bits, "bit", "derived", "asked for")
        name = f"{self.name} with weights of {bits} bits"
        return replace(self, name=name, sections={**self.sections, "limits": limits, "cores": cores})

    def weight_step(self, mixed_sign: bool) -> int:
        """From one possible weight to the next, in weight units."""
        if mixed_sign:
            return self["weight_mixed_step"]
        return self["weight_single_sign_step"] if "weight_single_sign_step" in self.sections["limits"] else 1

    @property
    def ethernet_chip(self) -> int | None:
        """The chip with the board's Ethernet link, counted from 0; None where it is not public or there is none."""
        link = self.sections.get("board", {}).get("ethernet_chip")
        return None if link is None or link.value is None else int(link.value)

    def quantity(self, key: str) -> Quantity:
        """A number with unit, kind and source; `key` is "section.key", or a key of section "limits"."""
        section, _, name = key.rpartition(".")
        return self.sections[section or "limits"][name]

    def count(self, key: str) -> int | None:
        """An integer, None where it is unknown; `key` as in `quantity`."""
        value = self.quantity(key).value
        if isinstance(value, float):
            raise TypeError(f"{key} is a physical quantity; use quantity({key!r}).si")
        return value

    def __getitem__(self, key: str) -> int:
        """An integer that every profile has; `key` as in `quantity`.

        Raises
        ------
        KeyError
            If the schema lets profiles omit its value; use `count`.
        """
        value = self.count(key)
        if value is None:
            raise KeyError(key)
        return value

    def __iter__(self) -> Iterator[tuple[str, Quantity]]:
        """Every ("section.key", quantity)."""
        return ((f"{section}.{key}", q) for section, keys in self.sections.items() for key, q in keys.items())


def folders() -> list[Path]:
    """Folders with profiles: inside an installed package, at the root of a checkout."""
    package = Path(__file__).resolve().parents[1]
    return [folder for folder in (package / "hw_profiles", package.parent / "hw_profiles") if folder.is_dir()]


def profile_names() -> list[str]:
    """Names of the profiles that come with the package."""
    return sorted({path.stem for folder in folders() for path in folder.glob("*.toml")})


def read_toml(
    path: Path, remedy: str = "correct the path, or name a profile that `rmp-lava profiles` lists"
) -> dict[str, Any]:
    """Content of a TOML file; `ProfileError` with a remedy if it cannot be read."""
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ProfileError(f"{path} cannot be read ({error.strerror}); {remedy}") from None
    except (ValueError, RecursionError) as error:
        # Invalid TOML or UTF-8, numbers of thousands of digits, or brackets nested thousands deep.
        raise ProfileError(f"{path} is not valid TOML ({error})") from None


# A conversion reads the same profile again and again. Nothing changes what it gets.
_parsed = lru_cache(maxsize=16)(tomllib.loads)


def load_profile(name: str | Profile) -> Profile:
    """A profile by name, or by path if it ends in `.toml`; a `Profile` is returned as it is.

    Raises
    ------
    ProfileError
        If it does not exist, or if a key is missing, unknown, of the wrong type or out of range.
    """
    if isinstance(name, Profile):
        return name
    path = _path(name)
    content = read_toml(path)
    if "chip" not in content:
        return _parse(path, content)
    chip = content["chip"]
    if not isinstance(chip, str) or chip not in profile_names() and not chip.endswith(".toml"):
        chips = ", ".join(each for each in profile_names() if "chip" not in read_toml(_path(each)))
        raise ProfileError(f"{path}: chip is {chip!r}; name one of {chips}, or a chip's .toml file")
    chip_path = path.parent / chip if chip.endswith(".toml") else _path(chip)
    chip_content = read_toml(chip_path)
    if "chip" in chip_content:
        raise ProfileError(f"{path}: chip {chip!r} is a board; name the chip on it, {chip_content['chip']!r}")
    return _parse(path, content, _parse(chip_path, chip_content))


def _path(name: str) -> Path:
    if name.endswith(".toml"):
        return Path(name)
    path = _packaged(f"{name}.toml")
    if path is not None:
        return path
    near = difflib.get_close_matches(name, profile_names(), 1)
    advice = f"do you mean {near[0]}? All are" if near else "choose"
    raise ProfileError(
        f"hardware profile {name!r} is unknown; {advice} {', '.join(profile_names())}, or pass a .toml path"
    )


def _packaged(name: str) -> Path | None:
    """A file that comes with the package."""
    return next((folder / name for folder in folders() if (folder / name).is_file()), None)


def _parse(path: Path, content: dict[str, Any], chip: Profile | None = None) -> Profile:
    """The profile of a chip, or of a board with this chip."""
    rules = SCHEMA if chip is None else {"board": BOARD} | SCHEMA
    check_names(str(path), content, ("name", "description", "chip", "compiler", "anchors", *rules, *GENERATIONS))
    check_texts(f"{path}: ", content, ("name", "description"))
    for generation in GENERATIONS:
        if not isinstance(content.get(generation, {}), dict):
            raise ProfileError(
                f"{path}: {generation} is {content[generation]!r}; give a table of keys of section cores"
            )
        check_names(f"{path}: {generation}", content.get(generation, {}), SCHEMA["cores"])
    name = content["name"]
    if chip is not None and name == chip.name:
        raise ProfileError(f"{path}: name is {name!r}, that of its chip; give the board a name of its own")
    sections = {section: _section(path, section, content, chip, keys) for section, keys in rules.items()}
    own = frozenset(f"{section}.{key}" for section in rules for key in content.get(section, ()))
    generations = _generations(path, content, chip, own)
    # A key that one generation has and another leaves to section "cores" stands in both, as "cores" becomes that of one of them.
    for key in {key for values in generations.values() for key in values} & set(sections["cores"]):
        for values in generations.values():
            values.setdefault(key, sections["cores"][key])
    sections |= generations
    compiler = content.get("compiler", None if chip is None else chip.compiler)
    known: list[str] = [each for each in GENERATIONS if each in sections] or list(options(Compiler))
    if compiler not in known:
        raise ProfileError(f"{path}: compiler is {compiler!r}; choose one of {', '.join(known)}")
    sections["cores"] |= sections.get(compiler, {})
    anchors = parse_anchors(f"{path}: anchors", content.get("anchors", []))
    if chip is None:
        profile = Profile(name, content["description"], name, 1, sections, compiler, anchors=anchors)
    else:
        value, anchors = sections["board"]["chips"].value, chip.anchors + anchors
        chips = None if value is None else int(value)
        profile = Profile(name, content["description"], chip.name, chips, sections, compiler, own, anchors)
    return _consistent(path, profile)


def _section(
    path: Path, section: str, content: dict[str, Any], chip: Profile | None, rules: Mapping[str, Rule]
) -> dict[str, Quantity]:
    """The values of a section; those that a board omits are its chip's."""
    values = {} if chip is None else dict(chip.sections.get(section, {}))
    given = content.get(section, {} if values else None)
    if not isinstance(given, dict):
        raise ProfileError(f"{path}: table {section} is missing; give it")
    check_names(f"{path}: {section}", given, rules)
    for key, rule in rules.items():
        if section == "cores" and all(key in content.get(each, {}) for each in GENERATIONS):
            continue
        if key in given:
            values[key] = parse_quantity(f"{path}: {section}.{key}", given[key], rule)
        elif key not in values and not rule.may_be_missing:
            remedy = "give it, or kind 'unknown'" if rule.may_be_unknown else "give it"
            raise ProfileError(f"{path}: {section}.{key} is missing; {remedy}")
    return values


def _generations(
    path: Path, content: dict[str, Any], chip: Profile | None, own: frozenset[str]
) -> dict[str, dict[str, Quantity]]:
    """What the generations of the compiler differ in; what a board gives in its section "cores" holds for all of them."""
    result: dict[str, dict[str, Quantity]] = {}
    for generation in GENERATIONS:
        inherited = {} if chip is None else chip.sections.get(generation, {})
        found = content.get(generation, {})
        values = {key: quantity for key, quantity in inherited.items() if f"cores.{key}" not in own}
        for key in found:
            values[key] = parse_quantity(f"{path}: {generation}.{key}", found[key], SCHEMA["cores"][key])
        if inherited or found:
            result[generation] = values
    return result


def _consistent(path: Path, profile: Profile) -> Profile:
    physical, usable = profile.count("cores.physical_per_chip"), profile["cores.usable_per_chip"]
    if physical is not None and usable > physical:
        raise ProfileError(
            f"{path}: cores.usable_per_chip.value is {usable:,}, more than cores.physical_per_chip ({physical:,}); "
            "reduce it"
        )
    neurons, slots = profile["cores.neurons"], profile["cores.slots_per_soft_reset_neuron"]
    if slots > neurons:
        raise ProfileError(
            f"{path}: cores.slots_per_soft_reset_neuron.value is {slots}, more than cores.neurons ({neurons}); a core must "
            "hold at least one neuron"
        )
    return profile


Counted = Literal["mac", "synaptic_operation"]
"""A multiply-accumulate of the trained network, or a synaptic operation of the spiking one."""


@dataclass(frozen=True)
class Comparison:
    """Energy of one operation on another processor."""

    label: str
    per: Counted
    energy: Quantity


def load_comparisons() -> list[Comparison]:
    """Figures of other processors that come with the package; `ProfileError` if the file is missing or damaged."""
    path = _packaged("comparison/processors.toml")
    if path is None:
        raise ProfileError("hw_profiles/comparison/processors.toml is missing; install rmp-lava again")
    rule = Rule(ENERGY, 1e-15, 1e-3, integer=False, may_be_unknown=False)
    result = []
    for key, table in read_toml(path).items():
        where = f"{path}: {key}"
        check_texts(f"{where}.", table if isinstance(table, dict) else {}, ("label",))
        check_names(f"{where}.per", [str(table.get("per"))], options(Counted), "operation")
        rest = {name: value for name, value in table.items() if name not in ("label", "per")}
        result.append(Comparison(table["label"], cast(Counted, table["per"]), parse_quantity(where, rest, rule)))
    return result
