"""How busy a device is: a part of what passed, whoever waits for it."""

from __future__ import annotations

import time

import pytest

from hffs.train.caching.timing import BusyClock, Seconds


def spend(monkeypatch: pytest.MonkeyPatch, clock: BusyClock, what: str) -> None:
    """One second each: "+" one more thing begins before it, "-" one ends, "." nothing."""
    now_s = time.perf_counter()
    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    for each in what:
        if each == "+":
            clock.__enter__()
        elif each == "-":
            clock.__exit__(None, None, None)
        now_s += 1


@pytest.mark.parametrize(
    ("lanes", "what", "busy_s"),
    [
        (1, "..", 0),
        (1, "+.-.", 2),
        (1, "++--", 3),  # two in one lane, one waits: no busier than by one
        (1, "+-+-", 2),
        (2, "++--", 2),  # a half, a whole, a half
        (2, "+.-.", 1),
        (4, "++--", 1),
    ],
)
def test_a_device_is_as_busy_as_its_lanes(
    monkeypatch: pytest.MonkeyPatch, lanes: int, what: str, busy_s: float
) -> None:
    clock = BusyClock(lanes)
    spend(monkeypatch, clock, what)
    assert clock.take_s() == pytest.approx(busy_s)
    assert clock.take_s() == 0


def test_what_is_not_over_counts_up_to_now(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = BusyClock(1)
    spend(monkeypatch, clock, "..+.")
    assert clock.take_s() == pytest.approx(2)


def test_seconds_add_up() -> None:
    assert Seconds(1, 2, 3, 4) + Seconds(total=1, write=2) == Seconds(2, 2, 3, 6)
