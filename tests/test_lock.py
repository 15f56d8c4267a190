"""The lock pins what is developed with, and an audit of it tells apart good, bad and unknown."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LOCK = (ROOT / "requirements-dev.lock").read_text()


def pinned() -> dict[str, str]:
    lines = [line for line in LOCK.splitlines() if line and not line.startswith("#")]
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    return {canonicalize_name(name): version for name, version in (ln.split("==") for ln in lines)}


def asked_for(extra: str) -> list[Requirement]:
    """What an extra takes, with all that it names of this project."""
    found: list[Requirement] = []
    for line in PROJECT["optional-dependencies"][extra]:
        requirement = Requirement(line)
        if requirement.name == PROJECT["name"]:
            for inner in requirement.extras:
                found += asked_for(inner)
        else:
            found.append(requirement)
    return found


def test_everything_that_is_locked_has_one_version() -> None:
    names = [canonicalize_name(line.split("==")[0]) for line in LOCK.splitlines() if "==" in line]
    assert len(names) == len(set(names)) == len(pinned()) > 100


def test_everything_that_is_asked_for_is_locked_at_a_version_that_does() -> None:
    wanted = [*map(Requirement, PROJECT["dependencies"]), *asked_for("dev")]
    assert len(wanted) > 30
    versions = pinned()
    assert [
        str(each)
        for each in wanted
        if not each.specifier.contains(versions.get(canonicalize_name(each.name), "0"))
    ] == []


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    path = ROOT / ".ci/audit"
    loader = importlib.machinery.SourceFileLoader("audit", str(path))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


SOUND: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
BAD = SOUND | {"name": "b", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
OPEN = SOUND | {"name": "c", "vulns": [{"id": "CVE-2", "fix_versions": []}]}
UNKNOWN = {"name": "d", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "code", "line"),
    [
        ([SOUND], 0, "audit: no known vulnerability in 1 packages"),
        ([SOUND, BAD], 1, "audit: b 1: CVE-1, mended in 2"),
        ([OPEN, UNKNOWN], 1, "audit: c 1: CVE-2, mended in no release yet"),
        ([UNKNOWN, UNKNOWN], 2, "audit: the service knows nothing of 2 of 2 packages, as d"),
        ([SOUND, UNKNOWN], 2, "audit: the service knows nothing of 1 of 2 packages, as d"),
    ],
)
def test_what_nobody_could_be_asked_about_is_no_pass(
    packages: list[dict[str, Any]], code: int, line: str, audit: ModuleType
) -> None:
    told, lines = audit.judge(json.dumps({"dependencies": packages}), "")
    assert (told, lines[0]) == (code, line)


def test_a_service_that_does_not_answer_is_no_pass(audit: ModuleType) -> None:
    for report in ("", "{}", "[1"):
        told, lines = audit.judge(report, "Traceback\nConnectionError: no route\n\n")
        assert told == 2
        assert lines == ["audit: the service cannot be asked: ConnectionError: no route"]
