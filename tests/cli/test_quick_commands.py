"""Commands that need no PyTorch do not import it: it takes seconds, where they take a fraction of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NET = ROOT / "exports" / "reference" / "digits-deep.net"
PROGRAM = """
import importlib.machinery, sys

class Refused(importlib.machinery.PathFinder):
    # Finds these packages, as a command may ask whether they are there, but does not import them.

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in ("torch", "sklearn", "scipy", "numba", "lava", "matplotlib"):
            return None
        return importlib.machinery.ModuleSpec(name, cls)

    @staticmethod
    def create_module(spec):
        raise AssertionError(f"{spec.name} is imported")

    exec_module = create_module

sys.meta_path.insert(0, Refused)
from rmp_lava.cli import main

for line in sys.stdin.read().splitlines():
    expected, *sys.argv[1:] = line.split()
    if expected == "imports":
        try:
            main()
        except AssertionError as refused:
            assert " is imported" in str(refused), (line, refused)
        continue
    code = 0
    try:
        main()
    except SystemExit as ended:
        code = ended.code or 0
    assert code == int(expected), (line, code)
print("all of them")
"""
QUICK = f"""
0 --help
0 train --help
0 convert --help
0 fit {NET}
0 fit {NET} --sparse --compiler older --json -
0 info {NET}
0 profiles
0 profiles oheo_gulch
2 fit {NET} --steps 8
2 fit {NET} --profile nosuch
2 fit missing.net
2 fit --nosuch
2 info missing.net
2 run missing.net
2 run {NET} --data nosuch
2 run {NET} --images missing.npy
2 run {NET} --samples 0 --data digits
2 run {NET} --backend reference --compare
2 run {NET} --confidence 2
2 estimate missing.net
2 estimate {NET}
2 estimate {NET} --profile nosuch
2 report missing.net
2 report {NET} --output page.txt
2 train nosuch
2 train digits-cnn --data nosuch
2 check missing.pt
2 check {NET}
2 check no.such.module:net
2 check package/module.py:net
2 convert missing.pt
2 convert missing.onnx
2 convert
2 convert missing.pt --mean red
2 convert missing.pt --weight-bits many
2 convert mine:net --images missing.npy
2 convert mine:net --data nosuch
2 convert mine:net --data digits --profile nosuch
2 convert mine:net --cluster slrum
2 sweep missing.toml
2 sweep missing.toml --cluster slrum
2 tune missing.pt
2 selftest --time-limit 0
"""
LONG = f"""
imports demo
imports train digits-cnn
imports check mine:net
imports convert mine:net --data digits
imports tune mine:net --data digits
imports run {NET} --data digits
imports estimate {NET} --data digits
imports report {NET} --data digits
imports nir {NET} a.nir
imports sweep study.toml
"""
"""The commands that may take more than ten seconds; `selftest` imports nothing in front of its rungs, which it counts."""


@pytest.mark.slow
def test_long_commands_speak_before_they_import_what_may_take_more_than_ten_seconds(tmp_path):
    (tmp_path / "study.toml").write_text(f"nets = {{ n = '{NET}' }}\ndata = 'digits'")
    (tmp_path / "mine.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], input=LONG.strip(), capture_output=True, text=True, cwd=tmp_path, timeout=300
    )
    assert done.stdout.endswith("all of them\n"), done.stderr[-3000:]
    said = [line for line in done.stderr.splitlines() if "at work for" not in line]
    assert said == [f"rmp-lava {line.split()[1]}: importing libraries" for line in LONG.strip().splitlines()]


@pytest.mark.slow
def test_answers_without_simulation_and_wrong_arguments_import_no_pytorch(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        input=QUICK.strip(),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=300,
    )
    assert done.stdout.endswith("all of them\n"), done.stderr[-3000:]
