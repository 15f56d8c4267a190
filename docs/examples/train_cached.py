"""Train a toy denoiser on latents that were cached, with the embeddings of captions beside them.

python docs/examples/train_cached.py FOLDER VAE_STORE TEXT_STORE

The stores are what `hffs cache vae` and `hffs cache text` made of the folder.
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

from hffs.train import (
    BatchSpec,
    BucketBatchSampler,
    CachedDataset,
    collate_cached,
    plan_folder,
    time_ids,
)


def main() -> None:
    """Read batches of one bucket each, and learn to tell the noise from what it was added to."""
    torch.manual_seed(0)
    folder, vae, text = sys.argv[1:]
    plan = plan_folder(folder, resolution=128, aspect_bucket_alignment=16)
    data = CachedDataset(plan, vae=vae, text=text)
    # Not of `plan`: images that could not be read are left out.
    sampler = BucketBatchSampler(data.plan, BatchSpec(batch_size=4))
    loader = DataLoader(data, batch_sampler=sampler, collate_fn=collate_cached, num_workers=2)
    scale, shift = data.vae_facts["scaling_factor"], data.vae_facts["shift_factor"] or 0.0
    channels = data[0]["latents"].shape[0]
    model = nn.Conv2d(channels, channels, 3, padding=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for batch in loader:
        latents = (batch["latents"].float() - shift) * scale
        noise = torch.randn_like(latents)
        loss = nn.functional.mse_loss(model(latents + noise), noise)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        shape = "x".join(map(str, latents.shape))
        text_shape = "x".join(map(str, batch["text"]["hidden"].shape))
        sizes = "x".join(map(str, time_ids(batch).shape))
        print(f"latents {shape} text {text_shape} sizes {sizes} loss {loss.item():.3f}")


if __name__ == "__main__":
    main()
