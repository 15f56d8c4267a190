"""Where ranges come from: what an origin does, and how it says that it could not.

Owns the words between who plans requests (`hffs.data.remote.fetching`) and who sends them.
"""

from __future__ import annotations

from typing import Protocol

from hffs.data.remote.files import Range, RemoteFile, split_hub_url
from hffs.data.remote.troubles import show


class Trouble(Exception):  # noqa: N818 - it is no error yet: there may be another try
    """This request failed, for a reason that may pass.

    `rest_s` is how long the host asked to be left alone, None where it did not. Where no connection
    came about (not `is_reached`), none will for what is asked of it next.
    """

    def __init__(self, why: str, rest_s: float | None = None, *, is_reached: bool = True) -> None:
        super().__init__(why)
        self.why, self.rest_s, self.is_reached = why, rest_s, is_reached


class Origin(Protocol):
    """Gets ranges of the files of some schemes, under trio."""

    def host(self, file: RemoteFile) -> str:
        """Who is asked for a file, as far as limits are counted."""
        ...

    async def get(self, file: RemoteFile, place: Range) -> memoryview:
        """Exactly the bytes of a range.

        Raises Trouble, or for good AccessError, SourceError, StaleError (it is not the content that
        was pinned), DataError.
        """
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


def describe(file: RemoteFile) -> str:
    """A file for messages, without what may be secret in a URL.

    >>> describe(RemoteFile("hf://datasets/a/b@0123456789abcdef/c.parquet", "", 1))
    'c.parquet of a/b@0123456789ab'
    """
    parts = split_hub_url(file.url)
    if parts is None:
        return show(file.url)
    name, commit, path = parts
    return f"{path} of {name}@{commit[:12]}"
