"""What systemd reads: it accepts the files, they hide no mount, and README.md tells what is open.

That the unit does what it says is tested in tests/mount/test_service_user.py.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from configparser import RawConfigParser
from pathlib import Path
from typing import Any

import pytest

from hffs.mount.registry import SERVICE_STATE

FOLDER = Path(__file__).parents[1] / "systemd"
UNIT = FOLDER / "hffs@.service"
README = FOLDER / "README.md"
GENERATOR = Path("/usr/lib/systemd/system-generators/systemd-fstab-generator")

# Each puts the service into a mount namespace of its own (systemd.exec(5)).
HIDING = {
    "BindPaths", "BindReadOnlyPaths", "DynamicUser", "ExecPaths", "ExtensionImages",
    "InaccessiblePaths", "MountFlags", "MountImages", "NoExecPaths", "PrivateDevices",
    "PrivateIPC", "PrivateMounts", "PrivateNetwork", "PrivatePIDs", "PrivateTmp", "PrivateUsers",
    "ProcSubset", "ProtectControlGroups", "ProtectHome", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem",
    "ReadOnlyPaths", "ReadWritePaths", "RootDirectory", "RootImage", "TemporaryFileSystem",
}  # fmt: skip


def _run(*command: str | Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A program of systemd, which has to be there."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **environ}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


def _read_block(name: str) -> str:
    """A block of README.md, by the mark before it."""
    found = re.search(rf"<!-- {name} -->\n```\w*\n(.*?)^```", README.read_text(), re.M | re.S)
    assert found is not None
    return found[1]


@pytest.fixture
def service() -> dict[str, str]:
    """The [Service] section, keys as written; of a key that is there twice, the last."""
    parser = RawConfigParser(delimiters="=", comment_prefixes="#", interpolation=None, strict=False)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # the documented way
    parser.read(UNIT)
    return dict(parser["Service"])


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write an instance of the unit, whose program exists (systemd looks for that too)."""

    def write(text: str | None = None) -> Path:
        unit = tmp_path / "hffs@photos.service"
        text = UNIT.read_text() if text is None else text
        unit.write_text(text.replace("/usr/local/bin/hffs", sys.executable))
        return unit

    return write


def _verify(*units: Path) -> subprocess.CompletedProcess[str]:
    return _run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", *units)


def test_systemd_accepts_the_unit(write: Write) -> None:
    done = _verify(write())
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_have_told_about_a_mistake(write: Write) -> None:
    done = _verify(write(UNIT.read_text().replace("Restart=", "Restrat=")))
    assert "Restrat" in done.stderr


def test_systemd_accepts_the_drop_in_for_a_writable_layer(write: Write) -> None:
    unit = write()
    folder = unit.with_name(f"{unit.name}.d")
    folder.mkdir()
    (folder / "writable.conf").write_text(_read_block("writable.conf"))
    done = _verify(unit)
    assert (done.returncode, done.stderr) == (0, "")
    (folder / "writable.conf").write_text("[Service]\nUsre=root\n")
    assert "Usre" in _verify(unit).stderr


def test_nothing_hides_the_mount_from_the_host(service: dict[str, str]) -> None:
    assert not HIDING & service.keys()


def test_config_and_mount_point_are_named_after_the_instance(service: dict[str, str]) -> None:
    assert service["Type"] == "notify"
    assert service["ExecStart"].endswith(" /etc/hffs/%i.toml /mnt/hffs/%i")


def test_regression_the_service_has_a_home_which_systemd_does_not_set(
    service: dict[str, str],
) -> None:
    environ = dict(pair.split("=") for pair in service["Environment"].split())
    assert environ["HOME"] == "%S/hffs"
    assert environ["XDG_STATE_HOME"] == "%S"
    assert Path("/var/lib", service["StateDirectory"]) == SERVICE_STATE


