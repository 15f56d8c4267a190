"""The token of a request: where it is read, and that it is never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hffs.data.hub.resolution import Request
from hffs.data.hub.token import Token, forget_tokens
from hffs.errors import AccessError, HffsError, SourceError


def test_a_file_is_read_again_only_when_it_changed(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(" hf_one\n")
    token = Token(Request("me/set", token_file=file))
    assert token.read() == "hf_one"
    status = file.stat()
    file.write_text(" hf_two\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert token.read() == "hf_one", "same size, time and inode: not read"
    os.utime(file, ns=(0, 0))
    assert token.read() == "hf_two"
    assert "hf_two" not in repr(token)


def test_a_file_can_be_forgotten_whatever_it_looks_like(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("hf_one\n")
    token = Token(Request("me/set", token_file=file))
    token.read()
    status = file.stat()
    file.write_text("hf_two\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    forget_tokens()
    assert token.read() == "hf_two"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"two words", "one word"),
        (b"x\r\nHost: elsewhere", "one word"),
        (b"hf_\xff", "one word"),
        (b"x" * 5000, "one word"),
    ],
)
def test_a_file_that_holds_no_token(tmp_path: Path, content: bytes, why: str) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(AccessError, match=why) as caught:
        Token(Request("me/set", token_file=file)).read()
    assert str(file) in str(caught.value)
    assert "x" * 20 not in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no such file"):
        Token(Request("me/set", token_file=tmp_path / "none")).read()
    os.mkfifo(tmp_path / "pipe")
    for name, kind in (("pipe", AccessError), (".", AccessError), ("pipe/x", HffsError)):
        with pytest.raises(kind):
            Token(Request("me/set", token_file=tmp_path / name)).read()


def test_without_a_file_it_is_the_one_of_huggingface_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    token = Token(Request("me/set"))
    assert token.read() == "hf_mine"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
    assert token.read() is None


@pytest.mark.parametrize("text", ["“hf_mine”", "hf_mine of me", "hf_\udcff", "x" * 5000])
def test_regression_a_token_that_was_pasted_wrong_is_told_as_one(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", text)
    with pytest.raises(AccessError, match="cannot use the token of HF_TOKEN") as caught:
        Token(Request("me/set")).read()
    assert "hf_" not in str(caught.value)


def test_regression_a_login_file_that_is_no_text_is_told_as_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "token").write_bytes(b"\xff\xfe")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(AccessError, match="cannot use the token"):
        Token(Request("me/set")).read()


def test_a_service_finds_it_among_its_credentials(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert Token(Request("me/set")).read() is None, "a service that was given none"
    (tmp_path / "hf-token").write_text("hf_service\n")
    assert Token(Request("me/set")).read() == "hf_service"
    assert "hf_service" not in repr(Token(Request("me/set")))
    (tmp_path / "named").write_text("hf_named")
    assert Token(Request("me/set", token_file=tmp_path / "named")).read() == "hf_named"
    monkeypatch.setenv("HF_TOKEN", "hf_mine")
    assert Token(Request("me/set")).read() == "hf_mine"
