"""How the model says of a key what pydantic does not know: its help panel, and who reads it.

Invariant: a key without a marker is read by the mount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field


@dataclass(frozen=True, slots=True)
class ForTool:
    """The key is kept for the bundled tool; a mount does not look at it."""


FOR_TOOL = ForTool()

SOURCE, CAPTIONS, FILTERS, COMPOSITES = "Source", "Captions", "Filters", "Composites"
RENDERING, NAMES, CACHE, RUNNING = "Rendering", "Names", "Cache", "Running"
CLIPS, TOOL = "Video and audio", "Bundled tool"


def key(default: object, panel: str, help_text: str, *, shown: str = "") -> Any:
    """Describe one key: the only place where its help stands.

    `shown` says in words what the default means where its value alone would not.
    """
    extra: dict[str, Any] = {"panel": panel, "shown": shown}
    return Field(default, description=help_text, json_schema_extra=extra)
