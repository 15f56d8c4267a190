"""The token that a request gives to the Hub: found late, read anew when its file changed.

A token is kept in no message, no log and no `repr`; it must never be put into an error.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from weakref import WeakSet

from hffs.data.hub.resolution import Request
from hffs.errors import AccessError, SourceError

HOW_TO_GIVE = "give a token with HF_TOKEN, `hf auth login` or --token-file"

CREDENTIAL = "hf-token"
"""Name of the token among the credentials that systemd hands to a service (systemd.exec(5))."""

_MOST_BYTES = 4096
_NO_WORD = "it holds more than one word of ASCII"


_in_use = WeakSet["Token"]()


def forget_tokens() -> None:
    """Have every token of this process read anew, also where its file looks as before."""
    for token in list(_in_use):
        token.forget()


class Token:
    """The token of a request, or None where there is none; not safe to share between processes."""

    def __init__(self, request: Request) -> None:
        self._file = request.token_file or _find_credential(os.environ)
        self._seen: tuple[int, ...] | None = None
        self._text: str | None = None
        _in_use.add(self)

    def __repr__(self) -> str:
        return f"Token(file={self._file})"

    def forget(self) -> None:
        """Have the file read again, whether it changed or not."""
        self._seen = None

    def read(self) -> str | None:
        """Return the token as it is now; a file is read again only if it changed.

        Raises SourceError (no such file), AccessError (it may not be read, or holds no token).
        """
        if self._file is None:
            return _find_token()
        try:
            found = self._file.stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
            if seen != self._seen:
                self._text = _read_token(self._file, found)
                self._seen = seen
        except FileNotFoundError as error:
            raise SourceError(
                "cannot read the token file", str(self._file), why="no such file"
            ) from error
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise AccessError("cannot read the token file", str(self._file), why=why) from error
        return self._text


def _read_token(file: Path, found: os.stat_result) -> str:
    def refuse(why: str) -> AccessError:
        fix = "write the token alone into it"
        return AccessError("cannot use the token file", str(file), why=why, fix=fix)

    if not stat.S_ISREG(found.st_mode):
        raise refuse("it is not a regular file")
    with file.open("rb") as opened:
        text = opened.read(_MOST_BYTES + 1).strip()
    if not text:
        raise refuse("it is empty")
    if not _is_word(text):
        raise refuse(_NO_WORD)
    return text.decode("ascii")


def _is_word(text: bytes) -> bool:
    """Whether it may be a token; what is not would be a header of another meaning."""
    return len(text) <= _MOST_BYTES and all(0x21 <= byte <= 0x7E for byte in text)


def _find_credential(environ: Mapping[str, str]) -> Path | None:
    """The file of a service's credential; HF_TOKEN was said nearer to this command, and wins."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    if not folder or environ.get("HF_TOKEN"):
        return None
    file = Path(folder, CREDENTIAL)
    return file if file.exists() else None


def _find_token() -> str | None:
    from huggingface_hub import constants, get_token

    if constants.HF_HUB_DISABLE_IMPLICIT_TOKEN:
        return None
    try:
        token = get_token()
    except UnicodeDecodeError:
        token = "\0"  # noqa: S105 - what is no token either
    if token is not None and not _is_word(token.encode("utf-8", "surrogateescape")):
        which, fix = "of HF_TOKEN or `hf auth login`", "copy it anew"
        raise AccessError("cannot use the token", which, why=_NO_WORD, fix=fix)
    return token
