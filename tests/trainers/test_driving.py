"""The harness: what it reads out of a record of strace, and what it does without a checkout."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainers.driving import CHECKOUTS, count_failed_calls, find_checkout

MOUNT = Path("/data/mnt")


@pytest.mark.parametrize(
    ("line", "counted"),
    [
        (
            '17 openat(AT_FDCWD</home>, "/data/mnt/1.caption", O_RDONLY|O_CLOEXEC) '
            "= -1 ENOENT (No such file or directory)",
            "openat ENOENT",
        ),
        ('openat(4</data/mnt>, "x", O_RDONLY) = -1 ENOENT (No such file)', "openat ENOENT"),
        (
            "17 ioctl(3</data/mnt/1.jpg>, TCGETS, 0x7ffe) = -1 ENOTTY (Inappropriate ioctl)",
            "ioctl ENOTTY",
        ),
        ('1  mkdir("/data/mnt", 0777) = -1 EEXIST (File exists)', "mkdir EEXIST"),
        ('mkdirat(AT_FDCWD</data/mnt>, "cache", 0777) = -1 EROFS (Read-only)', "mkdirat EROFS"),
        (
            'rename("/tmp/a", "/data/mnt/a") = -1 EXDEV (Invalid cross-device link)',
            "rename EXDEV",
        ),
        ('stat("/data/mnt/a \\"quoted\\" name", 0x7ff) = -1 ENOENT (No such)', "stat ENOENT"),
        ('stat("/data/mnt2/0.jpg", 0x7ff) = -1 ENOENT (No such file)', None),
        ('stat("/home/data/mnt/0.jpg", 0x7ff) = -1 ENOENT (No such file)', None),
        ('openat(AT_FDCWD</home>, "/data/mnt/0.jpg", O_RDONLY) = 3</data/mnt/0.jpg>', None),
        ("read(3</usr/lib/libc.so>, 0x7ff, 832) = -1 EIO (Input/output error)", None),
        ("17 +++ exited with 0 +++", None),
        ("", None),
    ],
)
def test_a_failed_call_counts_where_it_names_the_folder(line: str, counted: str | None) -> None:
    expected = {counted: 2} if counted else {}
    assert count_failed_calls([line, line], MOUNT) == expected


@pytest.mark.parametrize("name", CHECKOUTS)
def test_no_checkout_skips_or_fails(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HFFS_TRAINERS", raising=False)
    monkeypatch.delenv("HFFS_REQUIRE_TRAINERS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=f"git clone https://github.com/.*{name}"):
        find_checkout(name)
    monkeypatch.setenv("HFFS_TRAINERS", str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=f"a checkout of {name}"):
        find_checkout(name)
    monkeypatch.setenv("HFFS_REQUIRE_TRAINERS", "1")
    with pytest.raises(pytest.fail.Exception, match="HFFS_REQUIRE_TRAINERS=1, but"):
        find_checkout(name)
    (tmp_path / name).mkdir()
    assert find_checkout(name) == tmp_path / name
