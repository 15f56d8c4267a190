"""What was cached, as samples and batches of a plan."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from torch.utils.data import DataLoader

from hffs.core.batches import BatchSpec
from hffs.core.types import Size
from hffs.errors import ConfigError, DataError
from hffs.train import (
    BucketBatchSampler,
    CachedDataset,
    FolderDataset,
    MixedLoader,
    collate,
    collate_cached,
    time_ids,
)
from hffs.train.caching.keys import identify_encoder, make_sample_keys
from hffs.train.caching.shards import Shard
from hffs.train.caching.store import Store
from hffs.train.plan import Plan
from tests.train.caching.stored import (
    TEXT,
    VAE,
    embed,
    fill_images,
    fill_texts,
    make_identities,
    make_key,
    make_latents,
    refuse_images,
    stack,
)
from tests.train.planning import plan_by_hand, write_folder, write_images

# Of Pythons that warn of a fork beside threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

COUNT = 10


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Portraits are samples of an even number, landscapes of an odd one."""
    return plan_by_hand(write_folder(tmp_path / "images", COUNT))


@pytest.fixture
def texts(tmp_path: Path) -> Store:
    return fill_texts(tmp_path / "text", embed([f"caption of {n}.jpg" for n in range(COUNT)]))


def size_of(plan: Plan, sample: int) -> Size:
    return plan.cut(sample).size


