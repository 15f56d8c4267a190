"""The facts and pictures of plans as one HTML page that needs nothing else.

Owns what the template beside it is given. Must not know where the page goes; what all pages have in
common is `hffs.cli.drawing.pages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from hffs.cli.bucketing import drawings, figures
from hffs.cli.drawing import pages

if TYPE_CHECKING:
    from hffs.train.report.facts import PlanReport

_MOST_ROWS = 200


def render_page(reports: Sequence[PlanReport]) -> str:
    """The page, a section for each entry; pictures are shown of those that come with a sheet."""
    names = {PurePath(report.facts.scan.folder).name: None for report in reports}
    return pages.render_page(
        "hffs.cli.bucketing",
        f"{', '.join(names)} - hffs bucket",
        {
            "share": figures.show_share,
            "scale": figures.show_scale,
            "both": figures.show_both,
            "fullest": figures.sort_fullest,
            "settings": figures.describe_settings,
            "bucket_bars": drawings.draw_buckets,
            "scatter": drawings.draw_scatter,
            "shade": drawings.draw_shade,
        },
        {
            "reports": reports,
            "several": len(reports) > 1,
            "most_rows": _MOST_ROWS,
            "plot": drawings,
        },
    )
