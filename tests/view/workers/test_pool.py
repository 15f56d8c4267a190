import errno
import io
import os
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest
from PIL import Image

from hffs.core.composites import plan_composite
from hffs.errors import DeadlineError, RenderError, WorkerError
from hffs.view import codecs
from hffs.view.codecs import Reshape
from hffs.view.codecs.reading import MAX_ENCODED_BYTES
from hffs.view.workers import messages
from hffs.view.workers import pool as under_test
from hffs.view.workers.messages import ANSWER, LENGTH, Kind, Limits
from hffs.view.workers.pool import Means, RenderPool
from tests.view.conftest import encode
from tests.view.workers.conftest import STAND_IN, StartPool, find_children, is_running, is_stopped
from tests.view.workers.standins import JPEG, ask
from tests.waiting import wait_until

ROOT = Path(__file__).parents[3]
CRASHES = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGFPE", "SIGILL")


def works(pool: RenderPool) -> bool:
    return list(pool.render(ask("answer"))) == [JPEG]


def new_nests(before: list[int]) -> list[int]:
    return [pid for pid in find_children(os.getpid()) if pid not in before]


@pytest.mark.parametrize("name", CRASHES)
def test_a_crash_is_the_images_own_fault(name: str, obedient: RenderPool) -> None:
    with pytest.raises(RenderError, match=rf"^cannot render: its decoder crashed \({name}\)$"):
        obedient.render(ask("die", signal.Signals[name]))
    assert works(obedient)


def test_a_loop_ends_by_its_cpu_time(obedient: RenderPool) -> None:
    with pytest.raises(RenderError, match=r"^cannot render: it took over 1 s of CPU$"):
        obedient.render(ask("spin"))
    assert works(obedient)


