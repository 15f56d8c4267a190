"""Lines of fstab as `hffs mount`; that mount(8) takes it so is tested on a real mount."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from hffs import cli
from hffs.cli import fstab
from hffs.cli.fstab import Call, parse_call, run, split_options, translate
from hffs.errors import UsageError

README = Path(__file__).parents[2] / "systemd/README.md"


@pytest.fixture(scope="module")
def known() -> dict[str, object]:
    return dict(fstab._find_options())


def _translate(text: str, known: dict[str, object]) -> list[str]:
    return list(translate(Call("a/b", "/mnt", tuple(split_options(text))), known))


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", []),
        ("ro", ["ro"]),
        ("ro,,uid=7,", ["ro", "uid=7"]),
        ('where="a IN (1, 2)",ro', ["where=a IN (1, 2)", "ro"]),
        (r"order=/a\,b", ["order=/a,b"]),
        (r'where="a = \"x\""', ['where=a = "x"']),
        (r"where=a ~ '\d'", [r"where=a ~ '\d'"]),
        ('where="never closed, ro', ["where=never closed, ro"]),
    ],
)
def test_options_are_between_commas_but_for_those_that_are_meant(
    text: str, options: list[str]
) -> None:
    assert split_options(text) == options


def test_a_call_is_read_in_any_order() -> None:
    assert parse_call(["hffs#a/b", "/mnt", "-o", "rw,uid=7", "-t", "fuse.hffs"]) == Call(
        "a/b", "/mnt", ("rw", "uid=7")
    )
    assert parse_call(["-nv", "-o", "ro", "/etc/x.toml", "-sf", "/mnt", "-o", "uid=7"]) == Call(
        "/etc/x.toml", "/mnt", ("ro", "uid=7"), is_fake=True, is_sloppy=True
    )


@pytest.mark.parametrize("words", ["", "a", "a b c", "a b -o", "a b -t", "a b -N x", "a b --rw"])
def test_what_mount_would_not_say_is_refused(words: str) -> None:
    with pytest.raises(UsageError):
        parse_call(words.split())
    assert run(words.split()) == 1


def test_options_are_the_flags_of_hffs_mount(known: dict[str, object]) -> None:
    text = 'allow_other,uid=7,umask=022,where="width >= 512",streaming=no,data_files=a,data-files=b'
    assert _translate(text, known) == [
        "--allow-other", "--uid=7", "--umask=022", "--where=width >= 512", "--no-streaming",
        "--data-files=a", "--data-files=b",
    ]  # fmt: skip


def test_words_for_mount_itself_and_for_systemd_are_passed_over(known: dict[str, object]) -> None:
    text = "rw,nosuid,nodev,noexec,_netdev,nofail,noauto,user,noatime,x-systemd.automount,comment=x"
    text += ",sync,dirsync,mand,nomand"
    assert _translate(text, known) == []


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("nope", "nobody knows it"),
        ("alow_other", "nobody knows it"),
        ("foreground", "nobody knows it"),
        ("explain", "nobody knows it"),
        ("help", "nobody knows it"),
        ("uid", "it needs a value"),
        ("streaming=perhaps", "it takes no such value"),
        ("allow_other=false", "it takes no such value"),
        ("remount", "unmount it"),
        ("suid", "leave it out"),
    ],
)
def test_an_option_that_cannot_be_is_an_error(
    option: str, why: str, known: dict[str, object]
) -> None:
    with pytest.raises(UsageError, match=f"{option}.*{why}"):
        _translate(option, known)


def test_a_sloppy_call_passes_over_what_nobody_knows(known: dict[str, object]) -> None:
    call = Call("a/b", "/mnt", ("nope", "uid=7"), is_sloppy=True)
    assert list(translate(call, known)) == ["--uid=7"]


def test_a_fake_call_checks_and_mounts_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([str(tmp_path / "none"), str(tmp_path), "-f", "-o", "rw"]) == 0
    assert run([str(tmp_path / "none"), str(tmp_path), "-f", "-o", "nope"]) == 1
    assert capsys.readouterr().err.startswith("hffs: cannot use mount option nope: ")


@pytest.mark.parametrize(
    ("option", "code"), [("ro", 32), ("umask=999", 1), ("where=(,offline", 32)]
)
def test_exit_codes_are_those_of_mount(option: str, code: int, tmp_path: Path) -> None:
    assert run([str(tmp_path / "none.parquet"), str(tmp_path), "-o", option]) == code


def test_regression_a_line_means_the_same_in_every_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called = []

    def note(arguments: list[str]) -> int:
        called.append((os.getcwd(), os.path.isdir("owner/photos"), arguments[-2:]))
        return 0

    (tmp_path / "owner/photos").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "run", note)
    assert run(["hffs#owner/photos", "mnt"]) == 0
    assert called == [("/", False, ["owner/photos", str(tmp_path / "mnt")])]


@pytest.mark.usefixtures("known")
def test_regression_what_is_mounted_is_no_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["hffs#--debug", str(tmp_path)]) != 0
    assert "--debug" in capsys.readouterr().err


def test_a_bare_environment_is_completed() -> None:
    environ = {"HOME": "", "LANG": "C"}
    fstab._complete(environ)
    assert environ["HOME"].startswith("/")
    assert "/usr/bin" in environ["PATH"]
    kept = {"HOME": "/home/me", "PATH": "/opt/bin"}
    fstab._complete(kept)
    assert kept == {"HOME": "/home/me", "PATH": "/opt/bin"}


def test_the_lines_of_the_readme_have_options_that_are_known(known: dict[str, object]) -> None:
    found = re.search(r"<!-- fstab -->\n```\n(.*?)^```", README.read_text(), re.M | re.S)
    assert found is not None
    lines = [line.split() for line in found[1].splitlines()]
    flags = [_translate(fields[3].replace(r"\040", " "), known) for fields in lines]
    assert flags == [
        ["--allow-other"], ["--allow-other", "--umask=022", "--where=width >= 512"], [],
    ]  # fmt: skip
