"""The control socket by itself: who may ask, what is understood, and what it survives."""

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from hffs.data.lookups import CacheFigures
from hffs.data.traffic import TrafficFigures
from hffs.errors import MountError, UsageError
from hffs.mount.lifecycle.logs import set_level
from hffs.mount.observing import http
from hffs.mount.observing.asking import ask_level, ask_status
from hffs.mount.observing.control import Answers, answering
from hffs.mount.observing.counting import Counters
from hffs.mount.observing.reporting import About, Report, Reporter
from hffs.mount.observing.sockets import connect_socket, find_socket, open_socket
from hffs.view.figures import DiskFigures, FailureFigures, ViewFigures
from tests.waiting import wait_until

CONNECT = """
import os, socket, sys
os.setresuid(65534, 65534, 65534)
asking = socket.socket(socket.AF_UNIX)
asking.connect(sys.argv[1])
asking.settimeout(60)
try:
    asking.sendall(b"GET /status HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    print(asking.recv(100))
except (BrokenPipeError, ConnectionResetError):
    print(b"")
"""


def _refuse(word: str) -> None:
    if word != "debug":
        raise UsageError("cannot set it to", word)


def _report() -> Report:
    about = About("/mnt/photos", "org/photos", "c0ffee", "f1", 3)
    nothing = CacheFigures()
    disk, failures = DiskFigures({}, 0, 0), FailureFigures(0, 0)
    figures = ViewFigures(nothing, disk, 0, failures, TrafficFigures(), {"render": 0})
    return Reporter(about, Counters(("open", "read")), lambda: figures).report()


STATUS = json.loads(json.dumps(asdict(_report())))
WITHOUT_BOUNDS = {kind: each | {"buckets": [1]} for kind, each in STATUS["requests"].items()}
TOLD = json.dumps(STATUS).encode()
ANSWERS = Answers({"/status": ("application/json", lambda: TOLD)}, {"/log-level": _refuse})


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    # Longer than the path of a socket may be.
    place = find_socket(tmp_path / ("x" * 120), "/mnt/photos")
    with answering(place, ANSWERS) as made:
        assert made == place
        yield made


def _send(path: Path, *pieces: bytes) -> bytes:
    """All that comes of some bytes."""
    with connect_socket(path, 60.0) as asking:
        try:
            for piece in pieces:
                asking.sendall(piece)
            return b"".join(iter(lambda: asking.recv(1 << 16), b""))
        except (BrokenPipeError, ConnectionResetError):  # it has answered before all was sent
            return b""


def _status_of(answer: bytes) -> int:
    return int(answer.split(b" ")[1])


def test_it_tells_and_is_for_its_owner_alone(path: Path) -> None:
    assert ask_status(path) == STATUS
    assert path.lstat().st_mode & 0o777 == 0o600
    assert path.parent.lstat().st_mode & 0o777 == 0o700


def test_it_sets_what_it_knows(path: Path) -> None:
    ask_level(path, "debug")
    with pytest.raises(MountError, match="cannot set it to info"):
        ask_level(path, "info")


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /status?x=1 HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /status HTTP/1.0\r\n\r\n", 200),
        (b"GET /other HTTP/1.1\r\n\r\n", 404),
        (b"PUT /status HTTP/1.1\r\n\r\n", 404),
        (b"PUT /log-level HTTP/1.1\r\n\r\n", 411),
        (b"PUT /log-level HTTP/1.1\r\nContent-Length: -5\r\n\r\n", 411),
        (b"PUT /log-level HTTP/1.1\r\nContent-Length: 65\r\n\r\n", 413),
        (b"PUT /log-level HTTP/1.1\r\nContent-Length: 99999999999999\r\n\r\n", 413),
        (b"PUT /log-level HTTP/1.1\r\nContent-Length: 2\r\n\r\n\xff\xfe", 400),
        (b"DELETE /status HTTP/1.1\r\n\r\n", 501),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET /status HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_whatever_is_sent_is_answered(path: Path, request_: bytes, status: int) -> None:
    answer = _send(path, request_)
    if answer or len(request_) < 1000:  # of a longer one the rest is refused while it is sent
        assert _status_of(answer) == status
    assert ask_status(path) == STATUS


def test_garbage_and_silence_harm_nobody(path: Path) -> None:
    with connect_socket(path, 60.0), connect_socket(path, 60.0) as half:
        half.sendall(b"PUT /log-level HTTP/1.1\r\nContent-Length: 9\r\n\r\nde")
        _send(path, b"\x16\x03\x01\x02\x00 \x01 \xfc\r\n\r\n")
        _send(path, b"\0" * 500_000)
        _send(path, b"GET\r\n", b"\r\n" * 1000)
        assert ask_status(path) == STATUS


def test_several_ask_at_once(path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(ask_status, [path] * 40)) == [STATUS] * 40


