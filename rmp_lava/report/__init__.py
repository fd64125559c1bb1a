"""What people see: tables and sentences for the terminal, and the report on a network as one HTML page.

    page = rmp_lava.make_page(network, images, labels, steps=16, trained=model)
    page.figures["raster"]        # a matplotlib figure
    page.sections[3].sheets       # tables with captions
    rmp_lava.write_page(page, Path("page.html"))

Only the page needs matplotlib and jinja2 (the extra `report`), so it is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .page.page import Page, make_page, write_page

__all__ = ["Page", "make_page", "write_page"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .page import page

    return getattr(page, name)
