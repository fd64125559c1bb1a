"""CIFAR-10 and CIFAR-100 in each of their layouts: the same images from all, and nothing hostile or misplaced gets through."""

from __future__ import annotations

import io
import os
import pickle
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st
from memory import memory_below
from profiles import examples

from rmp_lava.cli import app
from rmp_lava.errors import DataError
from rmp_lava.training.checkpoint import load_model
from rmp_lava.training.data import cifar_batches, image_files, load
from rmp_lava.training.data.cifar import CIFAR10, CIFAR100
from rmp_lava.training.data.reading import DATA_VARIABLE

Image = pytest.importorskip("PIL.Image")

CLASSES = CIFAR10.classes
PIXELS = np.random.RandomState(0).randint(0, 256, (20, 3, 32, 32), dtype=np.uint8)
LABELS = np.arange(20) // 2


@pytest.fixture(autouse=True)
def no_data_on_this_machine(monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


def check_message(message: str, *words: str) -> None:
    assert all(word in message for word in words), message
    assert "\n" not in message and not message.endswith(".")


def refused(place, name: str = "cifar10") -> str:
    with pytest.raises(DataError) as caught:
        load(name, place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- image files


def encoded(pixels: np.ndarray, kind: str = "PNG", mode: str | None = None) -> bytes:
    image = Image.fromarray(pixels.transpose(1, 2, 0))
    buffer = io.BytesIO()
    (image if mode is None else image.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


def image_files_of(suffix: str = ".png", kind: str = "PNG") -> dict[str, bytes]:
    """Two images of each class in both parts; the file names sort as the images do."""
    return {
        f"{part}/{CLASSES[label]}/{i:04}{suffix}": encoded(pixels, kind)
        for part in ("train", "test")
        for i, (pixels, label) in enumerate(zip(PIXELS, LABELS, strict=True))
    }


def write_folder(folder, files: dict[str, bytes]):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_zip(path, files: dict[str, bytes], compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def check_images(dataset, exact: bool = True) -> None:
    assert dataset.class_names == CLASSES and dataset.name == "cifar10"
    for images, labels in ((dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)):
        assert images.dtype == np.uint8 and labels.dtype == np.int64
        np.testing.assert_array_equal(labels, LABELS)
        if exact:
            np.testing.assert_array_equal(images, PIXELS)
        assert images.shape == PIXELS.shape


@pytest.mark.parametrize("layout", ["folder", "zip", "deflated", "prefixed zip", "zip in a folder"])
def test_image_files_load_in_the_order_of_classes_and_names(tmp_path, layout):
    files = image_files_of()
    if layout == "folder":
        place = write_folder(tmp_path, files | {"train/.DS_Store": b"", "train/cat/Thumbs.db": b"", "README": b""})
    elif layout == "prefixed zip":
        rubbish = {"__MACOSX/images/train/cat/._0001.png": b"", "images/licence.txt": b"", "images/train/cat/": b""}
        place = write_zip(tmp_path / "a.zip", {f"images/{name}": content for name, content in files.items()} | rubbish)
    elif layout == "zip in a folder":
        write_zip(tmp_path / "cifar10_images.zip", files)
        place = tmp_path
    else:
        place = write_zip(tmp_path / "a.zip", files, zipfile.ZIP_DEFLATED if layout == "deflated" else 0)
    dataset = load("cifar10", place)
    check_images(dataset)
    assert dataset.source == "CIFAR-10 (PNG)" and str(dataset.place).startswith(str(tmp_path))
    assert dataset.located == f"CIFAR-10 (PNG) in {dataset.place}"


def test_jpeg_is_named_in_the_source(tmp_path):
    files = image_files_of(".JPG", "JPEG")
    dataset = load("cifar10", write_zip(tmp_path / "a.zip", files))
    check_images(dataset, exact=False)
    assert (dataset.source, dataset.place) == ("CIFAR-10 (JPEG)", tmp_path / "a.zip")
    first = np.asarray(Image.open(io.BytesIO(files["train/airplane/0000.JPG"])))
    np.testing.assert_array_equal(dataset.train_images[0], first.transpose(2, 0, 1))


def test_variable_names_the_place_and_an_argument_comes_before_it(tmp_path, monkeypatch):
    check_message(refused(None), "--data-dir", DATA_VARIABLE)
    write_folder(tmp_path / "here", image_files_of())
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "here"))
    check_images(load("cifar10"))
    check_message(refused(tmp_path / "typo"), f"CIFAR-10 was not found in {tmp_path / 'typo'}")


def test_choosing_between_several_archives_is_refused(tmp_path):
    for name in ("cifar10_a.zip", "cifar10_b.zip"):
        write_zip(tmp_path / name, image_files_of())
    check_message(refused(tmp_path), "cifar10_a.zip, cifar10_b.zip", "name one of them")


def without(files: dict[str, bytes], start: str) -> dict[str, bytes]:
    return {name: content for name, content in files.items() if not name.startswith(start)}


CAT = "train/cat/0006.png"


@pytest.mark.parametrize("pack", ["folder", "zip"])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda files: {**files, CAT: encoded(PIXELS[0][:, :28, :28])}, [CAT, "28x28 pixels of mode RGB", "32x32"]),
        (lambda files: {**files, CAT: encoded(PIXELS[0], mode="L")}, [CAT, "mode L"]),
        (lambda files: {**files, CAT: encoded(PIXELS[0], mode="RGBA")}, [CAT, "mode RGBA"]),
        (lambda files: {**files, CAT: encoded(PIXELS[0])[:400]}, [CAT, "cannot be decoded"]),
        (lambda files: {**files, CAT: b""}, [CAT, "cannot be decoded"]),
        (lambda files: {**files, CAT: encoded(PIXELS[0], "GIF")}, [CAT, "cannot be decoded"]),
        (lambda files: {**files, CAT: bytes(image_files.MAX_FILE_BYTES + 1)}, ["1,048,577 bytes; at most 1,048,576"]),
        (lambda files: {**files, "train/zebra/1.png": encoded(PIXELS[0])}, ["train/zebra/1.png", "is misplaced"]),
        (lambda files: {**files, "train/cat/1.webp": b"x"}, ["train/cat/1.webp", "is misplaced"]),
        (lambda files: {**files, "train/1.png": encoded(PIXELS[0])}, ["train/1.png", "is misplaced"]),
        (lambda files: {**files, "train/cat/more/1.png": encoded(PIXELS[0])}, ["train/cat/more", "is misplaced"]),
        (lambda files: without(files, "test/frog"), ["no images in test/frog; fetch"]),
    ],
)
def test_files_that_do_not_belong_to_the_data_set_are_named(tmp_path, pack, change, words):
    files = change(image_files_of())
    place = write_folder(tmp_path / "a", files) if pack == "folder" else write_zip(tmp_path / "a.zip", files)
    check_message(refused(place), *words)


