"""Flags: every key can be given by flag, JSON and TOML, and means the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import pytest
from click.testing import CliRunner

from hffs.cli.commands import Argument, Option, make_command
from hffs.cli.flags import Flags, read_flags, with_config_flags
from hffs.config import Kind, all_keys, build_config
from hffs.errors import ConfigError

ENVIRON = {"HOME": "/home/me"}

# For each key what is typed, and what a file has.
EXAMPLES: dict[str, tuple[list[str], object]] = {
    "id": (["--id", "mine"], "mine"),
    "type": (["--type", "huggingface"], "huggingface"),  # the other is not mounted from files
    "instance_data_dir": (["--instance-data-dir", "/data"], "/data"),
    "dataset_type": (["--dataset-type", "audio"], "audio"),
    "dataset_name": (["--dataset-name", "org/other"], "org/other"),
    "config_name": (["--config-name", "large"], "large"),
    "split": (["--split", "train[:10%]"], "train[:10%]"),
    "revision": (["--revision", "v1"], "v1"),
    "data_files": (["--data-files", "a", "--data-files", "b"], ["a", "b"]),
    "streaming": (["--streaming"], True),
    "offline": (["--offline"], True),
    "allow_http_urls": (["--allow-http-urls"], True),
    "allow_private_urls": (["--allow-private-urls"], True),
    "token_file": (["--token-file", "~/t"], "~/t"),
    "image_column": (["--image-column", "photo"], "photo"),
    "video_column": (["--video-column", "clip"], "clip"),
    "audio_column": (["--audio-column", "sound"], "sound"),
    "width_column": (["--width-column", "w"], "w"),
    "height_column": (["--height-column", "h"], "h"),
    "caption_column": (["--caption-column", "a", "--caption-column", "b.c"], ["a", "b.c"]),
    "fallback_caption_column": (["--fallback-caption-column", "d"], "d"),
    "description_column": (["--description-column", "d"], "d"),
    "missing_caption": (["--missing-caption", "text:a photo"], "text:a photo"),
    "caption_multi": (["--caption-multi", "join"], "join"),
    "caption_separator": (["--caption-separator", " | "], " | "),
    "filter_func.where": (["--where", "score > 5 and lang = 'en'"], "score > 5 and lang = 'en'"),
    "filter_func.min_width": (["--min-width", "512"], 512),
    "filter_func.min_height": (["--min-height", "512"], 512),
    "filter_func.max_width": (["--max-width", "512"], 512),
    "filter_func.max_height": (["--max-height", "512"], 512),
    "filter_func.min_aspect": (["--min-aspect", "0.5"], 0.5),
    "filter_func.max_aspect": (["--max-aspect", "2"], 2),
    "filter_func.collection": (["--collection", "art", "--collection", "photo"], ["art", "photo"]),
    "filter_func.collection_column": (["--collection-column", "set"], "set"),
    "filter_func.quality_thresholds": (
        ["--quality-threshold", "clip=0.3", "--quality-threshold", "a=b=-2e1"],
        {"clip": 0.3, "a=b": -20},
    ),
    "filter_func.quality_column": (["--quality-column", "scores"], "scores"),
    "filter_func.min_duration_s": (["--min-duration-s", "1.5"], 1.5),
    "filter_func.max_duration_s": (["--max-duration-s", "90"], 90.0),
    "filter_func.python": (["--python", "my.filters:keep"], "my.filters:keep"),
    "max_num_samples": (["--max-num-samples", "10"], 10),
    "seed": (["--seed", "-3"], -3),
    "shard": (["--shard", "3/8"], "3/8"),
    "composite_image_config.enabled": (["--composite"], True),
    "composite_image_config.image_count": (["--image-count", "4", "--no-composite"], 4),
    "composite_image_config.select_index": (["--select-index", "0", "--select-index", "3"], [0, 3]),
    "composite_image_config.layout": (["--layout", "2x2"], "2x2"),
    "video.num_frames": (["--num-frames", "9"], 9),
    "video.min_frames": (["--min-frames", "9"], 9),
    "video.max_frames": (["--max-frames", "9"], 9),
    "video.num_frames_column": (["--num-frames-column", "n"], "n"),
    "video.fps_column": (["--fps-column", "f"], "f"),
    "audio_caption_fields": (["--audio-caption-fields", "tags"], ["tags"]),
    "lyrics_column": (["--lyrics-column", "words"], "words"),
    "duration_column": (["--duration-column", "seconds"], "seconds"),
    "image_format": (["--image-format", "png"], "png"),
    "orientation": (["--orientation", "upright"], "upright"),
    "names": (["--names", "row"], "row"),
    "name_width": (["--name-width", "5"], 5),
    "caption_extension": (["--caption-extension", "caption"], "caption"),
    "images_only": (["--images-only"], True),
    "metadata_jsonl": (["--metadata-jsonl"], True),
    "group_by": (["--group-by", "label"], "label"),
    "cache_dir": (["--cache-dir", "/fast"], "/fast"),
    "cache_size": (["--cache-size", "1.5 GiB"], "1.5 GiB"),
    "scratch": (["--scratch", "/s"], "/s"),
    "num_proc": (["--num-proc", "3"], 3),
    "probability": (["--probability", "0.5"], 0.5),
    "repeats": (["--repeats", "3"], 3),
    "resolution": (["--resolution", "1.05"], 1.05),
    "resolution_type": (["--resolution-type", "area"], "area"),
    "minimum_image_size": (["--minimum-image-size", "0.5"], 0.5),
    "maximum_image_size": (["--maximum-image-size", "2"], 2),
    "target_downsample_size": (["--target-downsample-size", "1.5"], 1.5),
    "crop": (["--crop"], True),
    "crop_aspect": (["--crop-aspect", "closest"], "closest"),
    "crop_style": (["--crop-style", "center"], "center"),
    "aspect_bucket_rounding": (["--aspect-bucket-rounding", "3"], 3),
    "aspect_bucket_alignment": (["--aspect-bucket-alignment", "32"], 32),
    "minimum_aspect_ratio": (["--minimum-aspect-ratio", "0.5"], 0.5),
    "maximum_aspect_ratio": (["--maximum-aspect-ratio", "2.5"], 2.5),
    "max_upscale_threshold": (["--max-upscale-threshold", "0.2"], 0.2),
    "crop_aspect_buckets": (
        ["--crop-aspect-buckets", "1", "--crop-aspect-buckets", "1.5"],
        [1, 1.5],
    ),
    "aspect_bucket_generator": (["--aspect-bucket-generator", "grid"], "grid"),
    "aspect_bucket_distance": (["--aspect-bucket-distance", "log"], "log"),
    "aspect_bucket_min_edge": (["--aspect-bucket-min-edge", "128"], 128),
    "aspect_bucket_max_edge": (["--aspect-bucket-max-edge", "2048"], 2048),
    "aspect_buckets": (
        ["--aspect-buckets", "1.5", "--aspect-buckets", "3:2", "--aspect-buckets", "832x1216"],
        [1.5, "3:2", "832x1216"],
    ),
    "aspect_bucket_count": (["--aspect-bucket-count", "9"], 9),
    "aspect_bucket_min": (["--aspect-bucket-min", "0.25"], 0.25),
    "aspect_bucket_max": (["--aspect-bucket-max", "4"], 4.0),
    "train_batch_size": (["--train-batch-size", "8"], 8),
    "batch_pixels": (["--batch-pixels", "1000000"], 1000000),
    "batch_remainder": (["--batch-remainder", "pad"], "pad"),
}


def run(*arguments: str) -> Flags:
    """The flags that a small command with options of its own gets."""
    got: list[Flags] = []

    @with_config_flags
    def mount(
        source: Annotated[str, Argument()],
        flags: Flags,
        entry: Annotated[str | None, Option()] = None,
    ) -> None:
        """Mount it."""
        assert (source, entry) == ("SOURCE", None)
        got.append(flags)

    make_command(mount, "mount").main(["SOURCE", *arguments], standalone_mode=False)
    return got[0]


def in_blocks(name: str, value: object) -> dict[str, object]:
    block, _, leaf = name.rpartition(".")
    return {block: {leaf: value}} if block else {name: value}


def to_toml(value: object) -> str:
    if isinstance(value, dict):
        pairs = (f"{json.dumps(name)} = {to_toml(inner)}" for name, inner in value.items())
        return "{" + ", ".join(pairs) + "}"
    return json.dumps(value)


def test_every_key_has_an_example() -> None:
    assert set(EXAMPLES) == set(all_keys())


@pytest.mark.parametrize(("name", "typed", "value"), [(n, *e) for n, e in EXAMPLES.items()])
def test_flag_json_and_toml_mean_the_same(
    tmp_path: Path, name: str, typed: list[str], value: object
) -> None:
    base = {"dataset_name": "org/photos", "instance_data_dir": "/else"}
    in_json, in_toml = tmp_path / "x.json", tmp_path / "x.toml"
    in_json.write_text(json.dumps(base | in_blocks(name, value)))
    in_toml.write_text(
        "\n".join(f"{key} = {to_toml(it)}" for key, it in (base | {name: value}).items())
    )
    plain = tmp_path / "plain.json"
    plain.write_text(json.dumps(base))
    configs = [
        build_config(str(in_json), {}, None, ENVIRON),
        build_config(str(in_toml), {}, None, ENVIRON),
        build_config(str(plain), run(*typed), None, ENVIRON),
    ]
    assert configs[0] == configs[1] == configs[2]
    is_default = configs[0] == build_config(str(plain), {}, None, ENVIRON)
    assert is_default == (name == "type")


def test_what_was_not_typed_leaves_no_trace() -> None:
    assert run() == {}
    assert read_flags({"caption_column": [], "split": None}) == {}


def test_a_switch_can_be_turned_off() -> None:
    switches = [key for key in all_keys().values() if key.kind is Kind.SWITCH]
    off = [f"--no-{key.flag.removeprefix('--')}" for key in switches]
    assert run(*off) == {key.name: False for key in switches}


def test_a_tile_count_turns_composites_on() -> None:
    on, off = run("--image-count", "4"), run("--image-count", "4", "--no-composite")
    assert build_config("x", on, None, ENVIRON).composite_image_config.enabled
    assert not build_config("x", off, None, ENVIRON).composite_image_config.enabled


def test_all_tiles_is_a_word() -> None:
    flags = run("--select-index", "all")
    assert build_config("x", flags, None, ENVIRON).composite_image_config.select_index == "all"


def test_help_groups_flags_and_shows_what_a_key_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")

    @with_config_flags
    def mount(source: str, flags: Flags) -> None:
        """Mount it."""

    text = CliRunner().invoke(make_command(mount, "mount"), ["--help"]).output
    words = " ".join(text.split())
    keys = all_keys().values()
    assert "config" not in text.partition("Source:")[0]
    for key in keys:
        assert f" {key.flag} " in text
        assert f"\n{key.panel}:\n" in text
    assert "Keep images at least this wide, in pixels." in words
    assert "(default: image, else the only one)" in words
    assert "(default: HF_TOKEN, else that of hf auth login)" in words


@pytest.mark.parametrize(
    ("typed", "line"),
    [
        (["--min-width", "big"], '--min-width: "big" is not a whole number'),
        (["--min-width", "1_0"], '--min-width: "1_0" is not a whole number'),
        (["--min-width", "1.5"], '--min-width: "1.5" is not a whole number'),
        (["--min-width", "0"], "--min-width: 0 is below 1"),
        (["--max-aspect", "nan"], '--max-aspect: "nan" is not a number'),
        (["--max-aspect", "1e999"], "--max-aspect: Infinity is not a finite number"),
        (["--image-format", "gif"], '--image-format: "gif" is not one of jpg, png, source'),
        (["--quality-threshold", "clip=x"], '--quality-threshold.clip: "x" is not a number'),
        (["--quality-threshold", "clip"], "--quality-threshold clip: it is not NAME=NUMBER"),
        (["--quality-threshold", "=1"], '--quality-threshold."": "" is blank'),
        (["--select-index", "x"], '--select-index: ["x"] is not a number from 0'),
        (["--cache-size", "5QB"], '--cache-size: "5QB" is not a size'),
    ],
)
def test_a_bad_flag_is_one_line(typed: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_config("org/photos", run(*typed), None, ENVIRON)
    assert line in str(caught.value)
