from __future__ import annotations

import fcntl
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hffs.data.urls.digests import Digests, hash_url


def _same_file(count: int) -> list[bytes]:
    """Hashes that are all recorded in one file."""
    return [b"\x07" + number.to_bytes(15, "big") for number in range(count)]


def test_the_first_bytes_of_a_url_count(tmp_path: Path) -> None:
    url = hash_url("https://a.org/x.jpg")
    digests = Digests(tmp_path / "urls")
    assert digests.agree(url, memoryview(b"one"))
    assert digests.agree(url, memoryview(b"one"))
    assert not digests.agree(url, memoryview(b"two"))
    assert Digests(tmp_path / "urls").agree(url, memoryview(b"one"))
    assert not Digests(tmp_path / "urls").agree(url, memoryview(b"two"))
    assert Digests(tmp_path / "urls").agree(hash_url("https://a.org/y.jpg"), memoryview(b"two"))
    assert oct((tmp_path / "urls").stat().st_mode & 0o777) == "0o700"


def test_what_a_killed_writer_left_is_no_record(tmp_path: Path) -> None:
    first, second = _same_file(2)
    digests = Digests(tmp_path)
    assert digests.agree(first, memoryview(b"one"))
    with (tmp_path / "07").open("ab") as file:
        file.write(second + b"torn")
    assert digests.agree(second, memoryview(b"two"))
    assert not digests.agree(second, memoryview(b"one"))
    assert not digests.agree(first, memoryview(b"two"))
    assert (tmp_path / "07").stat().st_size == 64


def test_a_hash_is_found_at_records_alone(tmp_path: Path) -> None:
    digests = Digests(tmp_path)
    url = b"\x07" * 16
    (tmp_path / "07").write_bytes(b"\x00" * 8 + url + b"\x00" * 8)
    assert digests.agree(url, memoryview(b"one"))
    assert not digests.agree(url, memoryview(b"two"))


def test_a_full_file_forgets_its_older_half(tmp_path: Path) -> None:
    digests = Digests(tmp_path, file_records=8)
    urls = _same_file(9)
    for url in urls:
        assert digests.agree(url, memoryview(b"one"))
    assert (tmp_path / "07").stat().st_size == 5 * 32
    assert not digests.agree(urls[8], memoryview(b"two"))
    assert not digests.agree(urls[4], memoryview(b"two"))
    assert digests.agree(urls[0], memoryview(b"two"))


def test_where_nothing_can_be_recorded_it_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "urls").write_text("a file")
    digests = Digests(tmp_path / "urls")
    assert digests.agree(hash_url("a"), memoryview(b"one"))
    assert digests.agree(hash_url("a"), memoryview(b"two"))
    assert [entry.levelno for entry in caplog.records] == [logging.WARNING]


def test_nothing_is_recorded_while_another_records(tmp_path: Path) -> None:
    digests = Digests(tmp_path)
    url = hash_url("a")
    with (tmp_path / ".lock").open("ab") as lock, ThreadPoolExecutor(1) as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(digests.agree, url, memoryview(b"one"))
        with pytest.raises(TimeoutError):
            waiting.result(0.3)
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result(10)


def test_processes_share_records(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from hffs.data.urls.digests import Digests\n"
        "digests = Digests(Path(sys.argv[1]))\n"
        "for n in range(200):\n"
        "    digests.agree(b'\\7' + n.to_bytes(15, 'big'), memoryview(b'one'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    others = [subprocess.Popen(command) for _ in range(3)]
    assert [other.wait(60) for other in others] == [0, 0, 0]
    assert (tmp_path / "07").stat().st_size == 200 * 32
