"""Named bytes below an address: a folder of this machine, or a URL of any store that fsspec knows.

Owns where they are, how one is replaced, and what is said where that fails. Must not know what is
in them. Names are relative, with slashes. Invariants: an object is whole or absent in a folder and
in an object store (of other stores, sftp:// say, a broken put may leave a part, which a reader has
to tell); what is pickled is the address alone, and a process opens it for itself.
"""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from hffs.data.folders import prepare_private_folder, replace_lasting
from hffs.data.remote.filesystems import Store, explain_failure, open_any
from hffs.data.remote.troubles import (
    Failure,
    Meaning,
    locating_error,
    reading_error,
    show,
    store_errors,
)
from hffs.errors import AccessError, ConfigError, DataError, HffsError, SourceError

R = TypeVar("R")

_LOCAL = ("file", "local")


class Held(NamedTuple):
    """An object: its name, its size, and the second of its last change or use (0 is not known)."""

    name: str
    size_bytes: int
    time_s: float


class Objects(Protocol):
    """Named bytes below `address`, which is fit for a message. Any thread may ask.

    Errors are SourceError for what is not there, AccessError for what may not be touched, and
    DataError for the rest.
    """

    @property
    def address(self) -> str:
        """Where they are."""
        ...

    def names(self, prefix: str = "") -> list[Held]:
        """The objects in a folder and below it, by name; none where there is no such folder."""
        ...

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """A range of an object, to its end where None; as much as there is."""
        ...

    def write(self, name: str, data: bytes) -> None:
        """Put an object, in the place of the one before, which stays until then."""
        ...

    def remove(self, name: str) -> None:
        """Take an object away, if it is there."""
        ...

    def touch(self, name: str) -> None:
        """Note that an object is in use, where that can be noted."""
        ...

    def path(self, name: str) -> Path | None:
        """The file that an object is; None in a remote store."""
        ...


def open_objects(address: str | Path) -> Objects:
    """The objects at an address. Raises SourceError for a URL that is not taken.

    Nothing is made before something is written.
    """
    scheme, mark, rest = str(address).partition("://")
    if isinstance(address, Path) or not mark:
        return LocalObjects(Path(address).absolute())
    if scheme in _LOCAL:
        return LocalObjects(Path(rest).absolute())
    return RemoteObjects(address)


class LocalObjects:
    """Files below a folder. See `Objects`.

    It is made for this user alone; one that is there keeps its mode, as of a group that shares it,
    and files are for those who may look into it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def address(self) -> str:
        """See `Objects`."""
        return str(self._folder)

    def path(self, name: str) -> Path:
        """See `Objects`."""
        return self._folder / _check_name(name)

    def names(self, prefix: str = "") -> list[Held]:
        """See `Objects`; links and what is being written are passed over."""
        with _telling("list", self.address):
            return sorted(
                self._walk(self._folder / _check_name(prefix) if prefix else self._folder)
            )

    def _walk(self, folder: Path) -> Iterator[Held]:
        try:
            entries = os.scandir(folder)
        except (FileNotFoundError, NotADirectoryError):
            return
        with entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    yield from self._walk(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # removed since it was listed
                        found = entry.stat(follow_symlinks=False)
                        name = entry.path[len(self.address) :].lstrip("/")
                        yield Held(name, found.st_size, found.st_mtime)

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Objects`."""
        path = self.path(name)
        with (
            _telling("read", str(path)),
            open(path, "rb") as file,
        ):
            # Buffered: of a file without a buffer one call reads 2 GiB at most.
            size_bytes = os.fstat(file.fileno()).st_size
            end = size_bytes if stop is None else min(stop, size_bytes)
            if start >= end:
                return b""
            file.seek(start)
            return file.read(end - start)

    def write(self, name: str, data: bytes) -> None:
        """See `Objects`: it is on the disk at the end.

        ConfigError for a folder that cannot be made.
        """
        path = self.path(name)
        if not self._folder.is_dir():
            try:
                prepare_private_folder(self._folder)
            except ConfigError as error:
                fix = "name a folder that you can write to"
                raise ConfigError(
                    "cannot write to", self.address, why=error.why, fix=fix
                ) from error
        if path.parent != self._folder and path.parent.is_symlink():
            why, fix = "it is a symbolic link, and what is below it is not listed", "link all of it"
            raise DataError("cannot write below", str(path.parent), why=why, fix=fix)
        with _telling("write", str(path)):
            mode = stat.S_IMODE(self._folder.stat().st_mode)
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.parent.chmod(mode)
            with replace_lasting(path) as file:
                file.write(data)
                os.fchmod(file.fileno(), mode & 0o666)

    def remove(self, name: str) -> None:
        """See `Objects`."""
        path = self.path(name)
        with _telling("remove", str(path)):
            path.unlink(missing_ok=True)

    def touch(self, name: str) -> None:
        """See `Objects`: the time of its last change."""
        with contextlib.suppress(OSError):  # of a store that is another's, or read-only
            os.utime(self.path(name))


