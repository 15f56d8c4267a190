"""Several folders in one stream of batches: what each step takes is drawn by probability.

Owns the place in the stream. Must not know how an image is read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from multiprocessing.context import BaseContext
from typing import Any, Self, TypedDict, Unpack, cast

from torch.utils.data import ConcatDataset, DataLoader, Dataset, Sampler

from hffs.core.batches import BatchSpec, derive_seed
from hffs.core.mixing import Mix, Stop, count_steps, plan_mix
from hffs.errors import ConfigError
from hffs.train.dataset import FolderDataset, PlannedDataset
from hffs.train.plan import NO_BATCH_FIX, Epochs, Plan
from hffs.train.progress import (
    VERSION,
    State,
    check_done,
    check_epoch,
    check_state,
    identify_batches,
    join_repeats,
)
from hffs.train.seats import check_seat, find_seat

_ROUND = 1 << 32
"""What an entry's rounds within an epoch are apart: round 0 of epoch n is its epoch n."""


class Loading(TypedDict, total=False):
    """What is passed on to torch's DataLoader."""

    num_workers: int
    pin_memory: bool
    prefetch_factor: int | None
    persistent_workers: bool
    timeout: float
    multiprocessing_context: str | BaseContext | None


class MixedLoader:
    """Batches of several entries, each of one bucket of one of them (`batch["entry"]` says which).

    Entries are plans, or data sets where images are transformed or were cached; a batch is of the
    kind of its entry (`Batch`, `CachedBatch`). How often each is drawn is its plan's probability,
    or that of `probabilities`; on every rank a step takes from the same entry. `batch` is of all
    entries; without it each has its plan's own, and the seed is the first's.
    `stop` says when an epoch ends (`hffs.core.mixing.Mix`). It counts the batches that it gives, so
    a state is exact with workers that read ahead: `state_dict` within the loop is behind the batch
    that the loop has. What a transform draws at random is not resumed.
    """

    def __init__(
        self,
        entries: Mapping[str, Plan | PlannedDataset],
        batch: BatchSpec | None = None,
        *,
        rank: int | None = None,
        stop: Stop = "longest",
        probabilities: Mapping[str, float] | None = None,
        **loading: Unpack[Loading],
    ) -> None:
        datasets = {name: _open(name, entry) for name, entry in entries.items()}
        first = next((one.plan.batch for one in datasets.values()), BatchSpec())
        named = first if batch is None else batch
        self._seat = find_seat(rank, named.world)
        sequences = _line_up(datasets, batch, named.seed, self._seat.world)
        shares = _find_shares(datasets, probabilities)
        for name, sequence in sequences.items():
            if shares[name] > 0 and not len(sequence.epochs.plan(0)):
                why = "it has no batch"
                raise ConfigError("cannot mix", f"entry {name}", why=why, fix=NO_BATCH_FIX)
        lengths = tuple(len(sequence.epochs.plan(0)) for sequence in sequences.values())
        mix = Mix(lengths, tuple(shares.values()), named.seed, stop)
        self._batches = _MixedBatches(list(sequences.values()), mix, self._seat.rank)
        self._own = State(
            version=VERSION,
            digest=_identify(datasets, sequences, mix),
            seed=named.seed,
            world=self._seat.world,
            epoch=0,
            batches_done=0,
        )
        self._begin = 0
        self._place = 0, 0  # an epoch, and how many of its batches were given
        self._loader: DataLoader[Any] = DataLoader(
            ConcatDataset(cast("Iterable[Dataset[Any]]", datasets.values())),
            batch_sampler=self._batches,
            collate_fn=_Collate(datasets),
            **loading,
        )

    @property
    def epoch(self) -> int:
        """The epoch that was set."""
        return self._batches.epoch

    @property
    def sampler(self) -> Self:
        """Itself: Lightning calls `set_epoch` of what a loader draws from."""
        return self

    def __len__(self) -> int:
        """Steps of the whole epoch, also where the next iteration begins within it."""
        return self._batches.count(self.epoch)

    def __iter__(self) -> Iterator[Any]:
        check_seat(self._seat)
        begin, self._begin = self._begin, 0
        epoch, done = self.epoch, begin
        self._batches.begin, self._place = begin, (epoch, done)
        for batch in self._loader:
            done += 1
            self._place = epoch, done
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; to stay in the same one changes nothing."""
        epoch = check_epoch(epoch)
        if epoch != self.epoch:
            self._batches.epoch, self._begin, self._place = epoch, 0, (epoch, 0)

    def state_dict(self, batches_done: int | None = None) -> State:
        """Where to go on: behind the batches that were given, or so many of this epoch."""
        epoch, done = self._place if batches_done is None else (self.epoch, batches_done)
        check_done(done, self._batches.count(epoch))
        return State(**(self._own | {"epoch": epoch, "batches_done": done}))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was saved; UsageError if it is of other batches."""
        check_state(state, self._own)
        epoch, done = state["epoch"], state["batches_done"]
        check_done(done, self._batches.count(epoch))
        self.set_epoch(epoch)
        self._begin, self._place = done, (epoch, done)


