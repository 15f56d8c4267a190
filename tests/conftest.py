"""What every test may lean on: its own XDG folders, real photos, videos and sounds, Parquet files
made of photos.
"""

from __future__ import annotations

import gc
import importlib.util
import io
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from hffs.mount.layers import read_shown
from hffs.view.codecs import turbojpeg
from tests.clips import find_clips, find_recordings
from tests.command import Hffs, Mount
from tests.hub import HubServer
from tests.olah import olah_missing, open_olah

# How long a draw takes says more of the machine than of the code. Half of Hypothesis's own number
# of draws: all tests together have a time to keep.
settings.register_profile(
    "hffs",
    settings.get_profile(settings.get_current_profile_name()),
    max_examples=int(os.environ.get("HFFS_EXAMPLES", "50")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("hffs")


def fuse_missing() -> str:
    """Why nothing can be mounted here, or an empty string."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is missing or closed to this user"
    return "" if shutil.which("fusermount3") else "fusermount3 is not installed"


def lossless_missing() -> str:
    """Why no JPEG can be cut losslessly here, or an empty string."""
    return "" if turbojpeg.is_available() else "libturbojpeg is not installed"


def chromium_missing() -> str:
    """Why no page can be looked at here, or an empty string."""
    return "" if shutil.which("chromium") else "chromium is not installed"


_NEEDS = {
    "fuse": (fuse_missing, "HFFS_REQUIRE_FUSE"),
    "lossless": (lossless_missing, "HFFS_REQUIRE_FUSE"),
    "chromium": (chromium_missing, "HFFS_REQUIRE_CHROMIUM"),
    "olah": (olah_missing, "HFFS_REQUIRE_OLAH"),
}
"""For each mark what tells why it cannot be had here, and the variable that demands it."""


def pytest_configure() -> None:
    """Let Ctrl-C mean what it does in a terminal: who starts this in the background may ignore it,
    and so would every program that is started here.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what is there for good: all modules, all tests."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """At the end it must see them again: libraries count what is left of theirs."""
    gc.unfreeze()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test where what it needs is missing; its variable makes that a failure."""
    for mark, (missing, demand) in _NEEDS.items():
        why = missing() if item.get_closest_marker(mark) else ""
        if why and os.environ.get(demand) == "1":
            pytest.fail(f"{demand}=1, but {why}", pytrace=False)
        if why:
            pytest.skip(why)


@pytest.fixture(autouse=True)
def _own_xdg_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep caches and the registry of mounts of this test, and of its children, to itself."""
    for kind in ("CACHE", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(tmp_path / f"xdg-{kind.lower()}"))


@pytest.fixture
def hffs(tmp_path: Path) -> Hffs:
    """The real command, with caches and records of its own."""
    return Hffs.below(tmp_path)


@pytest.fixture
def mount(hffs: Hffs, tmp_path: Path) -> Iterator[Mount]:
    """Mount a source on a new folder; what is still mounted at the end is taken down."""
    made: list[Path] = []

    def make(source: str | Path, *flags: str | Path) -> Path:
        folder = tmp_path / f"mnt{len(made)}"
        folder.mkdir()
        made.append(folder)
        hffs("mount", source, folder, *flags)
        return folder

    yield make
    shown = {each.mountpoint for each in read_shown()} if made else ()
    for folder in made:
        if str(folder) in shown:
            hffs.run("umount", "--force", folder)


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A Hub of its own for a test, still empty."""
    with HubServer() as server:
        yield server


@pytest.fixture
def olah(hub: HubServer, tmp_path: Path) -> Iterator[str]:
    """The endpoint of an olah in front of `hub`; the test needs the mark of that name."""
    folder = tmp_path / "olah"
    folder.mkdir()
    with open_olah(hub, folder) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def photos() -> list[tuple[str, bytes]]:
    """Name and bytes of the pictures in the scikit-image wheel, sorted: PNG and JPEG, any mode."""
    # Found without importing it: that would take a second, and scipy with it.
    spec = importlib.util.find_spec("skimage")
    folders = (spec and spec.submodule_search_locations) or []
    files = [file for at in folders for file in Path(at, "data").iterdir()]
    kept = sorted(file for file in files if file.suffix in {".png", ".jpg"})
    if not kept:
        pytest.fail("no photos: is scikit-image installed? (make test installs it)", pytrace=False)
    return [(file.name, file.read_bytes()) for file in kept]


@pytest.fixture(scope="session")
def clips() -> dict[str, Path]:
    """Real videos by the names of their files: MP4, AVI, MPEG, Theora."""
    return _require("movie-hello.mpeg", find_clips())


@pytest.fixture(scope="session")
def recordings() -> dict[str, Path]:
    """Real sounds by the names of their files: WAV, MP3, Vorbis."""
    return _require("debian.wav", find_recordings())


def _require(name: str, found: dict[str, Path]) -> dict[str, Path]:
    if name not in found:
        pytest.fail(f"no {name}: `make test` installs it", pytrace=False)
    return found


def _columns(photos: list[tuple[str, bytes]]) -> dict[str, list[Any]]:
    sizes = [Image.open(io.BytesIO(data)).size for _, data in photos]
    return {
        "image": [{"bytes": data, "path": name} for name, data in photos],
        "caption": [f"a picture named {Path(name).stem}" for name, _ in photos],
        "width": [width for width, _ in sizes],
        "height": [height for _, height in sizes],
    }


@pytest.fixture(scope="session")
def photo_parquet(
    photos: list[tuple[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The photos with caption, width and height, as `datasets` writes them: plain, uncompressed."""
    import datasets  # late: two seconds that most runs need not spend

    number, text = datasets.Value("int32"), datasets.Value("string")
    features = datasets.Features(image=datasets.Image(), caption=text, width=number, height=number)
    path = tmp_path_factory.mktemp("photos") / "photos.parquet"
    datasets.Dataset.from_dict(_columns(photos), features=features).to_parquet(path)
    return path


@pytest.fixture(scope="session")
def photo_parquet_snappy(photo_parquet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same rows as other tools write them: Snappy, dictionaries, several row groups."""
    path = tmp_path_factory.mktemp("photos-snappy") / "photos.parquet"
    rows: pa.Table = pq.read_table(photo_parquet)
    pq.write_table(rows, path, compression="snappy", use_dictionary=True, row_group_size=10)
    return path


@pytest.fixture
def as_nobody(tmp_path: Path) -> Callable[[], Any]:
    """Context in which permissions count, as they do not for root."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        if folder.stat().st_uid == os.geteuid() and folder != Path("/tmp"):  # noqa: S108
            folder.chmod(0o755)

    @contextmanager
    def become() -> Iterator[None]:
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(user)

    return become