def test_more_than_it_takes_are_sent_away_and_later_ones_are_not(path: Path) -> None:
    held = [connect_socket(path, 60.0) for _ in range(8)]
    wait_until(lambda: ask_status(path) is None)
    for connection in held:
        connection.close()
    wait_until(lambda: ask_status(path) == STATUS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
def test_another_user_is_refused_though_the_files_are_open(tmp_path: Path) -> None:
    place = tmp_path / "sockets/x.sock"
    with answering(place, ANSWERS):
        place.chmod(0o666)
        for folder in (place.parent, *tmp_path.parents[:3], tmp_path):
            if folder != Path("/tmp"):  # noqa: S108
                folder.chmod(0o755)
        done = subprocess.run(
            [sys.executable, "-c", CONNECT, place], capture_output=True, text=True, check=True
        )
        assert done.stdout == "b''\n"
        assert ask_status(place) == STATUS


def test_it_is_gone_at_the_end(tmp_path: Path) -> None:
    with answering(tmp_path / "a/x.sock", ANSWERS) as path:
        assert path is not None
    assert not path.exists()
    assert ask_status(path) is None
    with pytest.raises(MountError, match="cannot reach the daemon"):
        ask_level(path, "debug")


def test_what_a_kill_left_is_replaced_and_a_successor_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "a/x.sock"
    open_socket(path).close()
    assert path.exists()
    with answering(path, ANSWERS):
        assert ask_status(path) == STATUS
        with open_socket(path):  # a new mount on the same folder
            pass
    assert path.exists()


def _no_folder(folder: Path) -> Path:
    (folder / "file").touch()
    return folder / "file/x.sock"


def _linked_folder(folder: Path) -> Path:
    (folder / "real").mkdir()
    (folder / "link").symlink_to(folder / "real")
    return folder / "link/x.sock"


@pytest.mark.parametrize("make", [_no_folder, _linked_folder])
def test_a_mount_goes_on_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Callable[[Path], Path]
) -> None:
    with answering(make(tmp_path), ANSWERS) as path:
        assert path is None
    (entry,) = caplog.records
    assert "cannot make the control socket" in entry.getMessage()


def test_nobody_is_waited_for_who_does_not_answer(tmp_path: Path) -> None:
    with open_socket(tmp_path / "a/x.sock"):  # a daemon that is stopped
        assert ask_status(tmp_path / "a/x.sock") is None


def _trickle(connection: socket.socket, *, until: threading.Event) -> None:
    """Send a byte now and then, as long as somebody listens."""
    with suppress(OSError):
        for byte in itertools.chain(b"GET / HTTP/1.1\r\nx: ", itertools.repeat(65)):
            connection.sendall(bytes([byte]))
            if until.wait(0.05):
                return


def test_regression_who_answers_byte_by_byte_is_not_waited_for(tmp_path: Path) -> None:
    over = threading.Event()
    with open_socket(tmp_path / "a/x.sock") as listening:

        def answer() -> None:
            with listening.accept()[0] as connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nx: ")
                _trickle(connection, until=over)

        trickling = threading.Thread(target=answer)
        trickling.start()
        asking = ThreadPoolExecutor(1)
        asked = asking.submit(ask_status, tmp_path / "a/x.sock")
        try:
            assert asked.result(30) is None
        finally:
            over.set()
            trickling.join()
            asking.shutdown()


def test_regression_who_asks_byte_by_byte_is_sent_away(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "_MOST_S", 0.3)
    over = threading.Event()
    with connect_socket(path, 60.0) as asking:
        trickling = threading.Thread(target=_trickle, args=(asking,), kwargs={"until": over})
        trickling.start()
        trickling.join(30)
        is_over = not trickling.is_alive()
        over.set()
        trickling.join()
    assert is_over


@pytest.mark.parametrize(
    "told",
    [
        b"[1]", b"{", b"{}", b"\xff",
        json.dumps({key: value for key, value in STATUS.items() if key != "view"}).encode(),
        json.dumps(STATUS | {"in_flight": "many"}).encode(),
        json.dumps(STATUS | {"requests": {}}).encode(),
        json.dumps(STATUS | {"bounds_s": [1.0]}).encode(),
        json.dumps(STATUS | {"bounds_s": [], "requests": WITHOUT_BOUNDS}).encode(),
        json.dumps(STATUS | {"read_bytes": -1}).encode(),
        json.dumps(STATUS | {"read_bytes": 10**400}).encode(),
        json.dumps(STATUS | {"bounds_s": [float("nan")] * len(STATUS["bounds_s"])}).encode(),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_is_no_status(tmp_path: Path, told: bytes) -> None:
    answers = Answers({"/status": ("text/plain", lambda: told)}, {})
    with answering(tmp_path / "a/x.sock", answers) as path:
        assert path is not None
        assert ask_status(path) is None


def test_only_known_levels_are_levels() -> None:
    with pytest.raises(UsageError, match="none of debug, info, warning, error"):
        set_level("loud")


def test_sockets_of_mounts_differ() -> None:
    first, second = (find_socket(Path("/s"), f"/mnt/{name}") for name in "ab")
    assert first.parent == second.parent == Path("/s/sockets")
    assert first != second
