"""Precedence, paths, and what is refused because it is not built."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hffs.config import Config, all_keys, build_config, refuse_unbuilt
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


UNBUILT = {"type": "local"}


@pytest.mark.parametrize(("name", "value"), UNBUILT.items())
def test_what_is_not_built_is_refused_by_name(name: str, value: object) -> None:
    config = build(instance_data_dir="/data", **{name: value})
    with pytest.raises(ConfigError) as caught:
        refuse_unbuilt(config)
    assert str(caught.value).startswith(f"not built yet: {name} (")


def test_every_key_that_is_marked_is_in_this_list() -> None:
    assert set(UNBUILT) == {key.name for key in all_keys().values() if key.unbuilt}


def test_a_key_that_is_not_built_may_have_its_default() -> None:
    defaults = {
        key.name: key.default
        for key in all_keys().values()
        if key.unbuilt and key.default is not None and key.default != () and key.default != {}
    }
    refuse_unbuilt(build(**defaults))


def test_what_is_built_is_not_refused() -> None:
    config = build(
        split="train[:10%] + test",
        config_name="large",
        revision="v1",
        data_files={"train": "*.csv"},
        image_column="photo",
        dataset_type="audio",
        video_column="clip",
        audio_column="sound",
        video__num_frames=9,
        video__min_frames=9,
        video__max_frames=99,
        video__num_frames_column="n",
        video__fps_column="f",
        audio_caption_fields=["tags"],
        lyrics_column="words",
        duration_column="d",
        filter_func__min_duration_s=1.5,
        filter_func__max_duration_s=60.0,
        caption_column=["a", "b.c"],
        fallback_caption_column="d",
        description_column="e",
        caption_multi="join",
        caption_separator=" | ",
        missing_caption="text:a photo",
        filter_func__python="my:keep",
        max_num_samples=10,
        seed=-1,
        width_column="w",
        height_column="h",
        filter_func__where="a > 1",
        filter_func__collection=["art", 5],
        filter_func__collection_column="set",
        filter_func__quality_thresholds={"clip": 0.3},
        filter_func__quality_column="scores",
        filter_func__min_width=1,
        filter_func__min_height=1,
        filter_func__max_width=9,
        filter_func__max_height=9,
        filter_func__min_aspect=0.5,
        filter_func__max_aspect=2,
        num_proc=2,
        offline=True,
        cache_dir="/c",
        cache_size="1 GB",
        image_format="png",
    )
    refuse_unbuilt(config)


def test_keys_of_the_bundled_tool_are_kept_and_not_refused() -> None:
    values = {
        "probability": 0.5,
        "repeats": 3,
        "resolution": 1.0,
        "resolution_type": "area",
        "minimum_image_size": 0.5,
        "maximum_image_size": 2.0,
        "target_downsample_size": 1.5,
        "crop": True,
        "crop_aspect": "closest",
        "crop_style": "center",
        "aspect_bucket_rounding": 3,
        "aspect_bucket_alignment": 32,
    }
    config = build(**values)
    refuse_unbuilt(config)
    assert {name: getattr(config, name) for name in values} == values


def test_regression_a_condition_of_several_lines_is_one(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('dataset_name = "x"\nfilter_func.where = """\na > 1\n  and b = 2\n"""\n')
    config = build_config(str(path), {}, None, {"HOME": "/h"})
    assert config.filter_func.where == "a > 1\n  and b = 2\n"
