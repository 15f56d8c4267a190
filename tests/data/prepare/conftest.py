"""Jobs over small files, and what `datasets` makes of the same files: the oracle."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare

Prepare = Callable[..., pa.Table]
LoadWithDatasets = Callable[..., Any]


@pytest.fixture(autouse=True)
def _keep_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Put back what `prepare` sets for its process: here it is not its own."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    name = "datasets.features.features.string_to_arrow"
    monkeypatch.setattr(name, datasets.features.features.string_to_arrow)
    verbosity = datasets.logging.get_verbosity()
    datasets.disable_progress_bars()
    yield
    datasets.logging.set_verbosity(verbosity)
    datasets.enable_progress_bars()
    gc.collect()  # here, where the test's own filters of warnings still hold


@pytest.fixture
def notices() -> list[str]:
    """What jobs have told a person."""
    return []


@pytest.fixture
def make_job(tmp_path: Path, notices: list[str]) -> Callable[..., Job]:
    """A job whose root is `tmp_path`, and whose folder is a new one elsewhere in it."""

    def make(kind: str, *files: Path, options: dict[str, Any] | None = None) -> Job:
        folder = tmp_path / "prepared"
        folder.mkdir()
        return Job(
            "org/set", kind, options or {}, "train", files, tmp_path, folder, lambda *_: None,
            notices.append,
        )  # fmt: skip

    return make


@pytest.fixture
def prepared(make_job: Callable[..., Job]) -> Prepare:
    """The table that a job becomes; nothing else is left in its folder."""

    def read(kind: str, *files: Path, options: dict[str, Any] | None = None) -> pa.Table:
        job = make_job(kind, *files, options=options)
        paths = prepare(job)
        assert sorted(job.folder.iterdir()) == sorted(paths)
        return pa.concat_tables(pq.read_table(path) for path in paths)

    return read


@pytest.fixture
def loaded(tmp_path: Path) -> LoadWithDatasets:
    """What `load_dataset` gives, images not decoded."""

    def load(kind: str, *files: Path, **options: Any) -> Any:
        from datasets import load_dataset

        names = [str(file) for file in files]
        cache = str(tmp_path / "cache")
        rows = load_dataset(kind, data_files=names, split="train", cache_dir=cache, **options)
        return rows.with_format("arrow")[:]

    return load


@pytest.fixture
def oracle(prepared: Prepare, loaded: LoadWithDatasets) -> Callable[..., tuple[pa.Table, Any]]:
    """Both."""

    def both(
        kind: str, *files: Path, options: dict[str, Any] | None = None
    ) -> tuple[pa.Table, Any]:
        theirs = loaded(kind, *files, **(options or {}))
        return prepared(kind, *files, options=options), theirs

    return both
