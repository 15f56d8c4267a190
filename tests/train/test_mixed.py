"""Several entries in one stream of batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hffs.core.batches import BatchSpec
from hffs.core.mixing import draw
from hffs.errors import ConfigError, UsageError
from hffs.train import FolderDataset, MixedLoader
from hffs.train.plan import Plan
from tests.train.planning import plan_by_hand, write_folder
from tests.train.test_sampler import facts

# Of Pythons that warn of a fork beside threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")

Plans = Mapping[str, Plan]


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Plans:
    """Two entries, the second with a third of the images."""
    base = tmp_path_factory.mktemp("folders")
    art = plan_by_hand(write_folder(base / "art", 24))
    return {"art": art, "photos": plan_by_hand(write_folder(base / "photos", 8), id="other")}


def list_entries(loader: MixedLoader) -> list[str]:
    return [batch["entry"] for batch in loader]


def test_steps_take_from_entries_by_their_probability(plans: Plans) -> None:
    plans = {"art": replace(plans["art"], probability=3), "photos": plans["photos"]}
    loader = MixedLoader(plans, BatchSpec(2, seed=4))
    entries = list_entries(loader)
    assert len(entries) == len(loader)
    drawn = draw((3, 1), 4, 0, 0, len(entries)).tolist()
    assert entries == [list(plans)[entry] for entry in drawn]
    assert set(entries) == {"art", "photos"}


def test_an_epoch_has_every_image_of_every_entry(plans: Plans) -> None:
    loader = MixedLoader(plans, BatchSpec(2, seed=1))
    used = Counter((batch["entry"], name) for batch in loader for name in batch["name"])
    assert len(used) == 32
    first = MixedLoader(plans, BatchSpec(2, seed=1), stop="first")
    used = Counter((batch["entry"], name) for batch in first for name in batch["name"])
    assert set(used.values()) == {1}
    assert len(first) < len(loader)


def test_an_entry_that_is_through_is_shuffled_anew(plans: Plans) -> None:
    loader = MixedLoader(plans, BatchSpec(1, seed=2), probabilities={"photos": 5})
    photos = [batch["name"][0] for batch in loader if batch["entry"] == "photos"]
    rounds = [photos[at : at + 8] for at in range(0, len(photos) - 7, 8)]
    assert len(rounds) > 5
    assert all(len(set(names)) == 8 for names in rounds)
    assert len({tuple(names) for names in rounds}) == len(rounds)


def test_twins_are_not_shuffled_alike(plans: Plans) -> None:
    loader = MixedLoader({"one": plans["art"], "two": plans["art"]}, BatchSpec(1), stop="first")
    names = {"one": list[str](), "two": list[str]()}
    for batch in loader:
        names[batch["entry"]] += batch["name"]
    shared = min(map(len, names.values()))
    assert shared > 5
    assert names["one"][:shared] != names["two"][:shared]


def test_ranks_take_from_the_same_entry_and_bucket(plans: Plans) -> None:
    spec = BatchSpec(2, world=2)
    ranks = [list(MixedLoader(plans, spec, rank=rank)) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1]) > 0
    for one, other in zip(*ranks, strict=True):
        assert (one["entry"], one["bucket"]) == (other["entry"], other["bucket"])
        assert not set(one["name"]) & set(other["name"])


def test_epochs_differ_and_stay_the_same(plans: Plans) -> None:
    loader = MixedLoader(plans, BatchSpec(2))
    first = [batch["name"] for batch in loader]
    assert [batch["name"] for batch in loader] == first
    loader.set_epoch(1)
    assert loader.epoch == 1
    assert [batch["name"] for batch in loader] != first


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, "fork")])
def test_it_goes_on_where_the_loop_was_to_the_last_bit(
    plans: Plans, workers: int, start: str | None
) -> None:
    def make(workers: int, start: str | None) -> MixedLoader:
        keys: Any = {"num_workers": workers, "multiprocessing_context": start}
        return MixedLoader(plans, BatchSpec(2, seed=3), probabilities={"photos": 2}, **keys)

    plain = MixedLoader(plans, BatchSpec(2, seed=3), probabilities={"photos": 2})
    plain.set_epoch(1)
    whole = [facts(batch) for batch in plain]
    loader = make(2, "fork")
    loader.set_epoch(1)
    done = len(whole) - 4
    for number, batch in enumerate(loader, 1):
        assert facts(batch) == whole[number - 1]
        if number == done:
            state = loader.state_dict()
            break
    assert (state["epoch"], state["batches_done"]) == (1, done)
    other = make(workers, start)
    other.load_state_dict(state)
    assert other.state_dict() == state
    other.set_epoch(1)
    assert [facts(batch) for batch in other] == whole[done:]
    assert other.state_dict()["batches_done"] == len(other) == len(whole)


def test_with_workers_that_stay_later_epochs_begin_at_the_first_batch(plans: Plans) -> None:
    plain = MixedLoader(plans, BatchSpec(2))
    loader = MixedLoader(plans, BatchSpec(2), num_workers=1, persistent_workers=True)
    loader.load_state_dict(plain.state_dict(batches_done=3))
    for epoch, begin in ((0, 3), (0, 0), (1, 0)):
        loader.set_epoch(epoch)
        plain.set_epoch(epoch)
        names = [batch["name"] for batch in plain][begin:]
        assert [batch["name"] for batch in loader] == names


def test_data_sets_may_be_given_whose_images_are_transformed(plans: Plans) -> None:
    dark = FolderDataset(plans["art"], transform=lambda image: image * 0)
    loader = MixedLoader({"dark": dark, "light": plans["photos"]}, BatchSpec(2))
    assert {batch["entry"]: bool(batch["image"].any()) for batch in loader} == {
        "dark": False,
        "light": True,
    }


def test_a_state_of_another_mix_is_refused(plans: Plans) -> None:
    loader = MixedLoader(plans, BatchSpec(2))
    others = [
        MixedLoader(plans, BatchSpec(1)),
        MixedLoader(plans, BatchSpec(2), stop="first"),
        MixedLoader(plans, BatchSpec(2), probabilities={"art": 0.5}),
        MixedLoader({"art": plans["art"]}, BatchSpec(2)),
        MixedLoader({"art": plans["art"], "pictures": plans["photos"]}, BatchSpec(2)),
    ]
    for other in others:
        with pytest.raises(UsageError, match="cannot resume: images, buckets or batches were"):
            loader.load_state_dict(other.state_dict())
    with pytest.raises(UsageError, match="cannot have done 1000 batches"):
        loader.load_state_dict({**loader.state_dict(), "batches_done": 1000})


def test_entries_keep_their_repeats(plans: Plans) -> None:
    often = {"art": replace(plans["art"], batch=BatchSpec(8, repeats=3))}
    assert len(MixedLoader(often, BatchSpec(2))) == 48
    assert len(MixedLoader(often, BatchSpec(2, repeats=1))) == 24
    assert len(MixedLoader(often)) == 12  # in the batches that it asks for itself


def test_what_cannot_be_mixed_is_refused(plans: Plans, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        MixedLoader(plans, BatchSpec(8))
    assert str(caught.value) == (
        "cannot mix entry photos: it has no batch; "
        "a smaller batch_size, or remainder pad, makes some"
    )
    assert set(list_entries(MixedLoader(plans, BatchSpec(8), probabilities={"photos": 0}))) == {
        "art"
    }
    with pytest.raises(ConfigError) as caught:
        MixedLoader(plans, BatchSpec(2), probabilities={"arts": 1})
    assert str(caught.value) == "cannot use probability of arts: there are art, photos"


def test_a_share_that_never_comes_is_refused(plans: Plans) -> None:
    shares = {"art": 1.0, "photos": 1e-7}
    with pytest.raises(ConfigError, match="cannot use probability 1e-07: less than 1e-06 of all"):
        MixedLoader(plans, BatchSpec(2), probabilities=shares)


def test_each_iterator_counts_for_itself(plans: Plans) -> None:
    loader = MixedLoader(plans, BatchSpec(2))
    outer = iter(loader)
    for _ in range(3):
        next(outer)
    assert loader.state_dict()["batches_done"] == 3
    next(iter(loader))  # a look inside the loop
    assert loader.state_dict()["batches_done"] == 1
    next(outer)
    assert loader.state_dict()["batches_done"] == 4
    loader.set_epoch(1)
    next(outer)
    assert (loader.state_dict()["epoch"], loader.state_dict()["batches_done"]) == (0, 5)
    assert loader.sampler is loader  # where Lightning sets epochs


def test_a_state_that_is_refused_moves_nothing(plans: Plans) -> None:
    loader = MixedLoader(plans, BatchSpec(2))
    state = loader.state_dict()
    for wrong in ({**state, "epoch": 7, "batches_done": 10**6}, {**state, "epoch": 2**70}, None):
        with pytest.raises(UsageError):
            loader.load_state_dict(wrong)  # type: ignore[arg-type]
        assert (loader.epoch, loader.state_dict()) == (0, state)
