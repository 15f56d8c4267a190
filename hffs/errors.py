"""Every error that hffs raises on purpose, with the exit code and the errno it becomes.

Pure code raises these; only the FUSE adapter reads `errno`, only the command line `exit_code`.

    HffsError
     +-- UsageError        2  EINVAL     wrong flag, wrong value, wrong combination
     |    +-- ConfigError  2  EINVAL     a key of the configuration
     |    +-- MissingLibraryError 2 EINVAL  an extra that is not installed; an ImportError too
     +-- SourceError       3  ENOENT     the data set is not there
     |    +-- AccessError  3  EACCES     it is there and may not be read
     +-- MountError        4  EIO        the mount point, /dev/fuse, fusermount3
     +-- DataError         5  EIO        the data set is there and cannot be used
     |    +-- FormatError  5  EIO        bytes that break their own format (a page, a footer)
     |    |    +-- UnsupportedError 5 EIO  bytes that may be sound, in a way not read here
     |    +-- RenderError  5  EIO        one row that cannot become a file
     |    +-- FetchError   5  EIO        a URL that gives no image, and will not give one later
     |    |    +-- OutageError 5 EIO     a URL that gives no image now: it may be asked again
     |    +-- WorkerError  5  EIO        one row that was not rendered, for no reason of its own
     |    +-- StaleError   5  ESTALE     a local source changed under the mount
     +-- MissingError      3  ENOENT     a name that is not in the listing
     +-- DeadlineError     5  ETIMEDOUT  a request ran past its deadline
     +-- InterruptedRun  130  EINTR      the user pressed Ctrl-C
"""

from __future__ import annotations

import errno as codes
from typing import ClassVar, Self


class HffsError(Exception):
    """One line: *what failed: which thing: why; what to do* (the parts that are known).

    >>> str(HffsError("cannot open", "photos.parquet", why="no such file", fix="check the path"))
    'cannot open photos.parquet: no such file; check the path'
    """

    exit_code: ClassVar[int] = 1
    errno: ClassVar[int] = codes.EIO

    def __init__(self, what: str, which: str = "", *, why: str = "", fix: str = "") -> None:
        self.what, self.which, self.why, self.fix = what, which, why, fix
        if "\n" in what:  # a worker of torch's DataLoader raises the error anew, of its traceback
            super().__init__(what)
            return
        head = f"{what} {which}" if which else what
        line = f"{head}: {why}" if why else head
        super().__init__(" ".join(f"{line}; {fix}".split()) if fix else " ".join(line.split()))

    def within(self, part: str) -> Self:
        """The same error, said of one part of what was asked for.

        >>> str(HffsError("cannot open", "art.parquet", why="no such file").within("entry art"))
        'entry art: cannot open art.parquet: no such file'
        """
        return type(self)(f"{part}: {self.what}", self.which, why=self.why, fix=self.fix)

    def anew(self) -> Self:
        """The same error, as if it had never been raised.

        One that was keeps the frames that it went through, and with them all that these held; what
        is raised again and again keeps more each time. So only this is kept, and raised anew.
        """
        return type(self)(self.what, self.which, why=self.why, fix=self.fix)

    def __reduce__(self) -> tuple[object, ...]:
        """Keep the keyword parts across processes."""
        return _rebuild, (type(self), self.what, self.which, self.why, self.fix)


def _rebuild(kind: type[HffsError], what: str, which: str, why: str, fix: str) -> HffsError:
    return kind(what, which, why=why, fix=fix)


class UsageError(HffsError):
    """Wrong use of a command."""

    exit_code, errno = 2, codes.EINVAL


class ConfigError(UsageError):
    """A key of the configuration is unknown, mistyped or contradictory."""


class MissingLibraryError(UsageError, ImportError):
    """What was asked for takes a library of an extra that is not installed."""


class SourceError(HffsError):
    """The data set was not found."""

    exit_code, errno = 3, codes.ENOENT


class AccessError(SourceError):
    """The data set is there and this user may not read it."""

    errno = codes.EACCES


class MountError(HffsError):
    """Nothing is wrong with the data: the mount itself cannot be made or taken down."""

    exit_code, errno = 4, codes.EIO


class DataError(HffsError):
    """The data set was found and cannot be used as asked."""

    exit_code, errno = 5, codes.EIO


class FormatError(DataError):
    """Bytes break the format that they claim to be in."""


class UnsupportedError(FormatError):
    """Bytes use a part of their format that is not read here; another reader may know it."""


class RenderError(DataError):
    """One row cannot become a file; other rows are unharmed."""


class WorkerError(DataError):
    """The process that was to render a row ended; asking again may help."""


class FetchError(DataError):
    """A URL gives no image, and asking again would not help."""


class OutageError(FetchError):
    """A URL gives no image now, for a reason that may pass: the network, a server that is busy."""


class StaleError(DataError):
    """A local source was changed while it was mounted."""

    errno = codes.ESTALE


class MissingError(HffsError):
    """A name that the listing does not have."""

    exit_code, errno = 3, codes.ENOENT


class DeadlineError(HffsError):
    """A request did not end within its deadline."""

    exit_code, errno = 5, codes.ETIMEDOUT


class InterruptedRun(HffsError):  # noqa: N818 - named after what happened, as KeyboardInterrupt is
    """The user stopped the command."""

    exit_code, errno = 130, codes.EINTR
