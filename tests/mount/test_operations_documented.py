"""The scripts of docs/operations.md: what a cluster would run, run here on folders of a test."""

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from hffs.mount.mountinfo import find_mount
from tests.command import Hffs
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

_DOCUMENT = Path(__file__).parents[2] / "docs/operations.md"


def _read_block(name: str, places: Mapping[str, object]) -> str:
    """The block that follows a mark, with paths of the document replaced by those of the test."""
    found = re.search(rf"<!-- {name} -->\n```\w+\n(.*?)^```", _DOCUMENT.read_text(), re.M | re.S)
    assert found is not None
    text = found[1]
    for told, real in places.items():
        assert told in text
        text = text.replace(told, str(real))
    return text


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with an `hffs` in it, which is this code."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "hffs").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m hffs "$@"\n')
    (folder / "hffs").chmod(0o755)
    return folder


def test_the_scripts_of_slurm_mount_and_unmount(
    photo_parquet: Path, hffs: Hffs, programs: Path, tmp_path: Path
) -> None:
    config, jobs = tmp_path / "job.toml", tmp_path / "jobs"
    config.write_text(f'dataset_name = "{photo_parquet}"\nscratch = "{tmp_path}/scratch"\n')
    places: dict[str, object] = {
        "/mnt/jobs": jobs, "HOME=/root": f"HOME={tmp_path}", "PATH=": f"PATH={programs}:",
    }  # fmt: skip
    environ = {key: value for key, value in hffs.environ.items() if key not in {"PATH", "HOME"}}
    environ |= {"SLURM_JOB_ID": "17", "SLURM_JOB_UID": "1000", "SLURM_JOB_GID": "1000"}

    def run(block: str) -> str:
        done = subprocess.run(
            ["/bin/bash", "-c", block], env=environ, capture_output=True, text=True, check=True
        )
        return done.stdout

    prolog = _read_block("prolog", {**places, "/etc/hffs/job.toml": config})
    assert run(prolog) == ""
    about = (jobs / "17").stat()
    assert (about.st_uid, about.st_mode & 0o777) == (1000, 0o700)
    assert (jobs / "17/0.jpg").stat().st_uid == 1000
    run(_read_block("epilog", places))
    assert find_mount(str(jobs / "17")) is None
    assert list(jobs.iterdir()) == []

    config.write_text('dataset_name = "/nothing"\n')
    assert run(prolog) == "print no data set was mounted\n"


def test_the_sidecar_of_the_pod_mounts_and_is_found_ready(
    photo_parquet: Path, hffs: Hffs, programs: Path, tmp_path: Path
) -> None:
    pod = yaml.safe_load(_read_block("pod", {"/sets": tmp_path / "sets", "/cache": tmp_path / "c"}))
    (sidecar,), (trainer,) = pod["spec"]["initContainers"], pod["spec"]["containers"]
    propagation = [one["volumeMounts"][0]["mountPropagation"] for one in (sidecar, trainer)]
    assert propagation == ["Bidirectional", "HostToContainer"]
    assert (sidecar["restartPolicy"], sidecar["securityContext"]) == (
        "Always", {"privileged": True},
    )  # fmt: skip
    token = tmp_path / "token"
    token.write_text("hf_secret")
    shell, flag, script = sidecar["command"]
    script = script.replace("owner/photos", str(photo_parquet)).replace("/token/hf", str(token))
    environ = hffs.environ | {"PATH": f"{programs}:{os.environ['PATH']}"}
    folder = tmp_path / "sets/photos"
    with subprocess.Popen([shell, flag, script], env=environ, stderr=subprocess.PIPE) as running:
        probe = sidecar["startupProbe"]["exec"]["command"]
        wait_until(lambda: subprocess.run(probe, env=environ, check=False).returncode == 0)
        assert (folder / "0.txt").read_text()
        (folder / "0.npz").write_bytes(b"latents")
        running.terminate()
        said = running.communicate()[1].decode()
    assert running.returncode == 0, said
    assert find_mount(str(folder)) is None
