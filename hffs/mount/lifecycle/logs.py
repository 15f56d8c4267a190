"""Where the log lines of a mount go, and how a line looks.

Owns the destinations: descriptor 2, a file, the journal's and syslog's sockets; text and JSON; the
level. Must not know what is mounted.
Invariants: a record is one line, or lines that begin with blanks, and holds no control character:
names and texts of a data set cannot forge another record or move a terminal's cursor. A destination
that does not take a line at once loses it: it never fails the caller, nor holds it up.

Both sockets are spoken to here, in a few lines: the binding of libsystemd takes its headers to
install, and what is pure Python sends arguments of calls, raw, and raises where stderr is full.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from hffs.errors import MountError, UsageError
from hffs.mount.lifecycle.unblocked import write_unblocked

log = logging.getLogger(__name__)

WORDS = ("stderr", "journald", "syslog")
"""Destinations that are no file."""

FORMATS = ("text", "json")
LEVELS = ("debug", "info", "warning", "error")

_TEXT = "%(asctime)s %(levelname)s %(message)s"
_JOURNAL = "/run/systemd/journal/socket"
_SYSLOG = "/dev/log"
_DAEMON_FACILITY = 3 << 3  # syslog(3): LOG_DAEMON
_MOST_BYTES = 32 << 10
"""Of a datagram: less than the sockets take."""

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


@dataclass(frozen=True, slots=True)
class LogPlan:
    """Where lines go: `to` is one of `WORDS` or a file; `form` is one of `FORMATS`.

    `output` is the file that descriptors 1 and 2 become, so that what native code prints leaves a
    word; None leaves them as they are.
    """

    to: str | Path = "stderr"
    form: str = "text"
    level: int = logging.INFO
    mountpoint: str = ""
    output: Path | None = None


def check_log(plan: LogPlan) -> None:
    """MountError where a file cannot be written, UsageError where nobody has such a socket."""
    for file in {plan.to, plan.output}:
        if isinstance(file, Path):
            os.close(_open(file))
    for word, path in (("journald", _JOURNAL), ("syslog", _SYSLOG)):
        if plan.to == word and not os.path.exists(path):
            why = f"nobody listens at {path} here"
            raise UsageError("cannot use --log", word, why=why, fix="give a file, or stderr")


def start_logging(plan: LogPlan, name: str = "") -> None:
    """Log as planned from now on, in the place of what was.

    `name` stands in every line of text, where several mounts share a destination.
    """
    if plan.output is not None:
        sink = _open(plan.output)
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
    handler = _make_handler(plan, name)
    logging.basicConfig(handlers=[handler], level=plan.level, force=True)
    # pyfuse3 and PIL log every step at DEBUG; a person asked about hffs.
    logging.getLogger("PIL").setLevel(logging.INFO)
    logging.getLogger("pyfuse3").setLevel(logging.INFO)


def reopen_logs() -> None:
    """Open log files anew, which may have been moved away; where one cannot be, the old one goes
    on.
    """
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _FileHandler):
            handler.reopen()


def set_level(name: str) -> None:
    """Log what hffs says from a level on. UsageError where there is no such level."""
    logging.getLogger("hffs").setLevel(parse_level(name).upper())


def parse_level(name: str) -> str:
    """The level of a name, in small letters; UsageError where there is none."""
    if name.lower() not in LEVELS:
        why = f"it is none of {', '.join(LEVELS)}"
        raise UsageError("cannot set the log level to", escape(name), why=why)
    return name.lower()


def get_level() -> str:
    """How much is logged now."""
    return logging.getLevelName(logging.getLogger("hffs").getEffectiveLevel()).lower()


def escape(text: str) -> str:
    r"""The text with all that is not to be seen as escapes of Python.

    >>> print(escape("a\nb"))
    a\nb
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _open(file: Path) -> int:
    """A log file to append to; MountError where it cannot be, or is no regular file."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    try:
        opened = os.open(file, flags, 0o600)
    except OSError as error:
        why, fix = error.strerror or str(error), ""
        if error.errno == errno.ELOOP:
            why, fix = "it is a symbolic link", "name the file itself, or `stderr`"
        raise MountError("cannot write the log", str(file), why=why, fix=fix) from error
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise MountError("cannot write the log", str(file), why="it is not a regular file")
    return opened


class _TextFormatter(logging.Formatter):
    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - of logging
        record.message = escape(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802 - of logging
        return "\n".join(f"    {escape(line)}" for line in super().formatException(ei).split("\n"))


class _JsonFormatter(logging.Formatter):
    """One object a line; json escapes whatever is not ASCII."""

    def __init__(self, mountpoint: str) -> None:
        super().__init__()
        self._mountpoint = mountpoint

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "mountpoint": self._mountpoint,
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class _PrefixedFormatter(logging.Formatter):
    """Each line with its priority, as the journal wants it of a service (sd-daemon(3))."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_find_priority(record)}>"
        return prefix + self._inner.format(record).replace("\n", f"\n{prefix}")


