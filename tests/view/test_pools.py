import threading
from collections.abc import Iterator

import pytest

from hffs.errors import WorkerError
from hffs.view.pools import Pool


@pytest.fixture
def pool() -> Iterator[Pool]:
    started = Pool(2)
    yield started
    started.shutdown()


def refuse(*_: object) -> None:
    raise RuntimeError("can't start new thread")


def test_without_any_thread_work_is_an_error_that_is_told_once(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        for number in range(2):
            with pytest.raises(WorkerError, match="no thread to do it: can't start new thread"):
                pool.submit(done.append, number)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    pool.submit(done.append, 2).result(100)
    assert done == [2]


def test_where_no_further_thread_begins_those_there_are_do_it(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = threading.Event()
    first = pool.submit(go.wait)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = pool.submit(lambda: 7)
    assert not second.done()
    go.set()
    assert (first.result(100), second.result(100)) == (True, 7)
