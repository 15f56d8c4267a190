"""What a Hub for tests keeps: repositories of commits, each a whole list of files.

Knows nothing of HTTP. Every commit stays reachable with its content, and the same writes in the
same order give the same commits, in any process.
"""

import hashlib
import mmap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Self

MAIN = "main"
Gate = Literal["auto", "manual", False]
"""How access is granted to a gated repository, or that it is not gated."""


@dataclass(frozen=True, slots=True)
class Blob:
    """The content of a file with the names that git and LFS give it."""

    data: bytes | mmap.mmap
    oid: str
    sha256: str

    @classmethod
    def of(cls, content: bytes | Path) -> Self:
        """Take bytes as they are; a file is mapped, so that a large one costs no memory."""
        data = content if isinstance(content, bytes) else _mapped(content)
        # Git's name for a blob, https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        oid = hashlib.sha1(b"blob %d\0" % len(data), usedforsecurity=False)
        oid.update(data)
        return cls(data, oid.hexdigest(), hashlib.sha256(data).hexdigest())

    @property
    def size(self) -> int:
        """Length in bytes."""
        return len(self.data)


def _mapped(path: Path) -> bytes | mmap.mmap:
    if not path.stat().st_size:
        return b""  # an empty file cannot be mapped
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


Files = Mapping[str, Blob]
"""All files of one commit by their path in the repository."""


@dataclass(slots=True)
class Repo:
    """A repository on the Hub; its switches may be set at any time, also while it is read."""

    id: str
    kind: Literal["datasets", "models"] = "datasets"
    private: bool = False
    gated: Gate = False
    token: str | None = None
    """Who sends it may read this repository, whatever else is set."""
    disabled: bool = False
    _commits: dict[str, Files] = field(default_factory=dict)
    _branches: dict[str, str] = field(default_factory=dict)
    _tags: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._add(MAIN, "", {})

    @property
    def commit(self) -> str:
        """What `main` means now."""
        return self._branches[MAIN]

    @property
    def commits(self) -> list[Files]:
        """The files of every commit there ever was."""
        return list(self._commits.values())

    @property
    def branches(self) -> Mapping[str, str]:
        """The commit of each branch."""
        return self._branches

    @property
    def tags(self) -> Mapping[str, str]:
        """The commit of each tag."""
        return self._tags

    def write(self, path: str, content: bytes | Path, branch: str = MAIN) -> str:
        """Add or replace one file in a new commit, which is returned."""
        return self.write_all({path: content}, branch)

    def write_all(self, contents: Mapping[str, bytes | Path], branch: str = MAIN) -> str:
        """Add or replace many files in one new commit, which is returned."""
        parent = self._branches[branch]
        new = {path: Blob.of(content) for path, content in contents.items()}
        return self._add(branch, parent, {**self._commits[parent], **new})

    def remove(self, path: str, branch: str = MAIN) -> str:
        """Take one file out in a new commit, which is returned."""
        parent = self._branches[branch]
        kept = {name: blob for name, blob in self._commits[parent].items() if name != path}
        return self._add(branch, parent, kept)

    def branch(self, name: str) -> None:
        """Start a branch where `main` is; a name such as refs/convert/parquet will do."""
        self._branches[name] = self.commit

    def tag(self, name: str) -> None:
        """Name what `main` is now."""
        self._tags[name] = self.commit

    def resolve(self, revision: str) -> str | None:
        """The commit that a branch, a tag or a full commit means; None if there is no such."""
        known = {**self._tags, **self._branches}
        return known.get(revision, revision if revision in self._commits else None)

    def files(self, commit: str) -> Files:
        """The files of a commit that `resolve` gave."""
        return self._commits[commit]

    def _add(self, branch: str, parent: str, files: Files) -> str:
        lines = [f"{path}\0{blob.oid}" for path, blob in sorted(files.items())]
        text = "\n".join([self.id, parent, *lines])
        commit = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()
        self._commits[commit] = files
        self._branches[branch] = commit
        return commit