def test_a_huge_image_is_refused_by_its_header(tmp_path):
    header = struct.pack(">2I5B", 50_000, 50_000, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    bomb = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    place = write_zip(tmp_path / "a.zip", {**image_files_of(), CAT: bomb + bytes(100)})
    with memory_below(2**23):
        refused(place)


def test_a_pipe_in_the_folder_does_not_hang(tmp_path):
    write_folder(tmp_path, image_files_of())
    os.mkfifo(tmp_path / "train/cat/zz.png")
    check_message(refused(tmp_path), "zz.png", "not a regular file")


def test_entry_that_unpacks_to_more_than_it_declares_is_cut_off(tmp_path):
    path = write_zip(tmp_path / "a.zip", {**image_files_of(), CAT: bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    check_message(refused(path), "50,000,000 bytes; at most")
    # The same with a lie in the directory and in the entry's own header.
    content = path.read_bytes().replace(struct.pack("<I", 50_000_000), struct.pack("<I", 900))
    path.write_bytes(content)
    with memory_below(2**23):
        check_message(refused(path), CAT, "cannot be unpacked")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused_unread(tmp_path, method):
    check_message(refused(write_zip(tmp_path / "a.zip", image_files_of(), method)), "pack it stored or deflated")


def test_archive_that_is_damaged_doubled_or_mixed_is_refused(tmp_path):
    files = image_files_of()
    path = write_zip(tmp_path / "a.zip", files)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    check_message(refused(path), "is not a .zip file, or is damaged")
    path.write_bytes(b"not a zip file")
    check_message(refused(path), "is not a .zip file, or is damaged")
    path.write_bytes(whole)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(CAT, files[CAT])
    check_message(refused(path), "more than once; pack it again")
    write_zip(path, files | {f"more/{CAT}": files[CAT]})
    check_message(refused(path), "contains several data sets")


@settings(max_examples=examples(50), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_flipped_bit_in_an_archive_never_changes_images_silently(tmp_path, position, bit):
    path = tmp_path / "a.zip"
    if not path.exists():
        write_zip(tmp_path / "whole.zip", image_files_of())
    content = bytearray((tmp_path / "whole.zip").read_bytes())
    content[int(position * len(content))] ^= 1 << bit
    path.write_bytes(content)
    try:
        dataset = load("cifar10", path)
    except DataError:
        return
    check_images(dataset)


def test_missing_pillow_is_explained(tmp_path, monkeypatch):
    write_folder(tmp_path, image_files_of())
    monkeypatch.setitem(sys.modules, "PIL", None)
    check_message(refused(tmp_path), "image files need Pillow", "pip install pillow", "torchvision")


def test_too_many_images_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "MAX_IMAGES", 39)
    check_message(refused(write_folder(tmp_path, image_files_of())), "more than 39 images")


# --- the downloads


def batch_pickle(pixels: np.ndarray, truth: np.ndarray, **changed: bytes) -> bytes:
    """A pickle with the instructions of the original's (cPickle of Python 2, protocol 2); `changed` replaces parts."""

    def string(value: bytes) -> bytes:
        return b"U" + bytes((len(value),)) + value if len(value) < 256 else b"T" + struct.pack("<I", len(value)) + value

    def integer(value: int) -> bytes:
        return b"K" + bytes((value,)) if value < 256 else b"J" + struct.pack("<i", value)

    rows = pixels.reshape(len(pixels), -1)
    shape = changed.get("shape", integer(rows.shape[0]) + integer(rows.shape[1]) + b"\x86")
    state = b"(K\3" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    kind = changed.get("kind", b"cnumpy\ndtype\n" + string(b"u1") + b"K\0K\1\x87R" + state)
    array = b"cnumpy.core.multiarray\n_reconstruct\nq\1cnumpy\nndarray\nK\0\x85" + string(b"b") + b"\x87R(K\1"
    array += shape + kind + b"\x89" + changed.get("content", string(rows.tobytes())) + b"tb"
    listed = b"](" + b"".join(integer(int(label)) for label in truth) + b"e"
    return (
        b"\x80\2}q\0("
        + string(b"batch_label") + string(b"training batch 1 of 5")
        + string(b"labels") + changed.get("labels", listed)
        + string(b"data") + changed.get("data", array)
        + string(b"filenames") + b"](" + b"".join(string(b"a.png") for _ in truth) + b"e"
        + b"u."
    )  # fmt: skip


def batch_bytes(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    return np.concatenate([labels.astype(np.uint8)[:, None], pixels.reshape(len(pixels), -1)], axis=1).tobytes()


def write_download(folder, kind: str = "py", **changed: bytes):
    """Five training batches of four images and a test batch of twenty."""
    folder = folder / f"cifar-10-batches-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    encode, suffix = (batch_pickle, "") if kind == "py" else (batch_bytes, ".bin")
    for i in range(5):
        part = slice(4 * i, 4 * i + 4)
        (folder / f"data_batch_{i + 1}{suffix}").write_bytes(encode(PIXELS[part], LABELS[part]))
    (folder / f"test_batch{suffix}").write_bytes(changed.get("test", encode(PIXELS, LABELS)))
    return folder


@pytest.mark.parametrize("kind", ["py", "bin"])
@pytest.mark.parametrize("named", ["around", "itself"])
def test_downloads_load(tmp_path, kind, named):
    folder = write_download(tmp_path, kind)
    dataset = load("cifar10", tmp_path if named == "around" else folder)
    check_images(dataset)
    assert (dataset.source, dataset.place) == ("CIFAR-10", folder)


def test_pickle_of_python_3_loads_too(tmp_path):
    content = {"data": PIXELS.reshape(20, -1), "labels": LABELS.tolist()}
    write_download(tmp_path, test=pickle.dumps(content, protocol=3))
    check_images(load("cifar10", tmp_path))
    content = {"data": np.asfortranarray(PIXELS.reshape(20, -1)), "labels": LABELS.tolist()}
    write_download(tmp_path, test=pickle.dumps(content, protocol=3))
    check_images(load("cifar10", tmp_path))


def test_original_comes_before_images_that_were_encoded_again(tmp_path):
    write_download(tmp_path)
    write_folder(tmp_path, image_files_of(".jpg", "JPEG"))
    check_images(load("cifar10", tmp_path))


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("evil-was-here",))


EVIL_REDUCE = b"cos\nmkdir\n(U\x0devil-was-heretR"


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(Evil(), protocol=2),
        pickle.dumps(Evil(), protocol=5),
        pickle.dumps({"data": Evil(), "labels": []}, protocol=3),
        batch_pickle(PIXELS, LABELS, data=EVIL_REDUCE),
        batch_pickle(PIXELS, LABELS, labels=EVIL_REDUCE),
        batch_pickle(PIXELS, LABELS, kind=EVIL_REDUCE),
        batch_pickle(PIXELS, LABELS, data=b"cbuiltins\neval\nU\x0aos.getpid()\x85R"),
        batch_pickle(PIXELS, LABELS, data=b"cnumpy\nload\nU\x01a\x85R"),
        batch_pickle(PIXELS, LABELS, data=b"Nr\x00\x00\x00\x02"),
        batch_pickle(PIXELS, LABELS, data=b"](" + b"N" * (cifar_batches._MAX_OPCODES + 1) + b"e"),
        batch_pickle(PIXELS, LABELS, data=b"P1\n"),
        batch_pickle(PIXELS, LABELS)[:-100],
        batch_pickle(PIXELS, LABELS)[:30],
        batch_pickle(PIXELS, LABELS, content=b"T\xff\xff\xff\x7fabc"),
        b"",
        b"\x80",
        b"}b.",
    ],
)
def test_hostile_pickle_is_refused_and_runs_nothing(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    write_download(tmp_path / "data", test=content)
    before = os.listdir(tmp_path)
    with memory_below(2**26):
        check_message(refused(tmp_path / "data"), "test_batch", "so it was not loaded")
    assert os.listdir(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (pickle.dumps([1, 2], protocol=2), "contains a list instead of a dictionary"),
        (pickle.dumps({}, protocol=2), "no pixels of uint8 (N, 3,072)"),
        (batch_pickle(PIXELS, LABELS, data=b"N"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, shape=b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, shape=b"K\x14K\0\x86"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, shape=b"J\xec\xff\xff\xffJ\x00\xf4\xff\xff\x86"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, shape=b"N"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, kind=b"cnumpy\ndtype\nU\2i1\x85R"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, content=b"U\3abc"), "no pixels"),
        (batch_pickle(PIXELS, LABELS, content=b"N"), "no pixels"),
        (batch_pickle(PIXELS[:, :1], LABELS), "no pixels"),
        (batch_pickle(PIXELS, LABELS, labels=b"N"), "no list of labels"),
        (batch_pickle(PIXELS, LABELS, labels=b"](Ne"), "no list of labels"),
        (batch_pickle(PIXELS, LABELS[:19]), "20 images and 19 labels"),
        (batch_pickle(PIXELS, LABELS + 1), "labels up to 10; allowed are"),
    ],
)
def test_pickle_of_other_content_is_refused(tmp_path, content, words):
    write_download(tmp_path, test=content)
    check_message(refused(tmp_path), "test_batch", words)


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(position=st.integers(0, 250), byte=st.integers(0, 255))
def test_no_bytes_crash_the_unpickling(tmp_path, position, byte):
    folder = tmp_path / "cifar-10-batches-py"
    if not folder.exists():
        write_download(tmp_path)
    content = bytearray(batch_pickle(PIXELS, LABELS))
    content[position] = byte
    (folder / "test_batch").write_bytes(content)
    try:
        dataset = load("cifar10", tmp_path)
    except DataError:
        return
    assert dataset.test_images.shape == PIXELS.shape


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "has 0 bytes"),
        (batch_bytes(PIXELS, LABELS)[:-1], "61,459 bytes, which is not a multiple of 3,073"),
        (batch_bytes(PIXELS, LABELS + 1), "labels up to 10"),
    ],
)
def test_damaged_binary_file_is_refused(tmp_path, content, words):
    write_download(tmp_path, "bin", test=content)
    check_message(refused(tmp_path), "test_batch.bin", words)


