"""What the failures of object stores mean, and what is said of them.

Owns the meaning of the errors of botocore, aiohttp, gcsfs, adlfs, httpx2 and of what lies below
these, told by names of classes and by codes, so that none of them is imported. Invariant: nothing
secret is in a message; texts of servers and libraries never are.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import NoReturn

from hffs.data.remote.files import split_query
from hffs.errors import AccessError, DataError, HffsError, OutageError, SourceError, StaleError

_USER = re.compile(r"(?<=://)[^/?#]*@")
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class Meaning(Enum):
    """What a failure means for who wants a file."""

    MISSING = "missing"
    REFUSED = "refused"
    CHANGED = "changed"
    UNUSABLE = "unusable"
    PASSING = "passing"


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong, and what may help.

    A store that is busy is left alone for `rest_s`; one not `is_reached` gave no connection.
    """

    meaning: Meaning
    why: str
    fix: str = ""
    rest_s: float | None = None
    is_reached: bool = True


def refuse(url: str, why: str, fix: str = "") -> NoReturn:
    """Raise the SourceError for a URL."""
    raise SourceError("cannot open", show(url), why=why, fix=fix)


def show(url: str) -> str:
    """A URL fit for a message: without a user, and without the query that may sign it.

    >>> show("https://me:secret@host/a.parquet?sign=1"), show("s3://bucket/a?.parquet")
    ('https://***@host/a.parquet?...', 's3://bucket/a?.parquet')
    >>> show("abfs://container@account.dfs.core.windows.net/a.parquet")
    'abfs://container@account.dfs.core.windows.net/a.parquet'
    """
    plain = url if _names_container(url) else _USER.sub("***@", url)
    place, query = split_query(plain)
    plain = f"{place}?..." if query else place
    return "".join(each if each.isprintable() else "?" for each in plain)


def refuse_user(url: str) -> None:
    """Refuse a URL with a user name; `container@account` of Azure is none."""
    if _USER.search(url) and not _names_container(url):
        refuse(url, "a user name or password in a URL is not taken", "leave it out")


def _names_container(url: str) -> bool:
    found = _USER.search(url)
    return found is not None and url.startswith(("az:", "abfs")) and ":" not in found[0]


def changed(which: str) -> StaleError:
    """What is said of a file that has another content than was pinned."""
    return StaleError("cannot read", show(which), why="it was changed", fix="mount it anew")


_NO_CREDENTIALS = "no credentials were found"
_ANOTHER_REGION = "set AWS_DEFAULT_REGION to the region of the bucket"
_NETWORK = "check the network and the endpoint"


def _unreached(why: str) -> Failure:
    return Failure(Meaning.PASSING, why, _NETWORK, is_reached=False)


_MEANINGS: tuple[tuple[frozenset[str], Failure], ...] = tuple(
    (frozenset(words.split()), failure)
    for words, failure in (
        (
            "NoCredentialsError PartialCredentialsError CredentialRetrievalError "
            "DefaultCredentialsError CredentialUnavailableError NoAuthTokenError",
            Failure(Meaning.REFUSED, _NO_CREDENTIALS),
        ),
        (
            "ProfileNotFound ConfigNotFound",
            Failure(Meaning.REFUSED, "there is no profile of this name", "check AWS_PROFILE"),
        ),
        ("PreconditionFailed 412 InvalidRange 416", Failure(Meaning.CHANGED, "it was changed")),
        (
            "PermanentRedirect 301 AuthorizationHeaderMalformed IllegalLocationConstraintException",
            Failure(Meaning.UNUSABLE, "the bucket is in another region", _ANOTHER_REGION),
        ),
        (
            "PermissionError InvalidToken ExpiredToken ClientAuthenticationError RefreshError "
            "SSOError 401 403",
            Failure(Meaning.REFUSED, "the store refuses to give it"),
        ),
        ("NoSuchBucket", Failure(Meaning.MISSING, "no such bucket", "check the address")),
        (
            "FileNotFoundError NotADirectoryError ResourceNotFoundError 404",
            Failure(Meaning.MISSING, "no such bucket or key", "check the address"),
        ),
        (
            "ParamValidationError InvalidBucketName 400",
            Failure(Meaning.UNUSABLE, "the store does not understand it", "check the address"),
        ),
        (
            "SSLError ClientSSLError",
            Failure(Meaning.UNUSABLE, "TLS fails: its certificate is not accepted", _NETWORK),
        ),
        ("gaierror", _unreached("its name is not known")),
        ("ConnectionRefusedError", _unreached("the connection is refused")),
        (
            "ConnectTimeout ConnectTimeoutError ServiceRequestTimeoutError",
            _unreached("it cannot be reached in time"),
        ),
        (
            "TimeoutError ReadTimeout ReadTimeoutError",
            Failure(Meaning.PASSING, "it does not answer in time", _NETWORK),
        ),
        (
            "ConnectError EndpointConnectionError ClientConnectorError",
            _unreached("it cannot be reached"),
        ),
        (
            "SlowDown ServiceUnavailable TooManyRequests ThrottlingException 429 503 EBUSY",
            Failure(Meaning.PASSING, "the store is busy", rest_s=2.0),
        ),
        (
            "ConnectionError ClientConnectionError HTTPClientError ClientPayloadError "
            "ServiceRequestError ServiceResponseError IncompleteReadError TransportError",
            Failure(Meaning.PASSING, "the connection broke", _NETWORK),
        ),
        (
            "ValueError EINVAL EPERM",
            Failure(Meaning.UNUSABLE, "the store does not take it", "check the address"),
        ),
    )
)
"""What names of classes, and codes, mean; what comes first counts."""


