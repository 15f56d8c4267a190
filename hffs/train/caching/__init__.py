"""Latents and text embeddings: computed once, kept in shards, read by anyone who trains."""
