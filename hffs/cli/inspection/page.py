"""The facts and pictures of views as one HTML page that needs nothing else.

Owns filling the template beside it. Must not know where the page goes. Invariants: every text of
the data set is escaped, by jinja2 and by nothing here; the page's own policy forbids scripts,
requests and any style but its own, should one get through.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from markupsafe import Markup

from hffs import __version__
from hffs.cli.inspection.figures import (
    Bar,
    describe_measure,
    draw_bars,
    show_bytes,
    show_counts,
    show_number,
    show_seconds,
)
from hffs.cli.untrusted import clean_text
from hffs.core.formats import NOUNS

if TYPE_CHECKING:
    from jinja2 import Template

    from hffs.view.inspection.facts import Inspection

_MOST_FOLDERS = 1000
_BAR_UNITS = 180


def render_page(inspections: Sequence[Inspection]) -> str:
    """The page, a section for each view; each comes with its sheet."""
    style = (files("hffs.cli.inspection") / "page.css").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode("ascii")
    names = {inspection.report.source: None for inspection in inspections}
    return _load_template().render(
        inspections=inspections,
        several=len(inspections) > 1,
        title=f"{', '.join(name.rpartition('/')[2] for name in names)} - hffs inspect",
        style=Markup(style),  # noqa: S704 - the package's own file
        style_hash=f"sha256-{digest}",
        version=__version__,
        most_folders=_MOST_FOLDERS,
        nouns=NOUNS,
    )


def _load_template() -> Template:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "number": show_number,
        "bytes": show_bytes,
        "seconds": show_seconds,
        "counts": show_counts,
        "measure": describe_measure,
        "bars": draw_bars,
        "length_of": _measure_bar,
        "clean": clean_text,
    }
    text = (files("hffs.cli.inspection") / "page.html.jinja").read_text("utf-8")
    return environment.from_string(text)


def _measure_bar(bar: Bar) -> int:
    """Width in units of the drawing; something is seen of anything but 0."""
    return max(round(bar.share * _BAR_UNITS), 2 * (bar.count > 0))
