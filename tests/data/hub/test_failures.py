"""Exceptions of the libraries and the system as one line; what no server can be made to do."""

from __future__ import annotations

import errno
import ssl
import subprocess
import sys

import httpx2
import pytest
from datasets.exceptions import DatasetNotFoundError
from huggingface_hub.errors import DisabledRepoError, HfHubHTTPError
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.hub.failures import explain, hub_errors
from hffs.data.hub.messages import clean
from hffs.data.hub.resolution import Request
from hffs.errors import AccessError, DataError, HffsError, SourceError

ASKED = Request("me/set")


def _answered(kind: type[HfHubHTTPError], status: int) -> HfHubHTTPError:
    """What huggingface_hub raises for an answer."""
    request = httpx2.Request("GET", "https://hub/x")
    return kind("x", response=httpx2.Response(status, request=request))


@pytest.mark.parametrize(
    ("error", "kind", "word"),
    [
        (OSError(errno.ENOSPC, "x"), DataError, "no space left"),
        (OSError(errno.EDQUOT, "x"), DataError, "no space left"),
        (PermissionError(errno.EACCES, "not allowed", "/cache"), DataError, "/cache: not allowed"),
        (httpx2.ConnectTimeout("x"), SourceError, "does not answer"),
        (httpx2.ReadTimeout("x"), SourceError, "does not answer"),
        (httpx2.ProxyError("503 no"), SourceError, "the proxy refuses (503 no)"),
        (httpx2.TooManyRedirects("x"), SourceError, "redirects in a circle; check HF_ENDPOINT"),
        (httpx2.InvalidURL("x"), SourceError, "no address"),
        (OSError(errno.ENETUNREACH, "x"), SourceError, "no route"),
        (TimeoutError("x"), SourceError, "does not answer"),
        (ConnectionResetError(errno.ECONNRESET, "reset"), SourceError, "the connection broke"),
        (ssl.SSLError(1, "handshake failure"), SourceError, "TLS fails (handshake failure)"),
        (ValueError("one\ntwo"), DataError, "one two"),
        (KeyError("x"), DataError, "'x'"),
        (RuntimeError(), DataError, "RuntimeError"),
        (FileNotFoundError(errno.ENOENT, "gone", "/x"), DataError, "cannot use me/set: [Errno 2]"),
        (
            FileNotFoundError(
                "Couldn't find 'me/set' on the Hugging Face Hub either: X: it is odd"
            ),
            SourceError,
            "cannot read me/set: X: it is odd; try again",
        ),
        (ValueError("Couldn't infer the same data file format for all"), DataError, "different"),
        (DatasetNotFoundError("'me/set' is a gated dataset; visit"), AccessError, "been let in"),
        (
            DatasetNotFoundError("'me/set' is a gated dataset; you must be authenticated"),
            AccessError,
            "no valid token was given",
        ),
        (DatasetNotFoundError("'me/set' cannot be accessed"), SourceError, "private"),
        (_answered(DisabledRepoError, 403), AccessError, "the Hub has disabled this data set"),
        (_answered(HfHubHTTPError, 403), AccessError, "check that your token may read it"),
        (_answered(HfHubHTTPError, 401), AccessError, "answers 401; give a token"),
    ],
)
def test_each_is_one_line(error: Exception, kind: type[HffsError], word: str) -> None:
    with pytest.raises(kind) as caught, hub_errors(ASKED):
        raise error
    line = str(caught.value)
    assert word in line
    assert "\n" not in line
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_causes_explain_and_what_was_only_handled_does_not() -> None:
    top = ValueError("top")
    top.__cause__ = OSError(errno.ENOSPC, "x")
    assert "no space" in str(explain(top, ASKED))
    top.__cause__, top.__context__ = None, OSError(errno.ENOSPC, "x")
    assert "no space" not in str(explain(top, ASKED))
    top.__cause__ = KeyError("itself")
    top.__cause__.__cause__ = top
    assert isinstance(explain(top, ASKED), DataError)


def test_regression_a_hub_that_is_not_there_is_told_without_loading_datasets() -> None:
    code = """
import sys, httpx2, hffs.data.hub.failures as failures
from hffs.data.hub.resolution import Request
try:
    with failures.hub_errors(Request("me/set")):
        raise httpx2.ConnectTimeout("x")
except failures.SourceError as error:
    print("does not answer" in str(error), *({"datasets", "pyarrow"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_errors_of_our_own_and_bugs_pass() -> None:
    own = DataError("own")
    with pytest.raises(DataError) as caught, hub_errors(ASKED):
        raise own
    assert caught.value is own
    with pytest.raises(KeyboardInterrupt), hub_errors(ASKED):
        raise KeyboardInterrupt


@given(st.text(), st.text("abcXYZ019_", min_size=3), st.text(" \n\t:'\"/"))
def test_no_token_and_no_user_info_survives(text: str, secret: str, between: str) -> None:
    token = f"hf_SECRET{secret}"
    for shown in (
        f"{text} {token} {text}",
        f"{text}{between}https://me:{token}@host/{text}",
        f"Authorization: Bearer {token}{between}",
        f"https://host/x?signature={token}{between}{text}",
    ):
        line = clean(shown)
        assert "SECRET" not in line
        assert line.isprintable()
        assert len(line) <= 300