def store_errors() -> tuple[type[Exception], ...]:
    """What fsspec and the libraries below it raise, as far as they are in memory."""
    found: list[type[Exception]] = [OSError, ValueError, RuntimeError]
    for module, name in (
        ("botocore.exceptions", "BotoCoreError"),
        ("botocore.exceptions", "ClientError"),
        ("aiohttp", "ClientError"),
        ("gcsfs.retry", "HttpError"),
        ("google.auth.exceptions", "GoogleAuthError"),
        ("azure.core.exceptions", "AzureError"),
    ):
        if module in sys.modules:
            found.append(getattr(sys.modules[module], name))
    return tuple(found)


def explain(error: Exception, how_to_give: str) -> Failure:
    """What an error of a store means; `how_to_give` says how it gets credentials."""
    told = set(_tell(error))
    code = next(_codes(error), "")
    meant = (failure for words, failure in _MEANINGS if not told.isdisjoint(words))
    failure = next(meant, None) or Failure(Meaning.PASSING, f"it fails, {type(error).__name__}")
    why = f"{failure.why} ({code})" if code else failure.why
    is_refused = failure.meaning is Meaning.REFUSED
    fix = failure.fix or (how_to_give if is_refused else "")
    return replace(failure, why=why, fix=fix)


def locating_error(failure: Failure, url: str) -> HffsError:
    """The error of whoever looks for files."""
    fix = failure.fix or ("try again" if failure.meaning is Meaning.PASSING else "")
    kinds: Mapping[Meaning, type[HffsError]] = {
        Meaning.REFUSED: AccessError,
        Meaning.CHANGED: StaleError,
    }
    kind = kinds.get(failure.meaning, SourceError)
    return kind("cannot open", show(url), why=failure.why, fix=fix)


def reading_error(failure: Failure, url: str) -> HffsError:
    """The error of whoever reads a file that was found."""
    if failure.meaning is Meaning.CHANGED:
        return changed(url)
    kinds: Mapping[Meaning, type[HffsError]] = {
        Meaning.MISSING: SourceError,
        Meaning.REFUSED: AccessError,
        Meaning.PASSING: OutageError,
    }
    kind = kinds.get(failure.meaning, DataError)
    return kind("cannot read", show(url), why=failure.why, fix=failure.fix)


def _tell(error: Exception) -> Iterator[str]:
    """Names of the classes, and codes, of an error and of what it comes from."""
    for each in _chain(error):
        yield from (kind.__name__ for kind in type(each).__mro__)
        if isinstance(each, OSError) and each.errno is not None:
            yield errno.errorcode.get(each.errno, "")
    yield from _codes(error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _codes(error: Exception) -> Iterator[str]:
    """What the store itself said, as far as it is a code: `NoSuchKey`, `403`."""
    for each in _chain(error):
        response = getattr(each, "response", None)
        answered = response.get("Error", {}) if isinstance(response, dict) else {}
        own = (
            getattr(each, name, None) for name in ("error_code", "code", "status_code", "status")
        )
        for code in (answered.get("Code"), *own):
            if isinstance(code, str | int) and _CODE.fullmatch(str(code)):
                yield str(code)
