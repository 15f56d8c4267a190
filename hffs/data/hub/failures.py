"""What goes wrong with the Hub and its libraries, as one line that says what to do.

Owns the translation of exceptions of datasets, huggingface_hub, httpx2 and the system; whatever it
quotes of them goes through `messages.clean`.
"""

from __future__ import annotations

import errno
import json
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hffs.data.hub.messages import clean, endpoint, or_offline, refuse_offline
from hffs.data.hub.resolution import Request
from hffs.data.hub.retrying import Answer, find_asked_wait_s, repeat
from hffs.data.hub.token import HOW_TO_GIVE
from hffs.data.hub.unreachable import explain_broken, explain_connection
from hffs.errors import AccessError, DataError, HffsError, SourceError

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

PARQUET_BRANCH = "refs/convert/parquet"
"""Where the Hub keeps a copy as Parquet of many data sets, those with a script too."""

NO_MEMORY = "to read it takes more memory than there is"

_LIBRARIES = (
    ("httpx2", "HTTPError"),
    ("httpx2", "InvalidURL"),
    ("pyarrow", "ArrowException"),
    ("yaml", "YAMLError"),
    ("zipfile", "BadZipFile"),
    ("datasets.exceptions", "DatasetsError"),
    ("huggingface_hub.errors", "EntryNotFoundError"),
    ("huggingface_hub.errors", "OIDCError"),
    ("huggingface_hub.errors", "DeviceCodeError"),
)
"""Module and class of what is raised that is no error of Python's own."""

_NOTHING_AT = re.compile(r"Unable to find '(?:hf://datasets/[^@]*@[0-9a-f]{40}/)?(.*?)'")
_NO_ONE_FORMAT = "Couldn't infer the same data file format"
NO_REVISION = "cannot find revision"
"""What is said of one that a repository does not have."""

_COMMIT = re.compile(r"\b[0-9a-f]{40}\b")
_EITHER = " on the Hugging Face Hub either: "
_CONFIGS = re.compile(r"(?:Available:|available configs:) \[(.*?)\]", re.DOTALL)


@contextmanager
def hub_errors(request: Request) -> Iterator[None]:
    """Raise whatever fails inside as one HffsError that names the data set of a request."""
    try:
        yield
    except HffsError:
        raise
    except _expected() as error:
        # The chain is cut: a traceback would show URLs that carry signatures or user-info.
        raise explain(error, request) from None


def ask(call: Callable[[], Answer], request: Request) -> Answer:
    """What the Hub answers to a call of huggingface_hub, which is repeated while that may help.

    SourceError where the answer is none of a Hub's, as the page of a network that wants a login.
    """
    try:
        return repeat(call)
    except (
        json.JSONDecodeError, UnicodeDecodeError, TypeError, LookupError, AttributeError,
    ):  # fmt: skip
        raise no_hub(request) from None


def no_hub(request: Request) -> SourceError:
    """The error of an answer that is none of a Hub's."""
    why = f"{endpoint()} does not answer as a Hub does"
    fix = "check HF_ENDPOINT, and whether this network wants a login"
    return SourceError("cannot read", request.name, why=why, fix=fix)


def explain(error: BaseException, request: Request) -> HffsError:
    """Return the error that a user can act on."""
    for steps in ((_of_hub, _of_datasets, explain_connection, _of_system), (explain_broken,)):
        for link in _chain(error):
            for step in steps:
                if found := step(link, request):
                    return found
    return _unusable(request, clean(str(error)) or type(error).__name__)


def _expected() -> tuple[type[Exception], ...]:
    """All that the libraries are known to raise; what is not here is a bug, and looks like one.

    A library that is not loaded has raised nothing: loading `datasets` to ask would keep a person
    waiting for a second.
    """
    loaded = [(sys.modules[module], name) for module, name in _LIBRARIES if module in sys.modules]
    python = (
        OSError, ValueError, TypeError, LookupError, AttributeError, RuntimeError, ImportError,
        ArithmeticError, AssertionError, EOFError, MemoryError,
    )  # fmt: skip
    return (*(getattr(module, name) for module, name in loaded), *python)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error and its causes; what was merely handled when it came up explains nothing."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        # httpx2 cuts the chain where it says which system call failed.
        is_wire = type(error).__module__.startswith(("httpx2", "httpcore2"))
        error = error.__cause__ or (error.__context__ if is_wire else None)