@pytest.mark.parametrize(("kind", "suffix"), [("py", ""), ("bin", ".bin")])
def test_missing_and_oversized_files_are_named(tmp_path, monkeypatch, kind, suffix):
    folder = write_download(tmp_path, kind)
    (folder / f"data_batch_3{suffix}").unlink()
    check_message(refused(tmp_path), f"data_batch_3{suffix} is missing")
    os.mkfifo(folder / f"data_batch_3{suffix}")
    check_message(refused(tmp_path), f"data_batch_3{suffix} is missing or not a regular file")
    monkeypatch.setattr(cifar_batches, "_MAX_BYTES", 1000)
    check_message(refused(tmp_path), "at most 1,000 are allowed")


# --- CIFAR-100: what it does not share with CIFAR-10

FINE = np.arange(20) * 5
COARSE = np.arange(20)


def hundred_pickle(labels: np.ndarray = FINE) -> bytes:
    """With the instructions of the original's, as `batch_pickle`, whose coarse labels precede the fine ones."""
    coarse = b"U\x0dcoarse_labels](" + b"".join(b"K" + bytes((label,)) for label in COARSE) + b"e"
    return batch_pickle(PIXELS, labels).replace(b"U\6labels", coarse + b"U\x0bfine_labels")


def meta(names=CIFAR100.classes) -> bytes:
    """The same, with strings that are memorised."""
    listed = b"".join(
        b"U" + bytes((len(name),)) + name.encode() + b"q" + bytes((i + 4,)) for i, name in enumerate(names)
    )
    return b"\x80\2}q\1(U\x10fine_label_namesq\2]q\3(" + listed + b"eu."