def plainly(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value


def open_images(plan: Plan, vae: Any, **options: Any) -> CachedDataset:
    return CachedDataset(plan, vae=vae, identities=make_identities(plan), **options)


def test_a_sample_is_of_a_folder_but_for_latents_and_embeddings(
    plan: Plan, texts: Store, tmp_path: Path
) -> None:
    store = fill_images(tmp_path / "vae", plan)
    data, plain = open_images(plan, store, text=texts), FolderDataset(plan)
    assert len(data) == len(plain) == COUNT
    for index in range(COUNT):
        ours: dict[str, Any] = {**data[index]}
        theirs: dict[str, Any] = {**plain[index]}
        latents, text = ours.pop("latents"), ours.pop("text")
        assert torch.equal(latents, make_latents(index, size_of(plan, index)))
        wanted = embed([theirs["caption"]])[theirs["caption"]]
        assert text.keys() == wanted.keys()
        assert all(torch.equal(text[name], wanted[name]) for name in text)
        del theirs["image"]
        assert ours.keys() == theirs.keys()
        assert {key: plainly(ours[key]) for key in ours} == {
            key: plainly(theirs[key]) for key in theirs
        }
    for outside in (COUNT, -1):
        with pytest.raises(IndexError):
            data[outside]
    assert (data.vae_facts["scaling_factor"], data.text_facts) == (0.5, TEXT)


def test_samples_become_a_batch(plan: Plan, texts: Store, tmp_path: Path) -> None:
    data = open_images(plan, fill_images(tmp_path / "vae", plan), text=texts)
    batch, plain = collate_cached([data[1], data[3]]), FolderDataset(plan)
    assert batch["latents"].shape == (2, 4, 4, 6)
    assert torch.equal(batch["latents"][1], data[3]["latents"])
    assert batch["text"]["hidden"].shape == (2, 5, 6)
    assert batch["caption"] == ["caption of 1.jpg", "caption of 3.jpg"]
    assert (batch["index"].tolist(), batch["replaced"].tolist()) == ([1, 3], [False, False])
    assert torch.equal(time_ids(batch), time_ids(collate([plain[1], plain[3]])))


def test_captions_alone_are_read_without_a_cache_of_images(
    plan: Plan, texts: Store, tmp_path: Path
) -> None:
    data = CachedDataset(plan, text=texts.address)
    assert "latents" not in data[2]
    assert data[2]["text"]["pooled"].shape == (6,)
    assert data.vae_facts == {}
    alone = open_images(plan, fill_images(tmp_path / "vae", plan))
    assert (alone[2]["text"], alone[2]["caption"]) == ({}, "caption of 2.jpg")
    assert alone.text_facts == {}


def test_parameters_of_a_distribution_are_given_as_they_are(plan: Plan, tmp_path: Path) -> None:
    tensors = {"mean": torch.zeros(2, 4, 4, 6), "logvar": torch.ones(2, 4, 4, 6)}
    _put(tmp_path / "vae", plan, [1, 3], tensors)
    data = open_images(plan, tmp_path / "vae", on_missing="drop")
    batch = collate_cached([data[0], data[1]])
    assert "latents" not in batch
    assert float(batch["logvar"].sum() - batch["mean"].sum()) == 2 * 4 * 4 * 6


def _put(folder: Path, plan: Plan, samples: list[int], tensors: dict[str, torch.Tensor]) -> None:
    keys = stack(make_key(plan, sample, VAE) for sample in samples)
    Store.open(folder).put(Shard("a", keys, tensors, {}, VAE))


def test_tensors_that_no_encoder_of_images_makes_are_refused(plan: Plan, tmp_path: Path) -> None:
    _put(tmp_path / "vae", plan, [1], {"hidden": torch.zeros(1, 2)})
    data = open_images(plan, tmp_path / "vae", on_missing="drop")
    with pytest.raises(DataError, match=r"it has hidden; an encoder of images makes latents, "):
        data[0]


def test_missing_samples_are_told_with_what_makes_them(
    plan: Plan, texts: Store, tmp_path: Path
) -> None:
    store = fill_images(tmp_path / "vae", plan, absent=[0, 5, 6])
    with pytest.raises(DataError) as caught:
        open_images(plan, store, text=texts)
    assert str(caught.value) == (
        f"cannot read a cache of art: 3 of 10 samples have no latents in it; hffs cache vae "
        f"{plan.scan.folder} makes them, on_missing='drop' leaves them out"
    )
    write_images(plan.scan.folder, {"1.jpg": Size(60, 40)})
    (plan.scan.folder / "1.txt").write_text("another")
    whole = fill_images(tmp_path / "whole", plan)
    with pytest.raises(
        DataError, match="1 of 10 samples have no embeddings in it; hffs cache text"
    ):
        open_images(plan, whole, text=texts)


def test_missing_samples_are_left_out_of_the_plan_if_that_is_asked_for(
    plan: Plan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = fill_images(tmp_path / "vae", plan, absent=[0, 5, 6])
    data = open_images(plan, store, on_missing="drop")
    assert [record.getMessage() for record in caplog.records] == [
        "art: 3 of 10 samples have no latents in it: they are left out"
    ]
    assert [data[index]["name"] for index in range(len(data))] == [
        f"{n}.jpg" for n in range(COUNT) if n not in (0, 5, 6)
    ]
    loader = DataLoader(
        data, batch_sampler=BucketBatchSampler(data.plan, BatchSpec(2)), collate_fn=data.collate
    )
    assert [len(batch["name"]) for batch in loader] == [2] * 3


def test_what_could_not_be_read_is_left_out_and_counted(
    plan: Plan, texts: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (plan.scan.folder / "7.txt").write_bytes(b"\xff\xfe\xfd")
    store = fill_images(tmp_path / "vae", plan, absent=[2, 4])
    refuse_images(store, plan, [2, 4])
    with caplog.at_level(logging.WARNING):
        data = open_images(plan, store, text=texts)
    assert [record.getMessage() for record in caplog.records] == [
        "art: 3 samples are left out: they cannot be read"
    ]
    names = {data[index]["name"] for index in range(len(data))}
    assert names == {f"{n}.jpg" for n in range(COUNT) if n not in (2, 4, 7)}


def test_a_share_is_taken_from_mirror_images(plan: Plan, tmp_path: Path) -> None:
    square = plan_by_hand(plan.scan.folder, [Size(32, 32)])
    corners = replace(square.assignment, crop=np.zeros_like(square.assignment.crop))
    plan = replace(square, assignment=corners)
    store = fill_images(tmp_path / "vae", plan, flip=True)
    torch.manual_seed(3)
    data = open_images(plan, store, flip=0.5)
    mirrored = []
    for index in range(COUNT):
        sample, cut = data[index], plan.cut(index)
        plain, flipped = (make_latents(index, cut.size, flipped=mirror) for mirror in (False, True))
        mirrored.append(bool(torch.equal(sample["latents"], flipped)))
        assert mirrored[-1] or torch.equal(sample["latents"], plain)
        right = cut.resized.width - cut.left - cut.size.width
        assert sample["crop_top_left"].tolist() == [cut.top, right if mirrored[-1] else cut.left]
    assert 0 < sum(mirrored) < COUNT
    cuts = [plan.cut(index) for index in np.flatnonzero(mirrored).tolist()]
    assert any(cut.resized.width > cut.size.width for cut in cuts)
    assert torch.equal(
        open_images(plan, store, flip=1.0)[0]["latents"],
        make_latents(0, size_of(plan, 0), flipped=True),
    )
    with pytest.raises(DataError, match="10 of 10 samples have no latents"):
        open_images(plan, fill_images(tmp_path / "plain", plan), flip=0.5)


def test_options_that_make_no_sense_are_refused(plan: Plan, texts: Store, tmp_path: Path) -> None:
    store = fill_images(tmp_path / "vae", plan)
    cases: list[tuple[str, dict[str, Any]]] = [
        ("neither vae nor text", {}),
        ("cannot use flip 1.5: it is a share", {"vae": store, "flip": 1.5}),
        ("cannot use flip 0.5: no vae", {"text": texts, "flip": 0.5}),
        ("cannot use on_missing skip", {"vae": store, "on_missing": "skip"}),
        ("nothing is in it; hffs cache fills it", {"vae": tmp_path / "nothing"}),
    ]
    for told, options in cases:
        with pytest.raises(ConfigError, match=told):
            CachedDataset(plan, **options)
    (plan.scan.folder / "0.txt").write_bytes(b"\xff")
    one = replace(plan, assignment=_only(plan, 1))
    with pytest.raises(DataError, match="cannot read a cache of art: no sample is in it"):
        CachedDataset(one, text=texts)


def _only(plan: Plan, count: int) -> Any:
    was = plan.assignment
    return replace(
        was,
        image=was.image[:count],
        bucket=was.bucket[:count],
        resolution=was.resolution[:count],
        resized=was.resized[:count],
        crop=was.crop[:count],
    )


def test_of_several_encoders_one_is_named(plan: Plan, tmp_path: Path) -> None:
    other = {**VAE, "class": "Other"}
    fill_images(tmp_path / "vae", plan)
    keys = stack(make_key(plan, n, other) for n in range(1, COUNT, 2))
    tensors = {"latents": torch.zeros(len(keys), 4, 4, 6)}
    store = Store.open(tmp_path / "vae")
    store.put(Shard("other", keys, tensors, {}, other))
    ids = sorted(identify_encoder(facts)[:12] for facts in (VAE, other))
    with pytest.raises(ConfigError, match=f"there are {ids[0]}, {ids[1]}; name one of them"):
        open_images(plan, store)
    assert len(open_images(plan, store, vae_encoder=identify_encoder(VAE)[:8])) == COUNT
    named = open_images(plan, store, vae_encoder=identify_encoder(other), on_missing="drop")
    assert float(named[0]["latents"].abs().sum()) == 0


def test_images_are_identified_if_nobody_did(plan: Plan, tmp_path: Path) -> None:
    from hffs.train.caching.identities import identify_images

    digests = identify_images(plan, lambda done, total: None).digests
    keys = make_sample_keys(plan, digests, identify_encoder(VAE), flipped=False)
    store = Store.open(tmp_path / "vae")
    own = np.flatnonzero(plan.assignment.bucket == plan.assignment.bucket[0])
    tensors = {"latents": torch.ones(len(own), 4, 6, 4)}
    store.put(Shard("a", keys[own], tensors, {}, VAE))
    assert len(CachedDataset(plan, vae=store, on_missing="drop")) == len(own)


@pytest.mark.parametrize("upright", [False, True])
def test_keys_are_those_that_are_encoded_for(plan: Plan, upright: bool) -> None:
    turns = (np.arange(COUNT) % 8 + 1).astype(np.uint8)
    plan = replace(plan, scan=replace(plan.scan, orientation=turns), upright=upright)
    for flipped in (False, True):
        keys = make_sample_keys(plan, make_identities(plan), identify_encoder(VAE), flipped=flipped)
        assert [key.tobytes() for key in keys] == [
            make_key(plan, sample, VAE, flipped=flipped) for sample in range(COUNT)
        ]


def test_what_is_turned_has_another_key(plan: Plan) -> None:
    turned = replace(plan.scan, orientation=np.full(COUNT, 3, np.uint8))
    made = [
        make_sample_keys(
            replace(plan, scan=scan, upright=upright),
            make_identities(plan),
            identify_encoder(VAE),
            flipped=False,
        ).tobytes()
        for scan in (plan.scan, turned)
        for upright in (False, True)
    ]
    assert made[0] == made[1] == made[2] != made[3]


def test_a_sample_that_was_pruned_is_an_error(plan: Plan, tmp_path: Path) -> None:
    store = fill_images(tmp_path / "vae", plan)
    data = open_images(plan, store)
    for known in list(store.shards.values()):
        store.remove(known.name)
    with pytest.raises(DataError, match="it is there no more; hffs cache makes it again"):
        data[0]


@pytest.mark.parametrize(("start", "count"), [("fork", 2), ("spawn", 1)])
def test_workers_give_what_one_process_gives(
    plan: Plan, texts: Store, tmp_path: Path, start: str, count: int
) -> None:
    data = open_images(plan, fill_images(tmp_path / "vae", plan), text=texts)
    sampler = BucketBatchSampler(data.plan, BatchSpec(2, seed=1))
    workers: dict[str, Any] = {"num_workers": count, "multiprocessing_context": start}
    ours, theirs = (
        list(DataLoader(data, batch_sampler=sampler, collate_fn=collate_cached, **how))
        for how in ({}, workers)
    )
    assert [batch["name"] for batch in ours] == [batch["name"] for batch in theirs]
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one["latents"], other["latents"])
        assert torch.equal(one["text"]["hidden"], other["text"]["hidden"])


def test_what_a_spawned_worker_is_sent_is_small(plan: Plan, texts: Store, tmp_path: Path) -> None:
    data = open_images(plan, fill_images(tmp_path / "vae", plan), text=texts)
    count = 10_000
    was = data.plan.assignment
    turns = count // COUNT + 1

    def grow(array: Any) -> Any:
        return np.concatenate([array] * turns)[:count]

    many = replace(
        was,
        image=grow(was.image),
        bucket=grow(was.bucket),
        resolution=grow(was.resolution),
        resized=grow(was.resized),
        crop=grow(was.crop),
    )
    data.plan = replace(data.plan, assignment=many)
    assert data._images is not None
    data._images = data._images._replace(keys=grow(data._images.keys))
    sent = pickle.dumps(data)
    assert len(sent) < 80 * count
    assert pickle.loads(sent)[0]["name"] == "0.jpg"  # noqa: S301 - its own


def test_a_mix_has_entries_of_either_kind(plan: Plan, texts: Store, tmp_path: Path) -> None:
    cached = open_images(plan, fill_images(tmp_path / "vae", plan), text=texts)
    loader = MixedLoader({"latents": cached, "pixels": plan}, BatchSpec(2, seed=2))
    kinds = dict[str, set[str]]()
    for batch in loader:
        kinds.setdefault(batch["entry"], set()).update(batch.keys() & {"latents", "image"})
    assert kinds == {"latents": {"latents"}, "pixels": {"image"}}
    assert cached[0]["entry"] == "art"


def test_captions_are_kept_once_each(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path / "images", 6))
    for number in range(6):
        (plan.scan.folder / f"{number}.txt").write_text(f"text {number % 2}\n")
    data = CachedDataset(plan, text=fill_texts(tmp_path / "text", embed(["text 0", "text 1"])))
    assert data._texts is not None
    assert data._texts.captions.texts.type == pa.large_string()
    assert len(data._texts.captions.texts) == len(data._texts.keys) == 2
    assert [data[index]["caption"] for index in range(4)] == ["text 0", "text 1"] * 2
