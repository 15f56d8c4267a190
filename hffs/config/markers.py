"""How the model says of a key what pydantic does not know: its help panel, and whether it is built.

Invariant: a key without a marker is built and read by the mount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import Field


@dataclass(frozen=True, slots=True)
class Unbuilt:
    """The key is understood and then refused, unless it has its default.

    Delete the marker from the key when the key is built.
    """


@dataclass(frozen=True, slots=True)
class ForTool:
    """The key is kept for the bundled tool; a mount does not look at it."""


UNBUILT = Unbuilt()
FOR_TOOL = ForTool()


def key(default: object, panel: str, help_text: str, *, shown: str = "") -> Any:
    """Describe one key: the only place where its help stands.

    `shown` says in words what the default means where its value alone would not.
    """
    extra: dict[str, Any] = {"panel": panel, "shown": shown}
    return Field(default, description=help_text, json_schema_extra=extra)