def _of_hub(error: BaseException, request: Request) -> HffsError | None:
    from huggingface_hub import errors as hub

    if isinstance(error, hub.HFValidationError):
        fix = f"a {_noun(request)} on the Hub is owner/name"
        return SourceError(
            f"cannot find {_noun(request)}", repr(request.name), why="no such name", fix=fix
        )
    if isinstance(error, hub.OfflineModeIsEnabled):
        return refuse_offline(request.name, "it would have to be asked for", request.kind)
    if isinstance(error, hub.OIDCError | hub.DeviceCodeError):
        return AccessError("cannot get a token", why=clean(str(error)), fix=HOW_TO_GIVE)
    return _of_answer(error, request) if isinstance(error, hub.HfHubHTTPError) else None


def _of_answer(error: HfHubHTTPError, request: Request) -> HffsError:
    from huggingface_hub import errors as hub

    name, status = request.name, error.response.status_code
    if isinstance(error, hub.GatedRepoError):
        return _gated(request, status == 401)
    if isinstance(error, hub.DisabledRepoError):
        return AccessError("cannot read", name, why=f"the Hub has disabled this {_noun(request)}")
    if isinstance(error, hub.RevisionNotFoundError):
        return _no_revision(error, request)
    if isinstance(error, hub.RepositoryNotFoundError):
        return _not_found(request, "this token" if _has_token(error.response) else "you")
    if isinstance(error, hub.RemoteEntryNotFoundError):
        return SourceError("cannot find a file of", name, why=clean(str(error)))
    return _of_status(error.response, clean(error.server_message or ""), request)


def _no_revision(error: HfHubHTTPError, request: Request) -> SourceError:
    asked = _COMMIT.search(error.response.request.url.path)
    if asked and asked[0] != request.revision:
        which = f"{request.name}@{asked[0][:12]}"
        why = f"the Hub has it no longer, though {request.revision} meant it a moment ago"
        return SourceError("cannot read", which, why=why, fix="try again")
    which, fix = f"{request.revision} of {request.name}", "give a branch, a tag or a commit"
    return SourceError(NO_REVISION, which, why="it is not there", fix=fix)


def _gated(request: Request, is_unknown: bool) -> AccessError:
    why = "no valid token was given" if is_unknown else "this token has not been let in"
    page = f"datasets/{request.name}" if request.kind == "dataset" else request.name
    fix = f"ask for access at {endpoint()}/{page}, then {HOW_TO_GIVE}"
    return AccessError("cannot read", request.name, why=f"it is gated, and {why}", fix=fix)


def _has_token(response: httpx2.Response) -> bool:
    return "authorization" in response.request.headers


def _not_found(request: Request, who: str = "you") -> SourceError:
    why = f"not at {endpoint()}, or private and not open to {who}"
    fix = f"check owner/name; if it is private, {HOW_TO_GIVE}"
    return SourceError(f"cannot find {_noun(request)}", request.name, why=why, fix=fix)


def _of_status(response: httpx2.Response, said: str, request: Request) -> HffsError:
    status = response.status_code
    answered = f"{endpoint()} answers {status}" + (f" ({said})" if said else "")
    if status == 401 and _has_token(response):
        why = f"the token is not accepted: {answered}"
        fix = f"renew it, or leave it out where none is needed; {HOW_TO_GIVE}"
        return AccessError("cannot read", request.name, why=why, fix=fix)
    if status == 401:
        return AccessError("cannot read", request.name, why=answered, fix=HOW_TO_GIVE)
    if status == 403:
        fix = f"check that your token may read it; {HOW_TO_GIVE}"
        return AccessError("cannot read", request.name, why=answered, fix=fix)
    if status == 429:
        why = f"too many requests: {answered}"
        asked_s = find_asked_wait_s(response)
        wait = f"{math.ceil(asked_s / 60)} min" if asked_s else "some minutes"
        fix = f"wait {wait}; with a token more are allowed: {HOW_TO_GIVE}"
        return SourceError("cannot read", request.name, why=why, fix=or_offline(fix, request))
    fix = "try again later" if status >= 500 else "check HF_ENDPOINT"
    return SourceError("cannot read", request.name, why=answered, fix=or_offline(fix, request))


