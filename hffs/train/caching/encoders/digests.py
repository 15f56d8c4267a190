"""Digests of files of models: what an encoder is told apart by, wherever its folder is.

Owns how they are found without reading gigabytes each time: the Hub's cache names large files by
their SHA-256; of others it is remembered, by path, size and time, in a folder that may be shared.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from hffs.data.folders import replace_file

_SHA256 = re.compile(r"[0-9a-f]{64}")
_RACY_NS = 2_000_000_000
"""A file that was changed so lately may change again within the same tick of its clock."""


def digest_file(path: Path, remembered: Path | None) -> str:
    """The SHA-256 of a file in hex. Raises OSError."""
    real = path.resolve()
    if real.parent.name == "blobs" and _SHA256.fullmatch(real.name):
        return real.name
    note = None if remembered is None else remembered / f"{_name(real)}.sha256"
    if note is not None:
        with suppress(OSError, ValueError):
            kept = note.read_text("ascii").strip()
            if _SHA256.fullmatch(kept):
                return kept
    before = real.stat()
    with real.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    is_settled = time.time_ns() - before.st_mtime_ns > _RACY_NS
    if note is not None and is_settled and _name(real, before) == _name(real):
        with suppress(OSError):  # the digest is right all the same
            note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with replace_file(note) as out:
                out.write(found.encode())
    return found


def _name(path: Path, found: os.stat_result | None = None) -> str:
    found = found or path.stat()
    facts = f"{path}\0{found.st_size}\0{found.st_mtime_ns}\0{found.st_ino}"
    return hashlib.blake2b(facts.encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
