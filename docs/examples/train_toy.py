"""Train a toy denoiser on a folder of images, a mount or not: two epochs, the loss falls.

python docs/examples/train_toy.py FOLDER
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

from hffs.train import BatchSpec, BucketBatchSampler, FolderDataset, collate, plan_folder


def main() -> None:
    """Plan buckets, and learn to tell the noise from what it was added to."""
    torch.manual_seed(0)
    plan = plan_folder(sys.argv[1], resolution=128, aspect_bucket_alignment=16)
    sampler = BucketBatchSampler(plan, BatchSpec(batch_size=4, remainder="partial"))
    loader = DataLoader(
        FolderDataset(plan), batch_sampler=sampler, collate_fn=collate, num_workers=2
    )
    model = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.SiLU(),
        nn.Conv2d(32, 32, 3, padding=1), nn.SiLU(), nn.Conv2d(32, 3, 3, padding=1),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for step, batch in enumerate(loader):
            noise = torch.randn_like(batch["image"])
            loss = nn.functional.mse_loss(model(batch["image"] + noise), noise)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            shape = "x".join(map(str, batch["image"].shape))
            print(f"epoch {epoch} step {step} batch {shape} loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
