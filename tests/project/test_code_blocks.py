"""Every code block of the documents runs, in a folder that has what they name, or says above it why not."""

from __future__ import annotations

import importlib.util
import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path

import lava_dl_files
import numpy as np
import pytest
import torch
from documents import DOCUMENTS, ROOT, Block, blocks
from torch import nn
from typer.testing import CliRunner

import rmp_lava
from rmp_lava.backends.lava.simulator import availability
from rmp_lava.cli import app
from rmp_lava.training.data import load

tomllib = pytest.importorskip("tomllib", reason="the documents are tested on Python 3.11 and newer")

CHEAPER = {
    "train": ("--epochs", "2"),
    "tune": ("--epochs", "1"),
    "run": ("--samples", "6"),
    "report": ("--samples", "20"),
    "estimate": ("--samples", "20"),
}
"""Options that the commands of documents get, unless they have them: what they do is the same."""
MODELS = """
import torch
from torch import nn

def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AvgPool2d(5), nn.Flatten(), nn.Linear(36, 3)).eval()
"""
PAGES = {
    path.relative_to(ROOT).as_posix(): blocks(path)
    for path in DOCUMENTS
    if any(block.language in ("sh", "python", "toml") for block in blocks(path))
}


def test_blocks_are_found_with_what_says_that_they_do_not_run(tmp_path, monkeypatch):
    monkeypatch.setattr("documents.ROOT", tmp_path)
    (tmp_path / "a.md").write_text(
        "# A\n\n    rmp-lava run \\\n        a.net  # b\n\n"
        "*Not run by the tests: needs a board.*\n\n```python\nx = 1\n\ny = 2\n```\n"
    )
    assert blocks(tmp_path / "a.md") == [
        Block("a.md", "sh", "rmp-lava run \\\n    a.net  # b\n", True),
        Block("a.md", "python", "x = 1\n\ny = 2", False),
    ]
    assert list(blocks(tmp_path / "a.md")[0].commands()) == [["rmp-lava", "run", "a.net"]]