class _DescriptorHandler(logging.Handler):
    """Writes each record at once, by one call, so that processes can share a file."""

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = f"{self.format(record)}\n".encode(errors="backslashreplace")
        except (TypeError, ValueError):
            self.handleError(record)
            return
        with suppress(OSError):  # a full disk or pipe, a terminal that is gone
            write_unblocked(self._descriptor, line)


class _FileHandler(_DescriptorHandler):
    """Writes to a file, which may be what some descriptors already are."""

    def __init__(self, file: Path, shared: tuple[int, ...]) -> None:
        self._file, self._shared, self._is_own = file, shared or (_open(file),), not shared
        super().__init__(self._shared[-1])

    def reopen(self) -> None:
        """Go on in the file that has the name now."""
        try:
            opened = _open(self._file)
        except MountError as error:
            log.warning("%s", error)
            return
        for descriptor in self._shared:
            os.dup2(opened, descriptor, inheritable=descriptor <= 2)
        os.close(opened)

    def close(self) -> None:
        if self._is_own:
            os.close(self._descriptor)
            self._is_own = False
        super().close()


class _SocketHandler(logging.Handler):
    """Sends each record as a datagram; found anew each time, as who listens may be restarted."""

    def __init__(self, path: str, encode: Callable[[logging.LogRecord, str], bytes]) -> None:
        super().__init__()
        self._path, self._encode = path, encode
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            datagram = self._encode(record, self.format(record)[:_MOST_BYTES])
        except (TypeError, ValueError):
            self.handleError(record)
            return
        with suppress(OSError):
            self._socket.sendto(datagram, self._path)

    def close(self) -> None:
        self._socket.close()
        super().close()


def _make_handler(plan: LogPlan, name: str) -> logging.Handler:
    before = f"{name.replace('%', '%%')}: " if name else ""
    plain = _TextFormatter(f"{before}%(message)s")
    form = _TextFormatter(_TEXT.replace("%(message)", f"{before}%(message)"))
    handler: logging.Handler
    if isinstance(plan.to, Path):
        handler = _FileHandler(plan.to, (1, 2) if plan.to == plan.output else ())
    elif plan.to == "journald":
        mountpoint = plan.mountpoint
        handler = _SocketHandler(_JOURNAL, lambda record, text: _pack(record, text, mountpoint))
        form = plain
    elif plan.to == "syslog":
        handler, form = _SocketHandler(_SYSLOG, _encode_syslog), plain
    else:
        handler = _DescriptorHandler(2)
        if _is_journal(os.environ):
            form = plain
    chosen: logging.Formatter = _JsonFormatter(plan.mountpoint) if plan.form == "json" else form
    if plan.to == "stderr" and _is_journal(os.environ):
        chosen = _PrefixedFormatter(chosen)
    handler.setFormatter(chosen)
    return handler


def _is_journal(environ: Mapping[str, str]) -> bool:
    """Whether descriptor 2 is what systemd connected to the journal (systemd.exec(5))."""
    try:
        found = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


def _find_priority(record: logging.LogRecord) -> int:
    """As syslog(3) numbers them."""
    levels = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
    return next((number for level, number in levels if record.levelno >= level), 7)


def _encode_syslog(record: logging.LogRecord, text: str) -> bytes:
    """As syslog(3) writes to the local socket; its time is that of who receives it."""
    head = f"<{_DAEMON_FACILITY | _find_priority(record)}>hffs[{os.getpid()}]: "
    return (head + text.replace("\n", " ")).encode(errors="backslashreplace")


def _pack(record: logging.LogRecord, text: str, mountpoint: str) -> bytes:
    """Fields for the journal: https://systemd.io/JOURNAL_NATIVE_PROTOCOL/."""
    fields = {
        "MESSAGE": text,
        "PRIORITY": str(_find_priority(record)),
        "SYSLOG_IDENTIFIER": "hffs",
        "LOGGER": record.name,
        "HFFS_MOUNTPOINT": mountpoint,
    }
    packed = []
    for key, value in fields.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:  # then its length comes first
            packed.append(b"%b\n%b%b\n" % (key.encode(), len(data).to_bytes(8, "little"), data))
        else:
            packed.append(b"%b=%b\n" % (key.encode(), data))
    return b"".join(packed)