class RemoteObjects:
    """Objects below a URL. See `Objects`."""

    def __init__(self, url: str) -> None:
        scheme, _, rest = url.partition("://")
        self._url = f"{scheme}://{rest.rstrip('/')}"
        self._lock = threading.Lock()
        self._opened: tuple[int, Store] | None = None
        self._open()

    def __reduce__(self) -> tuple[type[RemoteObjects], tuple[str]]:
        """Open again at the address."""
        return RemoteObjects, (self._url,)

    @property
    def address(self) -> str:
        """See `Objects`."""
        return show(self._url)

    def path(self, name: str) -> None:
        """See `Objects`."""

    def touch(self, name: str) -> None:
        """See `Objects`: it cannot be noted."""

    def names(self, prefix: str = "") -> list[Held]:
        """See `Objects`."""
        url = self._name_url(prefix) if prefix else self._url
        store = self._open()
        root = store.path(self._url).rstrip("/") + "/"
        found = self._ask(url, lambda: store.find_aged(store.path(url)), locating_error)
        return sorted(
            Held(entry.path.removeprefix(root), entry.size_bytes, time_s)
            for entry, time_s in found
            if entry.path.startswith(root)
        )

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        """See `Objects`."""
        if stop is not None and start >= stop:
            return b""
        url, store = self._name_url(name), self._open()
        return self._ask(url, lambda: store.read_part(store.path(url), start, stop), reading_error)

    def write(self, name: str, data: bytes) -> None:
        """See `Objects`."""
        url, store = self._name_url(name), self._open()
        self._ask(url, lambda: store.write(store.path(url), data), _writing_error)

    def remove(self, name: str) -> None:
        """See `Objects`."""
        url, store = self._name_url(name), self._open()
        self._ask(url, lambda: store.remove(store.path(url)), _writing_error)

    def _name_url(self, name: str) -> str:
        return f"{self._url}/{_check_name(name)}"

    def _open(self) -> Store:
        """The store as this process opened it: a forked one has no thread for the other's."""
        with self._lock:
            if self._opened is None or self._opened[0] != os.getpid():
                self._opened = os.getpid(), open_any(self._url)
            return self._opened[1]

    def _ask(self, url: str, act: Callable[[], R], tell: Callable[..., HffsError]) -> R:
        try:
            return act()
        except store_errors() as error:
            raise tell(explain_failure(error, url), url) from error


def _check_name(name: str) -> str:
    """A relative name, below the address whatever it says."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or not part.isprintable() for part in parts):
        raise DataError("cannot use", repr(name), why="it is no name of an object")
    return name


def _writing_error(failure: Failure, url: str) -> HffsError:
    kind = AccessError if failure.meaning is Meaning.REFUSED else DataError
    return kind("cannot write", show(url), why=failure.why, fix=failure.fix)


@contextlib.contextmanager
def _telling(verb: str, which: str) -> Iterator[None]:
    """Raise as HffsError what the system says of a file."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError(f"cannot {verb}", which, why="no such file") from error
    except PermissionError as error:
        raise AccessError(f"cannot {verb}", which, why=str(error.strerror)) from error
    except OSError as error:
        raise DataError(f"cannot {verb}", which, why=error.strerror or str(error)) from error
