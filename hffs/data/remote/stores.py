"""Ranges of files in object stores, for the fetcher: one attempt each, in a thread.

Owns when a file is looked at again to see whether it is what was pinned. What is known of stores is
in `hffs.data.remote.filesystems`. Invariant: exactly the bytes that were asked for, or an error. S3
is asked under the condition that the ETag is the pinned one, so that no other content is read; of
other stores a change is seen `RECHECK_S` late, or where an answer is short.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import trio

from hffs.data.recent import Recent
from hffs.data.remote.files import Range, RemoteFile
from hffs.data.remote.filesystems import Store, explain_failure, open_store
from hffs.data.remote.origins import Trouble
from hffs.data.remote.troubles import Meaning, changed, reading_error, store_errors

RECHECK_S = 300.0

_THREADS = 32
_MOST_SEEN = 1 << 16


class StoreOrigin:
    """An `Origin` for everything in `hffs.data.remote.files.STORE_SCHEMES`.

    `open_` gives the store of a URL, with one try for each request; `clock` tells seconds.
    """

    def __init__(
        self,
        open_: Callable[[str], Store] = lambda url: open_store(url, tries=1),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._open, self._clock = open_, clock
        self._limiter = trio.CapacityLimiter(_THREADS)
        self._lock = threading.Lock()
        self._stores: dict[str, Store] = {}
        self._seen_s = Recent[float](_MOST_SEEN, _MOST_SEEN, lambda each: 1)

    def host(self, file: RemoteFile) -> str:
        """See `Origin`: the bucket."""
        scheme, _, rest = file.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    async def get(self, file: RemoteFile, place: Range) -> memoryview:
        """See `Origin`.

        A thread that nobody waits for any more ends by itself, at the latest after
        `filesystems.READ_S`, and takes a place up to then.
        """
        data = await trio.to_thread.run_sync(
            self._read, file, place, abandon_on_cancel=True, limiter=self._limiter
        )
        return memoryview(data)

    async def aclose(self) -> None:
        """See `Origin`: let go of every store."""
        self._stores.clear()

    def _read(self, file: RemoteFile, place: Range) -> bytes:
        """As `get`; in a thread."""
        store = self._find_store(file)
        path = store.path(file.url)
        try:
            if not store.has_pinned_reads():
                self._check(store, path, file, RECHECK_S)
            data = store.read(path, place, file.etag)
            if len(data) != place.size_bytes:
                self._check(store, path, file, 0)
        except store_errors() as error:
            failure = explain_failure(error, file.url)
            if failure.meaning is Meaning.PASSING:
                raise Trouble(failure.why, failure.rest_s, is_reached=failure.is_reached) from error
            raise reading_error(failure, file.url) from error
        if len(data) != place.size_bytes:
            raise Trouble(f"{len(data)} bytes came instead of {place.size_bytes}")
        return data

    def _find_store(self, file: RemoteFile) -> Store:
        # Under the lock, since to open one twice would cost a second session.
        with self._lock:
            bucket = self.host(file)
            store = self._stores.get(bucket)
            if store is None:
                store = self._stores[bucket] = self._open(file.url)
            return store

    def _check(self, store: Store, path: str, file: RemoteFile, age_s: float) -> None:
        """StaleError if a file is not what was pinned, unless it was a moment ago.

        Several threads may look at once; none reads before it has been seen.
        """
        seen_s = self._seen_s.get(file.url)
        if seen_s is not None and self._clock() - seen_s < age_s:
            return
        found = store.look(path)
        if found is None or (found.size_bytes, found.tag) != (file.size_bytes, file.etag):
            raise changed(file.url)
        self._seen_s.drop(file.url)
        self._seen_s.put(file.url, self._clock())
