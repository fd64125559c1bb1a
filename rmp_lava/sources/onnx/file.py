"""Read ONNX files as untrusted: sizes are checked before memory is taken, and weights come from the file's own folder only.

ONNX keeps no code. What a file may do all the same is declare tensors larger than their data, and name any file of this machine
as the place of its weights.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...errors import CheckpointError, UsageError, first_line
from ...training.torch_file import MAX_BYTES

OLDEST_OPSET = 7
"""Older operator sets broadcast by other rules."""


def read_proto(path: Path) -> Any:
    """The `onnx.ModelProto` of a file, with all weights in it.

    Raises
    ------
    UsageError
        If the package onnx is missing.
    CheckpointError
        If the file is missing, too large, no ONNX file or of an unknown version, or its weights are in a file that is missing, in
        another folder, or smaller than they are.
    """
    try:
        import onnx
    except ImportError:
        raise UsageError(
            f'{path} is an ONNX file, and the package onnx is missing; install it with: pip install ".[onnx]"'
        ) from None
    if not path.is_file():
        raise CheckpointError(f"{path} does not exist or is not a file; pass one that torch.onnx.export has written")
    try:
        content = _bytes_of(path, 0, None)
        model = onnx.load_model_from_string(content)
    except Exception as error:  # protobuf's DecodeError is a ValueError, or an error of its own, by releases
        raise CheckpointError(f"{path} is no ONNX file ({first_line(error)}); export the network again") from None
    if not model.graph.node:
        raise CheckpointError(f"{path} is no ONNX file, or its graph is empty; export the network again")
    _check_versions(path, model, onnx.defs.onnx_opset_version())
    if len(model.functions):
        raise CheckpointError(
            f"{path} defines {len(model.functions)} functions of its own; inline them with "
            "onnx.save(onnx.inliner.inline_local_functions(onnx.load(path)), new_path) and pass the new file"
        )
    _take_weights_in(path, model, len(content))
    return model


def whole(path: Path) -> bytes:
    """The content of an ONNX file, with all weights in it; raises as `read_proto`."""
    content: bytes = read_proto(path).SerializeToString()
    return content


def tensor_of(tensor: Any) -> torch.Tensor:
    """An `onnx.TensorProto` as a tensor of its own memory; raises `ValueError` if it is of another type or size than its data."""
    from onnx import helper, numpy_helper

    if tensor.data_type not in _DTYPES:
        raise ValueError(f"tensor {tensor.name!r} has type {helper.tensor_dtype_to_string(tensor.data_type)}")
    count = math.prod(tensor.dims)
    width = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
    held = len(tensor.raw_data) // width or max(
        len(data) for data in (tensor.float_data, tensor.double_data, tensor.int32_data, tensor.int64_data)
    )
    if min(tensor.dims, default=0) < 0 or count != held:
        raise ValueError(f"tensor {tensor.name!r} has shape {tuple(tensor.dims)} but {held:,} values")
    return torch.from_numpy(np.array(numpy_helper.to_array(tensor)))


# By onnx.TensorProto.DataType, which is part of the format.
_DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 5: torch.int16, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float16, 11: torch.float64,
}  # fmt: skip


def dtype_of(number: int) -> torch.dtype:
    """The type that a number of `onnx.TensorProto.DataType` means; raises `ValueError` if it is none that a network needs."""
    if number not in _DTYPES:
        raise ValueError(f"type {number} is none of float16, float32, float64, bool and integers of up to 64 bits")
    return _DTYPES[number]


def _bytes_of(path: Path, offset: int, length: int | None) -> bytes:
    with path.open("rb") as file:
        size = file.seek(0, 2)
        length = size - offset if length is None else length
        if length > MAX_BYTES:
            raise ValueError(f"{length:,} bytes; at most {MAX_BYTES:,} are allowed")
        if offset < 0 or length < 0 or offset + length > size:
            raise ValueError(f"bytes {offset:,} to {offset + length:,} of {size:,} are missing")
        file.seek(offset)
        return file.read(length)


def _check_versions(path: Path, model: Any, newest: int) -> None:
    versions = [each.version for each in model.opset_import if each.domain in ("", "ai.onnx")]
    if len(versions) != 1 or not OLDEST_OPSET <= versions[0] <= newest:
        raise CheckpointError(
            f"{path} needs version {', '.join(map(str, versions)) or 'unknown'} of ONNX's operators; {OLDEST_OPSET} to {newest} "
            f"can be read, so export the network again with opset_version={newest}, or upgrade the package onnx"
        )


def _take_weights_in(path: Path, model: Any, used: int) -> None:
    """Read the weights that are kept in files next to the ONNX file, as PyTorch's exporter does, into the model."""
    for tensor in model.graph.initializer:
        if tensor.data_location != type(tensor).EXTERNAL:
            continue
        place = {entry.key: entry.value for entry in tensor.external_data}
        name = place.get("location", "")
        neighbour = path.with_name(name) if name and Path(name).name == name and "\0" not in name else None
        if neighbour is None or neighbour.is_symlink() or not neighbour.is_file():
            raise CheckpointError(
                f"{path} keeps weights in {name[:80]!r}, which is no file in its folder; copy that file too, or write a single "
                "one with onnx.save(onnx.load(path), new_path)"
            )
        try:
            offset = int(place.get("offset", 0))
            data = _bytes_of(neighbour, offset, int(place["length"]) if "length" in place else None)
        except (OSError, ValueError) as error:
            raise CheckpointError(
                f"{path} keeps the weights {tensor.name[:80]!r} in {neighbour}, which does not hold them ({error}); copy both "
                "files again"
            ) from None
        used += len(data)
        if used > MAX_BYTES:
            raise CheckpointError(f"{path} has weights of more than {MAX_BYTES:,} bytes, which is the limit")
        tensor.raw_data = data
        tensor.data_location = type(tensor).DEFAULT
        del tensor.external_data[:]
