"""Data sets of the Hugging Face Hub: which files are meant, and how they come to this host."""
