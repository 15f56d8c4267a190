"""An epoch of hffs's own loader over a folder, for `tests.bench.loading`: images a second, printed.

    .venv/bin/python -m tests.bench.loading_epoch FOLDER

Two workers of a torch DataLoader, in batches of one bucket, at a resolution of 512. The clock
starts with the first batch: neither the plan nor a worker's start is a matter of the folder.
"""

from __future__ import annotations

import sys
import time

from torch.utils.data import DataLoader

from hffs.core.batches import BatchSpec
from hffs.train import BucketBatchSampler, FolderDataset, collate, plan_folder
from hffs.train.dataset import Sample

WORKERS, BATCH, SIDE_PX = 2, 16, 512


def main() -> None:
    """Time an epoch and print how many images it has had a second."""
    plan = plan_folder(sys.argv[1], resolution=SIDE_PX)
    loader: DataLoader[Sample] = DataLoader(
        FolderDataset(plan),
        batch_sampler=BucketBatchSampler(plan, BatchSpec(BATCH, remainder="partial")),
        collate_fn=collate,
        num_workers=WORKERS,
    )
    batches = iter(loader)
    next(batches)
    started = time.perf_counter()
    count = sum(len(batch["name"]) for batch in batches)
    print(count / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
