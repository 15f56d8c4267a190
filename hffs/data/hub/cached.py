"""What of a data set lies in the shared Hugging Face cache, told without asking anybody.

Owns where huggingface_hub keeps a repository (`datasets--OWNER--NAME/{refs,blobs,snapshots}`, and
`models--...`), so that what hffs downloads is found by other programs, and the other way round.
Asks the disk only.
"""

from __future__ import annotations

import re
from pathlib import Path

from hffs.data.hub.resolution import HubFile, Kind, Request
from hffs.errors import DataError, SourceError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_REPOSITORY = re.compile(r"\w[\w.-]*(?:/\w[\w.-]*)?", re.ASCII)


def cached_commit(request: Request) -> str | None:
    """Return the commit that a revision meant when it was last downloaded, if it has a snapshot."""
    revision, root = request.revision, repository_folder(request.name, request.kind)
    if not is_commit(revision):
        if not is_plain(revision):
            return None
        try:
            revision = (root / "refs" / revision).read_text("ascii")
        except (OSError, ValueError):
            return None
    if not is_commit(revision):
        return None
    return revision if (root / "snapshots" / revision).is_dir() else None


def repository_folder(name: str, kind: Kind = "dataset") -> Path:
    """Where the shared cache keeps a repository. Raises SourceError for a name that is none."""
    from huggingface_hub import constants

    if not _REPOSITORY.fullmatch(name) or ".." in name:
        what = "data set" if kind == "dataset" else kind
        why = f"a {what} on the Hub is named owner/name"
        raise SourceError(f"cannot find {what}", repr(name), why=why, fix="check the name")
    parts = [f"{kind}s", *name.split("/")]
    return Path(constants.HF_HUB_CACHE).absolute() / "--".join(parts)


def snapshot_folder(name: str, commit: str, kind: Kind = "dataset") -> Path:
    """Where the shared cache keeps the files of a commit."""
    if not is_commit(commit):
        raise DataError("cannot use", name, why=f"{commit[:80]!r} is no commit")
    return repository_folder(name, kind) / "snapshots" / commit


def is_whole(folder: Path, file: HubFile) -> bool:
    """Whether a file lies in a snapshot with the size that it has on the Hub."""
    try:
        return (folder / file.name).stat().st_size == file.size_bytes
    except OSError:
        return False


def has_every_file(name: str, commit: str) -> bool:
    """Whether a snapshot is known to be whole, from the listing that `snapshot_download` leaves."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        listed = get_cached_repo_tree(name, repo_type="dataset", revision=commit)
    except CachedRepoTreeNotFoundError:
        return False
    folder = snapshot_folder(name, commit)
    return all(is_whole(folder, HubFile(file.path, int(file.size), "")) for file in listed)


def is_commit(revision: str) -> bool:
    """Whether a revision is a full commit, which never means anything else."""
    return bool(_COMMIT.fullmatch(revision))


def is_plain(name: str) -> bool:
    """Whether a path that came from elsewhere stays below the folder it is put into.

    >>> is_plain("data/0.parquet"), is_plain("../0.parquet"), is_plain("/etc/passwd")
    (True, False, False)
    """
    control = any(character < " " or character == "\x7f" for character in name)
    return not control and "\\" not in name and not {"", ".", ".."} & set(name.split("/"))
