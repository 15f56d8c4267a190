"""Random operations on real mounts for hours, compared with a model: `python -m tests.soak -h`."""