def test_python_is_never_only_indented():
    def is_python(text: str) -> bool:
        return "rmp_lava." in text and "=" in text and "rmp_lava/" not in text

    indented = [(block.document, block.text) for page in PAGES.values() for block in page if not block.language]
    assert [found for found in indented if is_python(found[1])] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """What the commands name: networks, images, events, files of other libraries."""
    here = tmp_path_factory.mktemp("documents")
    rng = np.random.default_rng(0)
    (here / "mine").mkdir()
    (here / "mine" / "models.py").write_text(MODELS)
    spec = importlib.util.spec_from_file_location("mine_models", here / "mine" / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    torch.save(module.net().state_dict(), here / "net.pt")
    for name, labels, count in (("train", "labels", 60), ("test", "test_labels", 20)):
        np.save(here / f"{name}.npy", rng.random((count, 3, 32, 32), dtype=np.float32))
        np.save(here / f"{labels}.npy", rng.integers(0, 3, count))
    np.save(here / "events.npy", (rng.random((40, 16, 3, 32, 32)) < 0.1).astype(np.int8))

    def weight(*shape: int) -> np.ndarray:
        return (2 * rng.integers(-20, 40, shape)).astype(np.float32)

    conv = {"stride": [1, 1], "padding": [1, 1], "dilation": [1, 1], "groups": 1, "neuron": lava_dl_files.CUBA}
    dense = [lava_dl_files.dense(weight(8, n)) for n in (1024, 8, 8, 8)]
    convolution = {"type": "conv", "shape": [4, 16, 16], "weight": weight(4, 2, 3, 3), **conv}
    lava_dl_files.write(here / "their.net", convolution, {"type": "flatten", "shape": [1024, 1, 1]}, *dense)
    messages = rng.integers(0, 2, (8, 16, 2, 16, 16)).astype(np.int8)
    np.save(here / "messages.npy", messages)
    np.save(here / "spikes.npy", messages)
    for name, document in (("my_board.toml", "docs/hardware.md"), ("study.toml", "docs/guides/clusters.md")):
        text = next(block.text for block in PAGES[document] if block.language == "toml")
        (here / name).write_text(text)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        command("rmp-lava", "train", "digits-cnn")
        command("rmp-lava", "convert", "exports/digits-cnn.pt", "--steps", "16")
        for copy in ("net.net", "digits-cnn.net"):
            (here / copy).write_bytes((here / "exports" / "digits-cnn.net").read_bytes())
        model = rmp_lava.load_trained("exports/digits-cnn.pt").model
        example = torch.from_numpy(load("digits").test_images[:2])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(model.eval(), (example,), "net.onnx", dynamo=False)
        rmp_lava.save_nir(rmp_lava.load("exports/digits-cnn.net"), "network.nir")
    return here


def command(*words: str) -> None:
    """Run one of our commands in this process; `fit` also ends with 1, where a network does not fit."""
    arguments = list(words[1:])
    if "lava" in arguments and availability():
        # Its own tests compare Lava's simulator with these two.
        stock = "stock" in arguments
        arguments[arguments.index("lava")] = "reference" if stock else "fast"
        arguments = [word for word in arguments if not (stock and word == "--compare")]
    extra = CHEAPER.get(arguments[0], ())
    if extra and extra[0] in arguments:
        arguments[arguments.index(extra[0]) + 1] = extra[1]
    else:
        arguments += extra
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        done = CliRunner().invoke(app, arguments)
    assert done.exit_code in ((0, 1) if arguments[0] == "fit" else (0,)), (
        f"{' '.join(words)}: {done.output}{done.exception!r}"
    )


def check_other(words: Sequence[str]) -> None:
    """Programs that are not ours, or take long: what they name exists."""
    if words[0] == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{target}:", makefile, re.MULTILINE) for target in words[1:]), words
    elif words[0] == "pip":
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
            "optional-dependencies"
        ]
        assert set(",".join(re.findall(r"\[(.*)\]", " ".join(words))).split(",")) - {""} <= set(extras), words
    elif words[:2] == ["python", "-m"]:
        spec = importlib.util.find_spec(words[2])
        assert spec is not None, words
        text = "".join(path.read_text(encoding="utf-8") for path in Path(spec.origin).parent.glob("*.py"))
        for option in (word for word in words[3:] if word.startswith("--")):
            assert option in text or option[2:].replace("-", "_") in text, (words, option)


@pytest.mark.slow
@pytest.mark.xdist_group("documents")
@pytest.mark.parametrize("document", PAGES)
def test_code_blocks_run(document, folder, tmp_path, monkeypatch):
    here = shutil.copytree(folder, tmp_path / "here")  # no page depends on what another one leaves behind
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    names = given()
    for block in PAGES[document]:
        if block.language == "python" and (block.run or "lava." in block.text):
            compiled = compile(block.text, document, "exec")
            if block.run and document != "README.md":  # test_docs.py runs that one
                exec(compiled, names)
        elif block.language == "sh":
            for words in block.commands():
                if words[0] != "rmp-lava":
                    check_other(words)
                elif block.run:
                    command(*words)


def given() -> dict[str, object]:
    """What the Python of documents starts from: a trained network, its images, its spiking network, and recordings."""
    digits = load("digits")
    rng = np.random.default_rng(0)
    network = rmp_lava.load("exports/digits-cnn.net")
    kinds = [("t", np.int64), ("x", np.int16), ("y", np.int16), ("p", np.int8)]
    recordings = []
    for label in range(12):
        events = np.zeros(300, kinds)
        for name, high in (("t", 1000), ("x", 34), ("y", 34), ("p", 2)):
            events[name] = rng.integers(0, high, 300)
        recordings.append((np.sort(events, order="t"), label % 3))
    return {
        "rmp_lava": rmp_lava,
        "np": np,
        "Path": Path,
        "model": rmp_lava.load_trained("exports/digits-cnn.pt").model,
        "network": network,
        "images": digits.test_images[:20],
        "labels": digits.test_labels[:20],
        "spikes": np.load("spikes.npy"),
        "recordings": recordings,
        "net": lambda: nn.Sequential(nn.Conv2d(2, 3, 5, 4), nn.ReLU(), nn.Flatten(), nn.Linear(192, 3)),
        "train": lambda model, images, labels: model.eval(),
    }
