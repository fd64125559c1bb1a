"""State dicts from the files that people have, put into the network that a function returns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram
from torch.nn.parameter import is_lazy

from ..conversion.tracing.reading import Model
from ..conversion.tracing.undisturbed import unwrapped
from ..errors import CheckpointError, UsageError, abridged, first_line
from ..training.torch_file import MAX_BYTES, read_torch_file
from .targets import is_script

_MOST_NAMES = 5
_COMPILED = "_orig_mod."
"""What `torch.compile` puts before the names of a module."""


def read_weights(path: Path) -> Any:
    """What a `.safetensors` file or a file of `torch.save` holds; a dictionary with one state dict in it as that.

    Raises
    ------
    CheckpointError
        If it is unreadable, damaged, or holds several state dicts.
    UsageError
        If the package that reads it is missing.
    """
    if not path.is_file():
        raise CheckpointError(f"weights {path} do not exist or are no file; pass a state dict, .pt or .safetensors")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if is_script(path):
        raise CheckpointError(
            f"{path} is TorchScript; save its weights alone with torch.save(torch.jit.load({str(path)!r}).state_dict(), "
            "'weights.pt')"
        )
    content = read_torch_file(path)
    if not isinstance(content, dict) or is_state(content):
        return content
    inside = [name for name, value in content.items() if is_state(value)]
    if len(inside) > 1:
        raise CheckpointError(
            f"{path} holds {len(inside)} state dicts ({abridged(inside, _MOST_NAMES)}); save one of them alone, with "
            f"torch.save(torch.load({str(path)!r}, weights_only=True)[{inside[0]!r}], new_path)"
        )
    return content[inside[0]] if inside else content


def is_state(content: Any) -> bool:
    """Whether this is a state dict: tensors by name."""
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, torch.Tensor) for name, value in content.items())
    )


def load_weights(target: str, model: Model, path: Path) -> None:
    """Put a state dict into a network; every name and shape has to fit.

    What distribution and compilation put before all names is taken away, and so is the name of the attribute that a training loop
    keeps the network in, where the names fit then.
    """
    if isinstance(model, ExportedProgram):
        raise UsageError(f"{target} returns an exported program, which has its weights; leave out --weights")
    state = read_weights(path)
    if not is_state(state):
        found = (
            f"the entries {abridged(state, _MOST_NAMES)}" if isinstance(state, dict) else f"a {type(state).__name__}"
        )
        raise CheckpointError(f"{path} is no state dict but holds {found}; save it with torch.save(model.state_dict())")
    network: nn.Module = unwrapped(model)
    own = network.state_dict()
    state = _renamed(state, own)
    problems = [
        f"{name} has shape {tuple(value.shape)} instead of {tuple(own[name].shape)}"
        for name, value in state.items()
        if name in own and not is_lazy(own[name]) and value.shape != own[name].shape
    ]
    if not problems:
        try:
            # It knows which entries older versions of a module did not have yet.
            missing, unexpected = network.load_state_dict(state, strict=False)
        except Exception as error:  # the network may load its state in a way of its own
            raise CheckpointError(f"{path} does not fit {target} ({' '.join(str(error).split())})") from None
        problems += [f"missing {abridged(missing, _MOST_NAMES)}"] if missing else []
        problems += [f"unexpected {abridged(unexpected, _MOST_NAMES)}"] if unexpected else []
    if problems:
        raise CheckpointError(
            f"{path} does not fit {target}: {'; '.join(problems[:_MOST_NAMES])}; pass the state dict of this very network"
        )


def _renamed(state: Mapping[str, torch.Tensor], own: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """A state dict by the names of the network, whose own state is `own`."""
    if not any(_COMPILED in name for name in own):
        state = {name.replace(_COMPILED, ""): value for name, value in state.items()}
    while True:
        first = {name.partition(".")[0] for name in state}
        if len(first) != 1 or first & {name.partition(".")[0] for name in own}:
            return dict(state)
        shorter = {name.partition(".")[2]: value for name, value in state.items()}
        if "" in shorter or len(shorter) != len(state):
            return dict(state)
        state = shorter


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise UsageError(
            f'{path} is a safetensors file, and the package safetensors is missing; install it with: pip install ".[safetensors]"'
        ) from None
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ValueError(f"{size:,} bytes; at most {MAX_BYTES:,} are allowed")
        state: dict[str, torch.Tensor] = load_file(path)
    except Exception as error:  # of its own, by versions
        raise CheckpointError(f"{path} cannot be read ({first_line(error)}); copy it again") from None
    return state
