"""Untrusted `.net` files: nothing outside the file is touched, and memory and time are bounded by the file's size."""

from __future__ import annotations

import shutil
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from net_files import refusal, replace

from rmp_lava.encoding import make_input
from rmp_lava.network import INPUT, Dense, Layer, Neurons, SpikingNetwork
from rmp_lava.netx import load, save


def test_links_are_not_followed(net, tmp_path):
    with h5py.File(tmp_path / "other.net", "w") as other:
        other["weight"] = np.zeros((2, 1, 3, 3), dtype=int)
    for link in (h5py.ExternalLink("other.net", "/weight"), h5py.SoftLink("/layer/2/synapse/1/weight")):
        with h5py.File(net, "r+") as file:
            replace(file, "layer/1/weight", link)
        refusal(net, "/layer/1/weight is a link")


def test_linked_groups_are_not_followed(net):
    with h5py.File(net, "r+") as file:
        replace(file, "layer/1/neuron", h5py.SoftLink("/layer/2/neuron"))
    refusal(net, "/layer/1/neuron is a link")


def test_data_outside_the_file_is_not_read(net, tmp_path):
    np.zeros(18, dtype=np.int64).tofile(tmp_path / "raw")
    with h5py.File(net, "r+") as file:
        del file["layer/1/weight"]
        external = [(str(tmp_path / "raw"), 0, 18 * 8)]
        file.create_dataset("layer/1/weight", (2, 1, 3, 3), dtype="i8", external=external)
    refusal(net, "is stored outside the file")
    layout = h5py.VirtualLayout((2, 1, 3, 3), dtype="i8")
    layout[:] = h5py.VirtualSource(str(net), "layer/2/weight", (2, 1, 3, 3))
    with h5py.File(net, "r+") as file:
        del file["layer/1/weight"]
        file.create_virtual_dataset("layer/1/weight", layout)
    refusal(net, "is stored outside the file")


def refusals_in_little_memory(*paths: Path) -> list[str]:
    """What a process that may take 256 MiB more than Python and h5py says of each file, which it loads one after the other."""
    program = """
        import resource, sys
        from rmp_lava.netx import load
        limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 2**28
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for path in sys.argv[1:]:
            try:
                load(path)
            except BaseException as error:
                print(type(error).__name__, " ".join(str(error).split()))
            else:
                print("loaded")
    """
    if not Path("/proc/self/statm").exists():
        pytest.skip("needs /proc of Linux")
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, paths)]
    found = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.splitlines()
    assert len(found) == len(paths)
    return found


# Less than any of these sizes is there for the reader, more than Python and h5py need in addition.
HUGE = [((2**40,), "i1"), ((2**16, 2**16, 2**16), "f8"), ((2**28,), "f8"), ((1,), f"S{2**31 - 1}")]


@pytest.mark.parametrize("key", ["layer/1/weight", "layer/1/record", "layer/1/shape"])
def test_huge_declarations_are_refused_before_anything_is_allocated(net, key):
    paths = [Path(shutil.copy(net, net.with_name(f"{i}.net"))) for i in range(len(HUGE))]
    for path, (shape, dtype) in zip(paths, HUGE, strict=True):
        with h5py.File(path, "r+") as file:
            del file[key]
            file.create_dataset(key, shape, dtype=dtype, chunks=(1,) * len(shape))
    for message in refusals_in_little_memory(*paths):
        assert message.startswith("NetFileError") and key in message
        assert "declares" in message or "is not a single string" in message


def test_highly_compressed_data_is_still_read(tmp_path):
    weight = np.zeros((100, 20_000), dtype=int)
    weight[0, 0] = 1
    layer = Layer("a", (100,), (Dense(INPUT, weight),), Neurons(9))
    network = SpikingNetwork("sparse", make_input("poisson", (20_000,)), (layer,), "integer", "count")
    path = save(network, tmp_path / "a.net")
    assert path.stat().st_size < weight.size / 50
    assert load(path) == network


