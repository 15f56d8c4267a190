"""Facts as JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import Field, asdict
from typing import Annotated, Any, ClassVar, Protocol

from hffs.cli.commands import Option

Json = Annotated[bool, Option("--json", help="JSON, for programs.")]
"""The option that asks for it."""


class Facts(Protocol):
    """Any dataclass of plain values."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def as_json(facts: Sequence[Facts]) -> str:
    """An object where there are facts of one entry, a list of objects for several."""
    shown = [asdict(each) for each in facts]
    return json.dumps(shown if len(shown) > 1 else shown[0], indent=2) + "\n"
