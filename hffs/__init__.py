"""hffs: a filtered Hugging Face dataset as a read-only folder of numbered files."""

__version__ = "0.1.0"
