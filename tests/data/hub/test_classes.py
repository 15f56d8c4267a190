"""Classes of a folder of images are those of all splits, whichever of them is asked for."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare
from tests.command import NO_HUB
from tests.data.hub.conftest import Asker

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("local")
    with Asker.start(folder, {"HF_HOME": str(folder / "hf"), "HF_ENDPOINT": NO_HUB}) as process:
        yield process


def _write(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".csv":
            path.write_text("file_name\n2.png\n")
        elif path.suffix == ".zip":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("dog/3.png", b"")
        else:
            Image.new("RGB", (3, 2)).save(path, "PNG")
    return root


def _prepare(found: dict[str, Any], split: str, root: Path, folder: Path) -> Path:
    folder.mkdir()
    files = tuple(Path(file["name"]) for file in found["files"][split])
    options = found["options"]
    job = Job("set", found["format"], options, split, files, root, folder, print, pytest.fail)
    (table,) = prepare(job)
    return table


def test_regression_a_split_of_one_class_has_its_label(local: Asker, tmp_path: Path) -> None:
    files = ("train/cat/0.png", "train/dog/1.PNG", "train/dog/2.png", "test/ant/3.PNG")
    root = _write(tmp_path / "set", *files)
    for split in ("train", "test"):
        found = local("resolve_local", str(root), splits=[split])
        table = _prepare(found, split, root, tmp_path / split)
        ours = datasets.Dataset.from_parquet(str(table), cache_dir=str(tmp_path / "a"))
        theirs = datasets.load_dataset(str(root), split=split, cache_dir=str(tmp_path / "b"))
        assert ours.features == theirs.features
        assert ours["label"][:] == theirs["label"][:]
        assert ours.features["label"].names == ["ant", "cat", "dog"]


@pytest.mark.parametrize(
    "files",
    [
        ("train/cat/0.png", "train/dog/1.png", "test/2.png", "test/metadata.csv"),
        ("train/cat/0.png", "train/cat/1.png"),
        ("train/cat/0.png", "test/1.png"),
        ("train/cat/0.png", "train/dog/1.png", "test/cat/2.png", "test/dogs.zip"),
    ],
)
def test_no_classes_are_made_up(local: Asker, tmp_path: Path, files: tuple[str, ...]) -> None:
    root = _write(tmp_path, *files)
    assert local("resolve_local", str(root))["options"] == {}


@pytest.mark.parametrize(
    ("said", "options"),
    [
        ("drop_labels: true", {"drop_labels": True}),
        ("features: [{name: image, dtype: image}, {name: label, dtype: string}]", {}),
        ("metadata_filenames: [told.csv]", {"metadata_filenames": ["told.csv"]}),
    ],
)
def test_what_a_data_set_says_of_labels_holds(
    local: Asker, tmp_path: Path, said: str, options: dict[str, object]
) -> None:
    root = _write(tmp_path, "cat/0.png", "dog/1.png", "told.csv")
    assert "features" in local("resolve_local", str(root), data_files=["**/*.png"])["options"]
    text = f"---\nconfigs:\n- config_name: a\n  data_files: '**'\n  {said}\n---\n"
    (root / "README.md").write_text(text)
    assert local("resolve_local", str(root))["options"] == options
