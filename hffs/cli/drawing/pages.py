"""Facts and pictures as one HTML page that needs nothing else.

Owns the frame of every page, its style and its policy, and filling a command's own template within
it. Must not know what is on a page, nor where it goes. Invariants: every text of the data set is
escaped, by jinja2 and by nothing here; the page's own policy forbids scripts, requests and any
style but its own, should one get through.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from hffs import __version__
from hffs.cli.drawing.figures import Bar, draw_bars, show_bytes, show_number, show_seconds
from hffs.cli.untrusted import clean_text

if TYPE_CHECKING:
    from jinja2 import Environment

_FRAME = "hffs.cli.drawing"
_BAR_UNITS = 180

Filters = Mapping[str, Callable[..., object]]


def render_page(package: str, title: str, filters: Filters, values: Mapping[str, object]) -> str:
    """Fill `page.html.jinja` of a package, with `page.css` of it behind the style of all pages."""
    styles = (_read(_FRAME, "base.css"), _read(package, "page.css"))
    style = "".join(styles)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    environment = _make_environment(package)
    environment.filters |= filters
    return environment.get_template("page.html.jinja").render(
        title=title,
        style=Markup(style),  # noqa: S704 - the package's own files
        style_hash=f"sha256-{digest}",
        version=__version__,
        **values,
    )


def _read(package: str, name: str) -> str:
    return (files(package) / name).read_text("utf-8")


def _make_environment(package: str) -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        loader=FunctionLoader(
            lambda name: _read(package if name == "page.html.jinja" else _FRAME, name)
        ),
    )
    environment.filters |= {
        "number": show_number,
        "bytes": show_bytes,
        "seconds": show_seconds,
        "bars": draw_bars,
        "length_of": measure_bar,
        "clean": clean_text,
    }
    return environment


def measure_bar(bar: Bar) -> int:
    """Width in units of the drawing; something is seen of anything but 0."""
    return max(round(bar.share * _BAR_UNITS), 2 * (bar.count > 0))