def test_one_dataset_under_many_names_is_not_read_as_often(tmp_path):
    weight = np.zeros((100, 20_000), dtype=int)
    weight[0, 0] = 1
    layer = Layer("a", (100,), (Dense(INPUT, weight),), Neurons(9))
    path = save(
        SpikingNetwork("sparse", make_input("poisson", (20_000,)), (layer,), "integer", "count"), tmp_path / "a.net"
    )
    with h5py.File(path, "r+") as file:
        for i in range(2, 200):
            file[f"layer/{i}"] = file["layer/1"]
    refusal(path, " and what was read before it declare more bytes than a file of this size can hold")


@pytest.mark.slow
def test_chunks_larger_than_their_dataset_are_refused(net):
    with h5py.File(net, "r+") as file:
        content = file["layer/1/weight"][()]
        del file["layer/1/weight"]
        maximum = (None,) * content.ndim
        file.create_dataset(
            "layer/1/weight", data=content, chunks=(2**13, 2**13, 1, 1), maxshape=maximum, compression="gzip"
        )
    refusal(net, "/layer/1/weight declares chunks of (8192, 8192, 1, 1), larger than itself")


def test_many_names_of_a_small_layer_are_not_read_as_often(tmp_path):
    """48 kB once expanded to 40,000 synapses, and 2 MB to hours of reading."""
    layer = Layer("a", (1,), (Dense(INPUT, [[2]]), Dense(INPUT, [[3]])), Neurons(9))
    network = SpikingNetwork("small", make_input("poisson", (1,)), (layer,), "integer", "count")
    path = save(network, tmp_path / "a.net")
    with h5py.File(path, "r+") as file:
        for i in range(2, 300):
            file[f"layer/1/synapse/{i}"] = file["layer/1/synapse/1"]
            file[f"layer/{i}"] = file["layer/1"]
    refusal(path, "and what was read before it declare more bytes than a file of this size can hold")


