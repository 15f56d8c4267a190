"""Precedence, paths, entries, and what is refused of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hffs.config import Config, build_config, build_configs, build_folder
from hffs.errors import ConfigError

ENVIRON = {"HOME": "/home/me"}


def build(source: str = "org/photos", /, **flags: object) -> Config:
    named = {name.replace("__", "."): value for name, value in flags.items()}
    return build_config(source, named, None, ENVIRON)


@pytest.fixture
def loader(tmp_path: Path) -> str:
    path = tmp_path / "loader.json"
    entry = {"dataset_name": "org/photos", "split": "val", "filter_func": {"min_width": 5}}
    path.write_text(json.dumps(entry))
    return str(path)


def test_flags_go_over_the_file_and_the_file_over_defaults(loader: str) -> None:
    config = build(loader, filter_func__min_width=7, filter_func__min_height=8)
    assert (config.split, config.revision) == ("val", "main")
    assert (config.filter_func.min_width, config.filter_func.min_height) == (7, 8)


def test_a_wrong_value_is_named_as_it_was_given(loader: str) -> None:
    Path(loader).write_text('{"dataset_name": "x", "filter_func": {"min_width": "big"}}')
    with pytest.raises(ConfigError) as caught:
        build(loader, filter_func__min_height=0)
    assert str(caught.value) == (
        f'cannot use config {loader}: filter_func.min_width: "big" is not a whole number; '
        "--min-height: 0 is below 1"
    )


@pytest.mark.parametrize(
    ("environ", "offline"),
    [
        ({}, False),
        ({"HF_HUB_OFFLINE": "1"}, True),
        ({"HF_DATASETS_OFFLINE": "true"}, True),
        ({"TRANSFORMERS_OFFLINE": "1"}, True),
        ({"TRANSFORMERS_OFFLINE": "1", "HF_HUB_OFFLINE": "0"}, False),
        ({"HF_HUB_OFFLINE": "0", "TRANSFORMERS_OFFLINE": "no"}, False),
    ],
)
def test_regression_nobody_is_asked_where_huggingface_hub_would_ask_nobody(
    environ: dict[str, str], offline: bool
) -> None:
    assert build_config("org/photos", {}, None, ENVIRON | environ).offline is offline


def test_a_folder_of_the_bundled_tool_needs_its_path() -> None:
    with pytest.raises(ConfigError, match="instance_data_dir is missing"):
        build(type="local")


def test_an_unknown_flag_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"min_width: there is no such key; did you mean"):
        build(min_width=5)


def test_an_entry_is_chosen_of_a_file_only() -> None:
    with pytest.raises(ConfigError, match=r"--entry a: photos\.parquet is a data set"):
        build_config("photos.parquet", {}, "a", ENVIRON)


def test_a_data_set_is_named_once(loader: str) -> None:
    with pytest.raises(ConfigError, match=r"--dataset-name: photos\.parquet is a data set already"):
        build("photos.parquet", dataset_name="other.parquet")
    assert build(loader, dataset_name="org/other").dataset_name == "org/other"


def test_a_missing_toml_file_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read config"):
        build(str(tmp_path / "photos.toml"))


@pytest.mark.parametrize(
    ("environ", "cache_dir"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/hffs"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/fast"}, "/fast/hffs"),
        ({"XDG_CACHE_HOME": "/fast"}, "/fast/hffs"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "relative"}, "/home/me/.cache/hffs"),
    ],
)
def test_the_cache_is_where_the_xdg_specification_says(
    environ: dict[str, str], cache_dir: str
) -> None:
    assert str(build_config("x", {}, None, environ).cache_dir) == cache_dir


def test_without_a_home_there_is_no_guess() -> None:
    with pytest.raises(ConfigError, match=r"cache_dir: .* means a home, and HOME is not set"):
        build_config("x", {}, None, {})
    assert build_config("x", {"cache_dir": "/c"}, None, {}).cache_dir == Path("/c")


def test_paths_are_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "here").mkdir()
    here = os.getcwd()
    names = {
        "photos.parquet": "photos.parquet",  # nothing is there: it may yet be a name on the Hub
        "org/away": "org/away",
        "org/here": f"{here}/org/here",
        "./a/b": f"{here}/a/b",
        "data/*.parquet": f"{here}/data/*.parquet",
        "~/set": "/home/me/set",
        "~": "/home/me",
        "/a/../b": "/b",
        "hf://datasets/org/x": "hf://datasets/org/x",
    }
    assert {name: build(name).dataset_name for name in names} == names
    assert build(cache_dir="cache/x").cache_dir == tmp_path / "cache" / "x"
    assert build(scratch="~/s").scratch == Path("/home/me/s")
    assert build(type="local", instance_data_dir="x").instance_data_dir == tmp_path / "x"


def test_the_id_comes_from_the_source_unless_it_is_given(tmp_path: Path) -> None:
    assert build(str(tmp_path / "photos.parquet")).id == "photos.parquet"
    assert build(id="mine").id == "mine"


def test_keys_of_the_bundled_tool_are_kept() -> None:
    values = {
        "probability": 0.5,
        "repeats": 3,
        "resolution": (1.0,),
        "resolution_type": "area",
        "minimum_image_size": 0.5,
        "maximum_image_size": 2.0,
        "target_downsample_size": 1.5,
        "minimum_aspect_ratio": 0.4,
        "maximum_aspect_ratio": 2.5,
        "max_upscale_threshold": 0.2,
        "crop": True,
        "crop_aspect": "closest",
        "crop_style": "center",
        "aspect_bucket_rounding": 3,
        "aspect_bucket_alignment": 32,
        "aspect_bucket_generator": "grid",
        "aspect_bucket_distance": "log",
        "aspect_bucket_min_edge": 128,
        "aspect_bucket_max_edge": 2048,
        "aspect_bucket_count": 9,
        "aspect_bucket_min": 0.25,
        "aspect_bucket_max": 4.0,
        "train_batch_size": 8,
        "batch_pixels": 10**7,
        "batch_remainder": "pad",
    }
    config = build(**values)
    assert {name: getattr(config, name) for name in values} == values


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ("resolution", 512, (512.0,)),
        ("resolution", [512, 1024.5], (512.0, 1024.5)),
        ("crop_aspect_buckets", [], ()),
        ("crop_aspect_buckets", 1.5, ((1.5, 1.0),)),
        ("crop_aspect_buckets", [1, 1.5], ((1.0, 1.0), (1.5, 1.0))),
        ("crop_aspect_buckets", [{"weight": 3, "aspect": 0.5}], ((0.5, 3.0),)),
        ("aspect_buckets", "3:2", (1.5,)),
        ("aspect_buckets", [1, "832x1216"], (1.0, (832, 1216))),
    ],
)
def test_numbers_are_one_or_several(key: str, given: object, expected: object) -> None:
    config = build(**{key: given})
    assert getattr(config, key) == expected
    assert build(**{key: getattr(config, key)}) == config  # what was read can be read again


@pytest.mark.parametrize(
    ("key", "given", "why"),
    [
        ("resolution", [], "is not a number above 0, or a list of them"),
        ("resolution", [512, 0], "is not a number above 0"),
        ("resolution", True, "is not a number above 0"),
        ("resolution", float("nan"), "is not a number above 0"),
        ("resolution", "512", "is not a number above 0"),
        ("crop_aspect_buckets", ["a"], "is not a list of numbers above 0"),
        ("crop_aspect_buckets", [{"aspect": 1.0}], "is not a list of numbers above 0"),
        ("crop_aspect_buckets", [[1.0, 0.0]], "is not a list of numbers above 0"),
        ("aspect_buckets", ["0x4"], "is not a list of aspect ratios"),
        ("aspect_buckets", [-1], "is not a list of aspect ratios"),
        ("aspect_buckets", ["1.5"], "is not a list of aspect ratios"),
    ],
)
def test_what_are_no_such_numbers_is_refused(key: str, given: object, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        build(**{key: given})


def test_a_folder_is_not_mounted() -> None:
    flags = {"type": "local", "instance_data_dir": "/data"}
    with pytest.raises(ConfigError) as caught:
        build_configs("org/photos", flags, None, ENVIRON)
    assert str(caught.value) == (
        "cannot mount org/photos: type local is a folder already; give it to hffs bucket"
    )


def test_regression_a_type_given_to_all_entries_is_refused_too(tmp_path: Path) -> None:
    path = tmp_path / "loader.json"
    path.write_text(json.dumps([{"dataset_name": "org/a"}, {"dataset_name": "org/b"}]))
    flags = {"type": "local", "instance_data_dir": "/data"}
    with pytest.raises(ConfigError, match="type local is a folder already; give it to hffs bucket"):
        build_configs(str(path), flags, None, ENVIRON)


FOLDERS = [
    {"id": "far", "dataset_name": "org/photos"},
    {"type": "local", "instance_data_dir": "/data/my photos/", "probability": 0.3},
    {"id": "texts", "type": "local", "dataset_type": "text_embeds"},
]


def test_folders_are_entries_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "loader.json"
    path.write_text(json.dumps(FOLDERS))
    assert [config.id for config in build_configs(str(path), {}, None, ENVIRON).configs] == ["far"]
    chosen = build_configs(str(path), {}, None, ENVIRON, folders=True)
    assert [(config.id, config.type) for config in chosen.configs] == [
        ("far", "huggingface"), ("my-photos", "local")
    ]  # fmt: skip
    assert chosen.configs[1].instance_data_dir == Path("/data/my photos")
    assert chosen.skipped == ("texts (its dataset_type is text_embeds)",)
    one = build_configs(str(path), {}, "my-photos", ENVIRON, folders=True)
    assert one.configs == chosen.configs[1:]
    with pytest.raises(ConfigError, match="entry my-photos cannot be mounted: its type is local"):
        build_configs(str(path), {}, "my-photos", ENVIRON)


def test_an_entry_without_a_type_is_a_folder_where_it_names_one(tmp_path: Path) -> None:
    path = tmp_path / "loader.json"
    path.write_text(json.dumps({"instance_data_dir": "/data/cats"}))
    (config,) = build_configs(str(path), {}, None, ENVIRON, folders=True).configs
    assert (config.id, config.type) == ("cats", "local")


def test_a_folder_has_an_entry_of_its_own() -> None:
    config = build_folder("/data/cats/", {"resolution": [512]}, ENVIRON)
    assert (config.id, config.type, config.resolution) == ("cats", "local", (512.0,))
    assert config.instance_data_dir == Path("/data/cats")


def test_regression_a_condition_of_several_lines_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('dataset_name = "x"\nfilter_func.where = """\na > 1\n  and b = 2\n"""\n')
    config = build_config(str(path), {}, None, {"HOME": "/h"})
    assert config.filter_func.where == "a > 1\n  and b = 2\n"