def _judge(unit: Path) -> dict[str, str]:
    """What systemd finds open, with its points."""
    command = ("systemd-analyze", "security", "--offline=true", "--no-pager", "--json=short")
    done = _run(*command, unit)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return {each["json_field"]: each["exposure"] for each in found if each["exposure"]}


def _read_reasons() -> dict[str, tuple[str, str]]:
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| (.+) \|$", README.read_text(), re.M)
    return {name: (points, why) for name, points, why in rows}


def test_whatever_systemd_finds_open_has_its_reason_in_the_readme(write: Write) -> None:
    reasons = _read_reasons()
    assert _judge(write()) == {name: points for name, (points, _) in reasons.items()}
    assert all(reasons.values())


def test_the_score_is_the_one_that_the_readme_names(write: Write) -> None:
    told = re.search(r"security hffs@photos` gives ([\d.]+)", README.read_text())
    assert told is not None
    done = _run("systemd-analyze", "security", "--offline=true", "--no-pager", write())
    score = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert score is not None
    assert float(score[1]) <= float(told[1])


def test_a_service_without_its_hardening_would_be_found_open(write: Write) -> None:
    text = UNIT.read_text().replace("RestrictNamespaces=yes", "")
    assert "RestrictNamespaces_user" in _judge(write(text)).keys() - _read_reasons().keys()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives folders to users")
def test_the_user_and_the_folders_are_made(tmp_path: Path, service: dict[str, str]) -> None:
    (tmp_path / "etc").mkdir()
    done = _run("systemd-sysusers", f"--root={tmp_path}", FOLDER / "sysusers.d/hffs.conf")
    assert done.returncode == 0, done.stderr
    (user,) = (tmp_path / "etc/passwd").read_text().splitlines()
    name, _, number, _, _, home, shell = user.split(":")
    assert (name, home) == (service["User"], "/var/lib/hffs")
    assert shell.endswith("nologin")
    conf = FOLDER / "tmpfiles.d/hffs.conf"
    done = _run("systemd-tmpfiles", "--create", f"--root={tmp_path}", conf)
    assert done.returncode == 0, done.stderr
    made = {
        folder: (about.st_uid, about.st_mode & 0o777)
        for folder in ("mnt/hffs", "etc/hffs", "etc/credstore", "var/lib/hffs", "var/cache/hffs")
        for about in [(tmp_path / folder).stat()]
    }
    assert made == {
        "mnt/hffs": (0, 0o755), "etc/hffs": (0, 0o755), "etc/credstore": (0, 0o700),
        "var/lib/hffs": (int(number), 0o700), "var/cache/hffs": (int(number), 0o700),
    }  # fmt: skip


def test_systemd_accepts_the_units_of_the_readme(tmp_path: Path) -> None:
    units = [tmp_path / "mnt-photos.mount", tmp_path / "mnt-photos.automount"]
    for unit in units:
        unit.write_text(_read_block(unit.name))
    done = _verify(*units)
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_makes_units_of_the_lines_for_fstab(tmp_path: Path) -> None:
    if not GENERATOR.exists():
        pytest.skip("systemd's generator is not installed")
    table, made = tmp_path / "fstab", tmp_path / "units"
    table.write_text(_read_block("fstab"))
    made.mkdir()
    done = _run(GENERATOR, made, made, made, SYSTEMD_FSTAB=str(table), SYSTEMD_IN_INITRD="0")
    assert (done.returncode, done.stderr) == (0, "")
    units = sorted(path for path in made.iterdir() if path.is_file())
    assert [unit.name for unit in units] == [
        "mnt-all.mount", "mnt-art.mount", "mnt-photos.automount", "mnt-photos.mount",
    ]  # fmt: skip
    done = _verify(*units)
    assert (done.returncode, done.stderr) == (0, "")
    assert "What=hffs#owner/photos\n" in (made / "mnt-photos.mount").read_text()
    assert 'where="width >= 512"' in (made / "mnt-art.mount").read_text()
