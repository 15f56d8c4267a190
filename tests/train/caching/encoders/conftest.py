"""Tiny models, made once for all tests of encoders; who changes one makes a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.tiny_models import save_pipeline, save_t5


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as of Stable Diffusion XL."""
    return save_pipeline(tmp_path_factory.mktemp("models") / "pipeline")


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a T5."""
    return save_t5(tmp_path_factory.mktemp("models") / "t5")
