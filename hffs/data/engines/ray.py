"""The engine of a cluster: Ray Data, with one actor a worker.

Owns starting Ray on this host, or joining a cluster; keeping it quiet; how tasks and answers are
blocks of it; and how its errors are told. Must not know what the work is. Invariants: nothing of
Ray is loaded before the first task is there; what was started here ends here, and a Ray that was
there before goes on; an actor that dies is started again, and what it had is done again, a few
times. Ray moves tasks and answers, which are small: data is read and written by the workers
themselves.
"""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import socket
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, Self, cast

import pyarrow as pa

from hffs.data.engines import MakeWorker, Needs, R, T, Worker
from hffs.errors import DataError, HffsError, MissingLibraryError, SourceError, UsageError

if TYPE_CHECKING:
    from ray.data import Dataset

MOST_RETRIES = 2
"""How often a task is given to another actor after the one that had it died."""

_REACH_S = 5.0
"""How long the head of a cluster may take to answer; Ray itself would wait for two minutes."""

_STORE_BYTES = 512 << 20
"""Memory that Ray on this host shares for blocks, all of which are small."""

_LEAST_STORE_BYTES = 80 << 20
"""Ray takes no less."""

_PORT = 6379
"""Where the head of a cluster listens if nothing else was said (`ray start --head`)."""

_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
"""How a client of gRPC begins (RFC 9113, 3.4): a server answers with such a frame of settings."""

_SETTINGS = 4

_TASK, _ANSWER, _REFUSAL = "task", "answer", "refusal"


class RayEngine:
    """Actors of Ray: of a cluster at `address` (HOST:PORT of its head, or "auto" on a host of it),
    else of one that is started on this host. `workers` is how many at most, None for as many as
    there is room for. As a context it ends what it started.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        self._address, self._workers = address, workers
        self._has_joined = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def is_here(self) -> bool:
        """Never: actors are processes of their own."""
        return False

    def close(self) -> None:
        """Leave the cluster, or end the one that was started for this."""
        if self._has_joined:
            self._has_joined = False
            _import_ray().shutdown()

    def run(self, make: MakeWorker[T, R], tasks: Sequence[T], needs: Needs) -> Iterator[R]:
        """What the workers answer, as `Engine` has it.

        Raises UsageError where no host has what a worker needs, SourceError for a cluster that
        cannot be reached.
        """
        if not tasks:
            return
        ray = _import_ray()
        self._join(ray)
        room = _count_room(ray, needs)
        most = min(self._workers or room, room, -(-len(tasks) // needs.at_once))
        with _told(ray, len(tasks)):
            blocks = _make_blocks(tasks, needs.at_once)
            dataset = _plan(ray, blocks, (pickle.dumps(make), needs), most)
            for batch in dataset.iter_batches(
                prefetch_batches=0, batch_size=None, batch_format="pyarrow"
            ):
                for answer in _read_answers(batch):
                    yield cast("R", answer)

    def _join(self, ray: ModuleType) -> None:
        """Have a cluster; one that this process is part of already is taken as it is."""
        if self._address is not None:
            _require_reachable(self._address)
        if ray.is_initialized():
            return
        try:
            with _hushed():
                self._init(ray)
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            if self._address is not None:
                raise _unreachable(self._address, str(error)) from error
            why = _take_first_line(str(error))
            raise DataError("cannot start Ray", "on this host", why=why) from error
        self._has_joined = True

    def _init(self, ray: ModuleType) -> None:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is not None:
            ray.init(address=self._address, **quiet)
            return
        ray.init(
            address="local",  # whatever RAY_ADDRESS says
            num_cpus=max(len(os.sched_getaffinity(0)), self._workers or 1),
            object_store_memory=_choose_store_bytes(),
            include_dashboard=False,
            **quiet,
        )


class Actor:
    """A worker in a process of Ray's: takes blocks of tasks, gives blocks of answers."""

    def __init__(self, make: bytes, device: str) -> None:
        self._make, self._device = make, device
        self._worker: Worker[Any, Any] | None = None

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Answer each task of a block, or say why not: an error raised here would cross as text."""
        tasks = block.column(_TASK)
        try:
            if self._worker is None:
                # At the first task: an actor that dies while it is made is made anew for ever. Of
                # the driver, as all that Ray itself sends.
                self._worker = pickle.loads(self._make)(self._device)  # noqa: S301
            for result in self._worker(pickle.loads(task.as_py()) for task in tasks):  # noqa: S301
                yield _make_answer(_ANSWER, result)
        except HffsError as error:
            yield _make_answer(_REFUSAL, error.anew())


def _make_answer(kind: str, content: object) -> pa.Table:
    content = pickle.dumps(content, pickle.HIGHEST_PROTOCOL)
    return pa.table({"kind": [kind], "content": pa.array([content], pa.large_binary())})


def _read_answers(batch: pa.Table) -> Iterator[object]:
    for kind, content in zip(batch.column("kind"), batch.column("content"), strict=True):
        answer = pickle.loads(content.as_py())  # noqa: S301 - of our own actors
        if kind.as_py() == _REFUSAL:
            raise cast("HffsError", answer)
        yield answer


def _make_blocks(tasks: Sequence[Any], at_once: int) -> list[pa.Table]:
    """Tables of as many tasks as a worker is given at once."""
    pickled = [pickle.dumps(task, pickle.HIGHEST_PROTOCOL) for task in tasks]
    return [
        pa.table({_TASK: pa.array(pickled[at : at + at_once], pa.large_binary())})
        for at in range(0, len(pickled), at_once)
    ]


def _plan(
    ray: ModuleType, blocks: Iterable[pa.Table], worker: tuple[bytes, Needs], most: int
) -> Dataset:
    """What Ray is to do; nothing is done before it is read."""
    make, needs = worker
    with warnings.catch_warnings():
        # It names no other way, and without one Ray would try a task for ever that kills whoever
        # has it.
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated")
        dataset = ray.data.from_arrow(list(blocks)).map_batches(
            Actor,
            batch_size=None,
            batch_format="pyarrow",
            zero_copy_batch=True,
            compute=ray.data.ActorPoolStrategy(size=most),
            fn_constructor_args=(make, "cuda:0" if needs.gpus else "cpu"),
            num_gpus=needs.gpus or None,
            num_cpus=needs.cpus,
            max_restarts=-1,
            max_task_retries=MOST_RETRIES,
        )
    dataset.context.enable_progress_bars = False
    dataset.context.print_on_execution_start = False
    return cast("Dataset", dataset)


def _count_room(ray: ModuleType, needs: Needs) -> int:
    """How many workers there is room for, all hosts together."""
    room = 0
    for node in ray.nodes():
        has = node["Resources"] if node["Alive"] else {}
        wanted = (("CPU", needs.cpus), ("GPU", needs.gpus))
        fits = (has.get(kind, 0) // count for kind, count in wanted if count)
        room += int(min(fits, default=has.get("CPU", 0)))
    if not room:
        takes = f"{needs.cpus:g} CPUs" + (f" and {needs.gpus:g} GPUs" if needs.gpus else "")
        raise UsageError("cannot start workers", "on Ray", why=f"no host of it has {takes}")
    return room


@contextmanager
def _hushed() -> Iterator[None]:
    """Keep what Ray says past Python from standard error: that it was told to say nothing."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _told(ray: ModuleType, count: int) -> Iterator[None]:
    """Errors of Ray in one line."""
    try:
        yield
    except ray.exceptions.RayError as error:
        raise _tell(ray, error, count) from error


