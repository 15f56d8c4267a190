"""Types of keys: what is taken, what is refused and in which words."""

from __future__ import annotations

import pytest

from hffs.config import Config, build_config
from hffs.errors import ConfigError

ENVIRON = {"HOME": "/home/me"}


def build(**values: object) -> Config:
    named = {name.replace("__", "."): value for name, value in values.items()}
    return build_config("org/photos", named, None, ENVIRON)


def refusal(**values: object) -> str:
    with pytest.raises(ConfigError) as caught:
        build(**values)
    return str(caught.value).removeprefix("cannot use the flags for org/photos: ")


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("20 GB", 20 * 10**9),
        ("500MB", 500 * 10**6),
        ("10GiB", 10 * 2**30),
        ("10gib", 10 * 2**30),
        ("1.5K", 1500),
        ("2Ti", 2 * 2**40),
        ("0", 0),
        ("12 B", 12),
        (4096, 4096),
        (4096.0, 4096),
    ],
)
def test_sizes_are_bytes(text: object, size_bytes: int) -> None:
    assert build(cache_size=text).cache_size == size_bytes


@pytest.mark.parametrize("text", ["", "GB", "-1 GB", "5 QB", "1 G B", "1e3", "iB", "5I", "٣ GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    assert 'is not a size such as "20 GB", "500MB", "10GiB"' in refusal(cache_size=text)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("filter_func__min_width", "big", '"big" is not a whole number'),
        ("filter_func__min_width", "512", '"512" is not a whole number'),
        ("filter_func__min_width", 1.5, "1.5 is not a whole number"),
        ("filter_func__min_width", True, "true is not a whole number"),
        ("filter_func__min_width", 0, "0 is below 1"),
        ("filter_func__max_width", 2**53, "9007199254740992 is above 9007199254740991"),
        ("filter_func__min_aspect", "1", '"1" is not a number'),
        ("filter_func__min_aspect", 0, "0 is not above 0"),
        ("filter_func__min_aspect", float("nan"), "NaN is not a finite number"),
        ("filter_func__where", " \n", '" \\n" is blank or has a null character'),
        ("filter_func__where", "a\0", '"a\\u0000" is blank or has a null character'),
        ("filter_func__where", 5, "5 is not text"),
        ("filter_func__collection", [], "[] is an empty list"),
        ("filter_func__collection", [True], "true is neither text nor a whole number"),
        ("filter_func__quality_thresholds", [1], "[1] is not a map of names to numbers"),
        ("filter_func__python", "os.system", '"os.system" is not module:function'),
        ("offline", "yes", '"yes" is not true or false'),
        ("offline", 1, "1 is not true or false"),
        ("image_format", "gif", '"gif" is not one of jpg, png, source'),
        ("split", "train[:10%", '"train[:10%" is not a split such as'),
        ("split", "", '"" is not a split such as'),
        ("missing_caption", "text: ", '"text: " is not drop, error, or text: with words behind it'),
        ("caption_separator", "\n", '"\\n" has a line break or another control character'),
        ("caption_separator", "a\u2028", 'which no caption holds (caption_multi "lines" puts'),
        ("caption_separator", "\t", "has a line break or another control character"),
        ("caption_separator", "\ud800", "is not text in valid Unicode"),
        ("caption_separator", 5, "5 is not text"),
        ("caption_column", ["a", 5, 6], "5 is not text"),
        ("caption_column", [], "[] is an empty list"),
        ("audio_caption_fields", "tags", '"tags" is not a list'),
        ("composite_image_config__select_index", [0, -1], "[0, -1] is not a number from 0"),
        ("composite_image_config__select_index", [], "[] is not a number from 0"),
        ("composite_image_config__layout", "0x2", '"0x2" is not horizontal, vertical, auto'),
        ("data_files", {"train": [5]}, '{"train": [5]} is not a path, a list of paths'),
        ("data_files", [], "[] is an empty list"),
        ("id", "../up", '"../up" cannot name a folder'),
        ("id", "..", '".." cannot name a folder'),
        ("cache_dir", "", '"" is not a path'),
        ("cache_dir", 5, "5 is not a path"),
        ("cache_dir", "/a\0b", '"/a\\u0000b" is not a path'),
        ("num_proc", 0, "0 is below 1"),
        ("config_name", "\ud800", '"\\ud800" is not text in valid Unicode'),
        ("cache_dir", "/a/\udcff", '"/a/\\udcff" is not text in valid Unicode'),
        ("missing_caption", "text:\udcff", '"text:\\udcff" is not text in valid Unicode'),
        ("data_files", "\udcff", '"\\udcff" is not text in valid Unicode'),
    ],
)
def test_a_bad_value_is_shown_with_what_is_wrong(key: str, value: object, words: str) -> None:
    line = refusal(**{key: value})
    assert words in line
    assert line.startswith("--")
    assert "\n" not in line