def chunk_of(file, key, content, *, deflates):
    """A dataset of one value in one chunk, which contains these bytes, compressed `deflates` times."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_chunk((1,))
    for _ in range(deflates):
        plist.set_deflate(9)
        content = zlib.compress(content, 9)
    kind = h5py.h5t.py_create(np.dtype("S5"))
    h5py.h5d.create(file.id, key.encode(), kind, h5py.h5s.create_simple((1,)), dcpl=plist).write_direct_chunk(
        (0,), content
    )


@pytest.mark.slow
@pytest.mark.parametrize("deflates, found", [(1, "more or fewer bytes than it declares"), (2, "has filters [1, 1]")])
def test_chunks_are_not_inflated_beyond_what_they_declare(net, deflates, found):
    with h5py.File(net, "r+") as file:
        del file["layer/1/type"]
        chunk_of(file, "layer/1/type", bytes(2**29), deflates=deflates)
    # Less than the size of the inflated chunk, which HDF5 would allocate outside Python.
    (message,) = refusals_in_little_memory(net)
    assert message.startswith("NetFileError") and "/layer/1/type" in message and found in message


@pytest.mark.parametrize(
    "filters, content",
    [
        ("shuffle", b"1"),
        ("shuffle deflate", b"1"),
        ("shuffle deflate fletcher32", b"1"),
        ("fletcher32 shuffle deflate", b"1"),
        ("shuffle deflate", None),  # declares that its filters were skipped
        ("shuffle", bytes(73)),
    ],
)
def test_chunks_of_other_sizes_than_a_chunk_are_refused(net, filters, content):
    """From a short chunk HDF5 copies the memory that follows it, or crashes."""
    with h5py.File(net, "r+") as file:
        shape, before = file["layer/1/weight"].shape, file["layer/1/weight"][()]
        del file["layer/1/weight"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(shape)
        for name in filters.split():
            getattr(plist, f"set_{name}")(*([9] if name == "deflate" else []))
        space = h5py.h5s.create_simple(shape)
        identifier = h5py.h5d.create(file["layer/1"].id, b"weight", h5py.h5t.STD_I32LE, space, dcpl=plist)
        h5py.Dataset(identifier)[...] = before
    assert load(net)  # whole chunks are read, whatever the order of their filters
    with h5py.File(net, "r+") as file:
        skipped, stored = (2**32 - 1, b"1") if content is None else (0, content)
        if content is not None and "deflate" in filters:
            stored = zlib.compress(content) + (b"0000" if filters.endswith("fletcher32") else b"")
        file["layer/1/weight"].id.write_direct_chunk((0,) * 4, stored, skipped)
    refusal(net, "/layer/1/weight stores more or fewer bytes than it declares")


def test_data_shuffled_after_it_was_compressed_is_refused(net):
    with h5py.File(net, "r+") as file:
        before = file["layer/1/weight"][()]
        del file["layer/1/weight"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk(before.shape)
        plist.set_deflate(9)
        plist.set_shuffle()
        space = h5py.h5s.create_simple(before.shape)
        h5py.Dataset(h5py.h5d.create(file["layer/1"].id, b"weight", h5py.h5t.STD_I32LE, space, dcpl=plist))[...] = (
            before
        )
    refusal(net, "/layer/1/weight has filters [1, 2]; only shuffle (2), gzip (1) after it")


def test_many_chunks_under_many_names_are_not_read_as_often(tmp_path):
    layer = Layer("a", (1,), (Dense(INPUT, [[2] * 2000]), Dense(INPUT, [[3] * 2000])), Neurons(9))
    network = SpikingNetwork("many", make_input("poisson", (2000,)), (layer,), "integer", "count")
    path = save(network, tmp_path / "a.net")
    with h5py.File(path, "r+") as file:
        del file["layer/1/synapse/1/weight"]
        file.create_dataset("layer/1/synapse/1/weight", data=np.full((1, 2000), 3), chunks=(1, 1))
    assert load(path) == network
    with h5py.File(path, "r+") as file:
        for i in range(2, 100):
            file[f"layer/1/synapse/{i}"] = file["layer/1/synapse/1"]
    refusal(path, "declare more bytes than a file of this size can hold")


def test_names_in_a_compressed_heap_are_refused(tmp_path):
    path = tmp_path / "a.net"
    with h5py.File(path, "w", libver="latest") as file:
        for i in range(20):  # more than the 8 that lie in a group itself
            file.create_group(f"layer/{i}")
    refusal(path, "layer 0 is empty", "(and in 19 more layers)")
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"FRHP\0") + 7] = 32  # bytes that describe filters
    path.write_bytes(raw)
    refusal(path, "its strings or names cannot be followed")


def test_a_chunk_that_is_as_long_as_declared_is_read(net):
    before = load(net)
    with h5py.File(net, "r+") as file:
        content = bytes(file["layer/1/type"][0].ljust(5, b"\0"))
        del file["layer/1/type"]
        chunk_of(file, "layer/1/type", content, deflates=1)
    assert load(net) == before


def test_other_filters_are_refused(net):
    with h5py.File(net, "r+") as file:
        content = file["layer/1/weight"][()]
        del file["layer/1/weight"]
        file.create_dataset("layer/1/weight", data=content, compression="lzf")
    refusal(net, "/layer/1/weight has filters [32000]; only shuffle")


def test_heaps_within_heaps_are_refused(net):
    """As a chain of n objects, each of which looks like a heap of those after it: following all takes n^2 steps."""
    units = 3000
    with h5py.File(net, "r+") as file:
        file["junk"] = np.zeros(32 * units, dtype=np.uint8)
        start = file["junk"].id.get_offset()
    raw = bytearray(net.read_bytes())
    for at in range(start, start + 32 * units, 32):
        raw[at : at + 32] = (
            struct.pack("<H6xQ", 1, 16) + b"GCOL\x01\0\0\0" + struct.pack("<Q", start + 32 * units - at - 16)
        )
    net.write_bytes(raw)
    refusal(net, "its strings or names cannot be followed")
