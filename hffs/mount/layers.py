"""The writable layer over a mount: what its users write, kept by view, and who shows it where.

    SCRATCH/FINGERPRINT/lower       the mount itself, while it is up
                        upper/      what was written; a folder as any other, also when all is down
                        work/       of the overlay
                        layer.json  where it is mounted, and of what: read by people and by `find`
                        lock        held by the daemon

Owns these folders, the lock and the order in which the two mounts come and go. Invariants: one
daemon at a time has a layer; nothing here ever removes or changes what is in `upper`; what a kill
leaves is found by the table of mounts and `layer.json`, which only its owner can have written.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hffs.data.folders import open_own, read_own, write_json
from hffs.errors import MountError, UsageError
from hffs.mount.detaching import detach
from hffs.mount.mountinfo import FS_TYPE, Health, Mounted, check_health, find_mount, read_mounts
from hffs.mount.overlay import LOWER, OVERLAY_TYPES, UPPER, WORK, check_overlay, mount_overlay

log = logging.getLogger(__name__)

_MARK = "layer.json"
_LOCK = "lock"
_LOCK_WAIT_S = 10.0
"""A daemon lives a moment longer than its mount."""
_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Mark:
    """What `layer.json` says."""

    mountpoint: str
    source: str
    commit: str
    fingerprint: str


class Layer:
    """A layer that this process has the lock of, over a mount that it is about to make."""

    def __init__(self, folder: Path, mountpoint: Path) -> None:
        self.folder, self.mountpoint = folder, mountpoint
        self.lower = folder / LOWER
        self._device = ""
        # Who takes it down waits for who puts it up: neither takes longer than its programs may.
        self._changing = threading.Lock()

    def mount(self) -> None:
        """Show it; the mount below must answer meanwhile. MountError where that cannot be."""
        with self._changing:
            _copy_attributes(self.lower, self.folder / UPPER)
            mount_overlay(self.folder, self.mountpoint)
            found = _find_overlay(str(self.mountpoint))
            self._device = found.device if found else ""

    def is_shown(self) -> bool:
        """Whether it is still mounted."""
        found = (each for each in read_mounts() if each.mountpoint == str(self.mountpoint))
        return any(each.device == self._device for each in found)

    def detach(self) -> None:
        """Take it away, if it is there; at once for new users, later for those still in it."""
        with self._changing:
            if self._device and self.is_shown():
                try:
                    detach(self.mountpoint)
                except MountError as error:
                    log.warning("%s", error)


def check_scratch(scratch: Path, mountpoint: Path) -> None:
    """Whatever can be known to be wrong with a folder for layers before anything is started.

    The folder is made if need be. Raises MountError or UsageError.
    """
    check_overlay()
    if Path(os.path.realpath(scratch)).is_relative_to(mountpoint):
        fix = "choose one that is not on or in the mount point"
        raise UsageError("cannot use --scratch", str(scratch), why="the mount hides it", fix=fix)
    try:
        scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch):
            pass
    except OSError as error:
        raise _refuse(scratch, error) from error


def _refuse(folder: Path, error: OSError) -> MountError:
    why, fix = error.strerror or str(error), "choose a folder that you may write to"
    return MountError("cannot keep a writable layer in", str(folder), why=why, fix=fix)


@contextmanager
def open_layer(scratch: Path, mark: Mark, owner: tuple[int, int], mode: int) -> Iterator[Layer]:
    """The layer of a view, made if need be, for as long as this process shows it.

    `owner` (user and group) and `mode` are those of the folder that users see. MountError where
    it cannot be had, among others because another mount has it.
    """
    folder = scratch.absolute() / mark.fingerprint
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _open_lock(folder, owner, mode)
    except OSError as error:
        raise _refuse(folder, error) from error
    try:
        _lock(lock, folder)
        for left in [
            each for each in read_shown() if each.mounted.mountpoint == str(folder / LOWER)
        ]:
            left.detach(lazy=True)  # nobody has the lock: its daemon was killed
        _write_mark(folder, mark)
        layer = Layer(folder, Path(mark.mountpoint))
        try:
            yield layer
        finally:
            layer.detach()
    finally:
        os.close(lock)


def _open_lock(folder: Path, owner: tuple[int, int], mode: int) -> int:
    """A descriptor of the lock of a layer, whose folders are made.

    The name of a layer can be guessed, and the folder of layers may be anyone's to write to: what
    lies there already must be this user's, and no symbolic link. Raises OSError.
    """
    with open_own(folder, os.O_DIRECTORY) as opened:
        os.fchmod(opened, os.fstat(opened).st_mode & 0o755)
        for part in (LOWER, UPPER, WORK):
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=opened)
        upper = os.open(UPPER, os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened)
        try:
            os.fchmod(upper, mode)
            os.fchown(upper, *owner)
        finally:
            os.close(upper)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        return os.open(_LOCK, flags, 0o600, dir_fd=opened)


def _lock(lock: int, folder: Path) -> None:
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise _in_use(folder) from None
            time.sleep(_POLL_S)
        except OSError as error:
            raise _refuse(folder, error) from error
        else:
            return


def _in_use(folder: Path) -> MountError:
    mark = _read_mark(folder)
    why = f"the mount on {mark.mountpoint} writes to it" if mark else "another mount writes to it"
    fix = "unmount that, or give this mount another --scratch folder"
    return MountError("cannot use the writable layer", str(folder), why=why, fix=fix)


def _write_mark(folder: Path, mark: Mark) -> None:
    try:
        write_json(folder / _MARK, asdict(mark), indent=2)
    except OSError as error:
        raise _refuse(folder, error) from error


def _read_mark(folder: Path) -> Mark | None:
    """What the mark of a layer says, if it is of this user, or of root, who could do worse."""
    try:
        fields = json.loads(read_own(folder / _MARK, os.geteuid(), 0))
        texts = (fields[name] for name in Mark.__dataclass_fields__)
        return Mark(*(text for text in texts if isinstance(text, str)))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


def _copy_attributes(lower: Path, upper: Path) -> None:
    """What the root of the mount says of itself; of a folder that is merged, the upper one does."""
    with suppress(OSError):  # not every file system keeps them
        for name in os.listxattr(lower):
            os.setxattr(upper, name, os.getxattr(lower, name))


@dataclass(frozen=True, slots=True)
class Shown:
    """A mount of hffs as its users see it: with a layer, that is not where it is mounted itself."""

    mountpoint: str
    mounted: Mounted
    layer: Path | None

    def check_health(self) -> Health:
        """How it answers; the mount below a layer, and the layer, if that takes a daemon."""
        health = check_health(self.mounted.mountpoint)
        if self.layer is None or health is not Health.OK:
            return health
        return check_health(self.mountpoint)

    @property
    def is_dead(self) -> bool:
        """Whether nobody answers for it any more."""
        return self.check_health() is Health.DEAD

    def detach(self, *, lazy: bool) -> None:
        """Take it away with its layer. MountError where it is in use, unless `lazy`."""
        if self.layer is not None:
            if _find_overlay(self.mountpoint):
                detach(Path(self.mountpoint), lazy=lazy)
            lazy = True  # the layer alone has used it
        try:
            detach(Path(self.mounted.mountpoint), lazy=lazy)
        except MountError:
            # A daemon whose layer is gone takes this one away by itself.
            if self.layer is None or find_mount(self.mounted.mountpoint) is not None:
                raise


def read_shown() -> list[Shown]:
    """The mounts of hffs on this host."""
    return [_show(mounted) for mounted in read_mounts() if mounted.fs_type == FS_TYPE]


def find_shown(mountpoint: str) -> Shown | None:
    """The mount of hffs that users see on an absolute path, unless another hides it."""
    found = [shown for shown in read_shown() if shown.mountpoint == mountpoint]
    on_top = find_mount(mountpoint)
    if not found or on_top is None:
        return found[-1] if found else None
    if found[-1].layer is not None:
        return found[-1] if on_top.fs_type in OVERLAY_TYPES else None
    return found[-1] if on_top.device == found[-1].mounted.device else None


def _show(mounted: Mounted) -> Shown:
    place = Path(mounted.mountpoint)
    mark = _read_mark(place.parent) if place.name == LOWER else None
    if mark is None:
        return Shown(mounted.mountpoint, mounted, None)
    return Shown(mark.mountpoint, mounted, place.parent)


def _find_overlay(mountpoint: str) -> Mounted | None:
    """The overlay on top of a path, if what is on top is one."""
    found = find_mount(mountpoint)
    return found if found is not None and found.fs_type in OVERLAY_TYPES else None
