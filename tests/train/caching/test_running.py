"""Runs: what is encoded is what the libraries themselves make of it, once, and found again."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hffs.core.types import Size
from hffs.data.engines.local import LocalEngine
from hffs.errors import DataError
from hffs.train.caching import running
from hffs.train.caching.chunks import ImageJob, ImageSample
from hffs.train.caching.finding import look_up
from hffs.train.caching.keys import make_seed
from hffs.train.caching.pipeline import Report
from hffs.train.caching.preparing import prepare_texts
from hffs.train.caching.specs import TextSpec, VaeSpec
from hffs.train.caching.store import Store
from hffs.train.caching.timing import Seconds
from hffs.train.caching.upkeep import prune, verify
from hffs.train.files import FolderFiles
from hffs.train.loading import load_pixels
from tests.tiny_models import save_clip, save_vae
from tests.train.caching.runs import LENGTH, digest_store, encode, prepare
from tests.train.planning import make_image, plan_by_hand, write_folder
from tests.train.plans import Quiet


@pytest.fixture(scope="module")
def vae(tmp_path_factory: pytest.TempPathFactory) -> VaeSpec:
    return VaeSpec(str(save_vae(tmp_path_factory.mktemp("vae"))))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> TextSpec:
    return TextSpec((str(save_clip(tmp_path_factory.mktemp("clip"))),))


def read_all(address: Path, job: ImageJob) -> dict[str, torch.Tensor]:
    """The latents of each sample, by its name."""
    store = Store.open(address)
    found = store.find(job.keys)
    assert found.present.all()
    read = dict[str, torch.Tensor]()
    for place, (shard, row) in enumerate(zip(found.shard, found.row, strict=True)):
        tensors = store.read(int(shard), [int(row)], job.keys[place][None])
        sample = job.pick(place)
        read[f"{sample.name}{' flipped' if sample.flipped else ''}"] = tensors["latents"][0]
    return read


def test_latents_are_those_of_a_direct_call_of_diffusers(tmp_path: Path, vae: VaeSpec) -> None:
    from diffusers import AutoencoderKL

    folder = write_folder(tmp_path / "photos", 10)
    outcome = encode(folder, vae, tmp_path / "store", flip=True)
    assert (outcome.planned, outcome.there, outcome.done) == (20, 0, 20)
    _, _, job = prepare(folder, vae, flip=True)
    assert isinstance(job, ImageJob)
    read = read_all(tmp_path / "store", job)
    model = AutoencoderKL.from_pretrained(vae.model).eval()  # type: ignore[no-untyped-call] # diffusers has few types
    for place in range(len(job.keys)):
        sample = job.pick(place)
        assert isinstance(sample, ImageSample)
        pixels = load_pixels(FolderFiles(folder), sample.name, sample.cut)
        pixels = np.ascontiguousarray(pixels[:, ::-1]) if sample.flipped else pixels
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 127.5 - 1
        with torch.no_grad():
            posterior = model.encode(image).latent_dist
        seed = make_seed(job.keys[place].tobytes())
        noise = torch.randn(posterior.mean.shape[1:], generator=torch.Generator().manual_seed(seed))
        wanted = posterior.mean + posterior.std * noise
        name = f"{sample.name}{' flipped' if sample.flipped else ''}"
        torch.testing.assert_close(read[name], wanted[0], rtol=1e-5, atol=1e-5)
    assert len(read) == 20
    assert not torch.equal(read["0.jpg"], read["0.jpg flipped"])


def test_what_is_there_is_not_encoded_again(tmp_path: Path, vae: VaeSpec) -> None:
    folder, store = write_folder(tmp_path / "photos", 10), tmp_path / "store"
    encode(folder, vae, store)
    before = digest_store(store)
    again = encode(folder, vae, store)
    assert (again.planned, again.there, again.done) == (10, 10, 0)
    assert digest_store(store) == before
    for number in range(10, 13):
        make_image(Size(40, 60), number).save(folder / f"{number}.jpg")
    make_image(Size(60, 40), 99).save(folder / "3.jpg")
    grown = encode(folder, vae, store)
    assert (grown.planned, grown.there, grown.done) == (13, 9, 4)
    assert before.keys() < digest_store(store).keys()
    other = encode(folder, VaeSpec(vae.model, posterior="mode"), store)
    assert (other.there, other.done) == (0, 13)
    assert len(Store.open(store).encoders()) == 2


def test_broken_images_are_told_of_and_not_tried_again(tmp_path: Path, vae: VaeSpec) -> None:
    folder, store = write_folder(tmp_path / "photos", 10), tmp_path / "store"
    data = (folder / "4.jpg").read_bytes()
    (folder / "4.jpg").write_bytes(data[:-200])
    outcome = encode(folder, vae, store)
    assert (outcome.done, outcome.refused, outcome.failed) == (9, 1, 0)
    assert outcome.reason.startswith("cannot read 4.jpg: image file is truncated")
    again = encode(folder, vae, store)
    assert (again.there, again.refused, again.done) == (9, 1, 0)
    (folder / "4.jpg").write_bytes(data)
    mended = encode(folder, vae, store)
    assert (mended.there, mended.refused, mended.done) == (9, 0, 1)


def test_a_file_that_changed_since_it_was_identified_is_not_kept(
    tmp_path: Path, vae: VaeSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, store = write_folder(tmp_path / "photos", 6), tmp_path / "store"

    def change(*arguments: object) -> object:
        make_image(Size(40, 60), 77).save(folder / "2.jpg")
        return look_up(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(running, "look_up", change)
        outcome = encode(folder, vae, store)
    assert (outcome.done, outcome.refused, outcome.failed) == (5, 0, 1)
    assert "it changed" in outcome.reason
    assert encode(folder, vae, store).done == 1


def test_captions_are_encoded_once_each(tmp_path: Path, clip: TextSpec) -> None:
    folder, store = write_folder(tmp_path / "photos", 6), tmp_path / "store"
    for number in range(6):
        (folder / f"{number}.txt").write_text("a cat" if number % 2 else f"dog {number}")
    outcome = encode(folder, clip, store)
    assert (outcome.planned, outcome.done) == (5, 5)  # the empty one too
    again = encode(folder, clip, store)
    assert (again.there, again.done) == (5, 0)
    (folder / "1.txt").write_text("another cat")
    assert encode(folder, clip, store).done == 1


def test_shards_do_not_depend_on_how_many_devices_there_are(tmp_path: Path) -> None:
    spec = VaeSpec("tests.train.caching.small_encoders:Noisy")  # which is quick to import
    folder = write_folder(tmp_path / "photos", 14)
    encode(folder, spec, tmp_path / "one")
    outcome = encode(folder, spec, tmp_path / "two", LocalEngine(["cpu", "cpu"]))
    assert outcome.done == 14
    assert digest_store(tmp_path / "one") == digest_store(tmp_path / "two")


def test_a_damaged_shard_is_found_removed_and_made_again(tmp_path: Path, vae: VaeSpec) -> None:
    folder, address = write_folder(tmp_path / "photos", 10), tmp_path / "store"
    encode(folder, vae, address)
    before = digest_store(address)
    shard = next((address / "shards").iterdir())
    data = bytearray(shard.read_bytes())
    data[-3] ^= 1
    shard.write_bytes(data)
    assert list(verify(Store.open(address)).damaged) == [shard.stem]
    verify(Store.open(address), remove=True)
    assert encode(folder, vae, address).done in range(1, LENGTH + 1)
    assert digest_store(address) == before


def test_captions_that_cannot_be_read_are_told_and_left_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos", 5)
    for number in (1, 3):
        (folder / f"{number}.txt").write_bytes(b"\xff")
    heard = list[str]()

    class Hearing(Quiet):
        def notice(self, text: str) -> None:
            heard.append(text)

    plan = plan_by_hand(folder)
    job = prepare_texts(plan, "words", Hearing())
    assert list(job.texts) == [*(f"caption of {number}.jpg" for number in (0, 2, 4)), ""]
    assert len(heard) == 1
    assert re.match(r"2 captions cannot be read; one: [13]\.jpg: .*utf-8", heard[0])


def test_pruning_leaves_what_a_plan_uses(tmp_path: Path, vae: VaeSpec) -> None:
    folder, address = write_folder(tmp_path / "photos", 10), tmp_path / "store"
    encode(folder, vae, address)
    for number in range(7):
        (folder / f"{number}.jpg").unlink()
    _, _, job = prepare(folder, vae)
    prune(Store.open(address), job.keys)
    left = Store.open(address)
    assert left.find(job.keys).present.all()
    assert sum(len(shard.keys) for shard in left.shards.values()) < 10
    assert encode(folder, vae, address).done == 0


def test_a_run_that_would_not_fit_stops_before_it_encodes(tmp_path: Path, vae: VaeSpec) -> None:
    folder, address = write_folder(tmp_path / "photos", 10), tmp_path / "store"
    with pytest.raises(DataError, match="--max-size"):
        encode(folder, vae, address, max_bytes=1000)
    assert not digest_store(address)
    assert encode(folder, vae, address, max_bytes=10**6).done == 10
    shutil.rmtree(folder)
    write_folder(folder, 12)
    size = Store.open(address).size_bytes
    assert encode(folder, vae, address, max_bytes=int(size * 1.6)).done == 12
    assert Store.open(address).size_bytes <= size * 1.6


class Telling:
    """An engine whose workers tell what they were told to, and keep nothing."""

    is_here = False

    def __init__(self, *reports: Report) -> None:
        self._reports = reports

    def run(self, make: object, tasks: object, needs: object) -> Iterator[Any]:
        """What was to be told."""
        yield from self._reports


def report(done: int, size_bytes: int, smallest: int | None = None) -> Report:
    return Report("a", done, 0, 0, size_bytes, Seconds(), smallest)


def test_the_smallest_batch_of_all_is_told(tmp_path: Path, vae: VaeSpec) -> None:
    folder = write_folder(tmp_path / "photos", 9)
    engine = Telling(report(3, 5, 4), report(3, 5, 2), report(2, 5, 3), report(1, 5))
    outcome = encode(folder, vae, tmp_path / "store", engine)
    assert (outcome.done, outcome.size_bytes, outcome.smallest_batch) == (9, 20, 2)


def test_what_is_left_is_guessed_of_what_was_done(tmp_path: Path, clip: TextSpec) -> None:
    folder, address = write_folder(tmp_path / "photos", 9), tmp_path / "store"  # and no caption
    engine = Telling(report(5, 500), report(5, 500))
    assert encode(folder, clip, address, engine, max_bytes=500).done == 10
    with pytest.raises(DataError, match="the cache is full"):
        encode(folder, clip, address, engine, max_bytes=499)
