"""Data sets are fetched through torchvision: from a server of this process, as no test needs a network."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import pickle
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from rmp_lava.cli import app
from rmp_lava.errors import DataError, UsageError
from rmp_lava.training.data import download


@pytest.fixture
def datasets():
    try:
        from torchvision import datasets
    except Exception as error:
        pytest.skip(f"torchvision does not load: {error}")
    return datasets


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder, and the address at which its files are served."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


@pytest.fixture
def mirror(datasets, served, monkeypatch):
    """Twelve images of Fashion-MNIST on a mirror with torchvision's file names."""
    (folder, address), random, resources = served, np.random.default_rng(0), []
    for name, _ in datasets.FashionMNIST.resources:
        shape = (12, 28, 28) if "images" in name else (12,)
        content = idx(random.integers(0, 10, shape, dtype=np.uint8))
        (folder / name).write_bytes(content)
        resources.append((name, hashlib.md5(content).hexdigest()))
    monkeypatch.setattr(datasets.FashionMNIST, "resources", resources)
    monkeypatch.setattr(datasets.FashionMNIST, "mirrors", [address])
    return folder


@pytest.mark.slow
def test_fashion_mnist_is_fetched_once_and_read(mirror, tmp_path):
    fashion = download("fashion-mnist", tmp_path / "data")
    assert fashion.train_images.shape == fashion.test_images.shape == (12, 1, 28, 28)
    for file in mirror.iterdir():
        file.unlink()
    assert download("fashion-mnist", tmp_path / "data").fingerprint == fashion.fingerprint
    arguments = (
        "--download",
        "fashion-mnist",
        "--data-dir",
        str(tmp_path / "data"),
        "--json",
        str(tmp_path / "a.json"),
    )
    app(["zoo", *arguments], standalone_mode=False)
    assert json.loads((tmp_path / "a.json").read_text())["data_dir"] == str(fashion.place)


@pytest.mark.slow
def test_another_file_than_the_original_is_refused(mirror, tmp_path):
    (mirror / "train-images-idx3-ubyte.gz").write_bytes(b"another file")
    with pytest.raises(
        DataError, match="could not fetch fashion-mnist into .*data.* check the connection and the folder"
    ):
        download("fashion-mnist", tmp_path / "data")


@pytest.mark.slow
def test_cifar10_is_fetched_and_read(datasets, served, tmp_path, monkeypatch):
    (folder, address), kind, random, sums = served, datasets.CIFAR10, np.random.default_rng(0), {}

    def batch(name: str) -> bytes:
        if name == "batches.meta":
            return pickle.dumps({"label_names": list("abcdefghij")}, protocol=2)
        pixels = random.integers(0, 256, (10, 3072), dtype=np.uint8)
        return pickle.dumps({"data": pixels, "labels": list(range(10))}, protocol=3)

    path = folder / kind.filename
    with tarfile.open(path, "w:gz") as archive:
        for name in [each for each, _ in (*kind.train_list, *kind.test_list)] + ["batches.meta"]:
            content = batch(name)
            sums[name] = hashlib.md5(content).hexdigest()
            member = tarfile.TarInfo(f"{kind.base_folder}/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    monkeypatch.setattr(kind, "url", address + path.name)
    monkeypatch.setattr(kind, "tgz_md5", hashlib.md5(path.read_bytes()).hexdigest())
    for part in ("train_list", "test_list"):
        monkeypatch.setattr(kind, part, [[name, sums[name]] for name, _ in getattr(kind, part)])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": sums["batches.meta"]})
    found = download("cifar10", tmp_path / "data")
    assert (len(found.train_images), len(found.test_images)) == (50, 10)


def test_what_cannot_be_fetched_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv("RMP_LAVA_DATA", raising=False)
    with pytest.raises(
        UsageError, match="'imagenet' cannot be fetched; choose one of fashion-mnist, cifar10, cifar100"
    ):
        download("imagenet", tmp_path)
    with pytest.raises(UsageError, match="no folder is given .* pass --data-dir FOLDER"):
        download("cifar10")
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(DataError, match="through torchvision, which cannot be imported .* pip install torchvision"):
        download("cifar10", tmp_path)
