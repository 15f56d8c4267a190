"""The systemd unit: systemd itself accepts it, and it leaves the mount visible to the host."""

from __future__ import annotations

import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "hffs@.service"

# Each puts the service into a mount namespace of its own (systemd.exec(5)).
HIDING = {
    "BindPaths", "BindReadOnlyPaths", "DynamicUser", "ExecPaths", "InaccessiblePaths",
    "MountFlags", "NoExecPaths", "PrivateDevices", "PrivateIPC", "PrivateMounts", "PrivateTmp",
    "ProcSubset", "ProtectControlGroups", "ProtectHome", "ProtectKernelLogs",
    "ProtectKernelModules", "ProtectKernelTunables", "ProtectProc", "ProtectSystem",
    "ReadOnlyPaths", "ReadWritePaths", "RootDirectory", "RootImage", "TemporaryFileSystem",
}  # fmt: skip


@pytest.fixture
def service() -> dict[str, str]:
    """The [Service] section, keys as written."""
    parser = RawConfigParser(delimiters="=", comment_prefixes="#", interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign] # the documented way
    parser.read(UNIT)
    return dict(parser["Service"])


def _verify(folder: Path, text: str) -> subprocess.CompletedProcess[str]:
    """What systemd says of a unit whose program exists (it looks for that too)."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    unit = folder / "hffs@photos.service"
    unit.write_text(text.replace("/usr/local/bin/hffs", sys.executable))
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(unit)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    done = _verify(tmp_path, UNIT.read_text())
    assert (done.returncode, done.stderr) == (0, "")


def test_systemd_would_have_told_about_a_mistake(tmp_path: Path) -> None:
    done = _verify(tmp_path, UNIT.read_text().replace("Restart=", "Restrat="))
    assert "Restrat" in done.stderr


def test_nothing_hides_the_mount_from_the_host(service: dict[str, str]) -> None:
    assert not HIDING & service.keys()


def test_config_and_mount_point_are_named_after_the_instance(service: dict[str, str]) -> None:
    assert service["Type"] == "forking"
    assert service["ExecStart"].endswith("/etc/hffs/%i.toml /mnt/hffs/%i")
    for key in ("ExecStartPre", "ExecStop", "ExecStopPost"):
        assert service[key].endswith(" /mnt/hffs/%i")


def test_regression_the_service_has_a_home_which_systemd_does_not_set(
    service: dict[str, str],
) -> None:
    assert "HOME=%h" in service["Environment"].split()
