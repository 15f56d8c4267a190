"""How trainers read captions: what they encode is not always all that a sidecar holds.

Owns these rules. Must not know embeddings.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hffs.errors import UsageError

ReadCaption = Callable[[str], str]


def read_as_kohya(text: str) -> str:
    """The first line, without blanks around it."""
    return text.split("\n", 1)[0].strip()


def read_as_ai_toolkit(text: str) -> str:
    """Split at commas and joined by a comma and a blank."""
    return ", ".join(text.split(","))


_READERS: Mapping[str, ReadCaption] = {
    "kohya": read_as_kohya,
    "simpletuner": str,
    "ai-toolkit": read_as_ai_toolkit,
}


def find_reader(trainer: str | None) -> ReadCaption:
    """What a trainer makes of a caption; as it is where none is named. Raises UsageError."""
    if trainer is None:
        return str
    if trainer not in _READERS:
        why = f"it is one of {', '.join(_READERS)}"
        raise UsageError("cannot read captions as", trainer, why=why)
    return _READERS[trainer]
