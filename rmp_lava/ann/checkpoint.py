"""Training checkpoints: written atomically, read without trust.

A checkpoint is a PyTorch zip file that holds one dictionary of tensors and plain Python values:

    format          "rmp-lava-checkpoint"
    format_version  1
    model           name in `rmp_lava.ann.models.MODELS`
    state_dict      weights, float32
    metadata        what the weights are: data set and its source, seed, epochs, accuracies, torch version
    training        optimizer, random states and history to resume from, or None
"""

from __future__ import annotations

import io
import os
import secrets
import warnings
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..errors import CheckpointError
from .models import MODELS

FORMAT = "rmp-lava-checkpoint"
FORMAT_VERSION = 1
# The largest network of the paper, VGG-16 for ImageNet, takes 0.55 GB, and three times that with Adam's moments.
MAX_BYTES = 2 * 2**30


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """The checked content of a checkpoint file.

    Attributes
    ----------
    model_name : str
        A key of `MODELS`.
    state_dict : dict of str to torch.Tensor
        float32 on the CPU, finite, with the model's names and shapes.
    metadata : dict
        Data set and source, seed, epochs, accuracies, torch version; plain Python values.
    training : dict or None
        What `train` needs to resume; only its outer form is checked here.
    """

    model_name: str
    state_dict: dict[str, torch.Tensor]
    metadata: dict[str, Any]
    training: dict[str, Any] | None