def test_a_source_must_be_valid_unicode() -> None:
    with pytest.raises(ConfigError, match=r"dataset_name: .* is not text in valid Unicode"):
        build_config("/a/\udcff", {}, None, ENVIRON)


def test_every_wrong_key_is_named_once() -> None:
    line = refusal(filter_func__min_width="big", num_proc=0, offline=1)
    assert line == (
        '--offline: 1 is not true or false; --min-width: "big" is not a whole number; '
        "--num-proc: 0 is below 1"
    )


def test_of_many_wrong_keys_the_first_are_named() -> None:
    keys = ["min_width", "min_height", "max_width", "max_height", "min_aspect", "max_aspect"]
    assert refusal(**{f"filter_func__{key}": "x" for key in keys}).endswith("; and 1 more")


def test_a_long_value_is_shown_short() -> None:
    assert len(refusal(num_proc="9" * 1000)) < 150


def test_a_metric_is_named_inside_its_map() -> None:
    line = refusal(filter_func__quality_thresholds={"clip": 0.3, "look": "x"})
    assert line == '--quality-threshold.look: "x" is not a number'


@pytest.mark.parametrize(
    ("key", "value", "taken"),
    [
        ("min_width", 512.0, 512),
        ("min_aspect", 1, 1.0),
        ("collection", "art", ("art",)),
        ("collection", ["art", 3], ("art", 3)),
        ("quality_thresholds", {"clip": 1}, {"clip": 1.0}),
        ("python", "my.filters:keep", "my.filters:keep"),
    ],
)
def test_values_are_taken_in_their_natural_form(key: str, value: object, taken: object) -> None:
    assert getattr(build(**{f"filter_func__{key}": value}).filter_func, key) == taken


@pytest.mark.parametrize(("value", "taken"), [(2, (2,)), ([0, 3], (0, 3)), ("all", "all")])
def test_tiles_are_a_number_a_list_or_all(value: object, taken: object) -> None:
    composite = build(composite_image_config__select_index=value).composite_image_config
    assert composite.select_index == taken


@pytest.mark.parametrize(
    "split",
    [
        "train",
        "my.split_2",
        "train[:10%]",
        "train[-100%:-5%]",
        "train[5:]+test",
        "a + b[:5]",
        "train[1_000:2_000]",
        "train [ 1 : 3 ] + test[:]",
        "train[:10%](closest)",
    ],
)
def test_splits_take_slices_and_sums(split: str) -> None:
    assert build(split=split).split == split


@pytest.mark.parametrize(
    "split",
    ["train[::2]", "train[3]", "train[a:b]", "train[:200%]", "train[_:1]", "train[:9%](nearest)"],
)
def test_regression_a_slice_that_datasets_would_refuse_is_refused_at_once(split: str) -> None:
    with pytest.raises(ConfigError, match="is not a split such as"):
        build(split=split)


def test_a_config_cannot_be_changed() -> None:
    config = build()
    with pytest.raises(ValueError, match="frozen"):
        config.split = "test"


def test_a_value_that_json_cannot_write_is_shown_by_its_type() -> None:
    loop: list[object] = []
    loop.append(loop)
    assert refusal(image_column=loop) == "--image-column: list is not text"
