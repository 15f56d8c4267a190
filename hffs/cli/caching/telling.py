"""What the commands of `hffs cache` tell: facts on stdout, as text or JSON.

Must not know what of them is shown (`hffs.cli.caching.text`), which is loaded when it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hffs.cli.drawing.output import find_screen, print_result


def tell(told: Sequence[Any], *, as_json: bool) -> None:
    """Print facts of `hffs.cli.caching.facts`, one after the other."""
    if as_json:
        from hffs.cli.drawing.programs import as_json as write

        print_result(write(told))
        return
    from hffs.cli.caching.text import render

    screen = find_screen()
    print_result("\n".join(render(each, screen) for each in told))
