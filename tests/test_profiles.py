"""Hardware profiles: what is there loads, and a mistake in one is named by file, key and reason."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rmp_lava.conversion.quantize import quantize
from rmp_lava.encoding import make_input
from rmp_lava.errors import ProfileError
from rmp_lava.hardware import load_profile
from rmp_lava.hardware.profiles import profile_names
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork


def loihi2_text() -> str:
    folder = Path(__file__).resolve().parents[1] / "hw_profiles"
    return (folder / "loihi2.toml").read_text(encoding="utf-8")


def write(folder: Path, text: str) -> str:
    (folder / "chip.toml").write_text(text, encoding="utf-8")
    return str(folder / "chip.toml")


def changed(folder: Path, old: str, new: str) -> str:
    text = loihi2_text()
    assert old in text
    return write(folder, text.replace(old, new, 1))


def value(key: str, new: str) -> tuple[str, str]:
    start = loihi2_text().index(f"[limits.{key}]\n")
    line = loihi2_text()[start:].split("\n")[1]
    return f"[limits.{key}]\n{line}", f"[limits.{key}]\nvalue = {new}"


def test_loihi2_loads_and_says_where_each_number_is_from():
    profile = load_profile("loihi2")
    assert profile.name == "loihi2" and profile_names() == ["loihi2"]
    # What the Lava simulator does, see lava/utils/weightutils.py and lava/proc/lif/models.py.
    assert (profile["weight_mixed_min"], profile["weight_mixed_max"], profile["weight_mixed_step"]) == (-256, 254, 2)
    assert (profile["weight_single_sign_max"], profile["threshold_max"]) == (255, 2**17 - 1)
    assert (profile["bias_mantissa_max"], profile["bias_exponent_max"]) == (4095, 7)
    for limit in profile.limits.values():
        assert limit.unit and limit.source and limit.kind == "documented"


@pytest.mark.parametrize(
    "old, new, parts",
    [
        ("[limits.threshold_max]", "[limits.treshold_max]", ["limits.threshold_max", "missing"]),
        ("[limits.threshold_max]", "[limits.extra]\nvalue=1\n[limits.threshold_max]", ["limits.extra", "unknown"]),
        ('unit = "weight unit"\n', "", ["limits.weight_mixed_min", "unit"]),
        ('unit = "weight unit"', 'unit = ""', ["limits.weight_mixed_min.unit"]),
        ('unit = "weight unit"', "unit = 1", ["limits.weight_mixed_min.unit"]),
        ('kind = "documented"\n', 'kind = "documented"\nkinds = "x"\n', ["limits.weight_mixed_min", "exactly"]),
        ('kind = "documented"', 'kind = "guessed"', ["limits.weight_mixed_min.kind", "'guessed'", "derived"]),
        ('name = "loihi2"', "", ["name is missing"]),
        ('name = "loihi2"', "name = 2", ["name is missing or no text"]),
        ('name = "loihi2"', 'name = "loihi2"\nnmae = "x"', ["'nmae' is unknown"]),
        ('name = "loihi2"', 'name = "loihi2', ["not valid TOML"]),
        ('name = "loihi2"', 'name = "loihi2"\nname = "again"', ["not valid TOML"]),
        (*value("threshold_max", "-1"), ["limits.threshold_max.value is -1", "positive"]),
        (*value("threshold_max", "0"), ["limits.threshold_max.value is 0", "positive"]),
        (*value("weight_mixed_min", "0"), ["limits.weight_mixed_min.value is 0"]),
        (*value("threshold_max", "99999999999"), ["limits.threshold_max.value is 99999999999"]),
        (*value("threshold_max", "true"), ["limits.threshold_max.value is True", "whole number"]),
        (*value("threshold_max", "131071.0"), ["limits.threshold_max.value is 131071.0", "whole number"]),
        (*value("threshold_max", '"131071"'), ["limits.threshold_max.value is '131071'", "whole number"]),
        (*value("threshold_max", "nan"), ["limits.threshold_max.value is nan", "whole number"]),
    ],
)
def test_each_mistake_is_named(tmp_path, old, new, parts):
    path = changed(tmp_path, old, new)
    with pytest.raises(ProfileError) as caught:
        load_profile(path)
    for part in (path, *parts):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "limits = 3", "name = 'a'\ndescription = 'b'", "name='a'\ndescription='b'\nlimits=[1]"]
)
def test_profiles_without_limits(tmp_path, text):
    with pytest.raises(ProfileError, match="chip.toml"):
        load_profile(write(tmp_path, text))


def test_files_that_are_no_text(tmp_path):
    (tmp_path / "chip.toml").write_bytes(b"\xff\xfe\0")
    with pytest.raises(ProfileError, match="not valid TOML"):
        load_profile(str(tmp_path / "chip.toml"))


def test_missing_profiles(tmp_path):
    with pytest.raises(ProfileError, match="none.toml cannot be read"):
        load_profile(str(tmp_path / "none.toml"))
    with pytest.raises(ProfileError, match="'loihi3' is unknown; choose loihi2"):
        load_profile("loihi3")


def small_network() -> SpikingNetwork:
    weight = np.array([[0.5, -0.25], [1.0, -0.75]])
    layers = (Layer("a", (2,), (Dense(INPUT, weight),), Neurons(1.5, bias=np.array([20.0, -20.0]))),)
    return SpikingNetwork("small", make_input("poisson", (2,)), layers, "float", "count")


@pytest.mark.parametrize(
    "key, new, found",
    [
        ("weight_mixed_max", "126", lambda layer: layer.synapses[0].weight.max() == 126),
        ("weight_mixed_min", "-64", lambda layer: layer.synapses[0].weight.min() == -64),
        ("weight_mixed_step", "127", lambda layer: not (layer.synapses[0].weight % 127).any()),
        ("threshold_max", "77", lambda layer: layer.neurons.threshold == 77),
        ("bias_mantissa_max", "1000", lambda layer: np.abs(layer.neurons.bias).max() == 1000),
        ("bias_exponent_max", "6", lambda layer: layer.neurons.bias_exponent == 6),
    ],
)
def test_each_limit_is_kept(tmp_path, key, new, found):
    before, after = (
        quantize(small_network(), profile, threshold_form="free").layers[0]
        for profile in ("loihi2", changed(tmp_path, *value(key, new)))
    )
    assert found(after) and not found(before)
