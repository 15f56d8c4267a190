"""The facts and pictures of views as one HTML page that needs nothing else.

Owns what the template beside it is given. Must not know where the page goes; what all pages have in
common is `hffs.cli.drawing.pages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hffs.cli.drawing import pages
from hffs.cli.inspection.figures import describe_measure, show_counts
from hffs.core.formats import NOUNS

if TYPE_CHECKING:
    from hffs.view.inspection.facts import Inspection

_MOST_FOLDERS = 1000


def render_page(inspections: Sequence[Inspection]) -> str:
    """The page, a section for each view; each comes with its sheet."""
    names = {inspection.report.source: None for inspection in inspections}
    return pages.render_page(
        "hffs.cli.inspection",
        f"{', '.join(name.rpartition('/')[2] for name in names)} - hffs inspect",
        {"counts": show_counts, "measure": describe_measure},
        {
            "inspections": inspections,
            "several": len(inspections) > 1,
            "most_folders": _MOST_FOLDERS,
            "nouns": NOUNS,
        },
    )
