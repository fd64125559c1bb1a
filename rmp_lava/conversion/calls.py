"""Where the parts of a conversion are computed that do not depend on each other: ways to balance, changes that a search tries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

_Shared = TypeVar("_Shared")
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Calls(Protocol):
    """Calls a function of a module with something that all calls share and one item each; results are in the items' order."""

    def __call__(
        self, function: Callable[[_Shared, _Item], _Result], shared: _Shared, items: Iterable[_Item]
    ) -> Iterator[_Result]: ...


def here(function: Callable[[_Shared, _Item], _Result], shared: _Shared, items: Iterable[_Item]) -> Iterator[_Result]:
    """`Calls` in this process, one after the other."""
    return (function(shared, item) for item in items)
