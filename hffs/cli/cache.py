"""`hffs cache`: latents and text embeddings, computed once and kept.

Owns the names of its commands, which are in the modules of `hffs.cli.caching`.
"""

from __future__ import annotations

from hffs.cli.commands import Group, Verb

VERBS = {
    "vae": Verb(
        "hffs.cli.caching.encoding",
        "Encode the images of a folder by a VAE, as their buckets want them, and keep the latents.",
    ),
    "text": Verb(
        "hffs.cli.caching.encoding",
        "Encode the captions of a folder's images, each text once, and keep the embeddings.",
    ),
    "verify": Verb(
        "hffs.cli.caching.keeping",
        "Read every tensor of some stores, and compare them with their checksums.",
    ),
    "prune": Verb(
        "hffs.cli.caching.keeping",
        "Remove of an encoder's tensors what the plan of a folder does not use; of others none.",
    ),
    "export": Verb(
        "hffs.cli.caching.exporting",
        "Write latents and embeddings as a trainer's own cache, so that it need not encode.",
    ),
}


def _cache() -> None:
    """Compute latents and text embeddings of a folder once, and keep them."""


cache = Group(VERBS, _cache, "cache")
