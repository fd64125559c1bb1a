"""What users get from the wheel, as opposed to what the checkout offers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rmp_lava
from rmp_lava import zoo

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.slow


def run(*args, cwd, **env):
    done = subprocess.run(
        [sys.executable, *map(str, args)], cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder holding nothing but the installed wheel; made without network."""
    tmp = tmp_path_factory.mktemp("wheel")
    run("-m", "build", "--wheel", "--no-isolation", "--outdir", tmp, ROOT, cwd=tmp)
    (wheel,) = tmp.glob("*.whl")
    target = tmp / "site"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target, wheel, cwd=tmp)
    return target


@pytest.fixture
def run_installed(site, tmp_path):
    # PYTHONPATH comes before the editable install that the test environment also has.
    return lambda *args: run(*args, cwd=tmp_path, PYTHONPATH=str(site))


def test_import_comes_from_the_wheel(run_installed, site):
    origin = run_installed("-c", "import rmp_lava; print(rmp_lava.__file__)").strip()
    assert Path(origin).resolve() == (site / "rmp_lava" / "__init__.py").resolve()


def test_hardware_profiles_are_shipped(run_installed):
    listing = (
        "from importlib.resources import files\n"
        "folder = files('rmp_lava') / 'hw_profiles'\n"
        "print(*sorted(entry.name for entry in folder.iterdir() if entry.name.endswith('.toml')))"
    )
    shipped = run_installed("-c", listing).split()
    assert "loihi2.toml" in shipped
    assert shipped == sorted(profile.name for profile in (ROOT / "hw_profiles").glob("*.toml"))


def test_the_self_test_s_network_is_shipped(run_installed):
    code = "from rmp_lava.selftest.network_rungs import digits; print(digits().subject.network.depth)"
    assert run_installed("-c", code).strip() == "10"


def test_the_zoo_is_shipped(run_installed):
    code = (
        "from rmp_lava import zoo\n"
        "for entry in zoo.entries(): print(zoo.path(entry.name).name, zoo.load(entry.name).balanced_steps == entry.steps)"
    )
    files = run_installed("-c", code).split()
    assert files[::2] == [f"{entry.name}.net" for entry in zoo.entries()] and set(files[1::2]) == {"True"}


def test_the_licence_and_the_mark_of_types_are_shipped(site):
    assert (site / "rmp_lava" / "py.typed").is_file()
    (information,) = site.glob("rmp_lava-*.dist-info")
    metadata = (information / "METADATA").read_text(encoding="utf-8")
    assert f"Version: {rmp_lava.__version__}" in metadata and "Classifier: Typing :: Typed" in metadata
    assert list(information.rglob("LICENSE"))


def test_nothing_else_lands_in_site_packages(site):
    assert {entry.name for entry in site.iterdir() if not entry.name.endswith(".dist-info")} <= {"rmp_lava", "bin"}


def test_module_runs_as_a_command(run_installed):
    assert "Usage" in run_installed("-m", "rmp_lava", "--help")
