"""Object stores as fsspec reaches them: which are opened, with which patience, and how asked.

Owns fsspec, which is asked by its synchronous side: its file systems keep an asyncio loop in a
thread of their own. fsspec and what it loads are imported when a store is opened. Must not know who
asks. Credentials are what each library finds by itself, in the environment and in its own files.
Invariants: data sets are read of `SCHEMES` only, whatever fsspec has installed; objects may be kept
in whatever it knows; a chain (`simplecache::`) is opened for neither.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, NamedTuple

from hffs.data.remote.files import Range
from hffs.data.remote.troubles import (
    Failure,
    Meaning,
    changed,
    explain,
    locating_error,
    refuse,
    refuse_user,
    show,
    store_errors,
)
from hffs.errors import SourceError

CONNECT_S = 5
ANSWER_S = 10
"""How long a store may be silent."""

READ_S = 45.0
LOOK_S = 30.0
LIST_S = 60.0
WHOLE_S = 300.0
"""How long reading a range, looking at a file, listing files, and putting a file may take in all.

adlfs and gcsfs would go on for minutes with a host that is not there.
"""

TRIES = 3
"""How often files are looked for; who reads ranges tries again by his own rules."""

_AT_ONCE = 32
_AWS = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; FSSPEC_S3_ANON=true for none"
)
_GOOGLE = "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`"
_AZURE = "set AZURE_STORAGE_ACCOUNT_NAME, and AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_TOKEN"


@dataclass(frozen=True, slots=True)
class Scheme:
    """What opens URLs of a scheme, the extra that brings it, and how it is given credentials."""

    package: str
    extra: str
    how_to_give: str
    options: Mapping[str, Any]


_S3 = Scheme(
    "s3fs",
    "s3",
    _AWS,
    {
        "config_kwargs": {
            "connect_timeout": CONNECT_S,
            "read_timeout": ANSWER_S,
            "retries": {"total_max_attempts": 1},  # botocore would go on for minutes
            "max_pool_connections": _AT_ONCE,
        }
    },
)
_GS = Scheme("gcsfs", "gcs", _GOOGLE, {"requests_timeout": ANSWER_S})
_AZ = Scheme("adlfs", "azure", _AZURE, {"connection_timeout": CONNECT_S, "read_timeout": ANSWER_S})

SCHEMES: Mapping[str, Scheme] = {
    "s3": _S3, "gs": _GS, "gcs": _GS, "az": _AZ, "abfs": _AZ, "abfss": _AZ,
}  # fmt: skip

_OTHER = Scheme("", "", "", {})

_LOUD = ("aiobotocore", "azure", "botocore", "gcsfs", "google")
"""Libraries that log what they raise anyway, with tracebacks, or where they found credentials."""

_TAGS = ("ETag", "etag", "md5Hash", "generation")
_TIMES = ("LastModified", "last_modified", "updated", "created", "mtime")


class Entry(NamedTuple):
    """A file that a store lists; `tag` is its ETag, else what else changes with its content."""

    path: str
    size_bytes: int
    tag: str


class Store:
    """One file system of fsspec. Thread-safe, as these are."""

    def __init__(self, fs: Any) -> None:
        self._fs = fs

    def path(self, url: str) -> str:
        """What a URL of this store is called in it."""
        return str(self._fs._strip_protocol(url))

    def find(self, path: str) -> list[Entry]:
        """Every file below a folder; none where there is no such folder."""
        found = self._ask("find", path, LIST_S, detail=True)
        return list(_list_entries(found.values()))

    def list_folder(self, path: str) -> list[Entry]:
        """Files in a folder, without those below it; none where there is no such folder."""
        try:
            return list(_list_entries(self._ask("ls", path, LIST_S, detail=True)))
        except FileNotFoundError:
            return []

    def glob(self, pattern: str) -> list[Entry]:
        """Files that match a pattern."""
        found = self._ask("glob", pattern, LIST_S, detail=True)
        return list(_list_entries(found.values()))

    def look(self, path: str) -> Entry | None:
        """The file at a path, as it is now; None for a folder."""
        info = self._ask("info", path, LOOK_S, refresh=True)
        return next(_list_entries([info]), None)

    def find_aged(self, path: str) -> list[tuple[Entry, float]]:
        """Every file below a folder, with the second of its last change; 0 where none is told."""
        self._fs.invalidate_cache()
        infos = self._ask("find", path, LIST_S, detail=True).values()
        plain = [info for info in infos if info.get("type") != "directory"]
        return list(zip(_list_entries(plain), map(_changed_s, plain), strict=True))

    def read_part(self, path: str, start: int, stop: int | None) -> bytes:
        """A range of a file, to its end where None; as much as there is."""
        limit_s = WHOLE_S if stop is None else READ_S
        found: bytes = self._ask("cat_file", path, limit_s, start=start or None, end=stop)
        return found

    def write(self, path: str, data: bytes) -> None:
        """Put a file, in the place of the one before."""
        self._ask("pipe_file", path, WHOLE_S, data)

    def remove(self, path: str) -> None:
        """Take a file away, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("rm_file", path, LOOK_S)

    def has_pinned_reads(self) -> bool:
        """Whether `read` itself sees that a file is not what was pinned."""
        return hasattr(self._fs, "call_s3")

    def read(self, path: str, part: Range, etag: str) -> bytes:
        """What a store gives of a range; as much as there is. StaleError for another content."""
        if self.has_pinned_reads():
            return self._read_s3(path, part, etag)
        found: bytes = self._ask("cat_file", path, READ_S, start=part.start, end=part.stop)
        return found

    def _read_s3(self, path: str, part: Range, etag: str) -> bytes:
        """As `S3FileSystem.cat_file`, with the condition that it cannot be given."""
        from fsspec.asyn import sync

        bucket, key, _ = self._fs.split_path(path)
        asked = {"Range": f"bytes={part.start}-{part.stop - 1}", "IfMatch": etag}
        answer = self._fs.call_s3("get_object", Bucket=bucket, Key=key, timeout=READ_S, **asked)
        is_range = str(answer.get("ContentRange", "")).startswith(f"bytes {part.start}-")
        # Stores that only resemble S3 may pass over conditions, and over ranges.
        is_right = is_range and answer.get("ETag") == etag
        data: bytes = sync(self._fs.loop, _end_body, answer["Body"], is_right, timeout=READ_S)
        if answer.get("ETag") != etag:
            raise changed(path)
        return data

    def _ask(self, method: str, path: str, limit_s: float, *given: Any, **options: Any) -> Any:
        if self._fs.async_impl:
            options["timeout"] = limit_s  # kept by fsspec, whose own methods take none
        return getattr(self._fs, method)(path, *given, **options)


