"""How requests are taken: one task at a time, nobody forgotten, nobody starved."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pyfuse3
import pytest
import trio
import trio.testing

from hffs.mount.requests.receiving import Receiver, Turn
from tests.command import Hffs, Mount
from tests.mixed_photos import Mixed
from tests.readers import start

DEADLINE_S = 10


def run(main: Callable[[Receiver], Awaitable[None]]) -> None:
    """Run a test under a receiver, which passes its turn on."""
    receiver = Receiver()

    async def limited() -> None:
        with trio.fail_after(DEADLINE_S):
            await main(receiver)

    trio.run(limited, instruments=[receiver])


@pytest.fixture
def device() -> Iterator[int]:
    """What is readable from the beginning, and stays so."""
    reader, writer = os.pipe()
    os.write(writer, b"x")
    yield reader
    os.close(reader)
    os.close(writer)


def test_one_task_at_a_time_has_the_turn_and_every_task_has_it() -> None:
    inside, served = list[int](), list[int]()

    async def serve(turn: Turn, number: int) -> None:
        for _ in range(3):
            async with turn:
                inside.append(number)
                await trio.lowlevel.checkpoint()
                assert inside == [number]
                inside.clear()
            served.append(number)
            await trio.lowlevel.checkpoint()

    async def main(receiver: Receiver) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(serve, receiver.turn, number)

    run(main)
    assert sorted(served) == sorted([*range(5)] * 3)


def test_a_task_that_waits_for_something_else_holds_nobody_up() -> None:
    seen = list[str]()

    async def be_busy_then_wait(turn: Turn) -> None:
        for number in range(3):
            async with turn:
                seen.append(f"first {number}")
        await trio.sleep_forever()

    async def come_second(turn: Turn, scope: trio.CancelScope) -> None:
        async with turn:
            seen.append("second")
        scope.cancel()

    async def main(receiver: Receiver) -> None:
        async with trio.open_nursery() as nursery:
            async with receiver.turn:
                nursery.start_soon(come_second, receiver.turn, nursery.cancel_scope)
                await trio.testing.wait_all_tasks_blocked()
            await be_busy_then_wait(receiver.turn)

    run(main)
    assert seen == ["first 0", "first 1", "first 2", "second"]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (1, 2, 0)])
def test_a_cancelled_task_gives_the_turn_back(order: tuple[int, ...]) -> None:
    async def have(turn: Turn, scope: trio.CancelScope) -> None:
        with scope:
            async with turn:
                await trio.sleep_forever()

    async def main(receiver: Receiver) -> None:
        scopes = [trio.CancelScope() for _ in order]
        async with trio.open_nursery() as nursery:
            for scope in scopes:
                nursery.start_soon(have, receiver.turn, scope)
                await trio.testing.wait_all_tasks_blocked()
            for number in order:
                scopes[number].cancel()
                await trio.testing.wait_all_tasks_blocked()
        async with receiver.turn:
            pass

    run(main)


def test_a_device_that_is_never_idle_starves_no_other_task(device: int) -> None:
    async def main(receiver: Receiver) -> None:
        done = trio.Event()

        async def work() -> None:
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            while not done.is_set():
                await receiver.wait_readable(device)

    run(main)


def test_a_device_that_is_closed_ends_the_wait() -> None:
    reader, writer = os.pipe()

    async def main(receiver: Receiver) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close, reader)
            with pytest.raises(trio.ClosedResourceError):
                await receiver.wait_readable(reader)

    async def close(end: int) -> None:
        await trio.testing.wait_all_tasks_blocked()
        trio.lowlevel.notify_closing(end)

    run(main)
    os.close(reader)
    os.close(writer)


def test_what_is_not_replaced_is_of_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfuse3, "trio", trio)
    receiver = Receiver()
    receiver.attach()
    used = pyfuse3.trio  # type: ignore[attr-defined] # the module that it imports for itself
    assert used.Lock() is receiver.turn
    assert used.lowlevel.wait_readable == receiver.wait_readable
    assert used.open_nursery is trio.open_nursery
    assert used.lowlevel.current_task is trio.lowlevel.current_task


@pytest.mark.fuse
def test_sigterm_ends_a_mount_that_is_never_idle(mount: Mount, hffs: Hffs, mixed: Mixed) -> None:
    folder = mount(mixed.source)
    daemon = hffs.pid(folder)
    readers = [start("forever", folder) for _ in range(3)]
    try:
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == "reading\n"
        watch = os.pidfd_open(daemon)
        os.kill(daemon, signal.SIGTERM)
        assert select.select([watch], [], [], DEADLINE_S)[0]  # readable when it has ended
        os.close(watch)
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
    assert not Path(folder, "0.jpg").exists()
