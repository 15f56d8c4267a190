"""The Hub for tests, seen by the real huggingface_hub and datasets.

Both read HF_ENDPOINT when they are imported, so they run in a process of their own.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import signal
import ssl
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme

from tests.hub import Cut, Fail, HubServer, Truncate, fetch

Ask = Callable[..., Any]
"""Run some Python as a user of the Hub; what it calls `tell` with."""

LARGE = bytes(range(256)) * 4096
OWN = "hf_own"
FILE = "/datasets/ann/set/resolve/main/x.bin"


@pytest.fixture
def ask(hub: HubServer, tmp_path: Path) -> Ask:
    def run(code: str, **env: str) -> Any:
        done = _start(hub, tmp_path, code, **env)
        said, complaint = done.communicate(timeout=100)
        assert done.returncode == 0, complaint
        return json.loads(said)

    return run


def _start(hub: HubServer, home: Path, code: str, **env: str) -> subprocess.Popen[str]:
    lead = "import json\nfrom huggingface_hub import HfApi, hf_hub_download\n"
    tell = "def tell(value):\n    print(json.dumps(value))\n"
    return subprocess.Popen(
        [sys.executable, "-c", lead + tell + textwrap.dedent(code)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | hub.env(home / "hf-home") | env,
    )


def _parquet(rows: int) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"number": range(rows)}), file)
    return file.getvalue()


def test_the_api_tells_of_files_branches_and_tags(hub: HubServer, ask: Ask) -> None:
    repo = hub.add("ann/set")
    first = repo.write_all({"a/b/deep.bin": LARGE, "a/one.txt": b"1", "README.md": b"# Set\n"})
    repo.tag("v1")
    repo.branch("dev")
    second = repo.write("two.txt", b"22")

    told = ask("""
        api, repo = HfApi(), {"repo_id": "ann/set", "repo_type": "dataset"}
        info = api.dataset_info("ann/set", files_metadata=True)
        tree = list(api.list_repo_tree(**repo, recursive=True, revision="v1"))
        found = api.get_paths_info(**repo, paths=["a", "two.txt", "none"], expand=True)
        refs = api.list_repo_refs(**repo)
        tell({
            "main": info.sha,
            "dev": api.dataset_info("ann/set", revision="dev").sha,
            "sizes": {file.rfilename: file.size for file in info.siblings},
            "tree": [entry.path for entry in tree],
            "flat": [entry.path for entry in api.list_repo_tree(**repo)],
            "in a": [entry.path for entry in api.list_repo_tree(**repo, path_in_repo="a")],
            "lfs": [entry.path for entry in tree if getattr(entry, "lfs", None)],
            "found": {entry.path: entry.last_commit.oid for entry in found},
            "branches": {ref.name: ref.target_commit for ref in refs.branches},
            "tags": {ref.name: ref.target_commit for ref in refs.tags},
        })
    """)
    assert told == {
        "main": second,
        "dev": first,
        "sizes": {"README.md": 6, "a/b/deep.bin": len(LARGE), "a/one.txt": 1, "two.txt": 2},
        "tree": ["README.md", "a", "a/b", "a/b/deep.bin", "a/one.txt"],
        "flat": ["README.md", "a", "two.txt"],
        "in a": ["a/b", "a/one.txt"],
        "lfs": ["a/b/deep.bin"],
        "found": {"a": second, "two.txt": second},
        "branches": {"main": second, "dev": first},
        "tags": {"v1": first},
    }


def test_a_long_tree_comes_in_pages(hub: HubServer, ask: Ask) -> None:
    names = [f"{number:03}.txt" for number in range(25)]
    hub.add("ann/set").write_all({name: b"x" for name in names})
    hub.page_size = 10
    told = ask("""
        tree = HfApi().list_repo_tree("ann/set", repo_type="dataset", recursive=True)
        tell([entry.path for entry in tree])
    """)
    assert told == names
    assert [each.status for each in hub.requests] == [200, 200, 200]


def test_every_commit_keeps_its_content(hub: HubServer, ask: Ask) -> None:
    repo = hub.add("ann/set")
    old, new = repo.write("x.bin", b"old"), repo.write("x.bin", b"new")
    gone = repo.remove("x.bin")
    told = ask(f"""
        from huggingface_hub.errors import EntryNotFoundError
        def read(revision):
            at = hf_hub_download("ann/set", "x.bin", repo_type="dataset", revision=revision)
            return open(at).read()
        tell([read("{old}"), read("{new}")])
        try:
            read("main")
        except EntryNotFoundError as error:
            assert "{gone}" in error.response.headers["X-Repo-Commit"]
        else:
            raise AssertionError
    """)
    assert told == ["old", "new"]


def test_a_cut_download_goes_on_where_it_was(hub: HubServer, ask: Ask) -> None:
    hub.add("ann/set").write("x.bin", LARGE)
    hub.redirect = True
    hub.faults.append(Cut("GET /cdn/", after_bytes=300_000))
    # The client writes whole chunks of 10 MiB and forgets what it has of one when it is cut.
    told = ask("""
        from huggingface_hub import constants
        constants.DOWNLOAD_CHUNK_SIZE = 100_000
        at = hf_hub_download("ann/set", "x.bin", repo_type="dataset", token="hf_secret")
        tell(open(at, "rb").read().hex())
    """)
    assert bytes.fromhex(told) == LARGE
    assert hub.faults == []
    head, cut, rest = hub.requests
    assert (head.method, head.status, head.token) == ("HEAD", 302, "hf_secret")
    assert (cut.status, cut.sent_bytes, cut.range, cut.token) == (200, 300_000, None, None)
    assert (rest.status, rest.range, rest.token) == (206, "bytes=300000-", None)
    assert hub.sent_bytes("x.bin") == len(LARGE)


def test_a_killed_download_is_seen_in_the_middle(hub: HubServer, tmp_path: Path) -> None:
    hub.add("ann/set").write("x.bin", LARGE)
    hub.bytes_per_s = len(LARGE) / 10
    loading = _start(hub, tmp_path, "hf_hub_download('ann/set', 'x.bin', repo_type='dataset')")
    hub.wait_until_sent(100_000, "GET .*x.bin")
    loading.send_signal(signal.SIGKILL)
    loading.communicate(timeout=60)
    assert 100_000 <= hub.sent_bytes("GET .*x.bin") < len(LARGE)


def test_datasets_loads_what_the_hub_has(
    hub: HubServer, ask: Ask, photos: list[tuple[str, bytes]]
) -> None:
    shots = [(name, data) for name, data in photos if name.endswith(".png")][:3]
    parts = {"data/train-00.parquet": _parquet(7), "data/test-00.parquet": _parquet(2)}
    hub.add("ann/parquet").write_all(parts)
    hub.add("ann/folder").write_all({f"train/{name}": data for name, data in shots})
    hub.add("ann/tar").write("train-000.tar", _tar(shots))
    told = ask("""
        from datasets import load_dataset
        image = lambda id, column: load_dataset(id, split="train")[0][column].size
        tell({
            "parquet": {name: part.num_rows for name, part in load_dataset("ann/parquet").items()},
            "folder": load_dataset("ann/folder", split="train").num_rows,
            "tar": load_dataset("ann/tar", split="train").column_names,
            "same": image("ann/folder", "image") == image("ann/tar", "png"),
        })
    """)
    assert told == {
        "parquet": {"train": 7, "test": 2},
        "folder": 3,
        "tar": ["png", "txt", "__key__", "__url__"],
        "same": True,
    }
    sent = hub.sent_bytes("GET /datasets/ann/folder/resolve/.*png")
    assert sent == sum(len(data) for _, data in shots)


def _tar(shots: list[tuple[str, bytes]]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for number, (name, data) in enumerate(shots):
            for suffix, content in (("png", data), ("txt", name.encode())):
                member = tarfile.TarInfo(f"{number}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return file.getvalue()


def test_every_refusal_has_the_class_that_the_hub_gives_it(hub: HubServer, ask: Ask) -> None:
    for name in ("open", "private", "auto", "manual", "disabled"):
        hub.add(f"ann/{name}").write("train.parquet", _parquet(3))
    hub.repos["ann/private"].private = hub.repos["ann/disabled"].disabled = True
    hub.repos["ann/auto"].gated, hub.repos["ann/manual"].gated = "auto", "manual"
    hub.repos["ann/private"].token = hub.repos["ann/auto"].token = OWN
    hub.add("ann/empty")
    told = ask("""
        import datasets
        def why(call, *arguments, **keys):
            try:
                call(*arguments, **keys)
            except Exception as error:
                return [type(error).__name__, str(getattr(error, "response", error))]
            return ["ok", ""]
        def load(id, **keys):
            return why(datasets.load_dataset_builder, f"ann/{id}", **keys)
        def download(id, **keys):
            name = "train.parquet"
            return why(hf_hub_download, f"ann/{id}", name, repo_type="dataset", **keys)
        def info(id, **keys):
            return why(HfApi().dataset_info, f"ann/{id}", **keys)
        some, own = {"token": "hf_some"}, {"token": "hf_own"}
        tell({
            "missing": [load("none"), info("none"), info("none", **some)],
            "private": [load("private"), info("private"), info("private", **some)],
            "gated": [download("auto"), download("manual", **some), info("auto")],
            "gated load": [load("auto"), load("auto", **some)],
            # Last of these: what was downloaded once is given to whoever asks afterwards.
            "own": [load("private", **own), download("private", **own), download("auto", **own)],
            "disabled": [info("disabled")],
            "revision": [load("open", revision="no"), info("open", revision="no")],
            "empty": [load("empty")],
        })
    """)
    assert {case: [name for name, _ in answers] for case, answers in told.items()} == {
        "missing": ["DatasetNotFoundError"] + ["RepositoryNotFoundError"] * 2,
        "private": ["DatasetNotFoundError"] + ["RepositoryNotFoundError"] * 2,
        "own": ["ok"] * 3,
        "gated": ["GatedRepoError"] * 2 + ["ok"],
        "gated load": ["DatasetNotFoundError"] * 2,
        "disabled": ["DisabledRepoError"],
        "revision": ["DatasetNotFoundError", "RevisionNotFoundError"],
        "empty": ["EmptyDatasetError"],
    }
    statuses = [text for _, text in told["private"][1:] + told["gated"][:2]]
    assert [text.split()[1][1:] for text in statuses] == ["401", "404", "401", "403"]
    assert "must be authenticated" in told["gated load"][0][1]
    assert "Visit the dataset page" in told["gated load"][1][1]
    assert "Revision 'no' doesn't exist" in told["revision"][0][1]


def test_a_token_that_names_no_one_is_refused(hub: HubServer, ask: Ask) -> None:
    hub.add("ann/set").token = OWN
    hub.known_tokens = {"hf_some"}
    told = ask("""
        from huggingface_hub.errors import HfHubHTTPError
        def status(token):
            try:
                HfApi().dataset_info("ann/set", token=token)
            except HfHubHTTPError as error:
                return [error.response.status_code, error.server_message]
            return 200
        tell([status("hf_none"), status("hf_some"), status("hf_own"), status(False)])
    """)
    assert told == [[401, "Invalid credentials in Authorization header"], 200, 200, 200]


def test_the_client_tries_again_after_passing_failures(hub: HubServer, ask: Ask) -> None:
    hub.add("ann/set").write("x.bin", b"content")
    hub.faults = [
        Fail("GET .*resolve", 429, headers={"Retry-After": "0"}),
        Fail("GET .*/tree/", 503),
    ]
    told = ask("""
        repo = {"repo_id": "ann/set", "repo_type": "dataset"}
        tree = list(HfApi().list_repo_tree(**repo))
        tell([len(tree), open(hf_hub_download(**repo, filename="x.bin")).read()])
    """)
    assert told == [1, "content"]
    assert hub.faults == []
    assert [each.status for each in hub.requests] == [503, 200, 200, 429, 200]


def test_every_answer_can_be_late(hub: HubServer) -> None:
    hub.latency_s = 0.2
    began = time.monotonic()
    fetch(hub.endpoint, "/")
    assert time.monotonic() - began >= hub.latency_s


def test_the_branch_of_converted_files_is_a_reference_apart(hub: HubServer, ask: Ask) -> None:
    repo = hub.add("ann/set")
    repo.branch("refs/convert/parquet")
    repo.write("default/x.bin", b"converted", branch="refs/convert/parquet")
    told = ask("""
        keys = {"repo_type": "dataset", "revision": "refs/convert/parquet"}
        refs = HfApi().list_repo_refs("ann/set", repo_type="dataset")
        at = hf_hub_download("ann/set", "default/x.bin", **keys)
        tell([open(at).read(), [ref.name for ref in refs.branches], refs.converts[0].ref])
    """)
    assert told == ["converted", ["main"], "refs/convert/parquet"]


def test_faults_come_as_often_as_asked(hub: HubServer) -> None:
    hub.add("ann/set").write("x.bin", b"0123456789")
    later = Fail("nowhere", 500)
    hub.faults = [later, Fail("^GET .*x.bin", 503, times=2, headers={"Retry-After": "7"})]
    refused = [fetch(hub.endpoint, FILE)[0] for _ in range(2)]
    assert [(each.status, each.headers["Retry-After"]) for each in refused] == [(503, "7")] * 2
    hub.faults.append(Cut("x.bin", 4))
    with pytest.raises(http.client.IncompleteRead) as cut:
        fetch(hub.endpoint, FILE)
    assert cut.value.partial == b"0123"
    hub.faults.append(Truncate("x.bin", 3))
    assert [fetch(hub.endpoint, FILE)[1] for _ in range(3)] == [b"012"] * 3
    hub.faults = [later]
    assert fetch(hub.endpoint, FILE)[1] == b"0123456789"
    assert hub.faults == [later]
    assert [each.sent_bytes for each in hub.requests][2:] == [4, 3, 3, 3, 10]


def test_the_log_counts_bytes_until_it_is_cleared(hub: HubServer) -> None:
    hub.add("ann/set").write("x y.bin", b"0123456789")
    fetch(
        hub.endpoint,
        "/datasets/ann/set/resolve/main/x%20y.bin?download=true",
        {"Range": "bytes=2-3"},
    )
    (one,) = hub.requests
    assert (one.path, one.query) == ("/datasets/ann/set/resolve/main/x y.bin", "download=true")
    assert (one.range, one.status, one.sent_bytes) == ("bytes=2-3", 206, 2)
    assert (hub.sent_bytes("x y"), hub.sent_bytes("HEAD")) == (2, 0)
    hub.clear()
    assert hub.requests == []


def test_leaving_ends_answers_connections_and_threads() -> None:
    before = set(threading.enumerate())
    with HubServer() as hub:
        hub.add("ann/set").write("x.bin", LARGE)
        hub.bytes_per_s = 1000.0
        link = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=20)
        link.request("GET", FILE)
        hub.wait_until_sent(1)
    with pytest.raises((http.client.HTTPException, OSError)), link.getresponse() as response:
        response.read()
    link.close()
    assert set(threading.enumerate()) <= before


def test_a_fault_of_the_server_fails_the_test() -> None:
    with pytest.raises(ValueError, match="invalid literal"), HubServer() as hub:  # noqa: PT012
        hub.add("ann/set")
        with pytest.raises((http.client.HTTPException, OSError)):
            fetch(hub.endpoint, "/api/datasets/ann/set/tree/main?cursor=x")


def test_a_certificate_of_its_own_is_not_trusted_but_where_it_is_named(tmp_path: Path) -> None:
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    code = "print(HfApi().dataset_info('ann/set').sha)"
    with HubServer(tls=context) as hub:
        commit = hub.add("ann/set").commit
        _, complaint = _start(hub, tmp_path, code).communicate(timeout=100)
        assert "CERTIFICATE_VERIFY_FAILED" in complaint
        trusted = _start(hub, tmp_path, code, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
        assert trusted.communicate(timeout=100)[0].strip() == commit


def test_it_runs_by_hand(tmp_path: Path) -> None:
    (tmp_path / "ann/set/data").mkdir(parents=True)
    (tmp_path / "ann/set/data/x.bin").write_bytes(LARGE)
    (tmp_path / "ann/set/empty.txt").touch()
    command = [sys.executable, "-m", "tests.hub", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        out = serving.stdout
        assert out is not None
        assert out.readline().split()[0::2] == ["ann/set", "2"]
        url = urlsplit(out.readline().strip().removeprefix("HF_ENDPOINT="))
        link = http.client.HTTPConnection(url.netloc, timeout=20)
        link.request("GET", "/datasets/ann/set/resolve/main/data/x.bin")
        assert link.getresponse().read() == LARGE
        link.close()
        assert f"sent_bytes={len(LARGE)}" in out.readline()
        serving.send_signal(signal.SIGINT)
    assert serving.returncode == 0
