"""Samples and batches of a planned folder."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image, ImageOps

from hffs.core.types import Size
from hffs.errors import ConfigError, DataError
from hffs.train import FolderDataset, collate, time_ids
from hffs.train.dataset import Sample
from tests.train.planning import make_image, plan_by_hand, write_folder, write_images


def test_a_sample_is_the_crop_in_floats_with_what_is_known_of_it(tmp_path: Path) -> None:
    write_images(tmp_path, {"a.png": Size(100, 60), "b.png": Size(64, 96)})
    data = FolderDataset(plan_by_hand(tmp_path))
    assert len(data) == 2
    sample = data[0]
    with Image.open(tmp_path / "a.png") as image:
        whole = np.asarray(image.resize((53, 32), Image.Resampling.LANCZOS))
    expected = torch.from_numpy(whole[:, 2:50].copy()).permute(2, 0, 1).float() / 127.5 - 1
    assert (sample["image"] - expected).abs().max() <= 2.1 / 127.5
    assert sample["image"].dtype == torch.float32
    assert sample["image"].is_contiguous()
    assert -1 <= float(sample["image"].min()) < float(sample["image"].max()) <= 1
    assert (sample["caption"], sample["name"], sample["entry"]) == (
        "caption of a.png",
        "a.png",
        "art",
    )
    assert (sample["index"], sample["bucket"], sample["replaced"]) == (0, 1, False)
    assert sample["original_size"].tolist() == [60, 100]
    assert sample["crop_top_left"].tolist() == [0, 2]
    assert sample["target_size"].tolist() == [32, 48]
    assert data[1]["target_size"].tolist() == [48, 32]
    with pytest.raises(IndexError):
        data[2]
    with pytest.raises(IndexError):
        data[-1]


def test_white_and_black_are_one_and_minus_one(tmp_path: Path) -> None:
    Image.new("RGB", (48, 32), "white").save(tmp_path / "a.png")
    Image.new("RGB", (48, 32), "black").save(tmp_path / "b.png")
    data = FolderDataset(plan_by_hand(tmp_path))
    assert (data[0]["image"] == 1).all()
    assert (data[1]["image"] == -1).all()
    assert data[0]["caption"] == ""


def test_images_are_turned_if_the_plan_says_so(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x112] = 6
    make_image(Size(96, 64), 0).save(tmp_path / "a.png", exif=exif)
    lying, standing = (
        FolderDataset(plan_by_hand(tmp_path, upright=upright))[0] for upright in (False, True)
    )
    assert lying["original_size"].tolist() == [64, 96]
    assert standing["original_size"].tolist() == [96, 64]
    assert standing["image"].shape == (3, 48, 32)
    with Image.open(tmp_path / "a.png") as image:
        shown = ImageOps.exif_transpose(image).resize((32, 48), Image.Resampling.LANCZOS)
    expected = torch.from_numpy(np.array(shown)).permute(2, 0, 1).float() / 127.5 - 1
    assert (standing["image"] - expected).abs().max() <= 2.1 / 127.5


def test_a_transform_is_given_the_image(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 1))
    plain, flipped = FolderDataset(plan), FolderDataset(plan, transform=lambda image: image.flip(2))
    assert torch.equal(flipped[0]["image"], plain[0]["image"].flip(2))


def test_samples_become_a_batch(tmp_path: Path) -> None:
    write_images(tmp_path, {"a.png": Size(100, 60), "b.png": Size(90, 60)})
    data = FolderDataset(plan_by_hand(tmp_path))
    batch = collate([data[0], data[1]])
    assert batch["image"].shape == (2, 3, 32, 48)
    assert torch.equal(batch["image"][1], data[1]["image"])
    assert batch["caption"] == ["caption of a.png", "caption of b.png"]
    assert batch["name"] == ["a.png", "b.png"]
    assert (batch["index"].tolist(), batch["bucket"], batch["entry"]) == ([0, 1], 1, "art")
    assert batch["original_size"].dtype == batch["index"].dtype == torch.int64
    assert batch["replaced"].tolist() == [False, False]
    ids = time_ids(batch)
    assert ids.dtype == torch.float32
    assert ids.tolist() == [[60, 100, 0, 2, 32, 48], [60, 90, 0, 0, 32, 48]]


def _break(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).write_bytes((folder / name).read_bytes()[:200])


def test_an_unreadable_image_is_an_error_that_names_it(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 4))
    _break(tmp_path, "2.jpg")
    with pytest.raises(DataError, match=r"^cannot read 2\.jpg: "):
        FolderDataset(plan)[2]


def test_an_unreadable_image_is_replaced_by_another_of_its_bucket(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 8))  # 0, 2, 4 and 6 are portraits
    data = FolderDataset(plan, on_error="skip")
    _break(tmp_path, "2.jpg", "4.jpg")
    with caplog.at_level(logging.WARNING):
        assert [data[index]["index"] for index in (0, 2, 4, 2, 1)] == [0, 6, 6, 6, 1]
    assert [data[index]["replaced"] for index in (0, 2)] == [False, True]
    told = [record.getMessage() for record in caplog.records]
    assert [line.split(":")[0] for line in told] == ["cannot read 2.jpg", "cannot read 4.jpg"]
    assert all(line.endswith("; another image stands in for it") for line in told)
    _break(tmp_path, "6.jpg")
    assert data[4]["index"] == 0  # behind the last comes the first
    _break(tmp_path, "0.jpg")
    with pytest.raises(DataError, match=r"cannot replace 4\.jpg: no other of its bucket can be"):
        data[4]


def test_only_known_ways_out_of_errors_are_taken(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 1))
    with pytest.raises(ConfigError, match="cannot use on_error ignore: it is one of raise, skip"):
        FolderDataset(plan, on_error="ignore")  # type: ignore[arg-type] # that is the point


def test_what_a_spawned_worker_is_sent_is_small(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 2))
    count = 10_000
    assignment = plan.assignment
    many = replace(
        assignment,
        image=np.arange(count),
        removed=np.zeros((count, 1), np.uint8),
        bucket=np.repeat(assignment.bucket, count // 2),
        resolution=np.repeat(assignment.resolution, count // 2),
        resized=np.repeat(assignment.resized, count // 2, axis=0),
        crop=np.repeat(assignment.crop, count // 2, axis=0),
    )
    scan = replace(
        plan.scan,
        names=pa.array([f"{n}.jpg" for n in range(count)], pa.large_string()),
        stored=np.repeat(plan.scan.stored, count // 2, axis=0),
        orientation=np.repeat(plan.scan.orientation, count // 2),
        problems={f"{n}.png": "broken" for n in range(count)},
    )
    data = FolderDataset(replace(plan, scan=scan, assignment=many))
    sent = pickle.dumps(data)
    assert len(sent) < 60 * count
    assert pickle.loads(sent).plan.scan.names[7].as_py() == "7.jpg"  # noqa: S301 - its own


def test_a_renamed_data_set_shares_what_it_has(tmp_path: Path) -> None:
    data = FolderDataset(plan_by_hand(write_folder(tmp_path, 2)))
    twin = data.renamed("other")
    assert (twin[0]["entry"], data[0]["entry"]) == ("other", "art")
    assert twin.plan.scan.names is data.plan.scan.names


def test_a_batch_of_different_shapes_is_refused(tmp_path: Path) -> None:
    data = FolderDataset(plan_by_hand(write_folder(tmp_path, 2)))
    samples: list[Sample] = [data[0], data[1]]
    with pytest.raises(RuntimeError, match="stack expects each tensor to be equal size"):
        collate(samples)


def test_a_transform_that_changes_the_shape_is_refused(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 1))
    data = FolderDataset(plan, transform=lambda image: image[:, :10])
    with pytest.raises(ConfigError, match=r"cannot use the transform: it made \(3, 10, 32\) of"):
        data[0]
