"""Real videos and sounds through real mounts: the bytes, and the programs that read them."""

from __future__ import annotations

import errno
import io
import json
import os
import random
import subprocess
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from tests.clips import find_clips, find_recordings, lengthen, tell_format
from tests.command import Hffs, Mount
from tests.hub import Fail, HubServer
from tests.hub_store import Repo
from tests.view.conftest import encode

pytestmark = pytest.mark.fuse

MEDIA = "GET .*[.](mp4|parquet)"


def table_of(column: str, files: list[Path], **columns: object) -> pa.Table:
    """A table as `datasets` writes one of videos or sounds."""
    cells = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    features = {column: {"_type": column.capitalize()}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.table({column: cells, **columns}).replace_schema_metadata(metadata)


def probe(path: Path) -> Mapping[str, Any]:
    """What ffprobe tells of a file."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams"]
    done = subprocess.run([*command, str(path)], capture_output=True, check=True, text=True)
    found: Mapping[str, Any] = json.loads(done.stdout)
    found["format"].pop("filename")
    return found


def decode_frames(path: Path, most: int = 5, at: Fraction | None = None) -> list[bytes]:
    """Pixels of some frames, from a time on."""
    with av.open(str(path)) as file:
        if at is not None:
            file.seek(int(at * av.time_base))
        frames = file.decode(video=0)
        return [frame.to_ndarray(format="gray").tobytes() for frame, _ in zip(frames, range(most))]  # noqa: B905


def test_videos_are_those_of_their_makers(mount: Mount, tmp_path: Path) -> None:
    files = list(find_clips().values())
    captions = [file.name for file in files]
    source = tmp_path / "set.parquet"
    pq.write_table(table_of("video", files, caption=captions), source, compression="none")
    folder = mount(source, "--dataset-type", "video")
    for number, file in enumerate(files):
        shown = folder / f"{number}.{tell_format(file).extension}"
        assert shown.read_bytes() == file.read_bytes()
        assert shown.stat().st_size == file.stat().st_size
        assert (folder / f"{number}.txt").read_text() == file.name
        assert probe(shown) == probe(file)
        assert decode_frames(shown) == decode_frames(file)
    assert len(os.listdir(folder)) == 2 * len(files)


def test_sounds_are_those_of_their_makers(mount: Mount, tmp_path: Path) -> None:
    files = list(find_recordings().values())
    source = tmp_path / "set.parquet"
    pq.write_table(table_of("audio", files), source)  # compressed
    folder = mount(source, "--dataset-type", "audio")
    for number, file in enumerate(files):
        shown = folder / f"{number}.{tell_format(file).extension}"
        assert shown.read_bytes() == file.read_bytes()
        assert probe(shown)["format"]["duration"] == probe(file)["format"]["duration"]
        samples, rate = soundfile.read(file)
        shown_samples, shown_rate = soundfile.read(shown)
        assert (shown_rate, shown_samples.tolist()) == (rate, samples.tolist())


@pytest.fixture(scope="module")
def long_clip() -> bytes:
    """A video of 40 MB."""
    return lengthen(find_clips()["bigbuckbunny.mp4"], 56)


def _in_folder(repo: Repo, long_clip: bytes) -> None:
    short = find_clips()["bikes.mp4"].read_bytes()
    metadata = b"file_name,caption\n0.mp4,long\n1.mp4,short\n"
    repo.write_all({"0.mp4": long_clip, "1.mp4": short, "metadata.csv": metadata})


def _in_table(repo: Repo, long_clip: bytes) -> None:
    cells = [long_clip, find_clips()["bikes.mp4"].read_bytes()]
    videos = [{"bytes": cell, "path": None} for cell in cells]
    table = pa.table({"video": videos, "caption": ["long", "short"]})
    file = io.BytesIO()
    options = {"compression": "none", "use_dictionary": False, "write_page_index": True}
    pq.write_table(table, file, data_page_size=1 << 20, write_batch_size=1, **options)
    repo.write("data/train.parquet", file.getvalue())


LAYOUTS = [_in_folder, _in_table]
Layout = Callable[[Repo, bytes], None]


@pytest.fixture
def far_clips(hub: HubServer, hffs: Hffs, tmp_path: Path) -> Repo:
    hffs.environ.update(hub.env(tmp_path / "home"))
    return hub.add("owner/clips")


@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_a_seek_into_a_far_video_fetches_a_fraction(
    far_clips: Repo, hub: HubServer, mount: Mount, long_clip: bytes, lay_out: Layout
) -> None:
    lay_out(far_clips, long_clip)
    folder = mount("owner/clips", "--streaming", "--dataset-type", "video")
    assert sorted(os.listdir(folder)) == ["0.mp4", "0.txt", "1.mp4", "1.txt"]
    assert (folder / "0.mp4").stat().st_size == len(long_clip)
    assert hub.sent_bytes(MEDIA) < 1 << 20
    space = os.statvfs(folder)
    assert 0 < space.f_blocks * space.f_frsize - len(long_clip) < 1 << 21
    here, middle = folder.parent / "here.mp4", Fraction(100)
    here.write_bytes(long_clip)
    assert decode_frames(folder / "0.mp4", 3, middle) == decode_frames(here, 3, middle)
    fetched = hub.sent_bytes(MEDIA)
    assert fetched < len(long_clip) / 8
    assert decode_frames(folder / "0.mp4", 3, middle)
    assert hub.sent_bytes(MEDIA) == fetched
    assert probe(folder / "0.mp4") == probe(here)


@pytest.mark.parametrize("lay_out", LAYOUTS)
def test_far_videos_are_read_in_any_way_and_once(
    far_clips: Repo, hub: HubServer, mount: Mount, long_clip: bytes, lay_out: Layout
) -> None:
    lay_out(far_clips, long_clip)
    folder = mount("owner/clips", "--streaming", "--dataset-type", "video")
    before = hub.sent_bytes(MEDIA)
    with (folder / "0.mp4").open("rb") as file:
        for seed in range(40):
            start = random.Random(seed).randrange(len(long_clip))  # noqa: S311
            assert os.pread(file.fileno(), 70_000, start) == long_clip[start : start + 70_000]
    assert (folder / "0.mp4").read_bytes() == long_clip
    assert hub.sent_bytes(MEDIA) - before < 1.05 * len(long_clip)
    everything = hub.sent_bytes(MEDIA)
    assert (folder / "0.mp4").read_bytes() == long_clip
    assert hub.sent_bytes(MEDIA) == everything
    assert (folder / "1.mp4").read_bytes() == find_clips()["bikes.mp4"].read_bytes()


def test_several_readers_of_one_far_video(
    far_clips: Repo, hub: HubServer, mount: Mount, long_clip: bytes
) -> None:
    _in_folder(far_clips, long_clip)
    folder = mount("owner/clips", "--streaming", "--dataset-type", "video")
    wrong: list[int] = []

    def read(seed: int) -> None:
        places = random.Random(seed)  # noqa: S311
        with (folder / "0.mp4").open("rb") as file:
            for _ in range(30):
                start = places.randrange(len(long_clip))
                if os.pread(file.fileno(), 50_000, start) != long_clip[start : start + 50_000]:
                    wrong.append(start)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert hub.sent_bytes(MEDIA) < 1.5 * len(long_clip)


def test_a_video_that_its_name_lies_about_is_an_error_of_its_own(
    far_clips: Repo, mount: Mount, hffs: Hffs
) -> None:
    good, wav = find_clips()["bikes.mp4"].read_bytes(), find_recordings()["debian.wav"].read_bytes()
    metadata = b"file_name,caption\n0.mp4,good\n1.mp4,bad\n"
    far_clips.write_all({"0.mp4": good, "1.mp4": wav, "metadata.csv": metadata})
    folder = mount("owner/clips", "--streaming", "--dataset-type", "video")
    for _ in range(2):
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            (folder / "1.mp4").read_bytes()
    assert (folder / "0.mp4").read_bytes() == good
    lines = [line for line in hffs.log().splitlines() if "1.mp4" in line and "by its name" in line]
    assert len(lines) == 1


def test_what_is_refused_while_a_video_is_read_is_an_error_and_passes(
    far_clips: Repo, hub: HubServer, mount: Mount, long_clip: bytes
) -> None:
    _in_folder(far_clips, long_clip)
    folder = mount("owner/clips", "--streaming", "--dataset-type", "video")
    with (folder / "0.mp4").open("rb") as file:
        assert os.pread(file.fileno(), 1000, 0) == long_clip[:1000]
        hub.faults.append(Fail("0[.]mp4", 403, times=None))
        with pytest.raises(PermissionError):
            os.pread(file.fileno(), 1000, 20 << 20)
        assert os.pread(file.fileno(), 1000, 0) == long_clip[:1000]
        hub.faults.clear()
        assert os.pread(file.fileno(), 1000, 20 << 20) == long_clip[20 << 20 :][:1000]


def test_warming_a_mount_fetches_its_videos(
    far_clips: Repo, hub: HubServer, hffs: Hffs, mount: Mount, long_clip: bytes
) -> None:
    _in_folder(far_clips, long_clip)
    folder = mount("owner/clips", "--streaming", "--dataset-type", "video")
    warmed = json.loads(hffs("warm", folder, "--json"))
    assert (warmed["images"], warmed["broken"], warmed["missed"]) == (2, 0, 0)
    fetched = hub.sent_bytes(MEDIA)
    assert fetched >= len(long_clip)
    assert (folder / "0.mp4").read_bytes() == long_clip
    assert hub.sent_bytes(MEDIA) == fetched
    again = json.loads(
        hffs("warm", "owner/clips", "--streaming", "--dataset-type", "video", "--json")
    )
    assert again["images"] == 2
    assert hub.sent_bytes(MEDIA) == fetched


def test_images_and_videos_of_one_file_are_mounted_side_by_side(
    mount: Mount, tmp_path: Path
) -> None:
    clip = find_clips()["bikes.mp4"]
    table = table_of("video", [clip], caption=["bikes"])
    features = {"video": {"_type": "Video"}, "image": {"_type": "Image"}}
    table = table.append_column("image", pa.array([{"bytes": encode("JPEG"), "path": None}]))
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "set.parquet")
    entries = [
        {"id": kind, "dataset_name": str(tmp_path / "set.parquet"), "dataset_type": kind}
        for kind in ("image", "video")
    ]
    (tmp_path / "config.json").write_text(json.dumps(entries))
    folder = mount(tmp_path / "config.json")
    assert sorted(os.listdir(folder / "image")) == ["0.jpg", "0.txt"]
    assert sorted(os.listdir(folder / "video")) == ["0.mp4", "0.txt"]
    assert (folder / "video" / "0.mp4").read_bytes() == clip.read_bytes()


def test_several_media_ask_which_in_one_line(hffs: Hffs, tmp_path: Path) -> None:
    table = table_of("video", [find_clips()["bikes.mp4"]])
    features = {"video": {"_type": "Video"}, "voice": {"_type": "Audio"}}
    table = table.append_column("voice", pa.array([{"bytes": b"x", "path": None}]))
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), tmp_path / "set.parquet")
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", tmp_path / "set.parquet", tmp_path / "mnt")
    assert done.returncode == 2
    assert done.stderr == (
        f"hffs: cannot mount {tmp_path}/set.parquet: it has videos (video) and sounds (voice); "
        "choose one by --dataset-type video|audio\n"
    )
