"""Everything that the Hub, the network or a data set may answer instead of rows: one line each."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.data.hub.conftest import Asker, parquet
from tests.hub import Fail, HubServer

SECRET = "hf_NeverToBeShown123"  # noqa: S105 - a token of a Hub for tests


class _Page(SimpleHTTPRequestHandler):
    """Answers everything with one page."""

    def do_GET(self) -> None:
        """Answer."""
        self.path = "/index.html"
        super().do_GET()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def _refused(
    asker: Asker, name: str, *words: str, kind: str = "SourceError", **given: object
) -> str:
    got, line = asker.refusal("resolve", name, **given)
    assert (got, [word for word in words if word not in line]) == (kind, []), line
    return line


@pytest.mark.parametrize("verb", ["resolve", "read_commit"])
def test_what_is_not_there_or_not_open(site: HubServer, asker: Asker, verb: str) -> None:
    repo = site.add(f"closed/{verb}")
    repo.write("train.parquet", parquet())
    repo.private, repo.token = True, SECRET
    for name in (f"closed/{verb}", "closed/none"):
        kind, line = asker.refusal(verb, name)
        assert kind == "SourceError"
        for word in (name, "private", "HF_TOKEN", "hf auth login", "--token-file", site.endpoint):
            assert word in line
    for name in ("three/part/name", "a b/c", "a--b/c"):
        kind, line = asker.refusal(verb, name)
        assert kind == "SourceError"
        assert "owner/name" in line
    kind, line = asker.refusal(verb, f"closed/{verb}", token_file="/none/token")  # noqa: S106
    assert (kind, "no such file" in line) == ("SourceError", True)


def test_regression_a_token_that_is_refused_is_told_as_that(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("hf_of_nobody")
    for name, is_private in (("token/open", False), ("token/closed", True)):
        repo = site.add(name)
        repo.write("train.parquet", parquet())
        repo.private, repo.token = is_private, "hf_other"
    kind, line = asker.refusal("read_commit", "token/closed", token_file=str(token))
    assert (kind, "not open to this token" in line) == ("SourceError", True)
    site.known_tokens = {"hf_other"}
    kind, line = asker.refusal("read_commit", "token/open", token_file=str(token))
    site.known_tokens = None
    assert (kind, "the token is not accepted" in line) == ("AccessError", True)
    assert "nobody" not in line


def test_gated_names_the_page_to_visit(site: HubServer, asker: Asker, tmp_path: Path) -> None:
    repo = site.add("me/gated")
    repo.write_all({"train.parquet": parquet(), "README.md": b"# none\n"})
    repo.gated = "manual"
    page = f"{site.endpoint}/datasets/me/gated"
    _refused(asker, "me/gated", page, "no valid token", "hf auth login", kind="AccessError")
    token = tmp_path / "token"
    token.write_text(SECRET)
    given = {"token_file": str(token), "kind": "AccessError"}
    line = _refused(asker, "me/gated", page, "has not been let in", **given)
    assert SECRET not in line


def test_revision_split_config_and_files_that_are_not_there(site: HubServer, asker: Asker) -> None:
    card = b"---\nconfigs:\n- {config_name: x, data_files: x.csv}\n"
    card += b"- {config_name: y, data_files: y.csv}\n---\n"
    site.add("me/two").write_all({"README.md": card, "x.csv": b"a\n1\n", "y.csv": b"a\n2\n"})
    _refused(asker, "me/two", "x, y", "config_name")
    _refused(asker, "me/two", "z of me/two", "x, y", config="z")
    _refused(asker, "me/two", "v9 of me/two", "a tag", revision="v9")
    _refused(asker, "me/two", "val of me/two", "train", config="x", splits=["val"])
    _refused(asker, "me/two", "z.csv", "data_files", data_files=["z.csv"])
    for path in ("../x.csv", "/etc/passwd", "https://example.org/x.csv", "zip://x::y.zip"):
        _refused(asker, "me/two", "data_files", "inside", data_files=[path])


def test_formats_that_cannot_be_read(site: HubServer, asker: Asker) -> None:
    for name, file, word in [
        ("empty", ".gitattributes", "no files"),
        ("pickle", "train.pkl", "no files"),
        ("audio", "train.mp3", "it holds sounds, no images"),
        ("video", "train.mp4", "it holds videos, no images"),
        ("hdf5", "train.h5", "hdf5"),
        ("lance", "train.lance", "lance"),
    ]:
        site.add(f"formats/{name}").write(file, b"x")
        _refused(asker, f"formats/{name}", f"formats/{name}", word, kind="DataError")


def test_a_script_is_refused_and_never_run(site: HubServer, asker: Asker, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')\n".encode()
    site.add("me/script").write_all({"script.py": code, "train.csv": b"a\n1\n"})
    _refused(asker, "me/script", "never runs", "refs/convert/parquet", kind="DataError")
    assert not ran.exists()


@pytest.mark.parametrize(
    ("data_files", "shown"),
    [
        ("/etc/passwd", "/etc/passwd"),
        ("../../../etc/*", "../"),
        ("https://example.org/x.csv", "example.org"),
        ("file:/etc/passwd", "/etc/passwd"),
        ("local:../x.csv", "../"),
        ("hf://datasets/other/set/x.csv", "other/set"),
        ("zip://*.csv::https://example.org/x.zip", "example.org"),
    ],
)
def test_a_card_that_reaches_out_is_refused_before_it_is_followed(
    site: HubServer, asker: Asker, data_files: str, shown: str
) -> None:
    name = f"hostile/{abs(hash(data_files))}"
    card = f"---\nconfigs:\n- config_name: default\n  data_files: '{data_files}'\n---\n"
    site.add(name).write_all({"README.md": card.encode(), "x.csv": b"a\n1\n"})
    _refused(asker, name, "outside of it", shown, kind="DataError")
    assert not [each for each in site.requests if "/tree/" in each.path]


def test_regression_a_card_is_read_as_datasets_reads_it(site: HubServer, asker: Asker) -> None:
    # A bare \r is a line break to YAML, and to Python's text files, but ends no block of YAML.
    card = b"---\n#\n---\rconfigs: [{config_name: default, data_files: /etc/passwd}]\n---\n"
    site.add("hostile/breaks").write_all({"README.md": card, "x.csv": b"a\n1\n"})
    _refused(asker, "hostile/breaks", "outside of it", "/etc/passwd", kind="DataError")


def test_regression_a_dtype_that_names_a_function_is_refused_and_never_called(
    site: HubServer, asker: Asker
) -> None:
    # This one would print: what the process answers with would be no JSON.
    card = b"---\ndataset_info: {features: [{name: a, dtype: show_info}]}\n---\n"
    site.add("hostile/dtype").write_all({"README.md": card, "x.csv": b"a\n1\n"})
    _refused(asker, "hostile/dtype", "'ShowInfo' not found", kind="DataError")


def test_cards_that_cannot_be_read_are_named(site: HubServer, asker: Asker) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
    )
    for name, text in {
        "laughs": f"{laughs}configs: *a11",
        "itself": "a: &a [*a]\nconfigs: *a",
        "deep": "[" * 100_000,
        "digits": "x: 1" + ":59" * 100_000,
        "broken": "configs: [",
        "list": "configs: {a: 1}",
        "nameless": "configs: [{data_files: x.csv}]",
        "type": "configs: [{config_name: d, data_files: 7}]",
        "twice": "configs: [{config_name: d, data_files: [{split: a, path: x.csv}, {split: a, "
        "path: x.csv}]}]",
        "features": "configs: [{config_name: d, data_files: x.csv, features: [{dtype: z}]}]",
        "number": "configs: 7",
        "memory": "dataset_info: {features: [{name: a, dtype: {class_label: {names: "
        f"{{'0': a, '{10**17}': b}}}}}}}}]}}",
    }.items():
        site.add(f"cards/{name}").write_all(
            {"README.md": f"---\n{text}\n---\n".encode(), "x.csv": b"a\n1\n"}
        )
        _refused(asker, f"cards/{name}", f"cards/{name}", kind="DataError")


def test_statuses_of_the_hub(site: HubServer, asker: Asker) -> None:
    site.add("me/status").write("train.parquet", parquet())
    site.faults = [Fail("", 429, headers={"Retry-After": "9999"})]
    _refused(asker, "me/status", "too many requests", "429", "--offline")
    site.faults = [Fail("", 403)]
    _refused(asker, "me/status", "403", kind="AccessError")
    site.faults = [Fail("", 401)]
    _refused(asker, "me/status", "401", "HF_TOKEN", kind="AccessError")
    site.faults = [Fail("", 501)]
    _refused(asker, "me/status", "501", "try again later")
    site.faults = [Fail("", 503, 1), Fail("", 429, 1, {"Retry-After": "0"})]
    assert asker("resolve", "me/status")["format"] == "parquet"
    assert not site.faults


@pytest.mark.parametrize("stage", ["/tree/", "/paths-info/"])
def test_regression_a_page_in_the_place_of_a_listing_is_no_data_set(
    site: HubServer, asker: Asker, stage: str
) -> None:
    repo = site.add(f"me/portal{len(stage)}")
    repo.write("train.csv", b"a\n1\n")
    site.faults = [Fail(stage, 200, None)]
    verb = "resolve_plain" if stage == "/tree/" else "resolve"
    kind, line = asker.refusal(verb, repo.id, commit=repo.commit)
    site.faults = []
    assert (kind, "does not answer as a Hub" in line) == ("SourceError", True)


def test_regression_a_commit_that_goes_while_it_is_asked_for_is_not_the_branch(
    site: HubServer, asker: Asker
) -> None:
    repo = site.add("me/rewritten")
    repo.write("train.csv", b"a\n1\n")
    gone = "9" * 40
    _, line = asker.refusal("resolve", "me/rewritten", commit=gone)
    assert f"me/rewritten@{gone[:12]}: the Hub has it no longer" in line
    _, line = asker.refusal("resolve", "me/rewritten", commit=gone, revision=gone)
    assert f"cannot find revision {gone}" in line


def test_a_cached_copy_is_told_with_its_commit(site: HubServer, asker: Asker) -> None:
    repo = site.add("me/kept")
    repo.write("train.parquet", parquet())
    found = asker("resolve", "me/kept")
    asker("fetch", "me/kept", commit=found["commit"], files=found["files"]["train"])
    site.faults = [Fail("", 501)]
    _refused(asker, "me/kept", f"commit {repo.commit[:12]}, with --offline")


def test_no_network_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    unused = HubServer()  # never entered: its port is free once it is closed
    port = unused.endpoint.rsplit(":", 1)[1]
    for listener in unused._listeners:
        listener.server_close()
    for number, (endpoint, word) in enumerate(
        [
            (f"http://me:{SECRET}@127.0.0.1:{port}", "refused"),
            ("http://nowhere.invalid", "its name is not known"),
            ("nonsense://x", "no address"),
        ]
    ):
        folder = tmp_path / str(number)
        with Asker.start(folder, {"HF_ENDPOINT": endpoint, "NO_PROXY": "*"}) as own:
            line = _refused(own, "me/set", word, "HF_ENDPOINT", "--offline")
        assert SECRET not in line
        assert own.stderr.read_text() == ""


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (
            {"HTTP_PROXY": "http://me:secret@127.0.0.1:9"},
            ("through the proxy http://***@127.0.0.1:9: the connection is refused", "HTTP_PROXY"),
        ),
        (
            {"ALL_PROXY": "me:secret@nowhere.invalid:3128"},
            ("proxy http://***@nowhere.invalid:3128: its name is not known", "ALL_PROXY"),
        ),
        ({"ALL_PROXY": "socks5://me:secret@127.0.0.1:9"}, ("SOCKS", "pip install socksio")),
        ({"HTTP_PROXY": "gopher://me:secret@127.0.0.1:9"}, ("is no address", "http://host:port")),
        ({"SSL_CERT_FILE": "/none.pem"}, ("SSL_CERT_FILE", "no such file")),
        ({"SSL_CERT_FILE": "/etc/passwd"}, ("SSL_CERT_FILE", "no certificate")),
    ],
)
def test_regression_what_the_environment_puts_in_the_way_is_named(
    variables: dict[str, str], words: tuple[str, ...], tmp_path: Path
) -> None:
    environ = {"HF_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "", "no_proxy": ""}
    with Asker.start(tmp_path, environ | variables) as own:
        kind, line = own.refusal("read_commit", "me/set")
    assert (kind, [word for word in words if word not in line]) == ("SourceError", []), line
    assert "secret" not in line
    assert "check HF_ENDPOINT" not in line


def test_a_certificate_that_is_not_accepted(tmp_path: Path) -> None:
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with HubServer(tls=context) as secure, Asker.start(tmp_path, secure.env(tmp_path)) as own:
        _refused(own, "me/set", "certificate is not accepted", "SSL_CERT_FILE")


def test_what_is_no_hub_is_told_so(tmp_path: Path) -> None:
    """As where a network wants a login first: each page is answered with another one."""
    (tmp_path / "index.html").write_text("<html>log in</html>")
    page = partial(_Page, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), page) as portal:
        threading.Thread(target=portal.serve_forever, args=(0.02,)).start()
        endpoint = f"http://127.0.0.1:{portal.server_port}"
        try:
            with Asker.start(tmp_path / "home", {"HF_ENDPOINT": endpoint}) as own:
                _refused(own, "me/set", endpoint, "does not answer as a Hub", "a login")
        finally:
            portal.shutdown()


def test_a_dead_host_is_given_up(tmp_path: Path) -> None:
    """It accepts a connection, and never says a word; nobody waits for the libraries' retries."""
    with socket.create_server(("127.0.0.1", 0)) as mute:
        port = mute.getsockname()[1]
        environ = {"HF_ENDPOINT": f"http://127.0.0.1:{port}", "HF_HUB_ETAG_TIMEOUT": "1"}
        with Asker.start(tmp_path, environ) as own:
            begun_s = time.monotonic()
            _refused(own, "me/set", "does not answer in time", "--offline")
            assert time.monotonic() - begun_s < 10  # one try of a second, not 20 of 5