def check_writable(path: str | os.PathLike) -> None:
    """Raise `CheckpointError` if a checkpoint cannot be written to this path, so that no training is lost at its end."""
    path = Path(path)
    folder = path.parent
    if path.exists() and not path.is_file():
        raise CheckpointError(f"checkpoint {path} exists and is not a regular file; choose another path")
    if not folder.is_dir():
        raise CheckpointError(f"checkpoint {path} cannot be written: folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CheckpointError(f"checkpoint {path} cannot be written: no permission in {folder}; choose another folder")


def save_checkpoint(
    path: str | os.PathLike,
    *,
    model_name: str,
    model: nn.Module,
    metadata: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint; at every moment the path holds either the old file or the whole new one.

    Parameters
    ----------
    path : path-like
        Where to write; its folder must exist.
    model_name : str
        A key of `MODELS`.
    model : nn.Module
        The network whose weights are stored.
    metadata : mapping
        Plain Python values (str, int, float, bool, None, lists and dictionaries of these).
    training : mapping, optional
        State to resume from: tensors and plain Python values.

    Raises
    ------
    CheckpointError
        If the file cannot be written.
    """
    check_writable(path)
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model_name,
        "state_dict": {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()},
        "metadata": dict(metadata),
        "training": None if training is None else dict(training),
    }
    # Serialised in memory first: torch.save to a file turns a full disk into an obscure RuntimeError.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    # A link is written through, not replaced.
    _write_atomically(Path(os.path.realpath(path)), buffer.getbuffer())


def _write_atomically(path: Path, content: memoryview) -> None:
    # In the same folder, because a rename is atomic only within one file system; not `tempfile`, whose files only
    # their owner may read.
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise CheckpointError(
                f"checkpoint {path} cannot be written ({error.strerror or error}); free space or choose another path"
            ) from error
        raise


def load_model(path: str | os.PathLike) -> tuple[nn.Sequential, dict[str, Any]]:
    """The trained network of a checkpoint, on the CPU and in evaluation mode, and the checkpoint's metadata.

    Raises `CheckpointError` as `load_checkpoint` does. The caller's random state is left as it was.
    """
    checkpoint = load_checkpoint(path)
    with torch.random.fork_rng(devices=[]):
        model = MODELS[checkpoint.model_name].build()
    model.load_state_dict(checkpoint.state_dict)
    return model.eval(), checkpoint.metadata


def load_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """Read and check a checkpoint. Nothing in the file is executed, and nothing of it is believed.

    Raises
    ------
    CheckpointError
        If the file is missing, empty, truncated, damaged, no checkpoint, of a newer format, of an unknown model, if it
        holds objects that could run code, or weights that do not fit the model or are not finite.
    """
    path = Path(path)
    size = _check_file(path)
    content = _read_content(path, size)
    _check_header(path, content)
    model_name, state_dict = content["model"], content["state_dict"]
    _check_weights(path, model_name, state_dict)
    for name, kinds in (("metadata", (dict,)), ("training", (dict, type(None)))):
        if not isinstance(content.get(name), kinds):
            raise CheckpointError(f"checkpoint {path} has no {name} dictionary; train again")
    return Checkpoint(model_name, state_dict, content["metadata"], content["training"])


def _check_file(path: Path) -> int:
    """Size in bytes of a file that is a whole, undamaged zip file."""
    try:
        if not path.exists():
            raise CheckpointError(f"checkpoint {path} does not exist; train a model first or correct the path")
        if not path.is_file():
            raise CheckpointError(f"checkpoint {path} is not a regular file; name a file that `train` has written")
        size = path.stat().st_size
        if not 0 < size <= MAX_BYTES:
            raise CheckpointError(f"checkpoint {path} has {size:,} bytes; allowed are 1 to {MAX_BYTES:,}, so train again")
        if not zipfile.is_zipfile(path):
            _raise_not_zip(path)
        with zipfile.ZipFile(path) as archive:
            _check_archive(path, archive, size)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} cannot be read ({error.strerror or error}); check permissions") from error
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError, EOFError) as error:
        # What zipfile raises on damaged directories, unknown compression, encryption and broken names.
        raise CheckpointError(f"checkpoint {path} is damaged ({error}); copy it again or train again") from error
    return size


def _raise_not_zip(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"PK\x03\x04":
        raise CheckpointError(f"checkpoint {path} is truncated (its end is missing); copy it again or train again")
    raise CheckpointError(f"file {path} is not a checkpoint (no PyTorch zip file); name a file that `train` has written")


def _check_archive(path: Path, archive: zipfile.ZipFile, size: int) -> None:
    """Guard against zip bombs and flipped bits: PyTorch checks neither sizes nor checksums of the records."""
    records = archive.infolist()
    if any(record.compress_type != zipfile.ZIP_STORED for record in records):
        raise CheckpointError(f"checkpoint {path} is compressed, which PyTorch's are not; name a file from `train`")
    if sum(record.file_size for record in records) > size:
        raise CheckpointError(f"checkpoint {path} says it holds more bytes than the file has; copy it again")
    damaged = archive.testzip()
    if damaged is not None:
        raise CheckpointError(f"checkpoint {path} is damaged (checksum of {damaged!r}); copy it again or train again")


def _read_content(path: Path, size: int) -> Any:
    try:
        with warnings.catch_warnings():
            # Some foreign files (TorchScript) make PyTorch warn before it fails.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # On bytes made to mislead it the unpickler may raise anything; all of it means the same here.
        raise CheckpointError(
            f"file {path} is not a checkpoint: it holds other things than tensors and plain values, which could run "
            "code, and was not loaded; name a file that `train` has written"
        ) from error
    # The pickle, not the record, says how long a storage is; a longer one would be read beyond the file's bytes.
    if _storage_bytes(content) > size:
        raise CheckpointError(f"checkpoint {path} says its tensors are larger than the file; copy it again or train again")
    return content


def _storage_bytes(content: Any) -> int:
    """Total bytes of the distinct storages behind all tensors in nested dictionaries, lists and tuples."""
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


def _check_header(path: Path, content: Any) -> None:
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise CheckpointError(f"file {path} is a PyTorch file but not a checkpoint of rmp-lava; name one from `train`")
    version = content.get("format_version")
    if type(version) is not int or version < 1:
        raise CheckpointError(f"checkpoint {path} has format version {version!r}; allowed are 1 to {FORMAT_VERSION}")
    if version > FORMAT_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has format version {version}, but this rmp-lava reads up to {FORMAT_VERSION}; upgrade it"
        )
    if not isinstance(content.get("model"), str) or content["model"] not in MODELS:
        raise CheckpointError(
            f"checkpoint {path} is of model {content.get('model')!r}; known are {', '.join(MODELS)}, so upgrade rmp-lava "
            "or name another file"
        )


def _check_weights(path: Path, model_name: str, state_dict: Any) -> None:
    with torch.device("meta"):
        expected = {name: tuple(tensor.shape) for name, tensor in MODELS[model_name].build().state_dict().items()}
    if not isinstance(state_dict, dict) or set(state_dict) != set(expected):
        found = ", ".join(map(str, state_dict)) if isinstance(state_dict, dict) else "none"
        raise CheckpointError(
            f"checkpoint {path} has weights {found} where model {model_name!r} has {', '.join(expected)}; train again"
        )
    for name, shape in expected.items():
        tensor = state_dict[name]
        if not isinstance(tensor, torch.Tensor) or tensor.dtype != torch.float32 or tuple(tensor.shape) != shape:
            found = f"{tensor.dtype} {tuple(tensor.shape)}" if isinstance(tensor, torch.Tensor) else type(tensor).__name__
            raise CheckpointError(f"checkpoint {path} has {name} as {found}; allowed is float32 {shape}, so train again")
        if tensor.layout != torch.strided or not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"checkpoint {path} has values in {name} that are not finite numbers; train again")
