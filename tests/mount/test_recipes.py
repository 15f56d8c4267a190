"""`hffs mount --for TRAINER`, through the real command."""

import os
import re
from pathlib import Path

import pytest

from hffs.config import RECIPES, explain_recipe
from tests.command import Hffs, Mount
from tests.documents import read_examples, run_example

pytestmark = pytest.mark.fuse

DOCUMENT = Path(__file__).parents[2] / "docs/trainers.md"


def test_a_mount_for_a_trainer_has_what_it_needs(
    photo_parquet: Path, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    kohya = mount(photo_parquet, "--for", "kohya")
    assert sorted(os.listdir(kohya))[:3] == ["00000000.caption", "00000000.jpg", "00000001.caption"]
    (kohya / "00000000.npz").write_bytes(b"latents")
    described = hffs.describe(kohya)
    assert described is not None
    scratch = Path(hffs.environ["XDG_CACHE_HOME"]) / "hffs/scratch"
    assert described["scratch"] == str(scratch / described["fingerprint"])
    assert scratch.stat().st_mode & 0o777 == 0o700

    by_hand = mount(
        photo_parquet, "--for", "kohya", "--name-width", "0", "--scratch", tmp_path / "s"
    )
    assert (by_hand / "0.caption").exists()
    table = mount(photo_parquet, "--for", "hf-imagefolder")
    assert (table / "metadata.jsonl").exists()
    assert not list(table.glob("*.txt"))


def test_the_flags_of_a_recipe_are_printed_without_mounting(hffs: Hffs) -> None:
    lines = hffs("mount", "--for", "kohya", "--explain").splitlines()
    flags = [line.partition("#")[0].strip() for line in lines]
    assert flags == [
        "--caption-extension caption", "--name-width 8", "--scratch CACHE_DIR/scratch",
    ]  # fmt: skip
    assert "mount as you like" in hffs("mount", "--for", "onetrainer", "--explain")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--for", "koya", "--explain"), "cannot use --for koya: no recipe of that name; did you"),
        (("--explain",), "cannot use --explain: --for names no trainer; add --for NAME"),
        ((), "missing argument SOURCE|CONFIG|VIEW; see `hffs mount --help`"),
        (("owner/set",), "missing argument MOUNTPOINT; see `hffs mount --help`"),
    ],
)
def test_wrong_use_is_one_line(hffs: Hffs, arguments: tuple[str, ...], said: str) -> None:
    done = hffs.run("mount", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"hffs: {said}")
    assert done.stderr.count("\n") == 1


def test_a_column_of_classes_that_is_not_there_is_named(
    photo_parquet: Path, hffs: Hffs, tmp_path: Path
) -> None:
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", photo_parquet, tmp_path / "mnt", "--for", "imagefolder")
    assert done.returncode == 2
    assert "label" in done.stderr
    assert "caption, width, height" in done.stderr


def test_the_document_says_what_the_recipes_set(hffs: Hffs) -> None:
    for example in read_examples(DOCUMENT):
        assert example.is_met_by(run_example(example, hffs, {}))
    table = re.findall(r"^\| `([a-z][a-z-]+)` \| (.*?) \|", DOCUMENT.read_text(), re.MULTILINE)
    said = {name: flags.strip("`") for name, flags in table}
    expected = {}
    for name, recipe in RECIPES.items():
        flags = [flag.replace(" CACHE_DIR/scratch", "") for flag, _ in explain_recipe(recipe)]
        expected[name] = " ".join(flags) or "-"
    assert said == expected
