"""A token that is planted is found nowhere: not in what is said, kept or shown."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command import Hffs, Mount
from tests.far_photos import IMAGES, photo_of
from tests.hub import Fail, HubServer
from tests.hub_store import Repo

pytestmark = pytest.mark.fuse

TOKEN = "hf_PlantedAndNeverToBeSeen42"  # noqa: S105 - a token of a Hub for tests


def traces_of(token: str) -> list[bytes]:
    """The token as it is, and what base64 makes of it at each of three places in a longer text."""
    plain = token.encode()
    encoded = [base64.b64encode(b"x" * shift + plain)[4:-4] for shift in range(3)]
    return [plain, *encoded]


def files_below(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def processes_of(pid: int) -> Iterator[int]:
    """A process and all that descend from it."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):
            for child in (task / "children").read_text().split():
                yield from processes_of(int(child))


def attributes_of(folder: Path) -> Iterator[bytes]:
    for path in (folder, *folder.iterdir()):
        for name in os.listxattr(path):
            yield name.encode()
            with contextlib.suppress(OSError):  # that of an image that cannot be read
                yield os.getxattr(path, name)


def give(way: str, hffs: Hffs, home: Path, given: Path) -> list[str]:
    """Give the token in one of three ways; flags for the command, and the file that holds it."""
    given.parent.mkdir(parents=True, exist_ok=True)
    home.mkdir(parents=True, exist_ok=True)
    if way == "variable":
        hffs.environ["HF_TOKEN"] = TOKEN
    elif way == "file":
        given.write_text(TOKEN)
        return ["--token-file", str(given)]
    else:
        (home / "token").write_text(TOKEN)
    return []


@pytest.fixture
def both(hffs: Hffs, mount: Mount) -> tuple[Hffs, Mount]:
    """The command, and what mounts by it."""
    return hffs, mount


@pytest.mark.parametrize(("way", "status"), [("variable", 401), ("file", 403), ("login", 500)])
def test_a_planted_token_is_found_nowhere(  # noqa: PLR0913 - two of a table, four fixtures
    way: str,
    status: int,
    far_photos: Repo,
    hub: HubServer,
    both: tuple[Hffs, Mount],
    tmp_path: Path,
) -> None:
    hffs, mount = both
    far_photos.private, far_photos.token = True, TOKEN
    home, given = tmp_path / "home", tmp_path / "given/token"
    flags = give(way, hffs, home, given)
    streaming = ["--streaming", "--debug", *flags]
    hub.faults.append(Fail(".", status, None, {"Retry-After": "5000"}))
    (tmp_path / f"none{status}").mkdir()
    done = hffs.run("mount", "owner/photos", tmp_path / f"none{status}", *streaming)
    assert done.returncode == 3
    said = [done.stdout, done.stderr]
    hub.faults.clear()
    folder = mount("owner/photos", *streaming)
    assert (folder / "5.jpg").read_bytes() == photo_of(5)
    assert any(each.token == TOKEN for each in hub.requests)
    hub.faults.append(Fail(IMAGES, 403, None))
    with pytest.raises(PermissionError):
        (folder / "45.jpg").read_bytes()
    hub.faults.clear()
    done = hffs.run("inspect", "owner/photos", *streaming, "--json")
    said += [
        done.stdout,
        done.stderr,
        hffs("view", "owner/photos", "-o", tmp_path / "v.parquet", *flags),
    ]
    said += [hffs("ls"), hffs("ls", "--json"), hffs.log()]
    pid = hffs.pid(folder)
    found = {f"said {number}": text.encode() for number, text in enumerate(said)}
    found |= {str(path): path.read_bytes() for path in files_below(tmp_path) if folder != path}
    found.pop(str(given), None)
    found.pop(str(home / "token"), None)
    found["attributes"] = b"\n".join(attributes_of(folder))
    for number in processes_of(pid):
        found[f"cmdline {number}"] = Path(f"/proc/{number}/cmdline").read_bytes()
        if way != "variable":  # which is how the daemon itself was given it: docs/security.md
            found[f"environ {number}"] = Path(f"/proc/{number}/environ").read_bytes()
    assert len(found) > 15
    traces = traces_of(TOKEN)
    assert [name for name, text in found.items() if any(trace in text for trace in traces)] == []


def test_a_token_in_any_form_would_be_found() -> None:
    for before in ("", "a", "ab", "abc"):
        assert any(
            trace in base64.b64encode(f"{before}{TOKEN}tail".encode()) for trace in traces_of(TOKEN)
        )


@pytest.mark.parametrize(
    "address",
    [
        "https://me:hf_PlantedAndNeverToBeSeen42@127.0.0.1:9/a.parquet",
        "https://127.0.0.1:9/a.parquet?X-Amz-Signature=hf_PlantedAndNeverToBeSeen42",
        "https://127.0.0.1:9/a.parquet?sig=x&X-Amz-Credential=hf_PlantedAndNeverToBeSeen42",
        "s3://me:hf_PlantedAndNeverToBeSeen42@bucket/a.parquet",
    ],
)
def test_an_address_with_a_secret_fails_without_it(
    address: str, hffs: Hffs, tmp_path: Path
) -> None:
    (tmp_path / "mnt").mkdir()
    done = hffs.run("--debug", "mount", address, tmp_path / "mnt", "--allow-private-urls")
    assert done.returncode in (2, 3)
    said = [done.stdout, done.stderr, hffs.log()]
    said += [path.read_text("latin-1") for path in files_below(tmp_path)]
    assert not any(TOKEN in text for text in said)