async def _end_body(body: Any, is_wanted: bool) -> bytes:
    """What is left of an answer, which is not waited for where it is not wanted."""
    if not is_wanted:
        body.close()
        return b""
    async with body as stream:
        data: bytes = await stream.read()
        return data


def open_store(url: str, tries: int = TRIES) -> Store:
    """The store that a URL is in; it lets go of its connections when nobody has it any more.

    Raises SourceError for a URL that is not taken, or whose package is not installed.
    """
    scheme = check_url(url)
    if find_spec(scheme.package) is None:
        why, fix = f"the package {scheme.package} is missing", f"'hffs-mount[{scheme.extra}]'"
        raise SourceError("cannot open", show(url), why=why, fix=f"pip install {fix}")
    for library in _LOUD:
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        from fsspec.core import url_to_fs

        # An instance of our own: fsspec would hand out one that others gave other options.
        options = {"skip_instance_cache": True, "use_listings_cache": False, **scheme.options}
        fs, _ = url_to_fs(url, **options)
    except store_errors() as error:
        raise locating_error(explain_failure(error, url), url) from error
    if hasattr(fs, "call_s3"):
        fs.retries = tries
    return Store(fs)


def open_any(url: str) -> Store:
    """As `open_store`, of whatever fsspec knows."""
    scheme = url.partition("://")[0]
    if scheme in SCHEMES:
        return open_store(url)
    _check_place(url)
    from fsspec.core import url_to_fs

    try:
        fs, _ = url_to_fs(url, skip_instance_cache=True)
    except ImportError as error:
        raise SourceError("cannot open", show(url), why=f"{scheme}:// takes a package") from error
    except store_errors() as error:
        raise locating_error(explain_failure(error, url), url) from error
    return Store(fs)


def check_url(url: str) -> Scheme:
    """What opens a URL. Raises SourceError if nothing does, or if it says more than a place."""
    scheme = SCHEMES.get(url.partition("://")[0])
    if scheme is None:
        refuse(url, "no such store is known", f"stores: {', '.join(SCHEMES)}")
    _check_place(url)
    if not url.partition("://")[2].partition("/")[0].partition("@")[0]:
        refuse(url, "it names no bucket")
    return scheme


def _check_place(url: str) -> None:
    if "::" in url:
        refuse(url, "chained URLs are not taken", "give the address alone")
    refuse_user(url)


def explain_failure(error: Exception, url: str) -> Failure:
    """What went wrong with a URL."""
    scheme = SCHEMES.get(url.partition("://")[0], _OTHER)
    if scheme is _AZ and type(error) is ValueError:  # all that adlfs says without an account
        return Failure(Meaning.REFUSED, "no account was found", scheme.how_to_give)
    return explain(error, scheme.how_to_give)


def _list_entries(infos: Iterable[Mapping[str, Any]]) -> Iterator[Entry]:
    for info in infos:
        if info.get("type") != "directory":
            yield Entry(str(info["name"]), int(info.get("size") or 0), _tag(info))


def _changed_s(info: Mapping[str, Any]) -> float:
    for value in map(info.get, _TIMES):
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
        if isinstance(value, str):  # gcsfs gives what the server says
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value).timestamp()
    return 0.0


def _tag(info: Mapping[str, Any]) -> str:
    for value in map(info.get, (*_TAGS, *_TIMES)):
        if isinstance(value, datetime):  # in whichever zone the library prefers
            return value.astimezone(UTC).isoformat()
        if value:
            return str(value)
    return ""
