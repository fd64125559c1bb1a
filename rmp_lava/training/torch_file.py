"""PyTorch zip files, written atomically and read as untrusted."""

from __future__ import annotations

import io
import os
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from ..errors import CheckpointError
from ..files import StrPath, write_atomically

# The largest network of the RMP-SNN paper, VGG-16 for ImageNet, has 0.55 GB of weights; Adam's moments triple that.
MAX_BYTES = 2 * 2**30


def write_torch_file(path: StrPath, content: dict[str, Any]) -> None:
    """Write tensors and plain values; the path is always either the old file or the complete new one.

    Raises `CheckpointError` if the file cannot be written.
    """
    # Serialised in memory first: on a full disk torch.save to a file raises an obscure RuntimeError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getbuffer(), CheckpointError)


def read_torch_file(path: StrPath) -> Any:
    """What was passed to `torch.save`, tensors on the CPU. Sizes and checksums are checked, and nothing in the file is executed.

    Raises `CheckpointError` if the file is missing, empty, too large, truncated, damaged, not a PyTorch file, or contains objects
    that could run code.
    """
    path = Path(path)
    if not os.path.exists(path):
        raise CheckpointError(f"checkpoint {path} does not exist; train a model first or correct the path")
    if not os.path.isfile(path):
        raise CheckpointError(f"checkpoint {path} is not a regular file; name one that `train` has written")
    try:
        size = _check_zip(path)
    except OSError as error:
        reason = error.strerror or error
        raise CheckpointError(f"checkpoint {path} cannot be read ({reason}); check its permissions") from error
    return _load(path, size)


def _check_zip(path: Path) -> int:
    """Size in bytes of a file that is a whole, undamaged zip file."""
    size = path.stat().st_size
    if not 0 < size <= MAX_BYTES:
        raise CheckpointError(f"checkpoint {path} has {size:,} bytes; allowed are 1 to {MAX_BYTES:,}, so train again")
    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            start = file.read(4)
        if start == b"PK\x03\x04":
            raise CheckpointError(f"checkpoint {path} is truncated (its end is missing); copy it again or train again")
        raise CheckpointError(
            f"file {path} is not a checkpoint (not a PyTorch zip file); name one that `train` has written"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            check_archive(f"checkpoint {path}", archive, size, "name a file from `train`")
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        # What zipfile raises on damaged directories, unknown compression, encryption and broken names.
        raise CheckpointError(f"checkpoint {path} is damaged ({error}); copy it again or train again") from error
    return size


def check_archive(what: str, archive: zipfile.ZipFile, size: int, remedy: str) -> None:
    """Refuse zip bombs and flipped bits: PyTorch checks neither sizes nor checksums of the records.

    `what` names the file of `size` bytes, and `remedy` says what to do if it is compressed. Raises `CheckpointError`.
    """
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise CheckpointError(f"{what} is compressed, unlike PyTorch's files; {remedy}")
    if sum(record.file_size for record in records) > size:
        raise CheckpointError(f"{what} declares more bytes than the file has; copy it again")
    damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"{what} is damaged (checksum of {damaged!r}); copy it again")


def _load(path: Path, size: int) -> Any:
    try:
        with warnings.catch_warnings():
            # For some other files (TorchScript) PyTorch warns before it fails.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
        claimed = _storage_bytes(content)
    except Exception as error:
        # On crafted bytes the unpickler may raise anything; all of it means the same here.
        raise CheckpointError(
            f"file {path} is not a checkpoint (it contains more than tensors and plain values, which could run code, "
            "so it was not loaded); name a file that `train` has written, or save weights alone with "
            "torch.save(model.state_dict(), file)"
        ) from error
    # The pickle, not the record, declares the size of a storage; a larger one would be read beyond the record's bytes.
    if claimed > size:
        raise CheckpointError(f"checkpoint {path} declares tensors larger than the file; copy it again")
    return content


def _storage_bytes(content: Any) -> int:
    """Total bytes of the distinct storages of all tensors in nested dictionaries, lists and tuples.

    Raises an exception for tensors without a storage (sparse ones), which no checkpoint contains.
    """
    storages: dict[int, int] = {}
    pending, seen = [content], set()
    while pending:
        value = pending.pop()
        if isinstance(value, torch.Tensor):
            storage = value.untyped_storage()
            storages[storage.data_ptr()] = max(storage.nbytes(), storages.get(storage.data_ptr(), 0))
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            pending.extend(value.values() if isinstance(value, dict) else value)
    return sum(storages.values())
