"""What the README and the examples promise is run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import DOCUMENTS, blocks

import rmp_lava
from rmp_lava.training.data import load

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run_script(text: str, folder: Path) -> str:
    code = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n" + text
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_quick_start_is_made_of_targets_that_exist():
    makefile = (ROOT / "Makefile").read_text()
    quick_start = README.split("## Quick start")[1].split("##")[0]
    commands = re.findall(r"^    make (\S+)$", quick_start, re.MULTILINE)
    assert commands == ["demo", "test"]
    assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in commands)


def test_documents_name_commands_and_options_that_exist():
    from typer.main import get_command

    from rmp_lava.cli import app

    known = {
        name: {option for parameter in command.params for option in parameter.opts}
        for name, command in get_command(app).commands.items()
    }
    commands = [
        words for path in DOCUMENTS for block in blocks(path) if block.language == "sh" for words in block.commands()
    ]
    ours = [words for words in commands if words[0] == "rmp-lava"]
    assert len(ours) >= 40
    for _, name, *arguments in ours:
        assert {word for word in arguments if word.startswith("--")} <= known[name], name


@pytest.mark.slow
def test_readme_python_runs(tmp_path):
    (snippet,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    accuracy = float(run_script(snippet, tmp_path).split()[0])
    assert accuracy > 0.95
    assert (tmp_path / "exports" / "digits.net").is_file()


def test_links_in_the_documents_lead_somewhere():
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("*/README.md")]
    assert len(documents) >= 5
    for document in documents:
        for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", document.read_text(encoding="utf-8")):
            target = document.parent / path if path else document
            assert target.exists(), f"{document}: {path}"
            if anchor:
                titles = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
                assert anchor in [title.lower().replace(" ", "-") for title in titles], f"{document}: #{anchor}"


@pytest.mark.slow
@pytest.mark.lava
def test_example_lava_processes(tmp_path):
    shutil.copy(ROOT / "exports" / "reference" / "digits-soft.net", tmp_path / "digits.net")
    code = (ROOT / "examples" / "lava_processes.py").read_text(encoding="utf-8")
    code = code.replace('"exports/reference/digits-soft.net"', '"digits.net"')
    counts = re.search(r"digit (\d): spikes per class \[(.*)\], prediction \1", run_script(code, tmp_path))[2]
    network = rmp_lava.load(tmp_path / "digits.net")
    image = load("digits").test_images[:1]
    expected = rmp_lava.run(network, image, 64, "reference").output[0]
    assert [int(count) for count in counts.split(",")] == expected.tolist()
