"""What may stand in a message about the Hub, and what several of them say.

Texts of a server or of a library are untrusted: they are cut, made one line, and freed of tokens,
user-info and queries of URLs (which sign downloads). Nothing else of them may reach a message.
"""

from __future__ import annotations

import re

from hffs.data.hub.cached import cached_commit
from hffs.data.hub.resolution import Kind, Request
from hffs.errors import SourceError

_LONGEST = 300
_USER_INFO = re.compile(r"(?<=://)[^/@\s]*@")
_QUERY = re.compile(r"(://[^\s?'\"]*)\?[^\s'\"]*")
_TOKEN = re.compile(r"\b(?:hf_|api_org_)\w+|(?<=Bearer )\S+")


def clean(text: str) -> str:
    """Make a text of others fit for a message.

    >>> clean("GET https://me:secret@hub/a?sign=1\\n failed for hf_abc")
    'GET https://***@hub/a failed for ***'
    """
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:8000]).split())
    line = _TOKEN.sub("***", _QUERY.sub(r"\1", _USER_INFO.sub("***@", line)))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def endpoint() -> str:
    """Return the address of the Hub that is asked, fit for a message."""
    from huggingface_hub import constants

    return clean(constants.ENDPOINT)


def or_offline(fix: str, request: Request) -> str:
    """Add that the cache can be mounted, and at which commit if there is one."""
    if request.kind == "model":
        return f"{fix}; with --offline only what is cached is looked at"
    commit = cached_commit(request) if request.mountable is None else request.mountable
    if not commit:
        return f"{fix}; --offline mounts what is cached (nothing yet)"
    return f"{fix}; or mount what is cached, commit {commit[:12]}, with --offline"


def refuse_offline(name: str, why: str, kind: Kind = "dataset") -> SourceError:
    """Return the error for what is not on this host, where nobody may be asked for it."""
    verb = "mount it" if kind == "dataset" else "ask"
    fix = f"{verb} once without --offline and HF_HUB_OFFLINE"
    return SourceError("cannot read", name, why=f"offline, and {why}", fix=fix)
