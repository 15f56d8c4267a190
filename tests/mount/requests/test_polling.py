"""A process looks for the next request only where one reader asks one after another."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Iterator

import pytest

from hffs.mount.requests import polling
from hffs.mount.requests.polling import Poller
from hffs.mount.requests.sources import EndedError
from hffs.mount.requests.wire import CALLER_AT, PID, REQUEST_BYTES, Opcode
from tests.mount.requests.kernel import Kernel, make_request, open_kernel
from tests.waiting import wait_until

ENOUGH = 17
"""Requests of one reader after which the next is looked for."""


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with open_kernel() as opened:
        yield opened


@pytest.fixture
def buffer() -> memoryview:
    return memoryview(bytearray(REQUEST_BYTES))


class Clock:
    """Stands still but for what a test, or a look in vain, lets pass: a busy machine must not
    decide whether requests came in a row.
    """

    def __init__(self) -> None:
        self.now_ns = 0
        self.looks_in_vain = 0

    def look_in_vain(self) -> None:
        self.looks_in_vain += 1
        self.now_ns += 10_000


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(polling, "perf_counter_ns", lambda: clock.now_ns)
    monkeypatch.setattr(os, "sched_yield", clock.look_in_vain)
    return clock


def ask(kernel: Kernel, number: int, asker: int = 17) -> bytes:
    request = bytearray(make_request(Opcode.GETATTR, number, 1))
    PID.pack_into(request, CALLER_AT, asker)
    kernel.ask(bytes(request))
    return bytes(request)


def take_in_a_row(poller: Poller, kernel: Kernel, count: int) -> None:
    for number in range(count):
        ask(kernel, number)
        poller.take()


def test_requests_come_one_by_one_whoever_asks(kernel: Kernel, buffer: memoryview) -> None:
    poller = Poller(kernel.device, buffer)
    for number in range(100):
        request = ask(kernel, number, 17 if number < 60 else number % 3)
        assert buffer[: poller.take()] == request


def test_the_next_request_of_one_reader_is_looked_for(kernel: Kernel, buffer: memoryview) -> None:
    poller = Poller(kernel.device, buffer)
    take_in_a_row(poller, kernel, ENOUGH)
    assert os.get_blocking(kernel.device)
    take_in_a_row(poller, kernel, 1)
    assert not os.get_blocking(kernel.device)


def test_nobody_looks_for_requests_of_several_readers(kernel: Kernel, buffer: memoryview) -> None:
    poller = Poller(kernel.device, buffer)
    for number in range(10 * ENOUGH):
        ask(kernel, number, number // ENOUGH)
        poller.take()
    assert os.get_blocking(kernel.device)


def test_nobody_looks_where_the_reader_computes_between_its_questions(
    kernel: Kernel, buffer: memoryview, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = itertools.count(0, polling._PAUSE_NS)
    monkeypatch.setattr(polling, "perf_counter_ns", lambda: next(ticks))
    take_in_a_row(Poller(kernel.device, buffer), kernel, 10 * ENOUGH)
    assert os.get_blocking(kernel.device)
    assert not clock.looks_in_vain


def test_who_has_looked_in_vain_sleeps_until_it_is_asked(
    kernel: Kernel, buffer: memoryview, clock: Clock
) -> None:
    poller = Poller(kernel.device, buffer)
    take_in_a_row(poller, kernel, ENOUGH)
    taken = list[int]()
    thread = threading.Thread(target=lambda: taken.append(poller.take()))
    thread.start()
    wait_until(lambda: clock.looks_in_vain > 0 and os.get_blocking(kernel.device))
    time.sleep(0.1)
    assert clock.looks_in_vain == 6  # of 10 us each: no longer than 50 us
    request = ask(kernel, 1)
    thread.join(100)
    assert buffer[: taken[0]] == request


@pytest.mark.parametrize("count", [0, ENOUGH])
def test_the_end_is_told_to_who_looks_too(kernel: Kernel, buffer: memoryview, count: int) -> None:
    poller = Poller(kernel.device, buffer)
    take_in_a_row(poller, kernel, count)
    kernel.leave()
    with pytest.raises(EndedError):
        poller.take()
