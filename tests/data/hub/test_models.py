"""Models on the Hub: pinned, only what is needed is sent, and found again offline."""

from __future__ import annotations

from pathlib import Path

import pytest

from hffs.data.hub.models import HubModel, parse_model
from hffs.errors import UsageError
from tests.data.hub.conftest import Asker
from tests.hub import Fail, HubServer
from tests.hub_store import Repo

WEIGHTS = "vae/diffusion_pytorch_model"
LARGE = b"\1" * (1 << 17)


def _add(site: HubServer, name: str) -> Repo:
    repo = site.add(name, "models")
    repo.write_all(
        {
            "model_index.json": b"{}",
            "vae/config.json": b'{"a": 1}',
            f"{WEIGHTS}.safetensors": LARGE,
            f"{WEIGHTS}.fp16.safetensors": b"\2" * 1000,
            f"{WEIGHTS}.bin": b"pickled",
            "unet/config.json": b"{}",
            "model.py": b"raise SystemExit",
        }
    )
    return repo


def test_only_what_a_vae_is_made_of_is_fetched(site: HubServer, asker: Asker) -> None:
    repo = _add(site, "models/fetched")
    pinned = asker("pin_model", "models/fetched")
    assert pinned == f"models/fetched@{repo.commit}"
    folder = asker("fetch_vae", pinned)
    assert folder == str(asker.home / "hub/models--models--fetched/snapshots" / repo.commit)
    found = {path.relative_to(folder).as_posix() for path in Path(folder).rglob("*.*")}
    assert found == {"model_index.json", "vae/config.json", f"{WEIGHTS}.safetensors"}
    assert Path(folder, f"{WEIGHTS}.safetensors").read_bytes() == LARGE
    assert (
        Path(folder, f"{WEIGHTS}.safetensors").resolve().name
        == repo.files(repo.commit)[f"{WEIGHTS}.safetensors"].sha256
    )


def test_a_revision_means_a_commit_which_nothing_changes(site: HubServer, asker: Asker) -> None:
    repo = _add(site, "models/pinned")
    repo.tag("v1")
    first = repo.commit
    pinned = asker("pin_model", "models/pinned@v1/vae")
    assert pinned == f"models/pinned@{first}/vae"
    repo.write("vae/config.json", b'{"a": 2}')
    assert asker("pin_model", "models/pinned") == f"models/pinned@{repo.commit}"
    site.clear()
    assert asker("pin_model", pinned) == pinned
    assert site.requests == []
    folder = asker("fetch_vae", pinned)
    assert Path(folder, "vae/config.json").read_bytes() == b'{"a": 1}'


def test_offline_means_what_was_fetched_and_asks_nobody(site: HubServer, asker: Asker) -> None:
    repo = _add(site, "models/cached")
    kind, line = asker.refusal("pin_model", "models/cached", offline=True)
    assert (kind, "offline, and its main is not on this host" in line) == ("SourceError", True)
    kind, line = asker.refusal("fetch_vae", f"models/cached@{repo.commit}", offline=True)
    assert "none of it is on this host; ask once without --offline" in line
    folder = asker("fetch_vae", asker("pin_model", "models/cached"))
    site.clear()
    pinned = asker("pin_model", "models/cached", offline=True)
    assert pinned == f"models/cached@{repo.commit}"
    assert asker("fetch_vae", pinned, offline=True) == folder
    assert site.requests == []


def test_what_is_only_pickled_is_not_fetched(site: HubServer, asker: Asker) -> None:
    repo = site.add("models/pickled", "models")
    repo.write_all({"config.json": b"{}", "diffusion_pytorch_model.bin": b"pickled"})
    kind, line = asker.refusal("fetch_vae", f"models/pickled@{repo.commit}")
    assert kind == "DataError"
    assert "only in files that may hold code, which are never loaded" in line
    assert site.sent_bytes("/resolve/") == 0


def test_files_that_may_hold_code_are_refused_whoever_asks(site: HubServer, asker: Asker) -> None:
    repo = _add(site, "models/code")
    for name in ("model.py", f"{WEIGHTS}.bin"):
        kind, line = asker.refusal("fetch_named", f"models/code@{repo.commit}", names=[name])
        assert kind == "DataError"
        assert f"will not fetch {name} of models/code" in line


def test_a_model_that_is_not_there_is_no_data_set(site: HubServer, asker: Asker) -> None:
    site.add("models/a-data-set")
    for name in ("models/nowhere", "models/a-data-set"):
        kind, line = asker.refusal("pin_model", name)
        assert kind == "SourceError"
        assert line.startswith(f"cannot find model {name}: not at {site.endpoint}, or private")
    _, line = asker.refusal("pin_model", f"{_add(site, 'models/there').id}@nope")
    assert line.startswith("cannot find revision nope of models/there")


def test_a_gated_model_says_where_to_ask_and_takes_the_token_of_a_file(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    repo = _add(site, "models/gated")
    repo.gated, repo.token = "auto", "hf_secret"
    pinned = f"models/gated@{repo.commit}"
    kind, line = asker.refusal("fetch_vae", pinned)
    assert kind == "AccessError"
    assert f"ask for access at {site.endpoint}/models/gated, then" in line
    (tmp_path / "token").write_text("hf_secret\n")
    assert asker("fetch_vae", pinned, token_file=str(tmp_path / "token"))
    assert {each.token for each in site.requests} == {None, "hf_secret"}


def test_a_hub_that_fails_is_one_line(site: HubServer, asker: Asker) -> None:
    repo = _add(site, "models/failing")
    site.faults.append(Fail("/tree/", 403))
    kind, line = asker.refusal("fetch_vae", f"models/failing@{repo.commit}")
    assert kind == "AccessError"
    assert "answers 403" in line


def test_addresses_are_read() -> None:
    assert parse_model("a/b") == HubModel("a/b")
    assert parse_model("a/b/vae/deep/") == HubModel("a/b", "main", "vae/deep")
    assert parse_model("a/b@refs/pr/3/vae") == HubModel("a/b", "refs/pr/3", "vae")
    for text in ("a/b", "a/b@v1", "a/b@v1/vae", "a/b/vae"):
        assert str(parse_model(text)) == text
    for text in ("a", "a/b@", "a/..", "a/b/../c", "https://hub/a/b", "a/b@v@w", "", "a//b"):
        with pytest.raises(UsageError, match="cannot find model"):
            parse_model(text)