def write_hundred(folder, kind: str = "python", **changed: bytes):
    folder = folder / f"cifar-100-{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    if kind == "python":
        files = {"train": hundred_pickle(), "test": hundred_pickle(FINE[::-1]), "meta": meta()}
    else:
        pixels = PIXELS.reshape(20, -1)
        files = {
            f"{part}.bin": np.column_stack([COARSE, labels, pixels]).astype(np.uint8).tobytes()
            for part, labels in (("train", FINE), ("test", FINE[::-1]))
        }
    for name, content in (files | changed).items():
        (folder / name).write_bytes(content)
    return folder


def check_hundred(dataset, source: str = "CIFAR-100") -> None:
    assert (dataset.name, dataset.source, dataset.input_shape) == ("cifar100", source, (3, 32, 32))
    assert dataset.class_names == CIFAR100.classes and len(set(CIFAR100.classes)) == 100
    assert list(CIFAR100.classes) == sorted(CIFAR100.classes)
    np.testing.assert_array_equal(dataset.train_labels, FINE)
    for images in (dataset.train_images, dataset.test_images):
        assert images.dtype == np.uint8
        np.testing.assert_array_equal(images, PIXELS)


@pytest.mark.parametrize("kind", ["python", "binary"])
@pytest.mark.parametrize("named", ["around", "itself"])
def test_fine_labels_of_the_downloads_load(tmp_path, kind, named):
    folder = write_hundred(tmp_path, kind)
    # Another data set next to it does not matter.
    write_folder(tmp_path, {f"{part}/n0{i}/a.jpg": b"" for part in ("train", "test") for i in (1, 2)})
    dataset = load("cifar100", tmp_path if named == "around" else folder)
    check_hundred(dataset)
    assert dataset.place == folder
    np.testing.assert_array_equal(dataset.test_labels, FINE[::-1])


