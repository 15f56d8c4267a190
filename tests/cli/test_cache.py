"""`hffs cache` of folders through the real command: what it keeps, tells, and refuses."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hffs.errors import InterruptedRun
from tests.cached import ENCODERS, PLAN, TEXT, VAE, cache, count, read_store
from tests.command import Hffs
from tests.train.caching.runs import digest_store
from tests.view.conftest import encode
from tests.waiting import wait_until

SIZES = [(64, 64), (96, 64), (64, 96), (128, 64), (64, 64), (90, 60)]


def write_folder(folder: Path, sizes: Sequence[tuple[int, int]] = SIZES) -> Path:
    """Pictures, the last two of which have the same caption."""
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        (folder / f"{number}.jpg").write_bytes(encode("JPEG", number, size))
        text = f"picture {min(number, len(sizes) - 2)}"
        (folder / f"{number}.txt").write_text(text)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos")


@pytest.mark.parametrize("command", ["vae", "text", "verify", "prune", "export"])
def test_regression_help_shows_what_stands_in_square_brackets(hffs: Hffs, command: str) -> None:
    hffs.environ["COLUMNS"] = "250"
    shown = " ".join(hffs("cache", command, "--help").split())
    if command in ("vae", "text"):
        assert "OWNER/NAME[@REVISION][/FOLDER]" in shown
        assert "pip install 'hffs-mount[ray]'" in shown


def test_a_folder_is_encoded_once(hffs: Hffs, folder: Path, tmp_path: Path) -> None:
    before = cache(hffs, "vae", folder, *VAE, "--dry-run")
    store = tmp_path / "cache/hffs/vae/photos"
    assert (before["planned"], before["left"], before["done"]) == (6, 6, 0)
    assert (before["time"], list(store.rglob("*.safetensors"))) == (None, [])
    first = cache(hffs, "vae", folder, *VAE)
    assert (first["id"], first["kind"], first["store"]) == ("photos", "vae", str(store))
    assert first["encoder"]["models"] == [f"{ENCODERS}:Noisy"]
    assert first["encoder"]["facts"]["facts"] == {"name": "noisy", "version": 1}
    assert (count(first), first["left"], first["refused"]) == ((6, 0, 6), 0, 0)
    assert first["added_bytes"] == first["store_bytes"] == sum(
        path.stat().st_size for path in store.rglob("*.safetensors")
    )  # fmt: skip
    assert set(first["time"]) == {"wall_s", "per_s", "decode", "encode", "write", "idle"}
    kept = digest_store(store)
    again = cache(hffs, "vae", folder, *VAE)
    assert (count(again), again["added_bytes"], again["time"]) == ((6, 6, 0), 0, None)
    assert digest_store(store) == kept
    flipped = cache(hffs, "vae", folder, *VAE, "--flip")
    assert count(flipped) == (12, 6, 6)
    tensors = read_store(store)
    assert len({each["latents"] for each in tensors.values()}) == len(tensors) == 12


def test_texts_are_encoded_once_each(hffs: Hffs, folder: Path) -> None:
    first = cache(hffs, "text", folder, *TEXT)
    assert (first["kind"], count(first)) == ("text", (6, 0, 6))  # and no words
    shown = hffs("cache", "text", folder, *TEXT)
    assert "kept before  6" in shown
    tensors = read_store(first["store"])
    starts = {np.frombuffer(each["hidden"], np.float32)[0] for each in tensors.values()}
    assert starts == {ord("p"), ord(" ")}
    (folder / "0.txt").write_text("another picture")
    assert count(cache(hffs, "text", folder, *TEXT)) == (6, 5, 1)


def test_what_is_kept_goes_where_it_is_asked_for(hffs: Hffs, folder: Path, tmp_path: Path) -> None:
    hffs("cache", "vae", folder, *VAE)
    other = tmp_path / "other"
    facts = cache(hffs, "vae", folder, *VAE, "--output", f"{other}/", "--device", "cpu")
    assert facts["store"] == str(other / "vae/photos")
    assert digest_store(other / "vae/photos") == digest_store(tmp_path / "cache/hffs/vae/photos")


def test_entries_of_a_file_have_stores_of_their_own(
    hffs: Hffs, folder: Path, tmp_path: Path
) -> None:
    other = write_folder(tmp_path / "other", SIZES[:2])
    entries = [
        {"id": name, "type": "local", "instance_data_dir": str(at)}
        for name, at in (("a", folder), ("b", other))
    ]
    config = tmp_path / "loader.json"
    config.write_text(json.dumps(entries))
    both = cache(hffs, "vae", config, *VAE)
    assert [(facts["id"], count(facts)) for facts in both] == [("a", (6, 0, 6)), ("b", (2, 0, 2))]
    one = cache(hffs, "vae", config, *VAE, "--entry", "b")
    assert (one["id"], count(one)) == ("b", (2, 2, 0))
    shown = hffs("cache", "prune", config, *VAE)
    assert [line for line in shown.splitlines() if not line.startswith(" ")][::2]
    assert "a: " in shown
    assert "b: " in shown


def test_broken_images_are_told_and_not_tried_again(hffs: Hffs, folder: Path) -> None:
    whole = (folder / "1.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    first = cache(hffs, "vae", folder, *VAE)
    assert (count(first), first["refused"]) == ((6, 0, 5), 1)
    assert "1.jpg" in first["reason"]
    again = cache(hffs, "vae", folder, *VAE)
    assert (count(again), again["refused"]) == ((6, 5, 0), 1)
    assert "broken" in hffs("cache", "vae", folder, *VAE)
    (folder / "1.jpg").write_bytes(whole)
    assert count(cache(hffs, "vae", folder, *VAE)) == (6, 5, 1)


def start(hffs: Hffs, *arguments: str | Path) -> subprocess.Popen[str]:
    """A command that is its own process from the start, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "hffs", "cache", *map(str, arguments)],
        env=hffs.environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        process_group=0,
    )  # fmt: skip


