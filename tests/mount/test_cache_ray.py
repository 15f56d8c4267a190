"""`hffs cache --engine ray`: workers apart make what one process makes, wherever it is kept.

One Ray on this host for the tests that join a cluster, whose workers find in their environment
where the bucket is, and what `small_encoders` are to do to them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs

from hffs.data.engines import Needs
from hffs.data.engines.ray import RayEngine
from hffs.errors import UsageError
from tests.cached import ENCODERS, PLAN, cache, count
from tests.command import Hffs
from tests.data.buckets import serving_buckets, use_endpoint
from tests.data.engines import work
from tests.mount.test_bucket import SIZES, write_folder, write_photos
from tests.train.caching.runs import digest_store

pytestmark = [
    pytest.mark.timeout(300),  # as `tests.cached.cache`
    pytest.mark.fuse,
    # Of what Ray does to itself, and of files that it leaves to the garbage collector.
    pytest.mark.filterwarnings(
        r"ignore::DeprecationWarning:ray\.",
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]

WORKERS = 2


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path, str]]:
    """The address of a Ray that a command joins, a folder for marks, and an S3 endpoint."""
    marks = tmp_path_factory.mktemp("marks")
    with serving_buckets() as buckets, RayEngine(workers=WORKERS) as engine:
        with pytest.MonkeyPatch.context() as patch:  # for the workers alone
            use_endpoint(patch, buckets.endpoint)
            patch.setenv("HFFS_TEST_MARKS", str(marks))
            patch.setenv("HFFS_TEST_DETACH", "/travelling")
            patch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
            with pytest.raises(UsageError):  # so that it has begun, without a worker
                list(engine.run(work.make_teller, [1], Needs(gpus=2)))
        ray: Any = sys.modules["ray"]
        yield ray.get_runtime_context().gcs_address, marks, buckets.endpoint


def test_workers_make_what_one_process_makes_also_if_one_is_killed(
    hffs: Hffs, cluster: tuple[str, Path, str], tmp_path: Path
) -> None:
    address, marks, _ = cluster
    folder = write_folder(tmp_path / "photos")
    flags = ("--vae", f"{ENCODERS}:Mortal", *PLAN, "--shard-samples", "1", "--output")
    cache(hffs, "vae", folder, *flags, tmp_path / "local")
    facts = cache(
        hffs, "vae", folder, *flags, tmp_path / "ray", "--engine", "ray", "--ray-address", address
    )
    assert (marks / "killed").exists()
    assert (count(facts), facts["failed"]) == ((len(SIZES), 0, len(SIZES)), 0)
    assert digest_store(tmp_path / "ray") == digest_store(tmp_path / "local")


def test_workers_read_a_data_set_by_themselves_and_write_to_a_bucket(
    hffs: Hffs, cluster: tuple[str, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is mounted is taken from them before they read."""
    address, marks, endpoint = cluster
    entry = {"id": "travelling", "dataset_name": str(write_photos(tmp_path / "photos.parquet"))}
    config = tmp_path / "loader.json"
    config.write_text(json.dumps([entry]))
    flags = ("--vae", f"{ENCODERS}:Detaching", *PLAN, "--shard-samples", "1", "--output")
    cache(hffs, "vae", config, *flags, tmp_path / "local")
    use_endpoint(monkeypatch, endpoint)
    bucket = s3fs.S3FileSystem(skip_instance_cache=True, use_listings_cache=False)
    bucket.mkdir("latents")
    hffs.environ.update({name: os.environ[name] for name in os.environ if name[:4] == "AWS_"})
    asked = (*flags, "s3://latents/all", "--engine", "ray", "--ray-address", address)
    assert count(cache(hffs, "vae", config, *asked)) == (len(SIZES), 0, len(SIZES))
    assert count(cache(hffs, "vae", config, *asked)) == (len(SIZES), len(SIZES), 0)
    told = (marks / "detached").read_text().splitlines()
    assert any(line.endswith("/travelling 0") for line in told)  # by one of the workers
    bucket.get("latents/all", str(tmp_path / "fetched"), recursive=True)
    assert digest_store(tmp_path / "fetched") == digest_store(tmp_path / "local")
