"""The same photos as folders of several kinds, for `tests.bench.access`: on the disk, and mounted.

Owns how each is made and mounted. A peer that does not install here is left out, and says so.
`passthrough_ll` is compiled from the example that the development package of libfuse brings.
"""

from __future__ import annotations

import importlib.util
import io
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.bench.machine import LeftOutError, find_program
from tests.command import Hffs

SIDE_PX = 512
BASES = 64
SMALLEST, LARGEST = 60_000, 140_000
_PASSTHROUGH = Path("/usr/share/doc/libfuse3-dev/examples/passthrough_ll.c")
_READY_S = 30.0
_LONG_S = 300.0


def make_photos(count: int) -> list[bytes]:
    """Photos of 60 to 140 KB that can be decoded, each with bytes of its own behind its end."""
    spec = importlib.util.find_spec("skimage")
    folders = list((spec and spec.submodule_search_locations) or [])
    with Image.open(Path(folders[0], "data/astronaut.png")) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((SIDE_PX, SIDE_PX)))
    draw, bases = np.random.default_rng(0), list[bytes]()
    while len(bases) < min(BASES, count):
        moved = np.roll(pixels, tuple(draw.integers(0, SIDE_PX, 2)), (0, 1)).astype(np.int16)
        noisy = np.clip(moved + draw.integers(-12, 13, moved.shape), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noisy).save(file, "JPEG", quality=int(draw.integers(50, 98)))
        if SMALLEST < file.tell() < LARGEST:
            bases.append(file.getvalue())
    return [bases[number % BASES] + draw.bytes(16) for number in range(count)]


def write_photos(base: Path, photos: list[bytes]) -> None:
    """The photos as Parquet, and as a folder of files."""
    captions = [f"photo number {number}" for number in range(len(photos))]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = [{"bytes": photo, "path": None} for photo in photos]
    table = pa.table({"image": pa.array(cells, kind), "caption": captions})
    pq.write_table(table, base / "photos.parquet", compression="none", use_dictionary=False,
                   row_group_size=500)  # fmt: skip
    folder = base / "folder"
    folder.mkdir()
    for number, (photo, caption) in enumerate(zip(photos, captions, strict=True)):
        (folder / f"{number}.jpg").write_bytes(photo)
        (folder / f"{number}.txt").write_text(caption)


