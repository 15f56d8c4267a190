"""`hffs cache`: latents and text embeddings, computed once and kept.

Owns the names of its commands, which are the modules of `hffs.cli.caching`.
"""

from __future__ import annotations

import typer

from hffs.cli.caching.encoding import text, vae
from hffs.cli.caching.exporting import export
from hffs.cli.caching.keeping import prune, verify

cache = typer.Typer(
    help="Compute latents and text embeddings of a folder once, and keep them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)
cache.command("vae")(vae)
cache.command("text")(text)
cache.command("verify")(verify)
cache.command("prune")(prune)
cache.command("export")(export)