@dataclass(frozen=True, slots=True)
class _Sequence:
    """The batches of one entry, epoch after epoch; its samples begin at `first` of all."""

    epochs: Epochs
    first: int


class _MixedBatches(Sampler[list[int]]):
    """Batches of one rank, as indices into all entries' samples; the next iteration begins at
    `begin`.
    """

    def __init__(self, sequences: Sequence[_Sequence], mix: Mix, rank: int) -> None:
        self.epoch = self.begin = 0
        self._sequences, self._mix, self._rank = sequences, mix, rank
        self._counted: tuple[int, int] | None = None

    def __len__(self) -> int:
        return self.count(self.epoch)

    def count(self, epoch: int) -> int:
        """Steps of an epoch; of the last one that was asked for they are known."""
        if self._counted is None or self._counted[0] != epoch:
            self._counted = epoch, count_steps(self._mix, epoch)
        return self._counted[1]

    def __iter__(self) -> Iterator[list[int]]:
        return self._hand_out(self.epoch, self.begin)

    def _hand_out(self, epoch: int, begin: int) -> Iterator[list[int]]:
        for steps in plan_mix(self._mix, epoch):
            for at in range(max(begin - steps.first, 0), len(steps)):
                sequence = self._sequences[int(steps.entry[at])]
                planned = sequence.epochs.plan(epoch + _ROUND * int(steps.round[at]))
                part = planned.part(int(steps.number[at]), self._rank)
                yield (part + sequence.first).tolist()


class _Collate:
    """Stacks a batch in the way of the data set that its samples are of."""

    def __init__(self, datasets: Mapping[str, PlannedDataset]) -> None:
        self._datasets = dict(datasets)

    def __call__(self, samples: Sequence[Any]) -> Any:
        return self._datasets[samples[0]["entry"]].collate(samples)


def _open(name: str, entry: Plan | PlannedDataset) -> PlannedDataset:
    """The data set of an entry, whose batches will bear its name."""
    dataset = FolderDataset(entry) if isinstance(entry, Plan) else entry
    return dataset.renamed(name)


def _line_up(
    datasets: Mapping[str, PlannedDataset], batch: BatchSpec | None, seed: int, world: int
) -> dict[str, _Sequence]:
    """What is drawn from, each with a seed of its own: twins are not shuffled alike."""
    sequences, first = dict[str, _Sequence](), 0
    for number, (name, dataset) in enumerate(datasets.items()):
        own = join_repeats(dataset.plan, batch)
        spec = replace(own, seed=derive_seed(seed, number), world=world)
        sequences[name] = _Sequence(Epochs(dataset.plan, spec), first)
        first += len(dataset)
    return sequences


def _find_shares(
    datasets: Mapping[str, PlannedDataset], probabilities: Mapping[str, float] | None
) -> dict[str, float]:
    """How often each entry is drawn; a name that is no entry's is a ConfigError."""
    given = probabilities or {}
    for name in given:
        if name not in datasets:
            known = ", ".join(datasets)
            raise ConfigError("cannot use probability of", name, why=f"there are {known}")
    return {name: given.get(name, one.plan.probability) for name, one in datasets.items()}


def _identify(
    datasets: Mapping[str, PlannedDataset], sequences: Mapping[str, _Sequence], mix: Mix
) -> str:
    digest = hashlib.sha256(repr((mix.probabilities, mix.stop)).encode())
    for name, dataset in datasets.items():
        digest.update(
            repr((name, identify_batches(dataset.plan, sequences[name].epochs.spec))).encode()
        )
    return digest.hexdigest()
