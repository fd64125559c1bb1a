"""What users name as a trained network, refused before anything is imported or read where no reader takes it.

Imports no PyTorch, so that a mistyped name is answered at once.
"""

from __future__ import annotations

import importlib.util
import re
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

from ..errors import UsageError

ACCEPTED = "a checkpoint of `rmp-lava train`, an ONNX file (.onnx), a .pt2 file of torch.export.save, or package.module:function"
_DOTTED = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)+")
_OF_TORCH = {"", ".pt", ".pth", ".ckpt", ".bin", ".tar", ".safetensors"}
"""Suffixes that PyTorch users give their files."""


def names_function(target: str) -> bool:
    """Whether this is package.module:function, rather than a file."""
    return ":" in target and not Path(target).exists()


def check_target(target: str) -> None:
    """Refuse what cannot be a trained network, with what to pass instead; where a reader may take it, do nothing.

    Raises
    ------
    UsageError
        If a file does not exist or is of another kind, or the module of package.module:function is nowhere.
    """
    if names_function(target):
        _check_function(target)
        return
    path = Path(target)
    if path.is_file() or path.is_dir() and any(path.iterdir()):
        _check_kind(path)
    elif path.is_dir():
        raise UsageError(f"{target} is an empty folder; pass {ACCEPTED}")
    elif _DOTTED.fullmatch(target) and _found(target):
        module, _, function = target.rpartition(".")
        raise UsageError(f"{target} is no file; for a function in a module, write {module}:{function}, with a colon")
    else:
        raise UsageError(f"{target} does not exist; correct the path, or pass {ACCEPTED}")


@contextmanager
def modules_of_folder() -> Iterator[None]:
    """Modules of the current folder can be imported, as with `python -m`."""
    sys.path.insert(0, "")
    try:
        yield
    finally:
        sys.path.remove("")


def is_script(path: Path) -> bool:
    """Whether a file was written by torch.jit.save: an archive with code in it."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _check_function(target: str) -> None:
    module, _, function = target.partition(":")
    if "/" in module or "\\" in module or module.endswith(".py"):
        dotted = module.removesuffix(".py").strip("./\\").replace("/", ".").replace("\\", ".")
        raise UsageError(f"{target} names a file; write the module as Python imports it: {dotted}:{function}")
    if not all(name.isidentifier() for name in (*module.split("."), *function.split("."))):
        raise UsageError(f"{target} is neither a file nor package.module:function; pass {ACCEPTED}")
    if not _found(module):
        name = module.partition(".")[0]
        raise UsageError(
            f"{target}: module {name!r} is neither in the current folder ({Path.cwd()}) nor installed; change to the folder "
            "that has it, or put that folder into PYTHONPATH"
        )


def _found(module: str) -> bool:
    """Whether the first package of a module can be imported; runs no code of it."""
    name = module.partition(".")[0]
    if name in sys.modules:
        return True
    with modules_of_folder():
        try:
            return importlib.util.find_spec(name) is not None
        except (ImportError, ValueError):
            return False


def _check_kind(path: Path) -> None:
    """Raise `UsageError` for files of other kinds, with the command that writes the network as ONNX."""
    onnx = repr(f"{path.stem}.onnx")
    if is_script(path):
        # PyTorch's newer exporter, the default since 2.9, takes no TorchScript.
        older = ", dynamo=False" if _version_of_torch() >= (2, 5) else ""
        raise UsageError(
            f"{path} is TorchScript, whose operations cannot be followed; write it as ONNX and pass that file: "
            f"torch.onnx.export(torch.jit.load({str(path)!r}), torch.zeros(1, 3, 32, 32), {onnx}{older}), with its input's shape"
        )
    if path.suffix == ".nir":
        raise UsageError(
            f"{path} is a spiking network already; `rmp-lava nir {path} {path.with_suffix('.net').name}` makes a .net file of it"
        )
    if path.suffix in (".keras", ".h5", ".hdf5"):
        raise UsageError(
            f"{path} is a Keras model; write it as ONNX and pass that file: model = keras.saving.load_model({str(path)!r}); "
            f"model.predict(numpy.zeros((1, *model.input_shape[1:]))); model.export({onnx}, format='onnx')"
        )
    if path.is_dir() and (path / "saved_model.pb").is_file() or path.suffix == ".tflite":
        source = "--saved-model" if path.is_dir() else "--tflite"
        raise UsageError(
            f"{path} is a TensorFlow model; write it as ONNX and pass that file: python -m tf2onnx.convert {source} {path} "
            f"--output {path.name}.onnx"
        )
    if path.suffix == ".py":
        module = ".".join(path.with_suffix("").parts)
        raise UsageError(
            f"{path} is Python code; name the function in it that returns the network, such as {module}:net"
        )
    if path.is_dir():
        raise UsageError(f"{path} is a folder; pass {ACCEPTED}")
    if path.suffix.lower() not in {".onnx", ".pt2", ".net"} | _OF_TORCH and not zipfile.is_zipfile(path):
        raise UsageError(f"{path} is no trained network that can be read; pass {ACCEPTED}")


def _version_of_torch() -> tuple[int, ...]:
    return tuple(int(part) for part in metadata.version("torch").split(".")[:2])
