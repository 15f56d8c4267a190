"""What a process that decodes images gives up before it sees the first one.

Owns the calls to the kernel. Must not know what the process does. Invariants: what was given up
cannot be had again; all of it works without privileges but leaving root, and all but Landlock,
which is on top, on every kernel and in every container.

A worker can compute, and read and write the one socket that it has: it may open nothing more
(RLIMIT_NOFILE is 0, which files, sockets and all else with a descriptor take), start nothing
(RLIMIT_NPROC), and is of a user who owns nothing, or, where hffs is no root, in a domain of
Landlock that keeps it from tracing, and from version 6 on signalling, what else that user runs.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import struct

from hffs.data.child import die_with, drop_capabilities, offer_memory
from hffs.view.workers.messages import Limits

log = logging.getLogger(__name__)

_NOBODY = 65534
_NICENESS = 5
"""Of a worker, above the mount's, whose loop answers for every other file: where workers keep all
cores busy, reads of files that pass through take half as long (tests.bench.latency). Not more, so
that a busy host still renders: beside one other process a worker gets a quarter of a core.
"""

_PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 4, 38
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446  # the same on all architectures
_LANDLOCK_ASK_VERSION = 1
_FILE_RIGHTS = (13, 14, 15, 15, 16)
"""How many kinds of access to files Landlock knows in its versions 1 to 5, and from then on."""

_libc = ctypes.CDLL(None, use_errno=True)


def confine(limits: Limits) -> None:
    """Give up, for this process and those it forks, all but opening and forking."""
    offer_memory()
    lower(resource.RLIMIT_AS, limits.memory_bytes)
    lower(resource.RLIMIT_CORE, 0)
    lower(resource.RLIMIT_FSIZE, 0)
    if os.geteuid() == 0:
        _leave_root()
    try:
        drop_capabilities()  # as a service of another user has one, by which it mounts
    except OSError as error:
        log.warning("images are decoded with the rights of the mount: %s", error.strerror)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_DUMPABLE, 0)  # no core, and no tracing by others of this user


def isolate(parent: int) -> None:
    """Give up the rest, and end with the parent."""
    be_quiet()
    die_with(parent)
    os.nice(_NICENESS)
    _enter_landlock()
    lower(resource.RLIMIT_NPROC, 0)
    lower(resource.RLIMIT_NOFILE, 0)


def be_quiet() -> None:
    """From now on read nothing, and write to nobody."""
    quiet = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(quiet, standard)
    os.close(quiet)


def lower(kind: int, value: int) -> None:
    """Lower a limit for good."""
    _, hard = resource.getrlimit(kind)
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(kind, (value, value))


def _leave_root() -> None:
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError as error:  # a container that has no such user, or no right to become it
        log.warning("images are decoded as root: cannot become user %d: %s", _NOBODY, error)


def _enter_landlock() -> None:
    """Deny all files, TCP, and signals to and tracing of others, as far as this kernel can."""
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, 0, _LANDLOCK_ASK_VERSION)
    if version < 1:  # an older kernel, one without it, or a container that does not let it through
        return
    rights = [(1 << _FILE_RIGHTS[min(version, len(_FILE_RIGHTS)) - 1]) - 1]
    rights += [0b11] if version >= 4 else []  # bind and connect
    rights += [0b11] if version >= 6 else []  # abstract sockets, signals
    wanted = struct.pack(f"{len(rights)}Q", *rights)
    ruleset = _libc.syscall(_LANDLOCK_CREATE_RULESET, wanted, len(wanted), 0)
    if ruleset < 0 or _libc.syscall(_LANDLOCK_RESTRICT_SELF, ruleset, 0) < 0:
        raise OSError(ctypes.get_errno(), "cannot enter a Landlock domain")
    os.close(ruleset)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "cannot give up a right (prctl)")
