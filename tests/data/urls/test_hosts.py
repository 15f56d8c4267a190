from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hffs.data.urls.hosts import Hosts
from hffs.errors import DeadlineError, OutageError


def soon(seconds: float = 30.0) -> float:
    return time.monotonic() + seconds


def test_a_turn_is_waited_for() -> None:
    hosts = Hosts(1, 2)
    done: list[str] = []
    waits = threading.Event()

    def other() -> None:
        waits.set()
        with hosts.turn("a", soon()):
            done.append("other")

    with ThreadPoolExecutor(1) as pool, hosts.turn("a", soon()), hosts.turn("b", soon()):
        pool.submit(other)
        assert waits.wait(10)
        with pytest.raises(DeadlineError):
            hosts.turn("c", soon(0.01)).__enter__()
        done.append("first")
    assert done == ["first", "other"]


def test_a_host_that_cannot_be_reached_is_given_up_at_once() -> None:
    hosts = Hosts(8, 8)
    hosts.shun("a", 20, "no answer")
    started = time.monotonic()
    with pytest.raises(OutageError, match="cannot ask a: no answer"):
        hosts.turn("a", soon(30)).__enter__()
    assert time.monotonic() - started < 5
    with hosts.turn("b", soon()):
        pass


def test_a_host_that_asked_for_rest_is_waited_for_if_there_is_time() -> None:
    hosts = Hosts(8, 8)
    hosts.rest("a", 60, "too many requests")
    with pytest.raises(OutageError, match="too many requests"):
        hosts.turn("a", soon(30)).__enter__()
    hosts.rest("a", 0.2, "too many requests")
    started = time.monotonic()
    with hosts.turn("a", soon(30)):
        assert time.monotonic() - started >= 0.15


def run_late(hosts: Hosts, host: str) -> None:
    with pytest.raises(DeadlineError), hosts.turn(host, soon()):
        raise DeadlineError("cannot fetch", why="it did not come in time")


def test_regression_a_host_from_which_nothing_comes_in_time_is_left_alone() -> None:
    hosts = Hosts(2, 8)
    run_late(hosts, "a")
    run_late(hosts, "a")
    with pytest.raises(OutageError, match="cannot ask a: nothing comes from it in time"):
        hosts.turn("a", soon()).__enter__()
    with hosts.turn("b", soon()):
        pass


def test_a_host_from_which_something_comes_in_time_is_not_left_alone() -> None:
    hosts = Hosts(2, 8)
    for _ in range(3):
        run_late(hosts, "a")
        with hosts.turn("a", soon()):
            pass
    assert hosts._late == {}


def test_hosts_that_were_late_are_bounded() -> None:
    hosts = Hosts(8, 8)
    for number in range(20_000):
        run_late(hosts, f"host{number}")
    assert len(hosts._late) <= 10_000


def test_nobody_waits_any_longer_when_all_ends() -> None:
    hosts = Hosts(1, 1)
    with ThreadPoolExecutor(1) as pool, hosts.turn("a", soon()):
        waiting = pool.submit(lambda: hosts.turn("a", soon()).__enter__())
        hosts.close()
        assert isinstance(waiting.exception(10), OutageError)


def test_counts_are_kept_of_those_who_are_there_alone() -> None:
    hosts = Hosts(8, 8)
    for number in range(100):
        with hosts.turn(f"host{number}", soon()):
            pass
    assert hosts._busy == {}
    assert hosts._total == 0


def test_hosts_that_rest_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hffs.data.urls.hosts._MOST_RESTING", 1000)
    hosts = Hosts(8, 8)
    for number in range(2000):
        hosts.shun(f"host{number}", 60, "no answer")
    assert len(hosts._resting) == 1000
