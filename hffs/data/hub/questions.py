"""What the Hub is asked of a repository of any kind: what a revision means, and what files it has.

Owns the questions. Must not know what the files are for. What goes wrong is an error of the
libraries': `hffs.data.hub.failures.ask` waits and asks again, `hub_errors` puts it into words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from hffs.data.hub.cached import is_commit
from hffs.data.hub.failures import ask, no_hub
from hffs.data.hub.resolution import HubFile, Request
from hffs.data.hub.token import Token

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile


def open_api(request: Request) -> HfApi:
    """What asks, with the token of a request."""
    from huggingface_hub import HfApi

    return HfApi(token=Token(request).read() or False, library_name="hffs")


def ask_commit(request: Request) -> str:
    """The commit that the revision means now."""
    from huggingface_hub import constants

    api = open_api(request)
    find_info: Callable[[], Any] = partial(
        api.dataset_info if request.kind == "dataset" else api.model_info,
        request.name,
        revision=request.revision,
        expand=["sha"],
        timeout=constants.HF_HUB_ETAG_TIMEOUT,
    )
    commit = ask(find_info, request).sha
    if not isinstance(commit, str) or not is_commit(commit):
        raise no_hub(request)
    return commit


def list_files(request: Request, commit: str) -> Iterator[HubFile]:
    """Every file at a commit, as the Hub lists them, a page at a time: there may be a million."""
    from huggingface_hub.hf_api import RepoFile

    tree = open_api(request).list_repo_tree(
        request.name, recursive=True, revision=commit, repo_type=request.kind
    )
    for entry in tree:
        if isinstance(entry, RepoFile):
            yield as_hub_file(entry)


def as_hub_file(entry: RepoFile) -> HubFile:
    """A file as the Hub lists it; its etag is that of large files, or of git."""
    etag = entry.lfs.sha256 if entry.lfs else entry.blob_id
    return HubFile(entry.path, int(entry.size), str(etag))