def _tell(ray: ModuleType, error: Exception, count: int) -> DataError:
    if isinstance(error, ray.exceptions.ActorDiedError | ray.exceptions.ActorUnavailableError):
        why = f"{MOST_RETRIES + 1} workers that had it died"
        fix = "look whether memory runs out"
        return DataError("cannot do", f"one of {count} tasks", why=why, fix=fix)
    cause: BaseException = error
    while (inner := getattr(cause, "cause", None) or cause.__cause__) is not None:
        cause = inner
    why = _take_first_line(f"{type(cause).__name__}: {cause}")
    return DataError("a worker failed", "on Ray", why=why)


def _import_ray() -> ModuleType:
    """Ray, loaded so that it tells nobody that it is used, and says nothing unasked."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # A worker without a GPU is told "cpu": nothing need be hidden from it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray.data
    except ImportError as error:
        fix = "pip install 'hffs-mount[ray]'"
        raise MissingLibraryError("cannot use --engine ray", why="no Ray", fix=fix) from error
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return ray


def _choose_store_bytes() -> int:
    """What there is room for in shared memory, which a container may have little of."""
    try:
        free = shutil.disk_usage("/dev/shm").free  # noqa: S108 - where Ray has its store
    except OSError:
        return _LEAST_STORE_BYTES
    return max(_LEAST_STORE_BYTES, min(_STORE_BYTES, free * 4 // 5))


def _require_reachable(address: str) -> None:
    """Raise SourceError where no head of a cluster listens at an address.

    Ray itself would wait for minutes, and then end this process.
    """
    if address == "auto":
        return
    if "://" in address:
        why = "it is not HOST:PORT"
        fix = "name the head of the cluster, or say auto on a host of it"
        raise UsageError("cannot use --ray-address", _show(address), why=why, fix=fix)
    host, _, port = address.rpartition(":") if ":" in address else (address, "", str(_PORT))
    if not port.isdecimal():
        raise UsageError("cannot use --ray-address", _show(address), why="it is not HOST:PORT")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=_REACH_S) as head:
            if os.environ.get("RAY_USE_TLS", "0").lower() not in ("1", "true"):
                head.sendall(_GREETING)
                if head.recv(len(_GREETING))[3:4] != bytes((_SETTINGS,)):
                    raise _unreachable(address, "what answers there is no Ray")
    except OSError as error:
        raise _unreachable(address, error.strerror or str(error)) from error


def _unreachable(address: str, why: str) -> SourceError:
    why = _take_first_line(why)
    return SourceError("cannot reach the Ray cluster at", _show(address), why=why)


def _show(address: str) -> str:
    return address.rpartition("@")[2]  # without a user and a password


def _take_first_line(text: str) -> str:
    return text.strip().partition("\n")[0]