def has_written(store: Path) -> bool:
    """Whether there is a shard in a store."""
    return any(store.glob("shards/*.safetensors"))


def list_children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def is_running(pid: int) -> bool:
    """Whether there is such a process, that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("number", "processes"), [(signal.SIGKILL, 1), (signal.SIGINT, 1), (signal.SIGINT, 2)]
)
def test_what_a_run_that_is_ended_has_written_stays(
    hffs: Hffs, folder: Path, tmp_path: Path, number: int, processes: int
) -> None:
    model = ("--vae", f"{ENCODERS}:Slow", *PLAN, "--shard-samples", "1", "--encode-batch", "1")
    cache(hffs, "vae", folder, *model, "--output", tmp_path / "whole")
    held, store = tmp_path / "held", tmp_path / "cache/hffs/vae/photos"
    held.touch()
    holding = replace(hffs, environ=hffs.environ | {"HFFS_TEST_HOLD": str(held)})
    process = start(holding, "vae", folder, *model, *["--device", "cpu"] * processes, "--json")
    wait_until(partial(has_written, store))
    children = list_children(process.pid)
    assert len(children) == (processes if processes > 1 else 0)
    process.send_signal(number)
    if processes == 1:  # a batch that is on the device is waited for; processes are not
        held.unlink()
    out, err = process.communicate(timeout=100)
    assert out == ""
    if number == signal.SIGINT:
        assert process.returncode == InterruptedRun.exit_code
        assert err.splitlines()[-1] == "hffs: interrupted"  # a slow one tells how far it is
        assert not any(map(is_running, children))
    kept = digest_store(store)
    shards = [name for name in kept if name.startswith("shards/")]
    assert 0 < len(shards) < 6
    facts = cache(hffs, "vae", folder, *model)
    assert count(facts) == (6, len(shards), 6 - len(shards))
    now = digest_store(store)
    assert {name: now[name] for name in shards} == {name: kept[name] for name in shards}
    assert now == digest_store(tmp_path / "whole/vae/photos")


BROKEN, FULL = "nothing is encoded of broken", "the cache is full"
NOISY = ("--vae", f"{ENCODERS}:Noisy")


@pytest.fixture
def where(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with pictures and with much that is none, and no models."""
    monkeypatch.chdir(folder.parent)
    for name in ("empty", "broken", "bare", "pickled"):
        Path(name).mkdir()
    whole = encode("JPEG", 1, (64, 64))
    Path("broken/0.jpg").write_bytes(whole[: len(whole) // 2])
    for name in ("bare", "pickled"):
        Path(name, "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    Path("pickled/diffusion_pytorch_model.bin").write_bytes(b"no pickle")
    return folder.parent


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (["vae", "photos"], 2, "Missing option '--vae'"),
        (["text", "photos"], 2, "Missing option '--text-encoder'"),
        (["vae", "photos", *NOISY, "--dtype", "int8"], 2, "--dtype int8: it is one of float32"),
        (["vae", "photos", *NOISY, "--posterior", "mean"], 2, "it is one of sample, mode"),
        (["vae", "photos", *NOISY, "--engine", "dask"], 2, "'dask' is not one of 'local', 'ray'"),
        (["vae", "photos", *NOISY, "--ray-workers", "2"], 2, "the engine is local; say --engine"),
        (["vae", "photos", *NOISY, "--ray-gpus", "0"], 2, "the engine is local; say --engine ray"),
        (["vae", "photos", *NOISY, "--max-size", "nonsense"], 2, "cannot use --max-size nonsense"),
        (["vae", "photos", *NOISY, "--device", "cuda:7"], 2, "--device cuda:7: this host has cpu"),
        (["vae", "photos", *NOISY, "--device", "warp"], 2, "--device warp: this host has cpu"),
        (["vae", "photos", *NOISY, "--output", "memory://x"], 2, "nothing would be left of it"),
        (["vae", "photos", *NOISY, "--output", "/proc/x"], 2,
         "cannot write to /proc/x/vae/photos: No such file or directory; name a folder that"),
        (["vae", "photos", "--vae", "./gone"], 2, "cannot use model ./gone: no such folder"),
        (["vae", "photos", "--vae", "empty"], 5, "a VAE has a config.json, and none is in it"),
        (["vae", "photos", "--vae", "bare"], 5, "it has no weights in safetensors"),
        (["vae", "photos", "--vae", "pickled"], 5, "only in files that may hold code, which"),
        (["vae", "photos", "--vae", "tests.nowhere:Vae"], 2, "there is no module tests.nowhere"),
        (["vae", "photos", "--vae", f"{ENCODERS}:Nobody"], 2, "has no Nobody"),
        (["vae", "photos", "--vae", f"{ENCODERS}:Raising"], 5, "encode raised ValueError: no such"),
        (["vae", "photos", "--vae", f"{ENCODERS}:Blank"], 5, "not finite"),
        (["vae", "photos", *NOISY, "--engine", "ray", "--ray-address", "127.0.0.1:1"], 3,
         "cannot reach the Ray cluster at 127.0.0.1:1: Connection refused"),
        (["vae", "empty", *NOISY], 5, "empty"),
        (["vae", "broken", *NOISY], 5, BROKEN),
        (["vae", "photos", *NOISY, "--max-size", "1kB"], 5, FULL),
        (["verify", "nowhere"], 2, "no shards are in it; name the folder or URL"),
        (["prune", "photos"], 2, "no encoder; say --vae, --text-encoder"),
        (["export", "kohya", "photos"], 2, "cannot export to kohya without --model: it is sd"),
        (["export", "paint", "photos", *NOISY], 2, "cannot export to paint: it is one of kohya"),
        (["export", "simpletuner", "photos"], 2, "no encoder; say --vae, --text-encoder"),
        (["export", "kohya", "photos", *NOISY, "--model", "sd"], 5, "none of it is there; run"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    hffs: Hffs, where: Path, arguments: list[str], code: int, line: str
) -> None:
    plan = [] if arguments[0] == "verify" else PLAN
    done = hffs.run("cache", *arguments, *plan)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert done.stderr.startswith("hffs: ")
    assert line in done.stderr
    kept = list(where.rglob("*.safetensors"))
    # Of an encoder that does not tell its sizes a first shard does; broken images are noted in one.
    assert len(kept) <= 2 if line in (FULL, BROKEN) else not kept


def spoil(path: Path) -> None:
    """Change the last byte of a file: of a tensor."""
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def test_verify_and_prune(hffs: Hffs, folder: Path) -> None:
    flags = (*VAE, "--shard-samples", "1")
    store = Path(cache(hffs, "vae", folder, *flags)["store"])
    sound = cache(hffs, "verify", store)
    assert (sound["shards"], sound["samples"], sound["damaged"]) == (6, 6, {})
    spoil(next(store.glob("shards/*.safetensors")))
    done = hffs.run("cache", "verify", store)
    assert done.returncode == 5
    assert "1 shards are damaged; say --remove" in done.stderr.splitlines()[-1]
    removed = cache(hffs, "verify", store, "--remove")
    assert (removed["samples"], len(removed["damaged"]), removed["removed"]) == (5, 1, True)
    assert count(cache(hffs, "vae", folder, *flags)) == (6, 5, 1)
    (folder / "0.jpg").unlink()
    pruned = cache(hffs, "prune", folder, *VAE)
    assert (pruned["removed"], pruned["rewritten"]) == (1, 0)
    assert pruned["freed_bytes"] > 0
    assert len(read_store(store)) == 5
    assert count(cache(hffs, "vae", folder, *flags)) == (5, 5, 0)
    capped = cache(hffs, "vae", folder, "--vae", f"{ENCODERS}:Slow", *PLAN, "--max-size", "20kB")
    assert count(capped) == (5, 0, 5)
    assert capped["store_bytes"] <= 20_000