def test_download_in_a_folder_of_the_data_set_comes_before_images_next_to_it(tmp_path):
    write_hundred(tmp_path / "cifar100")
    write_folder(tmp_path, {f"{part}/n0{i}/a.jpg": b"" for part in ("train", "test") for i in (1, 2)})
    check_hundred(load("cifar100", tmp_path))


@pytest.mark.parametrize("pack", ["folder", "zip", "zip in a folder"])
def test_image_files_of_a_hundred_classes_load(tmp_path, pack):
    files = {
        f"{part}/{name}/a.png": encoded(PIXELS[i % 20])
        for part in ("train", "test")
        for i, name in enumerate(CIFAR100.classes)
    }
    if pack == "folder":
        place = write_folder(tmp_path / "data", files)
    else:
        write_zip(tmp_path / "cifar100_images.zip", files)
        write_zip(tmp_path / "cifar10_images.zip", image_files_of())
        place = tmp_path if pack == "zip in a folder" else tmp_path / "cifar100_images.zip"
    dataset = load("cifar100", place)
    assert dataset.source == "CIFAR-100 (PNG)"
    np.testing.assert_array_equal(dataset.train_labels, np.arange(100))
    np.testing.assert_array_equal(dataset.test_images[21], PIXELS[1])
    if pack == "zip in a folder":
        check_images(load("cifar10", place))


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("meta", meta(CIFAR100.classes[::-1]), "does not name the 100 classes of the original in their order"),
        ("meta", pickle.dumps({b"fine_label_names": 7}, protocol=3), "does not name the 100 classes"),
        ("meta", pickle.dumps({}, protocol=2), "does not name the 100 classes"),
        ("meta", pickle.dumps([], protocol=2), "contains a list instead of a dictionary"),
        ("meta", pickle.dumps(Evil(), protocol=2), "so it was not loaded"),
        ("train", hundred_pickle(FINE + 6), "labels up to 101; allowed are"),
        (
            "train",
            pickle.dumps({b"data": PIXELS.reshape(20, -1), b"labels": FINE.tolist()}, protocol=3),
            "no list of labels",
        ),
        ("test", pickle.dumps(Evil(), protocol=3), "so it was not loaded"),
    ],
)
def test_hostile_or_mixed_up_file_is_refused(tmp_path, monkeypatch, file, content, words):
    monkeypatch.chdir(tmp_path)
    write_hundred(tmp_path / "data", **{file: content})
    check_message(
        refused(tmp_path / "data", "cifar100"), f"CIFAR-100 file {tmp_path / 'data/cifar-100-python' / file}", words
    )
    assert os.listdir(tmp_path) == ["data"]