@pytest.mark.parametrize("verb", ["find_files", "fetch"])
def test_a_host_that_falls_silent_is_given_up(tmp_path: Path, verb: str) -> None:
    """By themselves the libraries wait for ever where they give no time."""
    with HubServer() as silent:
        silent.add("me/set")
        silent.latency_s = 60
        environ = silent.env(tmp_path / "hf") | {"HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        files = [{"name": "x.csv", "size_bytes": 1, "etag": "0" * 40}]
        given = {"files": files, "names": ["x.csv"], "commit": "0" * 40}
        patience = {"stalled_s": 0}
        with Asker.start(tmp_path, environ) as own:
            kind, line = own.refusal(verb, "me/set", patience=patience, **given)
            assert (kind, "does not answer in time" in line) == ("SourceError", True), line


def test_regression_a_host_that_falls_silent_while_it_lists_is_asked_again(tmp_path: Path) -> None:
    with HubServer() as silent:
        repo = silent.add("me/set")
        repo.write("train.parquet", parquet())
        silent.latency_s = 60
        environ = silent.env(tmp_path / "hf") | {"HF_HUB_DOWNLOAD_TIMEOUT": "1"}
        with Asker.start(tmp_path, environ) as own:
            own.begin("resolve_plain", "me/set", commit=repo.commit)
            silent.wait_until_asked(1)
            silent.latency_s = 0
            assert own.end()["commit"] == repo.commit
    assert len(silent.requests) == 2


def test_no_token_is_ever_kept_or_said(site: HubServer, tmp_path: Path) -> None:
    repo = site.add("me/secret")
    repo.write_all({"train.parquet": parquet(), "README.md": b"# none\n"})
    repo.private, repo.token = True, SECRET
    token = tmp_path / "given"
    token.write_text(f"{SECRET}\n")
    kept = tmp_path / "kept"
    own = Asker.start(kept, site.env(kept / "hf") | {"HF_DEBUG": "0"})
    given = {"token_file": str(token)}
    found = own("resolve", "me/secret", **given)
    own("fetch", "me/secret", commit=found["commit"], files=found["files"]["train"], **given)
    for fault in (Fail("", 401), Fail("", 403), Fail("", 500, None)):
        site.faults = [fault]
        patience = {"stalled_s": 0}
        files = [{"name": "x.csv", "size_bytes": 1, "etag": "0" * 40}]
        got = own.refusal(
            "fetch", "me/secret", commit=repo.commit, files=files, patience=patience, **given
        )
        assert SECRET not in str(got)
    site.faults = []
    own.close()
    texts = [path.read_bytes() for path in kept.rglob("*") if path.is_file()]
    assert texts
    assert not [text for text in texts if SECRET.encode() in text]
