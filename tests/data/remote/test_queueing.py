"""Which ranges are asked for next, by tables and over any of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.remote.files import Range, RemoteFile, accept
from hffs.data.remote.queueing import Batch, Job, Limits, Part, Queue

A, B = (
    RemoteFile("hf://datasets/o/a@1/x", "a", 1000),
    RemoteFile("hf://datasets/o/b@1/x", "b", 1000),
)
LIMITS = Limits(
    overall=4, per_host=2, ahead_share=0.5, ahead_bytes=100, gap_bytes=5, request_bytes=50
)


def job(start: int, stop: int, *, ahead: bool = False, file: RemoteFile = A) -> Job:
    made = Job(file, Range(start, stop), accept, True, ahead)
    made.parts = [Part(made, made.place)]
    return made


def make_queue(*jobs: Job, limits: Limits = LIMITS) -> Queue:
    queue = Queue(limits, lambda file: file.etag)
    add(queue, *jobs)
    return queue


def add(queue: Queue, *jobs: Job) -> None:
    for each in jobs:
        for part in each.parts:
            queue.add(part)


def span(batch: Batch | None) -> tuple[int, int] | None:
    return None if batch is None else tuple(batch.span)  # type: ignore[return-value] # a pair


@pytest.mark.parametrize(
    ("places", "spans"),
    [
        ([(0, 10)], [(0, 10)]),
        ([(0, 10), (10, 20)], [(0, 20)]),
        ([(10, 20), (0, 10)], [(0, 20)]),
        ([(0, 10), (15, 20)], [(0, 20)]),
        ([(0, 10), (16, 20)], [(0, 10), (16, 20)]),
        ([(20, 30), (0, 10), (12, 18)], [(0, 30)]),
        ([(0, 40), (40, 80), (80, 90)], [(0, 80), (80, 90)]),  # not more once it is large
        ([(0, 10), (5, 8)], [(0, 10)]),
    ],
)
def test_ranges_that_lie_close_are_one_request(
    places: list[tuple[int, int]], spans: list[tuple[int, int]]
) -> None:
    queue = make_queue(*(job(*place) for place in places))
    assert [span(queue.take(0.0)) for _ in spans] == spans
    assert not len(queue)


def test_who_waits_goes_before_what_is_fetched_ahead() -> None:
    queue = make_queue(job(0, 10, ahead=True), job(100, 110, ahead=True), job(200, 210))
    assert span(queue.take(0.0)) == (200, 210)
    assert span(queue.take(0.0)) == (0, 10)


def test_no_host_is_sent_more_than_its_share_and_all_together_no_more_than_theirs() -> None:
    waiting = [job(n * 100, n * 100 + 9) for n in range(3)]
    others = [job(n * 100, n * 100 + 9, file=B) for n in range(3)]
    queue = make_queue(*waiting, *others)
    taken = [queue.take(0.0) for _ in range(5)]
    assert [each.host if each else None for each in taken] == ["a", "a", "b", "b", None]
    assert taken[0] is not None
    queue.give_back(taken[0])
    assert span(queue.take(0.0)) == (200, 209)


def test_what_nobody_waits_for_leaves_room_for_who_does() -> None:
    queue = make_queue(*(job(n * 100, n * 100 + 60, ahead=True, file=B) for n in range(4)))
    assert span(queue.take(0.0)) == (0, 60)
    assert span(queue.take(0.0)) == (100, 160)  # less than 100 bytes were under way
    assert queue.take(0.0) is None
    add(queue, job(0, 10))
    assert span(queue.take(0.0)) == (0, 10)
    single = make_queue(*(job(n * 100, n * 100 + 1, ahead=True, file=B) for n in range(4)))
    assert [span(single.take(0.0)) for _ in range(3)] == [(0, 1), (100, 101), None]


def test_a_host_that_rests_is_asked_for_nothing() -> None:
    queue = make_queue(job(0, 10), job(0, 10, file=B))
    queue.rest("a", 5.0)
    queue.rest("a", 3.0)
    assert span(queue.take(0.0)) == (0, 10)
    assert queue.take(0.0) is None
    assert queue.next_time(0.0) == 5.0
    assert span(queue.take(5.0)) == (0, 10)
    assert queue.next_time(5.0) == float("inf")


def test_what_failed_waits_for_its_time_and_what_is_dropped_is_gone() -> None:
    late, gone = job(0, 10), job(100, 110)
    late.parts[0].not_before = 2.0
    queue = make_queue(late, gone)
    queue.drop(gone)
    queue.drop(gone)
    assert queue.take(0.0) is None
    assert queue.next_time(0.0) == 2.0
    assert span(queue.take(2.0)) == (0, 10)


def test_a_range_that_is_too_large_is_cut() -> None:
    large = Job(A, Range(7, 120), accept, True, False)
    assert [tuple(part.place) for part in large.split(LIMITS)] == [(7, 57), (57, 107), (107, 120)]
    just = Job(A, Range(0, 55), accept, True, False)
    assert [part.place for part in just.split(LIMITS)] == [Range(0, 55)]
    queue = make_queue(large)
    assert [span(queue.take(0.0)) for _ in range(3)] == [(7, 57), (57, 107), None]


def test_what_comes_with_a_request_under_way_is_not_asked_for() -> None:
    queue = make_queue(job(0, 40), job(60, 70))
    batch = queue.take(0.0)
    assert batch is not None
    inside, across, other = job(5, 30), job(30, 50), job(5, 30, file=B)
    add(queue, inside, across, other)
    assert inside.parts[0] in batch.parts
    assert len(queue) == 3
    queue.close(batch)
    late = job(5, 30)
    add(queue, late)
    assert late.parts[0] not in batch.parts
    queue.give_back(batch)


def test_whoever_waits_for_what_was_to_be_fetched_ahead_goes_first() -> None:
    ahead = [job(n * 100, n * 100 + 9, ahead=True, file=B) for n in range(3)]
    ahead[2].parts[0].not_before = 5.0
    queue = make_queue(*ahead)
    queue.hurry(ahead[2])
    assert span(queue.take(0.0)) == (200, 209)
    assert [span(queue.take(0.0)), span(queue.take(0.0))] == [(0, 9), None]
    assert len(queue) == 1


def test_a_host_that_cannot_be_reached_is_left_alone_longer_each_time() -> None:
    queue = make_queue(job(0, 10), limits=Limits(first_wait_s=1.0, longest_wait_s=3.0))
    assert queue.miss("a", 0.0)
    assert not queue.miss("a", 0.5)  # one that was under way
    assert queue.take(0.9) is None
    assert queue.next_time(0.9) == 1.0
    assert not queue.miss("a", 1.0)
    assert queue.next_time(1.0) == 3.0
    assert not queue.miss("a", 3.0)
    assert queue.next_time(3.0) == 6.0
    assert queue.reach("a")
    assert not queue.reach("a")
    assert span(queue.take(6.0)) == (0, 10)


def test_many_that_wait_are_not_looked_at_each_time() -> None:
    asked: list[RemoteFile] = []

    def host(file: RemoteFile) -> str:
        asked.append(file)
        return file.etag

    queue = Queue(LIMITS, host)
    add(queue, *(job(n * 1000, n * 1000 + 9, ahead=True) for n in range(2000)))
    for _ in range(2000):
        batch = queue.take(0.0)
        assert batch is not None
        queue.give_back(batch)
        queue.next_time(0.0)
    assert len(asked) < 10 * 2000


JOBS = st.builds(
    lambda start, size, ahead, far: job(start, start + size, ahead=ahead, file=B if far else A),
    st.integers(0, 500), st.integers(1, 80), st.booleans(), st.booleans(),
)  # fmt: skip


@given(jobs=st.lists(JOBS, max_size=30), ends=st.randoms(use_true_random=False))
def test_every_job_is_asked_for_once_within_all_limits(jobs: list[Job], ends: object) -> None:
    queue = make_queue(*jobs)
    under_way: list[Batch] = []
    seen: list[Part] = []
    while len(queue) or under_way:
        batch = queue.take(0.0)
        if batch is None:
            assert under_way, "something waits, and nothing is under way"
            queue.give_back(under_way.pop(0))
            continue
        under_way.append(batch)
        seen += batch.parts
        assert {each.job.file for each in batch.parts} == {batch.file}
        assert {each.job.is_ahead for each in batch.parts} == {batch.is_ahead}
        assert all(
            batch.span.start <= each.place.start and each.place.stop <= batch.span.stop
            for each in batch.parts
        )
        assert len(under_way) <= LIMITS.overall
        assert sum(each.is_ahead for each in under_way) <= LIMITS.overall / 2
    assert sorted(map(id, seen)) == sorted(id(part) for each in jobs for part in each.parts)


def test_limits_are_plain_values() -> None:
    assert replace(Limits(), overall=1).overall == 1
