"""Entries of a dataloader file: which can be mounted, what their blocks mean, what is ignored."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import pytest

from hffs.config import Chosen, Config, build_config, build_configs, load_file
from hffs.config.entries import make_id
from hffs.config.keys import all_keys
from hffs.config.trainer_keys import BLOCK_KEYS, ENTRY_KEYS
from hffs.errors import ConfigError

ENVIRON = {"HOME": "/home/me"}

# What stands beside a data set in a dataloader file.
OTHERS: list[Mapping[str, object]] = [
    {"id": "texts", "type": "local", "dataset_type": "text_embeds", "default": True},
    {"id": "latents", "type": "memory", "dataset_type": "image_embeds", "cache_dir": ""},
    {"id": "edges", "type": "local", "dataset_type": "conditioning", "instance_data_dir": "x"},
    {"id": "held out", "type": "huggingface", "dataset_name": "org/x", "dataset_type": "eval"},
    {"id": "folder", "instance_data_dir": "/data", "crop_style": "random|center"},
    {"id": "bucket", "type": "aws", "aws_bucket_name": "b", "aws_region_name": None},
    {"id": "off", "type": "huggingface", "dataset_name": "org/y", "disabled": True},
    {"id": "off too", "type": "huggingface", "dataset_name": "org/y", "disable": True},
]
PHOTOS = {"id": "photos", "type": "huggingface", "dataset_name": "org/photos"}


def write(folder: Path, content: object) -> Path:
    path = folder / "loader.json"
    path.write_text(json.dumps(content))
    return path


def build(folder: Path, content: object, entry: str | None = None) -> Config:
    return build_config(str(write(folder, content)), {}, entry, ENVIRON)


def refusal(folder: Path, content: object, entry: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        build(folder, content, entry)
    return str(caught.value).partition("loader.json: ")[2]


def build_all(folder: Path, content: object, /, **flags: object) -> Chosen:
    return build_configs(str(write(folder, content)), flags, None, ENVIRON)


def refusal_of_all(folder: Path, content: object, /, **flags: object) -> str:
    with pytest.raises(ConfigError) as caught:
        build_all(folder, content, **flags)
    return str(caught.value).replace(f"{folder}/", "")


def test_the_only_data_set_of_a_dataloader_file_is_taken(tmp_path: Path) -> None:
    assert build(tmp_path, [*OTHERS, PHOTOS]).dataset_name == "org/photos"


def test_entries_that_cannot_be_mounted_say_why(tmp_path: Path) -> None:
    entries = load_file(write(tmp_path, [*OTHERS, PHOTOS]))
    assert [(entry.id, entry.skipped) for entry in entries] == [
        ("texts", "its dataset_type is text_embeds"),
        ("latents", "its dataset_type is image_embeds"),
        ("edges", "its dataset_type is conditioning"),
        ("held out", "its dataset_type is eval"),
        ("folder", "its type is local"),
        ("bucket", "its type is aws"),
        ("off", "it is disabled"),
        ("off too", "it is disabled"),
        ("photos", ""),
    ]


def test_several_data_sets_ask_for_a_choice(tmp_path: Path) -> None:
    more = {"dataset_name": "org/more"}  # huggingface is implied, and so is the id
    line = refusal(tmp_path, [PHOTOS, more, *OTHERS])
    assert line == "it has several entries: photos, org-more; choose one by --entry ID"
    assert build(tmp_path, [PHOTOS, more, *OTHERS], "org-more").dataset_name == "org/more"


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ("phtos", "it has no entry phtos; it has photos"),
        ("texts", "entry texts cannot be mounted: its dataset_type is text_embeds"),
    ],
)
def test_a_choice_that_cannot_be_mounted_is_refused(tmp_path: Path, entry: str, line: str) -> None:
    assert refusal(tmp_path, [PHOTOS, *OTHERS], entry) == line


def test_two_entries_of_one_id_cannot_be_told_apart(tmp_path: Path) -> None:
    line = refusal(tmp_path, [PHOTOS, PHOTOS], "photos")
    assert line == "it has several entries with the id photos"


def test_a_file_without_a_data_set_says_why_of_each_entry(tmp_path: Path) -> None:
    line = refusal(tmp_path, [OTHERS[4], OTHERS[6]])
    assert line == "folder: its type is local; off: it is disabled"


def test_durations_may_stand_outside_of_their_block(tmp_path: Path) -> None:
    sounds = {"dataset_name": "org/songs", "dataset_type": "audio", "max_duration_s": 90}
    config = build(tmp_path, {**sounds, "config": {"min_duration_s": 1.5}})
    assert (config.filter_func.min_duration_s, config.filter_func.max_duration_s) == (1.5, 90)


def test_all_data_sets_of_a_file_are_taken_in_its_order(tmp_path: Path) -> None:
    more = {"dataset_name": "org/more"}
    clips = {"id": "clips", "dataset_name": "org/clips", "dataset_type": "video"}
    chosen = build_all(tmp_path, [OTHERS[0], PHOTOS, clips, OTHERS[6], more])
    assert [config.id for config in chosen.configs] == ["photos", "clips", "org-more"]
    assert chosen.skipped == (
        "texts (its dataset_type is text_embeds)",
        "off (it is disabled)",
    )


def test_what_stands_beside_the_only_data_set_needs_no_word(tmp_path: Path) -> None:
    chosen = build_all(tmp_path, [*OTHERS, PHOTOS], id="mine")
    assert [config.id for config in chosen.configs] == ["mine"]
    assert chosen.skipped == ()


def test_all_of_a_data_set_or_of_a_chosen_entry_is_one(tmp_path: Path) -> None:
    both = [PHOTOS, {"dataset_name": "org/more"}]
    assert len(build_configs("org/more", {}, None, ENVIRON).configs) == 1
    chosen = build_configs(str(write(tmp_path, both)), {}, "photos", ENVIRON)
    assert [config.id for config in chosen.configs] == ["photos"]


def test_flags_go_over_every_entry(tmp_path: Path) -> None:
    both = [{**PHOTOS, "split": "val"}, {"dataset_name": "org/more"}]
    assert [config.split for config in build_all(tmp_path, both, split="a").configs] == ["a", "a"]


SEVERAL: list[tuple[object, dict[str, object], str]] = [
    ([PHOTOS, PHOTOS], {}, "cannot use config loader.json: it has several entries with the id "
     "photos; give each an id of its own"),
    ([PHOTOS, {**PHOTOS, "id": None, "config": {"id": "photos"}}], {}, "cannot use config "
     "loader.json: it has several entries with the id photos; give each an id of its own"),
    ([PHOTOS, {"dataset_name": "y"}], {"id": "x"}, "cannot use --id: loader.json has several "
     "entries: photos, y; choose one by --entry ID"),
    ([PHOTOS, {"dataset_name": "y"}], {"dataset_name": "x"}, "cannot use --dataset-name: "
     "loader.json has several entries: photos, y; choose one by --entry ID"),
    ([PHOTOS, {"dataset_name": "y", "spilt": "a"}], {}, "entry y: cannot use config loader.json: "
     "spilt: there is no such key; did you mean split?"),
    ([PHOTOS, {**PHOTOS, "id": "../up"}], {}, 'entry "../up": cannot use config loader.json: id: '
     '"../up" cannot name a folder'),
    ([PHOTOS, {"dataset_name": "y", "dataset_type": "imag"}], {}, "entry y: cannot use config "
     'loader.json: dataset_type: "imag" is not one of image, video, audio'),
]  # fmt: skip


@pytest.mark.parametrize(("content", "flags", "line"), SEVERAL)
def test_what_is_wrong_with_one_of_several(
    tmp_path: Path, content: object, flags: dict[str, object], line: str
) -> None:
    assert refusal_of_all(tmp_path, content, **flags) == line


@pytest.mark.parametrize("block", ["huggingface", "config"])
def test_a_key_may_stand_in_a_block(tmp_path: Path, block: str) -> None:
    config = build(tmp_path, {**PHOTOS, block: {"split": "test", "filter_func": {"min_width": 9}}})
    assert (config.split, config.filter_func.min_width) == ("test", 9)


def test_a_key_that_stands_twice_must_be_the_same(tmp_path: Path) -> None:
    twice = {**PHOTOS, "split": "test", "huggingface": {"split": "test"}}
    assert build(tmp_path, twice).split == "test"
    line = refusal(tmp_path, {**twice, "split": "val"})
    assert line == (
        'split is "val" in one place and "test" in huggingface.split; leave one of them out'
    )


@pytest.mark.parametrize(
    ("key", "outer", "inner"),
    [
        ("collection", "photo", ["photo"]),
        ("collection", ["photo"], "photo"),
        ("min_width", 64, 64.0),
    ],
)
def test_regression_one_value_in_two_spellings_is_the_same(
    tmp_path: Path, key: str, outer: object, inner: object
) -> None:
    once = {**PHOTOS, "filter_func": {key: outer}}
    twice = {**once, "huggingface": {"filter_func": {key: inner}}}
    assert build(tmp_path, twice) == build(tmp_path, once)


def test_regression_the_second_place_of_a_filter_is_named_in_full(tmp_path: Path) -> None:
    inner = {"filter_func": {"min_width": 2}}
    line = refusal(tmp_path, {**PHOTOS, "filter_func": {"min_width": 1}, "huggingface": inner})
    assert "is 1 in one place and 2 in huggingface.filter_func.min_width; leave" in line
    inner = {"filter_func": {"minwidth": 2}}
    line = refusal(tmp_path, {**PHOTOS, "huggingface": inner})
    assert line.startswith("huggingface.filter_func.minwidth: there is no such key")


def test_true_and_1_are_not_the_same(tmp_path: Path) -> None:
    assert "in one place" in refusal(
        tmp_path, {**PHOTOS, "offline": True, "huggingface": {"offline": 1}}
    )


def test_terms_of_a_filter_in_two_places_are_joined(tmp_path: Path) -> None:
    inner = {"filter_func": {"min_height": 2}}
    config = build(tmp_path, {**PHOTOS, "filter_func": {"min_width": 1}, "huggingface": inner})
    assert (config.filter_func.min_width, config.filter_func.min_height) == (1, 2)


def test_keys_of_video_may_stand_outside_of_it(tmp_path: Path) -> None:
    config = build(tmp_path, {**PHOTOS, "num_frames": 9, "huggingface": {"fps_column": "fps"}})
    assert (config.video.num_frames, config.video.fps_column) == (9, "fps")


def test_the_web_interface_of_the_trainer_has_its_own_name_for_one_key(tmp_path: Path) -> None:
    assert build(tmp_path, {**PHOTOS, "dataset_config": "large"}).config_name == "large"


def test_null_is_not_set(tmp_path: Path) -> None:
    nulls = {
        "disabled": None,
        "split": None,
        "filter_func": None,
        "huggingface": None,
        "max_num_samples": None,
    }
    assert build(tmp_path, PHOTOS | nulls) == build(tmp_path, PHOTOS)


@pytest.mark.parametrize(
    ("entry", "line"),
    [
        ({"spilt": "a"}, "spilt: there is no such key; did you mean split?"),
        ({"min_width": 5}, "min_width: there is no such key; did you mean filter_func.min_width?"),
        ({"zzzz": 1}, "zzzz: there is no such key"),
        (
            {"filter_func": {"min_widht": 5}},
            "filter_func.min_widht: there is no such key; did you mean filter_func.min_width?",
        ),
        (
            {"huggingface": {"caption_colum": "x"}},
            "huggingface.caption_colum: there is no such key; did you mean caption_column?",
        ),
        ({"caption_stratgy": 1}, "caption_stratgy: there is no such key; did you mean caption_st"),
        ({"a\n\x1b[1m": 1}, '"a\\n\\u001b[1m": there is no such key'),
        ({"filter_func": 5}, "filter_func: 5 is not a block of keys"),
        ({"huggingface": []}, "huggingface: [] is not a block of keys"),
        ({"huggingface": {"video": "x"}}, 'huggingface.video: "x" is not a block of keys'),
        ({"type": "hugingface"}, 'type: "hugingface" is not one of huggingface, local'),
        ({"dataset_type": "images"}, 'dataset_type: "images" is not one of image, video, audio'),
        ({"dataset_name": None}, "dataset_name is missing"),
        ({"disabled": "true"}, 'disabled: "true" is not true or false'),
        ({"disable": 1}, "disable: 1 is not true or false"),
        ({"filter_func": {"crop_aspect_buckets": []}}, "filter_func.crop_aspect_buckets: there is"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, entry: dict[str, object], line: str) -> None:
    assert refusal(tmp_path, {**PHOTOS, **entry}).startswith(line)


def test_keys_of_the_trainer_are_ignored_in_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = {"caption_strategy": "huggingface", "metadata_backend": "huggingface"}
    blocks = {"huggingface": {"auto_load": True}, "video": {"is_i2v": True}}
    with caplog.at_level(logging.INFO):
        assert build(tmp_path, PHOTOS | ours | blocks) == build(tmp_path, PHOTOS)
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "caption_strategy, huggingface.auto_load, metadata_backend, video.is_i2v"
    ]


@pytest.mark.parametrize("key", ["auth_token", "audio_max_duration_seconds", "truncation_mode"])
def test_what_the_trainer_reads_flat_is_ignored_too(tmp_path: Path, key: str) -> None:
    assert build(tmp_path, {**PHOTOS, key: "x"}) == build(tmp_path, PHOTOS)


def test_no_key_is_both_ours_and_ignored() -> None:
    ignored = ENTRY_KEYS | {f"{block}.{key}" for block, keys in BLOCK_KEYS.items() for key in keys}
    assert not ignored & set(all_keys())


def test_values_of_entries_that_are_not_taken_are_not_looked_at(tmp_path: Path) -> None:
    strange = {"id": "s", "type": "aws", "unheard_of": 1, "split": 5, "huggingface": 7}
    assert build(tmp_path, [strange, PHOTOS]).id == "photos"


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("org/photos", "org-photos"),
        ("/data/my photos.parquet", "my-photos.parquet"),
        ("/data/set/", "set"),
        ("https://host/a/photos.parquet?sign=secret/x", "photos.parquet"),
        ("s3://bucket/a?b/", "a-b"),
        ("data/*.parquet", "parquet"),
        ("a/b/c", "c"),
        ("../..", "dataset"),
        ("", "dataset"),
        ("фото", "dataset"),
        ("x" * 300, "x" * 100),
    ],
)
def test_an_id_is_made_from_the_name(name: str, made: str) -> None:
    assert make_id(name) == made
