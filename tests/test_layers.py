"""The architecture as rules: who may import whom, what belongs to one layer, how long code gets.

`violations` judges a source tree by its text alone, so that an import inside a function counts
like one at the top; the tests after it plant one violation each, so that a rule that stopped
looking is seen. What an import really pulls in is asked of a fresh interpreter, at the end.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import hffs

PACKAGE = Path(hffs.__file__).parent

MODULE_LINES, FUNCTION_LINES = 400, 40
FILE_LINES = {"mount/requests/operations.py": 250}

EVERYONE = {"config", "errors"}
MAY_IMPORT = {
    "errors": set[str](),
    "config": set[str](),
    "core": set[str](),
    "data": {"core"},
    "view": {"data", "core"},
    "mount": {"view", "data", "core"},
    "train": {"data", "core"},
    "cli": {"core", "data", "view", "mount", "train"},
}

# Where in the package a library may be named: beginnings of paths.
HOMES = {
    "prometheus_client": ("mount/observing/exposition",),
    "pyfuse3": ("mount/",),
    "trio": ("mount/", "data/remote/"),
    "torch": ("train/",),
    "cv2": ("train/",),
    "safetensors": ("train/",),
    "diffusers": ("train/caching/encoders/",),
    "transformers": ("train/caching/encoders/",),
    "PIL": ("view/codecs", "train/"),
    "av": ("view/codecs",),
    "datasets": ("data/hub/", "data/prepare/", "data/locating/slices"),
    "fsspec": ("data/hub/", "data/remote/filesystems"),
    "huggingface_hub": ("data/hub/",),
    "duckdb": ("data/",),
    "httpcore2": ("data/urls/",),
    "ray": ("data/engines/ray",),
    "rich": ("cli/",),
    "click": ("cli/",),
    "jinja2": ("cli/",),
    "markupsafe": ("cli/",),
}

# Of another distribution, but released together with one that is declared.
PARTS = {"pydantic-core": "pydantic"}

VAGUE_NAMES = {"utils", "util", "common", "helpers", "helper", "manager", "misc"}
BROAD = {"Exception", "BaseException"}


@dataclass(frozen=True, slots=True)
class Module:
    """A parsed module; `path` is relative to the package, with slashes."""

    path: str
    lines: int
    tree: ast.Module

    @property
    def layer(self) -> str:
        """The first part of the path: a folder or a module of the package itself."""
        first = self.path.split("/")[0].removesuffix(".py")
        return "cli" if first == "__main__" else first


def parse_tree(package: Path) -> list[Module]:
    """Every module under a package folder."""
    files = sorted(package.rglob("*.py"))
    texts = [(file.relative_to(package).as_posix(), file.read_text()) for file in files]
    return [Module(path, text.count("\n"), ast.parse(text)) for path, text in texts]


def _named_imports(module: Module, node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        parents = ["hffs", *module.path.split("/")[:-1]]
        base = parents[: len(parents) - node.level + 1] if node.level else []
        origin = ".".join([*base, *([node.module] if node.module else [])])
        return [f"{origin}.{alias.name}" for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = ast.unparse(node.func).split(".")[-1]
        return [str(node.args[0].value)] if called in {"import_module", "__import__"} else []
    return []


def imports_of(module: Module) -> list[str]:
    """Dotted names of all that a module imports, wherever in it, `importlib` included."""
    return [name for node in ast.walk(module.tree) for name in _named_imports(module, node)]


def _layer_violations(module: Module) -> Iterator[str]:
    allowed = MAY_IMPORT.get(module.layer, set()) | EVERYONE | {module.layer}
    for name in imports_of(module):
        root, _, rest = name.partition(".")
        target = rest.split(".")[0]
        if root == "hffs" and target in MAY_IMPORT and target not in allowed:
            yield f"{module.path} imports {name}"


def _library_violations(module: Module) -> Iterator[str]:
    pure = sys.stdlib_module_names | {"numpy", "hffs"}
    for root in {name.split(".")[0] for name in imports_of(module)}:
        if not module.path.startswith(HOMES.get(root, ("",))):
            yield f"{module.path} imports {root}"
        elif module.layer == "core" and root not in pure:
            yield f"{module.path} imports {root}, core is pure"


def _size_violations(module: Module) -> Iterator[str]:
    most = FILE_LINES.get(module.path, MODULE_LINES)
    if module.lines > most:
        yield f"{module.path} has {module.lines} lines, at most {most}"
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                yield f"{module.path}: {node.name} has {lines} lines, at most {FUNCTION_LINES}"


def _name_violations(module: Module) -> Iterator[str]:
    if module.layer not in MAY_IMPORT and module.path != "__init__.py":
        yield f"{module.path} is in no layer"
    for part in module.path.removesuffix(".py").split("/"):
        if part.strip("_") in VAGUE_NAMES:
            yield f"{module.path} is named {part}"


def broad_excepts(module: Module) -> list[str]:
    """Where a module catches everything (`except:`, Exception, its base) and does not re-raise."""
    found = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ExceptHandler):
            types = ast.walk(node.type) if node.type else ()
            names = {named.id for named in types if isinstance(named, ast.Name)}
            last = node.body[-1]
            passes_on = isinstance(last, ast.Raise) and last.exc is None
            if (node.type is None or names & BROAD) and not passes_on:
                found.append(f"{module.path}:{node.lineno}")
    return found


def violations(package: Path) -> list[str]:
    """One line for each broken rule in a package folder."""
    rules = (_layer_violations, _library_violations, _size_violations, _name_violations)
    return [line for module in parse_tree(package) for rule in rules for line in rule(module)]


def test_the_package_keeps_its_rules() -> None:
    assert violations(PACKAGE) == []


def _plain_name(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _declared() -> set[str]:
    """Distributions that pyproject.toml asks for, extras too."""
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    lines = (line for group in groups for line in group)
    return {_plain_name(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}


def test_regression_every_library_that_is_imported_is_declared() -> None:
    """One that comes with another may come older: huggingface_hub 1 brings no httpx2."""
    roots = {name.split(".")[0] for module in parse_tree(PACKAGE) for name in imports_of(module)}
    roots -= sys.stdlib_module_names | {"hffs"}
    owners = packages_distributions()
    found = {_plain_name(owner) for root in roots for owner in owners.get(root, [root])}
    assert "datasets" in found
    assert {PARTS.get(name, name) for name in found} <= _declared()


def test_regression_the_architecture_names_modules_that_are_there() -> None:
    text = (PACKAGE.parent / "docs/architecture.md").read_text()
    named = set(re.findall(rf"\b(?:{'|'.join(MAY_IMPORT)})/[a-z_/]*[a-z_]", text))
    assert len(named) > 30
    assert [
        name
        for name in sorted(named)
        if not ((PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file())
    ] == []


def test_the_guard_catches_everything_and_nothing_else_does() -> None:
    broad = [place for module in parse_tree(PACKAGE) for place in broad_excepts(module)]
    assert {place.partition(":")[0] for place in broad} == {"mount/requests/guard.py"}


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("core/names.py", "from hffs.data import source"),
        ("core/names.py", "import pyarrow"),
        ("data/rows.py", "import hffs.view.tree"),
        ("data/rows.py", "def late():\n    from hffs import mount"),
        ("data/rows.py", "from ..view import tree"),
        ("data/deep/rows.py", "from ...cli import main"),
        ("view/tree.py", "from hffs.mount.requests.guard import guarded"),
        ("view/tree.py", "import trio"),
        ("view/tree.py", "import importlib\nimportlib.import_module('pyfuse3')"),
        ("view/tree.py", "from PIL import Image"),
        ("view/measuring.py", "import av"),
        ("train/scan.py", "from hffs import view"),
        ("mount/session.py", "import torch.utils.data"),
        ("mount/session.py", "from hffs.train import scan"),
        ("view/tree.py", "import cv2"),
        ("data/locating/local.py", "import datasets"),
        ("data/locating/local.py", "__import__('huggingface_hub')"),
        ("view/tree.py", "import duckdb"),
        ("data/locating/local.py", "import httpcore2"),
        ("config/model.py", "from rich import print"),
        ("config/model.py", "from hffs.core import names"),
        ("errors.py", "import click"),
        ("errors.py", "from . import core"),
        ("core/utils.py", ""),
        ("data/helpers/rows.py", ""),
        ("extras/rows.py", ""),
        ("view/tree.py", "x = 1\n" * 401),
        ("mount/requests/operations.py", "x = 1\n" * 251),
        ("core/names.py", "def long():\n" + "    x = 1\n" * 40),
    ],
)
def test_a_planted_violation_is_found_once(tmp_path: Path, path: str, text: str) -> None:
    assert len(_planted(tmp_path, path, text)) == 1


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("__init__.py", "import sys"),
        ("__main__.py", "from hffs.cli import main"),
        ("core/names.py", "import re\nimport numpy as np\nfrom hffs.errors import HffsError"),
        ("core/names.py", "from . import types"),
        ("config/model.py", "import pydantic\nfrom hffs.errors import ConfigError"),
        ("data/hub/resolve.py", "import datasets\nimport huggingface_hub"),
        ("data/prepare/tables.py", "import datasets"),
        ("data/metadata.py", "import duckdb\nimport pyarrow as pa\nfrom ..core import names"),
        ("view/codecs.py", "from PIL import Image\nfrom hffs.data import source"),
        ("view/codecs/jpeg.py", "import PIL"),
        ("mount/session.py", "import trio, pyfuse3\nfrom hffs import view, data, core, config"),
        ("train/latents.py", "import cv2, torch\nfrom PIL import Image"),
        ("cli/mount.py", "import rich, click\nfrom hffs import mount, train, view, data, core"),
        ("view/tree.py", "x = 1\n" * 400),
        ("core/names.py", "def long():\n" + "    x = 1\n" * 39),
    ],
)
def test_what_the_rules_allow_passes(tmp_path: Path, path: str, text: str) -> None:
    assert _planted(tmp_path, path, text) == []


def _planted(folder: Path, path: str, text: str) -> list[str]:
    file = folder / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return violations(folder)


@pytest.mark.parametrize(
    ("handler", "count"),
    [
        ("except Exception: pass", 1),
        ("except BaseException as error: print(error)", 1),
        ("except BaseException as error: raise OSError from error", 1),
        ("except BaseException: raise", 0),
        ("except: pass", 1),
        ("except (OSError, Exception): pass", 1),
        ("except* Exception: pass", 1),
        ("except OSError: pass", 0),
    ],
)
def test_a_broad_except_is_found(handler: str, count: int) -> None:
    module = Module("view/tree.py", 3, ast.parse(f"try:\n    pass\n{handler}"))
    assert len(broad_excepts(module)) == count


def _loaded_by(names: list[str]) -> set[str]:
    """Root packages in memory after a fresh interpreter imported some modules."""
    return {name.split(".")[0] for name in _modules_after(names)}


def _modules_after(names: list[str]) -> set[str]:
    code = f"import sys, {', '.join(names)}\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def _modules_in(layer: str) -> list[str]:
    paths = [path.relative_to(PACKAGE.parent) for path in (PACKAGE / layer).rglob("*.py")]
    return sorted(".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths)


def test_mounting_never_imports_torch_nor_what_belongs_to_the_command_line() -> None:
    loaded = _loaded_by(_modules_in("view") + _modules_in("mount"))
    assert "pyfuse3" in loaded
    assert not loaded & {"torch", "datasets", "huggingface_hub", "click"}


def test_a_daemon_loads_nothing_that_only_deciding_takes() -> None:
    # Measuring coverage loads something of its own.
    loaded = _modules_after(["hffs.mount.running"]) - _modules_after(["os"])
    assert "hffs.view.opening" in loaded
    assert not loaded & {
        "duckdb", "pandas", "pyarrow", "multiprocessing", "hffs.view.deciding",
        "hffs.view.inspection", "hffs.data.filters", "hffs.data.metadata", "httpcore2",
        "hffs.data.urls.fetching", "hffs.data.remote.fetching", "httpx2", "av",
        "prometheus_client", "http.server",
    }  # fmt: skip


def test_regression_a_download_begins_without_what_only_streaming_takes() -> None:
    loaded = _modules_after(["hffs.data.locating.acquiring"]) - _modules_after(["os"])
    assert "hffs.data.hub.fetch" in loaded
    assert not loaded & {"trio", "pyarrow", "httpx2", "hffs.data.locating.streaming"}


DECIDE = """
import sys
from types import SimpleNamespace
from hffs.config.build import build_config
from hffs.data.locating.record import find_source, find_store, name_source
from hffs.mount import running
config = build_config(sys.argv[1], {"cache_dir": sys.argv[2]}, None, {})
quiet = SimpleNamespace(progress=lambda *_, **__: None, notice=print, ready=lambda: print("ready"))
located = find_source(name_source(config), find_store(config))
running._decide(SimpleNamespace(config=config, workers=1), located, quiet)
print("pandas" in sys.modules, "av" in sys.modules)
"""


def test_a_view_of_images_is_decided_without_pandas_and_ffmpeg(
    photo_parquet: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DECIDE, str(photo_parquet), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["ready", "False", "False"], done.stderr


def test_the_command_line_starts_without_anything_heavy() -> None:
    heavy = {
        "numpy",
        "pyarrow",
        "duckdb",
        "PIL",
        "av",
        "pyfuse3",
        "datasets",
        "huggingface_hub",
        "torch",
        "jinja2",
        "cv2",
    }
    assert not _loaded_by(["hffs.cli"]) & heavy
