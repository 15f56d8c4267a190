"""Which samples make each batch of this rank, for torch's DataLoader, and how to go on later.

Owns the place in the epoch. Must not know what a sample holds.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Self

from torch.utils.data import Sampler

from hffs.core.batches import BatchSpec, EpochPlan
from hffs.errors import ConfigError
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

_log = logging.getLogger(__name__)


class BucketBatchSampler(Sampler[list[int]]):
    """Batches of one epoch, each of one bucket: lists of indices into the plan's FolderDataset.

    It is a DataLoader's `batch_sampler`. `batch` is the plan's own if nothing is said. Every rank
    makes the same plan of all batches and takes its own part of each, so all have as many. `rank`
    and the world are torch.distributed's if nothing else is said (`find_seat`): what shards batches
    once more, as accelerate's `prepare` does, must not be given its loader. `set_epoch` shuffles
    anew; nothing but it goes to another epoch. Raises ConfigError where there is no batch.

    To go on within an epoch, save `state_dict(batches_done=n)` with n the batches of this epoch
    that were trained on: a DataLoader with workers asks for batches ahead, so that the sampler
    alone cannot know, and without n says how many it has handed out. That is what torchdata's
    StatefulDataLoader wants, which keeps its own count of what is ahead. After `load_state_dict`
    the next iteration begins behind those batches; later ones begin at the first.
    """

    def __init__(
        self, plan: Plan, batch: BatchSpec | None = None, *, rank: int | None = None
    ) -> None:
        batch = join_repeats(plan, batch)
        self._seat = find_seat(rank, batch.world)
        self.batch = replace(batch, world=self._seat.world)
        self.epoch = 0
        self._epochs = Epochs(plan, self.batch)
        self._digest = identify_batches(plan, self.batch)
        self._begin = self._handed_out = 0
        if not len(self):
            why = "no bucket fills one"
            raise ConfigError("cannot make batches of", plan.id, why=why, fix=NO_BATCH_FIX)

    @property
    def rank(self) -> int:
        """Which part of each batch is this process's."""
        return self._seat.rank

    @property
    def sampler(self) -> Self:
        """Itself: Lightning calls `set_epoch` of what a batch sampler draws from."""
        return self

    def __len__(self) -> int:
        """Batches of the whole epoch, also where the next iteration begins within it."""
        return len(self.plan_epoch())

    def __iter__(self) -> Iterator[list[int]]:
        # All of it when the first batch is asked for: a DataLoader with workers makes two iterators
        # and uses the second.
        check_seat(self._seat)
        begin, self._begin = self._begin, 0
        self._handed_out = begin
        planned = self.plan_epoch()
        for number in range(begin, len(planned)):
            self._handed_out = number + 1
            yield planned.part(number, self.rank).tolist()

    def plan_epoch(self) -> EpochPlan:
        """The batches of all ranks in the epoch that was set."""
        return self._epochs.plan(self.epoch)

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch; to stay in the same one changes nothing."""
        epoch = check_epoch(epoch)
        if epoch != self.epoch:
            if self._begin and epoch < self.epoch:
                _log.warning(
                    "epoch %d is set, and the place in epoch %d where a state was to go on is lost",
                    epoch,
                    self.epoch,
                )
            self.epoch, self._begin, self._handed_out = epoch, 0, 0

    def state_dict(self, batches_done: int | None = None) -> State:
        """Where to go on; see the class for what `batches_done` is."""
        done = self._handed_out if batches_done is None else batches_done
        check_done(done, len(self))
        return State(
            version=VERSION,
            digest=self._digest,
            seed=self.batch.seed,
            world=self.batch.world,
            epoch=self.epoch,
            batches_done=done,
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where a state was saved; UsageError if it is of other batches.

        One of an epoch that was gone through leaves a later epoch that was set as it is.
        """
        check_state(state, self.state_dict(0))
        epoch, done = state["epoch"], state["batches_done"]
        check_done(done, len(self))  # the same in every epoch
        if done == len(self) and self.epoch > epoch:
            return  # a StatefulDataLoader loads when it iterates, behind set_epoch
        self.set_epoch(epoch)
        self._begin = self._handed_out = done
