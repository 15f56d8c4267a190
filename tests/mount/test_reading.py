"""Random reads and real loaders, through a real mount, against a model of what must be there."""

import io
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.command import Hffs

pytestmark = pytest.mark.fuse

COUNT = 12
LOADER = """
import multiprocessing, sys
from pathlib import Path
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

class Folder(Dataset):
    def __init__(self, root):
        self.paths = sorted(Path(root).glob("*.jpg"), key=lambda path: int(path.stem))
    def __len__(self):
        return len(self.paths)
    def __getitem__(self, index):
        path = self.paths[index]
        with Image.open(path) as image:
            small = bytearray(image.convert("RGB").resize((32, 32)).tobytes())
        pixels = torch.frombuffer(small, dtype=torch.uint8)
        return index, pixels, path.with_suffix(".txt").read_text(), path.stat().st_size

if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    loader = DataLoader(Folder(sys.argv[1]), batch_size=4, shuffle=True, num_workers=4)
    sums = []
    for epoch in range(2):
        seen = {}
        for indexes, pixels, captions, sizes in loader:
            facts = (indexes.tolist(), pixels.sum(1).tolist(), captions, sizes.tolist())
            seen.update((row[0], row) for row in zip(*facts))
        sums.append([seen[index] for index in sorted(seen)])
    assert sums[0] == sums[1]
    rows = (f"{index}:{caption}:{size}" for index, _, caption, size in sums[0])
    print(len(sums[0]), *rows, sep="|")
"""


def _encode(index: int) -> bytes:
    pixels = np.random.default_rng(index).integers(0, 256, (90 + index, 120, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if index % 3 == 0 else "JPEG", quality=90 - index)
    return file.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Images of both kinds, from plain pages and from compressed row groups."""
    base = tmp_path_factory.mktemp("reading")
    hffs = Hffs.below(base)
    images = [{"bytes": _encode(index), "path": None} for index in range(COUNT)]
    table = pa.table({"image": images, "caption": [f"number {index}" for index in range(COUNT)]})
    (base / "set").mkdir()
    pq.write_table(table.slice(0, 6), base / "set/a.parquet", compression="none",
                   use_dictionary=False, row_group_size=4)  # fmt: skip
    pq.write_table(table.slice(6), base / "set/b.parquet", compression="zstd", row_group_size=4)
    (base / "mnt").mkdir()
    hffs("mount", base / "set", base / "mnt")
    yield base / "mnt"
    hffs("umount", "--force", base / "mnt")


@pytest.fixture(scope="module")
def whole(folder: Path) -> dict[str, bytes]:
    """The model: what each file held when it was read in one piece."""
    return {entry.name: Path(entry).read_bytes() for entry in os.scandir(folder)}


def test_the_model_is_the_source(whole: dict[str, bytes]) -> None:
    assert len(whole) == 2 * COUNT
    for index in range(COUNT):
        if index % 3:
            assert whole[f"{index}.jpg"] == _encode(index)
        assert whole[f"{index}.txt"] == f"number {index}".encode()


operations = st.lists(
    st.tuples(
        st.sampled_from(["pread", "seek", "mmap", "stat", "reopen", "readahead", "sendfile"]),
        st.integers(0, COUNT - 1),
        st.sampled_from(["jpg", "txt"]),
        st.integers(0, 40_000),
        st.integers(0, 200_000),
    ),
    min_size=1,
    max_size=25,
)


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(operations)
def test_any_reads_equal_the_file(
    folder: Path, whole: dict[str, bytes], steps: list[tuple[str, int, str, int, int]]
) -> None:
    files: dict[str, int] = {}
    try:
        for operation, index, extension, offset, size in steps:
            name = f"{index}.{extension}"
            if operation == "reopen" and name in files:
                os.close(files.pop(name))
            if name not in files:
                files[name] = os.open(folder / name, os.O_RDONLY)
            assert _read(operation, files[name], offset, size) == _expect(
                operation, whole[name], offset, size
            )
    finally:
        for file in files.values():
            os.close(file)


def _read(operation: str, file: int, offset: int, size: int) -> bytes | int:
    if operation == "stat":
        return os.fstat(file).st_size
    if operation == "mmap":
        with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
            return mapped[offset : offset + size]
    if operation == "seek":
        os.lseek(file, offset, os.SEEK_SET)
        return os.read(file, size)
    if operation == "readahead":
        os.posix_fadvise(file, offset, size, os.POSIX_FADV_WILLNEED)
    if operation == "sendfile":
        reader, writer = os.pipe()
        sent = os.sendfile(writer, file, offset, min(size, 60_000))
        os.close(writer)
        with os.fdopen(reader, "rb") as pipe:
            data = pipe.read()
        assert len(data) == sent
        return data
    return os.pread(file, size, offset)


def _expect(operation: str, data: bytes, offset: int, size: int) -> bytes | int:
    if operation == "stat":
        return len(data)
    return data[offset : offset + (min(size, 60_000) if operation == "sendfile" else size)]


def test_twelve_threads_in_random_order_read_right(folder: Path, whole: dict[str, bytes]) -> None:
    from concurrent.futures import ThreadPoolExecutor

    names = sorted(whole) * 8
    np.random.default_rng(0).shuffle(names)
    with ThreadPoolExecutor(12) as pool:
        read = list(pool.map(lambda name: (folder / name).read_bytes(), names))
    assert all(data == whole[name] for name, data in zip(names, read, strict=True))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_torch_loader_sees_the_same_in_two_epochs(
    folder: Path, whole: dict[str, bytes], tmp_path: Path, method: str
) -> None:
    pytest.importorskip("torch")
    (tmp_path / "loader.py").write_text(LOADER)
    command = [sys.executable, str(tmp_path / "loader.py"), str(folder), method]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    count, *rows = printed.split("|")
    assert int(count) == COUNT
    assert rows == [f"{i}:number {i}:{len(whole[f'{i}.jpg'])}" for i in range(COUNT)]


def test_nothing_is_decoded_that_is_not_rendered(tmp_path: Path) -> None:
    hffs = Hffs.below(tmp_path)
    hollow = [b"\xff\xd8\xff" + bytes([index]) * 500 for index in range(4)]
    table = pa.table({"image": [{"bytes": image, "path": None} for image in hollow],
                      "caption": ["a"] * 4})  # fmt: skip
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    (tmp_path / "mnt").mkdir()
    hffs("mount", tmp_path / "a.parquet", tmp_path / "mnt")
    try:
        for index, image in enumerate(hollow):
            assert (tmp_path / "mnt" / f"{index}.jpg").read_bytes() == image
    finally:
        hffs("umount", "--force", tmp_path / "mnt")
    assert "cannot" not in hffs.log()