@pytest.mark.skipif(os.geteuid() != 0, reason="nobody else sees what such a process has open")
def test_regression_no_log_is_kept_open_that_may_be_moved_away(start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    start_pool().render(encode("PNG", 1))
    (nest,) = new_nests(before)
    assert {os.readlink(f"/proc/{nest}/fd/{number}") for number in (0, 1, 2)} == {"/dev/null"}


def draw_bomb() -> bytes:
    file = io.BytesIO()
    Image.new("L", (13_000, 13_000)).save(file, "PNG", compress_level=1)
    assert len(file.getvalue()) < 1 << 20
    return file.getvalue()


def test_a_limit_of_the_host_is_not_the_images_fault(start_pool: StartPool) -> None:
    pool = start_pool(means=Means(program="tests.view.workers.standins:main_of_small_host"))
    with pytest.raises(WorkerError, match=r"over 0\.2 GB of memory, the limit that hffs was star"):
        pool.render(draw_bomb())


def test_a_bomb_takes_no_more_memory_than_it_may(start_pool: StartPool) -> None:
    pool = start_pool(means=Means(Limits(60, 250_000_000)))
    with pytest.raises(RenderError, match=r"^cannot render: it takes over 0\.2 GB of memory$"):
        pool.render(draw_bomb())
    image = encode("PNG", 1)
    assert list(pool.render(image)) == codecs.render(image, "jpg")


def test_a_kill_is_tried_once_more_and_is_no_fault_of_the_image(obedient: RenderPool) -> None:
    with pytest.raises(WorkerError, match=r"its process was killed \(SIGKILL\)$"):
        obedient.render(ask("die", signal.SIGKILL))
    with pytest.raises(WorkerError, match=r"its process ended \(exit code 3\)$"):
        obedient.render(ask("exit", 3))
    assert works(obedient)


@pytest.mark.parametrize("victim", ["worker", "nest"])
def test_an_image_survives_the_kill_of_a_process(victim: str, start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    pool = start_pool(means=Means(program=STAND_IN))
    assert works(pool)
    (nest,) = new_nests(before)
    (worker,) = find_children(nest)
    for pid in (nest, worker):
        os.kill(pid, signal.SIGTERM)
    assert works(pool)
    assert find_children(nest) == [worker]
    os.kill(nest if victim == "nest" else worker, signal.SIGKILL)
    wait_until(lambda: not is_running(worker))
    assert works(pool)
    pool.close()
    assert not new_nests(before)


def test_where_no_worker_can_be_started_an_image_waits_for_another(start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    pool = start_pool(means=Means(program="tests.view.workers.standins:main_of_one_fork"))
    assert works(pool)
    (nest,) = new_nests(before)
    (worker,) = find_children(nest)
    with ThreadPoolExecutor(2) as threads:
        paused = threads.submit(pool.render, ask("pause"))
        wait_until(lambda: is_stopped(worker))
        waiting = threads.submit(works, pool)
        wait_until(lambda: len(pool._less_busy._waiters) == 1)  # type: ignore[attr-defined]
        os.kill(worker, signal.SIGCONT)
        assert list(paused.result(100)) == [JPEG]
        assert waiting.result(100)
    with pytest.raises(WorkerError, match="no process to do it: Resource temporarily unavailable"):
        pool.render(ask("die", signal.SIGKILL))  # there is no other to wait for
    assert new_nests(before) == [nest]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EAGAIN])
def test_a_pool_without_descriptors_or_processes_goes_on_later(
    number: int, start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    before = find_children(os.getpid())
    pool = start_pool(means=Means(program=STAND_IN))
    assert number == errno.EAGAIN or works(pool)
    nests = new_nests(before)
    with monkeypatch.context() as patch:
        if nests:
            patch.setattr(socket, "socketpair", refuse)
        else:
            patch.setattr(subprocess, "Popen", refuse)
        with pytest.raises(WorkerError, match=f"no process to do it: {os.strerror(number)}"):
            pool.render(ask("die", signal.SIGKILL))
    assert works(pool)
    assert nests in ([], new_nests(before))


def test_an_answer_that_there_is_no_memory_for_leaves_no_worker(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def receive(channel: socket.socket, length: int, until: float) -> bytearray:
        if length > 1 << 20:
            raise MemoryError
        return messages.receive(channel, length, until)

    before = find_children(os.getpid())
    monkeypatch.setattr(under_test, "receive", receive)
    pool = start_pool(means=Means(program=STAND_IN))
    with pytest.raises(WorkerError, match="no memory for what it becomes"):
        pool.render(ask("swell", 2 << 20))
    assert [find_children(nest) for nest in new_nests(before)] == [[]]
    assert works(pool)


def test_workers_are_retired_though_once_no_thread_could_be_begun(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("can't start new thread")

    before = find_children(os.getpid())
    pool = start_pool(means=Means(idle_s=0.1, program=STAND_IN))
    workers = [pool._start() for _ in range(3)]
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        pool._give(workers[0])
        pool._give(workers[1])
    pool._give(workers[2])
    (nest,) = new_nests(before)
    wait_until(lambda: len(find_children(nest)) == 1)


def test_a_worker_that_hangs_is_given_up(start_pool: StartPool) -> None:
    pool = start_pool(means=Means(wall_s=1, program=STAND_IN))
    with pytest.raises(DeadlineError, match="its process did not answer within 1 s"):
        pool.render(ask("stop"))


LIES = {
    "two files": ask("answer", "\xff\xd8\xff", "\xff\xd8\xff"),
    "what is no JPEG": ask("answer", "<html>"),
    "bytes": ask("write", (ANSWER.pack(Kind.FILES, 1) + LENGTH.pack(1 << 30)).decode("latin-1")),
    "a long reason": ask("write", ANSWER.pack(Kind.BROKEN, 1 << 31).decode("latin-1")),
    "answered with": ask("write", ANSWER.pack(77, 1 << 31).decode("latin-1")),
}


@pytest.mark.parametrize("what", LIES)
def test_what_a_worker_says_is_checked(what: str, obedient: RenderPool) -> None:
    with pytest.raises(WorkerError, match="its process answered with ") as refused:
        obedient.render(LIES[what])
    assert what.replace("two", "2") in str(refused.value)
    assert works(obedient)


def test_a_reason_does_nothing_to_a_terminal(obedient: RenderPool) -> None:
    with pytest.raises(RenderError) as refused:
        obedient.render(ask("refuse", "a\x1b[31mb\nc\u202ed" + 1000 * "e"))
    assert str(refused.value).startswith("cannot render: a [31mb c deee")
    assert len(str(refused.value)) < 330


def test_too_many_bytes_never_get_to_a_worker(start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    with pytest.raises(RenderError, match=f"over {MAX_ENCODED_BYTES}"):
        start_pool().render(bytes(MAX_ENCODED_BYTES + 1))
    assert new_nests(before) == []


def test_as_many_work_as_ask_and_all_but_one_end_when_idle(start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    pool = start_pool(reshape=Reshape(plan_composite(2, "1x2", "all")), means=Means(idle_s=0.2))
    images = [encode("PNG", seed, (400, 300)) for seed in range(12)]
    with ThreadPoolExecutor(3) as threads:
        made = list(threads.map(pool.render, images))
    (nest,) = new_nests(before)
    reshape = Reshape(plan_composite(2, "1x2", "all"))
    assert [list(files) for files in made] == [codecs.render(i, "jpg", reshape) for i in images]
    assert 1 <= len(find_children(nest)) <= 3
    wait_until(lambda: len(find_children(nest)) == 1)
    assert len(pool.render(images[0])) == 2


def test_a_closed_pool_renders_nothing_and_ends_what_it_does(obedient: RenderPool) -> None:
    pool = RenderPool(obedient._rendering, Means(program=STAND_IN))
    before = find_children(os.getpid())
    with ThreadPoolExecutor(1) as threads:
        hanging = threads.submit(pool.render, ask("stop"))
        wait_until(lambda: any(map(find_children, new_nests(before))))
        pool.close()
        with pytest.raises(WorkerError, match="the view is closed"):
            hanging.result(100)
    assert new_nests(before) == []


def test_other_libraries_than_those_of_the_view_make_nothing(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(messages, "encoder_identity", lambda *_: "Pillow 1.0")
    with pytest.raises(WorkerError, match="the processes that render have ended"):
        start_pool().render(encode("PNG", 1))
    assert "the image libraries were replaced under a mount" in capfd.readouterr().err


SERVE = """
import signal
from hffs.view.codecs import Reshape
from hffs.view.rendering import Rendering
from hffs.view.workers.pool import Means, RenderPool
from tests.view.workers.standins import ask
pool = RenderPool(Rendering("jpg", Reshape()), Means(program="tests.view.workers.standins:main"))
pool.render(ask("answer"))
print("ready", flush=True)
pool.render(ask("stop"))
"""


def test_everything_ends_with_the_process_even_what_is_stopped() -> None:
    command, environ = [sys.executable, "-c", SERVE], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE) as daemon:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == b"ready\n"
        (nest,) = find_children(daemon.pid)
        workers = find_children(nest)
        assert len(workers) == 1
        daemon.kill()
    wait_until(lambda: not any(map(is_running, [nest, *workers])))
