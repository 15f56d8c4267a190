"""`hffs demo`: the whole way on real photos, every step shown as the command that a user types.

Owns the demo's photos (those inside the installed scikit-image package) and their captions. It
knows nothing of mounts: what is shown was done by `hffs` and the usual tools, as child processes.
Nothing is left behind, caches included, unless a folder to keep was named.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import click

from hffs.cli.commands import Option
from hffs.errors import MountError, SourceError, UsageError

CAPTIONS = {
    "astronaut.png": "an astronaut in an orange space suit beside a flag and a model shuttle",
    "brick.png": "a wall of long bricks, black and white",
    "camera.png": "a man in a dark coat looking through a camera on a tripod, black and white",
    "chelsea.png": "the face of Chelsea, a ginger tabby cat with green eyes",
    "clock_motion.png": "a wall clock blurred by the motion of the camera",
    "coffee.png": "a cup of coffee on a red saucer with a spoon, on a wooden table",
    "coins.png": "four rows of ancient Greek coins from Pompeii on a dark ground",
    "color.png": "a colour wheel on black",
    "grass.png": "dry and fresh grass seen from above, black and white",
    "gravel.png": "gravel seen from above, black and white",
    "horse.png": "the black silhouette of a standing horse",
    "hubble_deep_field.jpg": "thousands of galaxies in the Hubble deep field",
    "logo.png": "a round logo of a green and an orange snake",
    "moon.png": "craters on the surface of the moon",
    "motorcycle_left.png": "a red motorcycle in a garage, seen by the left camera of a pair",
    "motorcycle_right.png": "a red motorcycle in a garage, seen by the right camera of a pair",
    "page.png": "a printed page about segmentation under uneven light",
    "retina.jpg": "the retina of a human eye with its blood vessels",
    "rocket.jpg": "a rocket on its launch pad at dusk",
    "text.png": "handwritten formulas on lined paper",
}

_WIDE_PX = 600


def demo(
    keep: Annotated[
        Path | None,
        Option(metavar="DIR", help="Work in this new or empty folder and leave it."),
    ] = None,
) -> None:
    """Mount real photos and look at them, the whole way."""
    photos = find_photos()
    with _open_folder(keep) as folder:
        build_photo_set(photos, folder)
        _say(f"{len(photos)} photos of scikit-image are the rows of {folder}/photos.parquet.")
        with _mounted("photos", folder):
            _tour(photos, folder)
            with _mounted("wide", folder, f"--min-width {_WIDE_PX}"):
                _say(f"The same data set, only photos at least {_WIDE_PX} pixels wide:")
                _show("ls -Cv wide", folder)
                _show("hffs ls", folder)
            _say("What a trainer makes of them, at about 512 x 512, two images a batch:")
            _show("hffs bucket photos --resolution 512 --train-batch-size 2", folder)
        _say("Done: mounted, read by plain programs, unmounted; nothing was exported.")
        if keep:
            _say(f"Kept in {folder}; mount it again with `hffs mount photos.parquet photos` there.")


def find_photos() -> list[Path]:
    """The photos that the installed scikit-image ships and that have a caption here."""
    # Only located: importing it takes a second, and it may download what its wheel leaves out.
    spec = importlib.util.find_spec("skimage")
    fix = "pip install scikit-image"
    if spec is None or not spec.submodule_search_locations:
        raise SourceError("no photos for", "the demo", why="scikit-image is missing", fix=fix)
    data = Path(spec.submodule_search_locations[0]) / "data"
    photos = [data / name for name in CAPTIONS if (data / name).is_file()]
    if not photos:
        raise SourceError("no photos for", "the demo", why=f"none of them is in {data}", fix=fix)
    return photos


def build_photo_set(photos: Sequence[Path], folder: Path) -> Path:
    """Write `photos.parquet`, one row a photo in their order, as `datasets` would write it."""
    # Late: only this command needs them, and every command would pay for them.
    import pyarrow as pa
    import pyarrow.parquet as pq

    from hffs.view.codecs import measure

    cells = [{"bytes": photo.read_bytes(), "path": photo.name} for photo in photos]
    sizes = [measure(photo.read_bytes()) for photo in photos]
    columns = {
        "image": pa.array(cells, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "caption": pa.array([CAPTIONS[photo.name] for photo in photos], pa.string()),
        "width": pa.array([size.width for size in sizes], pa.int32()),
        "height": pa.array([size.height for size in sizes], pa.int32()),
    }
    number, text = {"dtype": "int32", "_type": "Value"}, {"dtype": "string", "_type": "Value"}
    features = {"image": {"_type": "Image"}, "caption": text, "width": number, "height": number}
    table = pa.table(columns).replace_schema_metadata(
        {"huggingface": json.dumps({"info": {"features": features}})}
    )
    path = folder / "photos.parquet"
    pq.write_table(table, path, compression="none", use_dictionary=False, write_page_index=True)
    return path


@contextmanager
def _open_folder(keep: Path | None) -> Iterator[Path]:
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="hffs-demo-", ignore_cleanup_errors=True) as name:
            yield Path(name)
        return
    keep.mkdir(parents=True, exist_ok=True)
    if any(keep.iterdir()):
        raise UsageError("cannot keep the demo in", str(keep), why="it is not empty")
    yield keep.resolve()


@contextmanager
def _mounted(name: str, folder: Path, flags: str = "") -> Iterator[None]:
    (folder / name).mkdir()
    _show(f"hffs mount photos.parquet {name} {flags}".rstrip(), folder)
    try:
        yield
    finally:
        _show(f"hffs umount {name}", folder)


def _tour(photos: Sequence[Path], folder: Path) -> None:
    cat = _number(photos, "chelsea.png")
    rocket = _number(photos, "rocket.jpg")
    _say("It is a folder now:")
    _show("ls -Cv photos", folder)
    _show(f"cat photos/{cat}.txt", folder)
    code = f"from PIL import Image; print(Image.open('photos/{cat}.jpg').convert('RGB'))"
    _show(f'python -c "{code}"', folder)
    _say("A JPEG of the data set passes through byte for byte:")
    _show(f"cp photos/{rocket}.jpg rocket.jpg", folder)
    _show(f"cmp {shlex.quote(str(photos[rocket]))} rocket.jpg", folder)
    _say("No difference. Anything else becomes a JPEG when it is first read:")
    for line in size_table(photos, folder / "photos"):
        click.echo(line)


def _number(photos: Sequence[Path], name: str) -> int:
    return [photo.name for photo in photos].index(name)


def size_table(photos: Sequence[Path], mount: Path) -> Iterator[str]:
    """A line for each photo: its file in the mount, pixels, bytes, and how they came about."""
    from hffs.view.codecs import measure

    yield f"{'file':<8}{'pixels':>11}{'bytes':>10}  how"
    for position, photo in enumerate(photos):
        served = (mount / f"{position}.jpg").read_bytes()
        size = measure(served)
        how = "passed through" if served == photo.read_bytes() else "rendered"
        pixels = f"{size.width}x{size.height}"
        yield f"{position}.jpg".ljust(8) + f"{pixels:>11}{len(served):>10}  {how}: {photo.name}"


def _say(text: str) -> None:
    click.secho(f"\n{text}", fg="green")


def _show(line: str, folder: Path) -> None:
    """Print a command as the user would type it, run it in the folder, print what it says."""
    click.secho(f"$ {line}", bold=True)
    first, *rest = shlex.split(line)
    program = {"hffs": [sys.executable, "-m", "hffs"], "python": [sys.executable]}
    environ = os.environ | {
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
    }
    command = [*program.get(first, [first]), *rest]
    done = subprocess.run(  # noqa: S603 - the commands are this module's own
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()
        raise MountError("the demo stopped at", f"`{line}`", why=said[-1])
    for text, is_error in ((done.stdout, False), (done.stderr, True)):
        if text:
            click.echo(text.rstrip("\n"), err=is_error)