def _of_system(error: BaseException, request: Request) -> HffsError | None:
    from huggingface_hub import constants

    if isinstance(error, MemoryError):
        return _unusable(request, NO_MEMORY)
    if not isinstance(error, OSError) or isinstance(error, ConnectionError) or not error.errno:
        return None
    where = error.filename or constants.HF_HUB_CACHE
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        why = f"no space left in {constants.HF_HUB_CACHE}"
        fix = "free some, or set HF_HOME to another disk; what has arrived is kept"
        return DataError("cannot download", request.name, why=why, fix=fix)
    if error.errno == errno.ENOENT:
        return None
    why = f"{clean(str(where))}: {error.strerror}"
    return DataError("cannot keep or read", request.name, why=why, fix="HF_HOME moves the cache")


def _of_datasets(error: BaseException, request: Request) -> HffsError | None:
    if "datasets" not in sys.modules:
        return None
    from datasets.data_files import EmptyDatasetError
    from datasets.exceptions import DataFilesNotFoundError, DatasetNotFoundError

    text = str(error)
    if request.offline and (isinstance(error, FileNotFoundError) or _NO_ONE_FORMAT in text):
        # All that is told of are files that are not there, or a split without any.
        return refuse_offline(
            request.name, f"its {_show_splits(request)} is not whole on this host"
        )
    # It cuts the chain, so what the Hub said is in the text alone.
    if isinstance(error, DatasetNotFoundError):
        is_gated = "is a gated dataset" in text
        return _gated(request, "authenticated" in text) if is_gated else _not_found(request)
    if isinstance(error, DataFilesNotFoundError | EmptyDatasetError):
        if request.data_files is not None:
            why = f"none matches data_files {_show_files(request)}"
            return SourceError(
                "cannot find files of", request.name, why=why, fix="check data_files"
            )
        return _unusable(request, "it has no files that hold rows in a known format")
    if isinstance(error, FileNotFoundError) and (nothing := _NOTHING_AT.search(text)):
        fix = "check data_files, and `configs` in its README.md"
        why = f"nothing is at {clean(nothing[1])}"
        return SourceError("cannot find files of", request.name, why=why, fix=fix)
    if isinstance(error, FileNotFoundError) and _EITHER in text:
        why, fix = clean(text.split(_EITHER, 1)[1]), or_offline("try again", request)
        return SourceError("cannot read", request.name, why=why, fix=fix)
    return _of_words(text, request)


def _of_words(text: str, request: Request) -> HffsError | None:
    """What `datasets` has no class of its own for."""
    if "scripts are no longer supported" in text:
        why = "it is a script, and hffs never runs what a data set brings"
        fix = f"try revision {PARQUET_BRANCH}, the Hub's own copy, or ask its author for Parquet"
        return DataError("cannot use", request.name, why=why, fix=fix)
    if text.startswith("Config name is missing"):
        why = f"it has several configs: {_configs(text)}"
        return SourceError("cannot choose from", request.name, why=why, fix="give config_name")
    if text.startswith("BuilderConfig ") and "not found" in text:
        which = f"{request.config or 'default'} of {request.name}"
        return SourceError("cannot find config", which, why=f"there are: {_configs(text)}")
    if _NO_ONE_FORMAT in text:
        return _unusable(request, "its splits are in different formats", "give data_files")
    return None


def _configs(text: str) -> str:
    found = _CONFIGS.search(text)
    return clean(found[1].replace("'", "")) if found else "others"


def _show_splits(request: Request) -> str:
    return f"split{'s' * (len(request.splits) > 1)} {', '.join(request.splits)}"


def _show_files(request: Request) -> str:
    given = request.data_files or ()
    groups = given.values() if isinstance(given, Mapping) else [given]
    return clean(", ".join(pattern for group in groups for pattern in group))


def _noun(request: Request) -> str:
    return "data set" if request.kind == "dataset" else request.kind


def _unusable(request: Request, why: str, fix: str = "") -> DataError:
    return DataError("cannot use", request.name, why=why, fix=fix)
