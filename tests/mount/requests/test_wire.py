"""What is agreed on with the kernel is what answers have room for."""

from __future__ import annotations

import errno
from struct import Struct

import pytest

from hffs.mount.requests.wire import PAGE_BYTES, READ_BYTES, REPLY, agree

PAGES, PAGES_AT = Struct("=H"), REPLY.size + 28  # struct fuse_init_out of linux/fuse.h
ROOM = READ_BYTES // PAGE_BYTES


def make_answer(pages: int, error: int = 0) -> bytearray:
    """An answer to INIT that has so many pages of a read."""
    answer = bytearray(REPLY.size + 64)
    REPLY.pack_into(answer, 0, len(answer), -error, 1)
    PAGES.pack_into(answer, PAGES_AT, pages)
    return answer


@pytest.mark.parametrize(
    ("offered", "most", "agreed"),
    [(ROOM + 1, 10_000, ROOM), (0xFFFF, 10_000, ROOM), (ROOM, 10, 10), (5, 10_000, 5)],
)
def test_no_read_is_longer_than_an_answer(offered: int, most: int, agreed: int) -> None:
    answer = make_answer(offered)
    agree(answer, 0, most)
    assert PAGES.unpack_from(answer, PAGES_AT) == (agreed,)


def test_a_refusal_is_left_as_it_is() -> None:
    answer = make_answer(0xFFFF, errno.EPROTO)
    agree(answer, 0xFFFFFFFF, 1)
    assert answer == make_answer(0xFFFF, errno.EPROTO)
