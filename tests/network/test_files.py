"""Whether a file can be written is known before it is, and asking leaves no trace."""

from __future__ import annotations

import os

import pytest
from rights import read_only_folder

from rmp_lava.errors import NetFileError
from rmp_lava.files import check_writable, write_atomically


def test_asking_leaves_no_trace(tmp_path):
    (tmp_path / "old").write_bytes(b"old")
    for place in ("old", "new", "a/b/new"):
        check_writable(tmp_path / place)
    assert [path.name for path in tmp_path.rglob("*")] == ["old"] and (tmp_path / "old").read_bytes() == b"old"


@pytest.mark.parametrize("act", [check_writable, lambda path, error: write_atomically(path, b"new", error)])
def test_what_cannot_be_replaced_is_refused(act, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    for place, reason in (
        ("file/new", "file is a file, not a folder"),
        ("pipe", "not a regular file"),
        ("", "it is a folder"),
    ):
        with pytest.raises(NetFileError, match=f"cannot be written .*{reason}"):
            act(tmp_path / place, NetFileError)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("place", ["new", "folder/new"])
def test_missing_permission_is_noticed(place):
    with read_only_folder() as folder, pytest.raises(NetFileError, match="Permission denied"):
        assert not list(folder.iterdir())  # reading is allowed
        check_writable(folder / place, NetFileError)