@contextmanager
def _mounted(folder: Path, command: Sequence[str | Path]) -> Iterator[Path]:
    """What a command mounts; it may stay or not."""
    folder.mkdir()
    process = subprocess.Popen(
        [str(part) for part in command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + _READY_S
        while not os.path.ismount(folder) or not (folder / "0.jpg").exists():
            if time.monotonic() > deadline or process.poll():
                raise LeftOutError(f"{Path(command[0]).name} did not mount")
            time.sleep(0.05)
        yield folder
    finally:
        subprocess.run(["fusermount3", "-u", "-z", str(folder)], check=False)
        process.wait(_READY_S)


@contextmanager
def open_hffs(base: Path) -> Iterator[Path]:
    hffs, folder = Hffs.below(base, forks=False), base / "hffs"
    folder.mkdir()
    hffs("mount", base / "photos.parquet", folder)
    try:
        yield folder
    finally:
        hffs("umount", "--force", folder)


@contextmanager
def open_squashfuse(base: Path) -> Iterator[Path]:
    """Uncompressed, as JPEGs are already."""
    mount, pack = find_program("squashfuse_ll"), find_program("mksquashfs")
    packed = base / "photos.squashfs"
    plain = ("-noI", "-noD", "-noF", "-noX", "-no-progress", "-quiet")
    subprocess.run([pack, base / "folder", packed, *plain], check=True, stdout=subprocess.DEVNULL)
    with _mounted(base / "squashfuse", [mount, "-f", packed, base / "squashfuse"]) as folder:
        yield folder


@contextmanager
def open_passthrough(base: Path) -> Iterator[Path]:
    """With all that it can cache; it holds a descriptor for each file that the kernel knows."""
    program, compiler = base / "passthrough_ll", find_program("cc")
    if not _PASSTHROUGH.exists():
        raise LeftOutError(f"{_PASSTHROUGH} is missing: libfuse3-dev brings it")
    asked = [find_program("pkg-config"), "fuse3", "--cflags", "--libs"]
    flags = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()
    build: list[str | Path] = [compiler, "-O2", "-w", "-o", program, _PASSTHROUGH, *flags]
    if subprocess.run(build, check=False, stderr=subprocess.DEVNULL).returncode:
        raise LeftOutError(f"{_PASSTHROUGH} does not compile")
    options = f"source={base / 'folder'},cache=always,timeout=86400"
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    command: list[str | Path] = [program, "-f", "-o", options, base / "passthrough"]
    with _mounted(base / "passthrough", command) as folder:
        yield folder


@contextmanager
def open_ratarmount(base: Path) -> Iterator[Path]:
    mount, packed = find_program("ratarmount"), base / "photos.tar"
    subprocess.run(["tar", "-C", base / "folder", "-cf", packed, "."], check=True)
    command: list[str | Path] = [
        mount,
        "-f",
        "--index-file",
        base / "photos.index",
        packed,
        base / "ratarmount",
    ]
    with _mounted(base / "ratarmount", command) as folder:
        yield folder


@contextmanager
def open_energon(base: Path) -> Iterator[Path]:
    """A webdataset with the index that energon makes of it."""
    energon, packed = find_program("energon"), base / "webdataset"
    packed.mkdir()
    count = len(list((base / "folder").glob("*.jpg")))
    names = [f"{number}.{kind}" for number in range(count) for kind in ("jpg", "txt")]
    (base / "members").write_text("\n".join(names))
    tar: list[str | Path] = [
        "tar",
        "-C",
        base / "folder",
        "-cf",
        packed / "photos.tar",
        "-T",
        base / "members",
    ]
    subprocess.run(tar, check=True)
    asked = ("--non-interactive", "--no-progress", "--skip-dataset-yaml", "--split-ratio", "1,0,0")
    prepare: list[str | Path] = [energon, "prepare", *asked, packed]
    if subprocess.run(prepare, check=False, capture_output=True, timeout=_LONG_S).returncode:
        raise LeftOutError("energon does not prepare the samples")
    with _mounted(base / "energon", [energon, "mount", packed, base / "energon"]) as folder:
        yield folder


@contextmanager
def open_bare_loop(base: Path) -> Iterator[Path]:
    """All photos in the memory of a loop that does nothing else."""
    program = (sys.executable, "-m", "tests.bench.bare_loop")
    command: list[str | Path] = [*program, base / "photos.parquet", base / "bare"]
    with _mounted(base / "bare", command) as folder:
        yield folder


OPENERS = {
    "hffs": open_hffs,
    "squashfuse_ll": open_squashfuse,
    "passthrough_ll": open_passthrough,
    "ratarmount": open_ratarmount,
    "energon mount": open_energon,
    "bare pyfuse3 loop": open_bare_loop,
}


@contextmanager
def open_folders(
    base: Path,
    photos: list[bytes],
    kinds: Sequence[str] = tuple(OPENERS),
    left_out: dict[str, str] | None = None,
) -> Iterator[dict[str, Path]]:
    """The photos as every kind of folder that this machine has, by name; the plain one first.

    Why one is left out is told on standard error, and noted in `left_out`.
    """
    write_photos(base, photos)
    folders = {_name_of_disk(base): base / "folder"}
    with ExitStack() as stack:
        for name in kinds:
            try:
                folders[name] = stack.enter_context(OPENERS[name](base))
            except LeftOutError as why:
                print(f"{name} is left out: {why}", file=sys.stderr)
                if left_out is not None:
                    left_out[name] = str(why)
        yield folders


def _name_of_disk(folder: Path) -> str:
    found = subprocess.run(
        ["stat", "-f", "-c", "%T", folder], capture_output=True, text=True, check=True
    )
    told = found.stdout.strip()
    return "ext4" if told == "ext2/ext3" else told