def test_missing_names_and_cut_records_are_refused(tmp_path):
    (write_hundred(tmp_path / "a") / "meta").unlink()
    check_message(refused(tmp_path / "a", "cifar100"), "meta is missing")
    write_hundred(tmp_path / "b", "binary", **{"test.bin": batch_bytes(PIXELS, FINE)})
    check_message(refused(tmp_path / "b", "cifar100"), "test.bin", "not a multiple of 3,074")
    check_message(refused(tmp_path, "cifar100"), f"CIFAR-100 was not found in {tmp_path}", "cifar-100-python")


def test_one_data_set_is_not_taken_for_the_other(tmp_path):
    write_download(tmp_path)
    check_message(refused(tmp_path, "cifar100"), "CIFAR-100 was not found")
    write_hundred(tmp_path / "b")
    check_message(refused(tmp_path / "b"), "CIFAR-10 was not found")


def test_limits_admit_the_original():
    # Of its 50,000 training images a file name, its place in the memo and two labels each.
    assert cifar_batches._MAX_BYTES > 50_000 * 3072 and cifar_batches._MAX_OPCODES > 200_150


@pytest.mark.slow
def test_network_of_a_hundred_classes_trains_converts_and_runs_by_name(tmp_path, capsys):
    labels = np.repeat([3, 50, 98], 10)
    pixels = np.random.RandomState(1).randint(0, 256, (30, 3, 32, 32), dtype=np.uint8)
    part = pickle.dumps({b"data": pixels.reshape(30, -1), b"fine_labels": labels.tolist()}, protocol=3)
    write_hundred(tmp_path, train=part, test=part)
    data, path = ["--data-dir", str(tmp_path)], tmp_path / "a.pt"
    train_it = [
        "train",
        "vgg16-cifar",
        "--data",
        "cifar100",
        "--width",
        "0.04",
        "--epochs",
        "1",
        "--precision",
        "float32",
    ]
    app([*train_it, *data, "--output", str(path)], standalone_mode=False)
    network, metadata = load_model(path)
    assert (metadata["dataset"], metadata["options"]["classes"], network.dense3.out_features) == ("cifar100", 100, 100)
    # From here on the data set comes from the checkpoint.
    app(["convert", str(path), "--steps", "4", *data], standalone_mode=False)
    app(["run", str(tmp_path / "a.net"), "--samples", "2", *data], standalone_mode=False)
    assert "2 of 30 test images of cifar100" in " ".join(capsys.readouterr().out.split())
