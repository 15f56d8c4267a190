"""How requests are taken: one task at a time, nobody forgotten, nobody starved."""

from __future__ import annotations

import os
import select
import signal
import struct
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pyfuse3
import pytest
import trio
import trio.testing

from hffs.mount.observing.counting import Counters
from hffs.mount.requests import relay
from hffs.mount.requests.direct import Direct
from hffs.mount.requests.receiving import Receiver, Turn
from hffs.mount.requests.wire import HEADER, HEADER_BYTES, PAGE_BYTES, READ_IN, REPLY, Opcode
from tests.command import Hffs, Mount
from tests.mixed_photos import Mixed
from tests.mount.requests.kernel import MOST_BYTES, Kernel, make_read, make_request, open_kernel
from tests.readers import start

DEADLINE_S = 10


HOT, COLD = Opcode.READ, Opcode.STATFS


class Answers(Direct):
    """Answers what is hot by the number of its inode, and nothing else."""

    def __init__(self) -> None:
        self.counters = Counters()

    def answer(self, device: int, request: memoryview) -> bool:
        """See `Direct`."""
        _, opcode, unique, inode = HEADER.unpack_from(request)
        if opcode != HOT:
            return False
        os.write(device, REPLY.pack(REPLY.size, -inode, unique))
        return True


def run(main: Callable[[Receiver], Awaitable[None]]) -> None:
    """Run a test under a receiver, which passes its turn on."""
    receiver = Receiver(Answers())

    async def limited() -> None:
        with trio.fail_after(DEADLINE_S):
            await main(receiver)

    try:
        trio.run(limited, instruments=[receiver])
    finally:
        receiver.close()


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with open_kernel() as opened:
        yield opened


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


def test_what_is_hot_is_answered_and_what_is_cold_is_handed_on(kernel: Kernel) -> None:
    hot = [make_request(HOT, unique, 5, bytes(40)) for unique in (1, 2)]
    cold = make_request(COLD, 3, 1)

    async def main(receiver: Receiver) -> None:
        for request in (*hot, cold):
            kernel.ask(request)
        await receiver.wait_readable(kernel.device)
        assert [kernel.hear() for _ in hot] == [(1, 5, b""), (2, 5, b"")]
        assert os.read(kernel.device, MOST_BYTES) == cold  # as pyfuse3 does
        assert kernel.is_silent()
        os.write(kernel.device, REPLY.pack(REPLY.size + 4, 0, 3) + b"four")
        await trio.lowlevel.checkpoint()
        assert kernel.hear() == (3, 0, b"four")

    run(main)


def test_a_long_answer_comes_whole(kernel: Kernel) -> None:
    long = os.urandom(200_000)

    async def main(receiver: Receiver) -> None:
        for unique in (1, 2):
            kernel.ask(make_request(COLD, unique, 1))
            await receiver.wait_readable(kernel.device)
            os.read(kernel.device, MOST_BYTES)
            os.write(kernel.device, REPLY.pack(REPLY.size + len(long), 0, unique) + long)
        await trio.lowlevel.checkpoint()
        assert [kernel.hear() for _ in range(2)] == [(1, 0, long), (2, 0, long)]

    run(main)


def test_who_may_have_little_room_is_asked_for_no_more_than_that(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "_ROOM_BYTES", 212_992)  # as without CAP_NET_ADMIN, most often
    between = relay.Relay(kernel.device)
    try:
        longest = REPLY.size + between.most_pages * PAGE_BYTES
        assert 200_000 < longest < 220_000
        for unique in range(1, 4):
            between.hand_on(memoryview(bytearray(make_request(COLD, unique, 1))), between.device)
            os.read(kernel.device, MOST_BYTES)
            message = REPLY.pack(longest, 0, unique) + bytes(longest - REPLY.size)
            assert os.write(kernel.device, message) == longest
            between.give_back()
            assert len(kernel.hear()[2]) == longest - REPLY.size
    finally:
        between.close()


def test_what_pyfuse3_reads_has_the_inode_as_its_handle(kernel: Kernel) -> None:
    class Nobody(Answers):
        def answer(self, device: int, request: memoryview) -> bool:
            return False

    async def main() -> None:
        kernel.ask(make_read(1, 17, 100, 200))
        await receiver.wait_readable(kernel.device)
        message = os.read(kernel.device, MOST_BYTES)
        assert READ_IN.unpack_from(message, HEADER_BYTES) == (17, 100, 200)

    receiver = Receiver(Nobody())
    trio.run(main)
    receiver.close()


def test_more_is_agreed_on_with_the_kernel_than_pyfuse3_asks_for(kernel: Kernel) -> None:
    dirops, other = 1 << 18, 1 << 3
    asked = make_request(
        Opcode.INIT, 1, 0, struct.pack("=IIII", 7, 38, 0, dirops | other) + bytes(48)
    )
    body = struct.pack("=IIIIHHIIHHI", 7, 38, 0, other, 12, 9, 4096, 1, 256, 0, 0) + bytes(28)

    async def main(receiver: Receiver) -> None:
        kernel.ask(asked)
        await receiver.wait_readable(kernel.device)
        os.read(kernel.device, MOST_BYTES)
        os.write(kernel.device, REPLY.pack(REPLY.size + len(body), 0, 1) + body)
        await trio.lowlevel.checkpoint()
        unique, error, agreed = kernel.hear()
        assert (unique, error) == (1, 0)
        told = struct.unpack_from("=IIIIHHIIHHI", agreed)
        assert told[3] == dirops | other
        assert told[4] > told[5] > 12
        assert 16 <= told[8] <= 256  # pages of a read: what an answer may be here

    run(main)


def test_a_device_that_is_never_idle_starves_no_other_task(kernel: Kernel) -> None:
    async def main(receiver: Receiver) -> None:
        done = trio.Event()

        async def work() -> None:
            for _ in range(10):
                await trio.lowlevel.checkpoint()
            done.set()
            kernel.ask(make_request(COLD, 1, 1))

        def ask_again(direct: Answers, device: int, request: memoryview) -> bool:
            if not done.is_set():
                kernel.ask(bytes(request))
            return answer(direct, device, request) and bool(kernel.hear())

        answer = Answers.answer
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(Answers, "answer", ask_again)
            kernel.ask(make_request(HOT, 2, 5, bytes(40)))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(work)
                await receiver.wait_readable(kernel.device)

    run(main)


def test_a_session_that_is_told_to_end_stops_waiting(kernel: Kernel) -> None:
    async def main(receiver: Receiver) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end, receiver)
            with pytest.raises(trio.ClosedResourceError):
                await receiver.wait_readable(kernel.device)

    async def end(receiver: Receiver) -> None:
        await trio.testing.wait_all_tasks_blocked()
        receiver.notify_closing(kernel.device)

    run(main)


def test_a_mount_that_is_gone_ends_the_wait_and_the_device_comes_back(kernel: Kernel) -> None:
    async def main(receiver: Receiver) -> None:
        kernel.leave()
        with pytest.raises(trio.ClosedResourceError):
            await receiver.wait_readable(kernel.device)

    own = os.fstat(kernel.device)
    run(main)
    assert os.path.samestat(os.fstat(kernel.device), own)


def test_what_is_not_replaced_is_of_trio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pyfuse3, "trio", trio)
    receiver = Receiver(Answers())
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
