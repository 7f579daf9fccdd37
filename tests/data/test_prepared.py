"""A prepared store as a data set: the same faces, in the same coordinates, as the photographs it was made from."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from facegraph.curation.prepare.build import prepare
from facegraph.curation.prepare.datasets import DatasetOptions, make_benchmark
from facegraph.data.augment import Augmentation
from facegraph.data.boxes import LandmarkBox
from facegraph.data.crops import CropsDataset
from facegraph.data.faces import FaceSubset
from facegraph.data.pipeline import FacePipeline
from facegraph.data.prepared import PreparedDataset
from facegraph.data.source import FaceSource, fingerprint, sample_at
from facegraph.data.store.layout import CropPolicy
from facegraph.data.store.reader import FaceStore
from facegraph.errors import DataError
from facegraph.geometry.affine import transform_points
from facegraph.landmarks import IBUG68, WFLW98
from tests.helpers.crops import write_crops


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with a csv, and beside it stores made from it: raw and JPEG."""
    folder = tmp_path_factory.mktemp("prepared")
    write_crops(folder / "photos")
    benchmark = make_benchmark("crops", DatasetOptions(scheme="ibug68"))
    prepare(benchmark, folder / "photos", folder / "raw", CropPolicy(side=192))
    prepare(benchmark, folder / "photos", folder / "jpeg", CropPolicy(side=192, image_format="jpeg", quality=95))
    return folder


def boxed(source: FaceSource) -> FaceSubset:
    return FaceSubset(source, np.arange(len(source.table)), LandmarkBox(1.25))


@pytest.mark.parametrize(("kind", "allowed"), [("raw", 2.5), ("jpeg", 3.5)])
def test_a_crop_from_the_store_is_the_crop_from_the_photograph(folder: Path, kind: str, allowed: float) -> None:
    photos = boxed(CropsDataset(folder / "photos", IBUG68).train())
    stored = boxed(PreparedDataset(folder / kind).train())
    assert stored.table.ids == photos.table.ids
    np.testing.assert_allclose(stored.table.landmarks, photos.table.landmarks, atol=1e-9)
    assert fingerprint(stored.table) == fingerprint(photos.table)
    pipeline = FacePipeline(IBUG68, 64, LandmarkBox(1.25), Augmentation())
    for row in range(len(photos.table)):
        far, near = (pipeline.crop(sample_at(source, row)) for source in (photos, stored))
        np.testing.assert_allclose(near.landmarks, far.landmarks, atol=1e-9)
        np.testing.assert_allclose(near.image_to_crop, far.image_to_crop, atol=1e-9)
        inside = np.abs(near.image.astype(int) - far.image)[4:-4, 4:-4]
        assert inside.mean() < allowed


def test_the_matrix_leads_into_the_stored_crop(folder: Path) -> None:
    source = PreparedDataset(folder / "raw").test()
    for row, landmarks in enumerate(source.table.landmarks):
        points = transform_points(source.image_to_stored(row), landmarks)
        extent = np.ptp(points, axis=0).max()
        assert extent == pytest.approx(192 / 2.0, rel=1e-6)  # the square is twice the box
        middle = (points.min(axis=0) + points.max(axis=0)) / 2
        np.testing.assert_allclose(middle, (192 - 1) / 2, atol=1e-6)


def test_a_raw_crop_is_a_view_of_the_file(folder: Path) -> None:
    source = PreparedDataset(folder / "raw").train()
    image = source.image(3)
    assert image.shape == (192, 192, 3)
    assert not image.flags.writeable
    assert not image.flags.owndata
    again = pickle.loads(pickle.dumps(source))  # as a loader process gets it: without the maps
    np.testing.assert_array_equal(again.image(3), image)
    assert len(pickle.dumps(source)) < 60_000


def test_rows_splits_and_scheme_are_checked(folder: Path) -> None:
    dataset = PreparedDataset(folder / "raw", test_split="elsewhere")
    with pytest.raises(DataError, match=r"no faces of 'elsewhere'; it has \{'train': 14, 'test': 5\}"):
        dataset.test()
    with pytest.raises(DataError, match="has no attribute 'pose'"):
        PreparedDataset(folder / "raw", test_subset="pose").test()
    with pytest.raises(DataError, match="has no attribute 'poes'"):
        PreparedDataset(folder / "raw", attributes=["poes"]).test()
    with pytest.raises(DataError, match=r"scheme 'ibug68' \(68 landmarks\), but the configuration says 'wflw98'"):
        PreparedDataset(folder / "raw", scheme=WFLW98).test()
    assert (PreparedDataset(folder / "raw").name, PreparedDataset(folder / "raw").scheme) == ("crops", IBUG68)


def test_a_shard_cut_short_is_named(folder: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("store.json", "annotations.parquet"):
        (broken / name).write_bytes((folder / "raw" / name).read_bytes())
    (broken / "images").mkdir()
    whole = (folder / "raw" / "images" / "00000.bin").read_bytes()
    (broken / "images" / "00000.bin").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"\d+ of \d+ faces have a crop beyond the end of its shard.*facegraph doctor"):
        PreparedDataset(broken).train()
    store = FaceStore(broken)
    source = store.source(store.rows("train"))
    source.image(0)
    with pytest.raises(DataError, match=r"00000\.bin: the crop of face .* is damaged or cut short"):
        [source.image(row) for row in range(len(source.table))]


def test_fingerprints_tell_faces_apart(folder: Path) -> None:
    train, test = (getattr(PreparedDataset(folder / "raw"), split)().table for split in ("train", "test"))
    assert fingerprint(train) != fingerprint(test)
    moved = FaceSubset(PreparedDataset(folder / "raw").train(), np.arange(len(train) - 1)).table
    assert fingerprint(moved) != fingerprint(train)


def test_a_benchmark_s_store_keeps_its_name(stores: Path) -> None:
    with pytest.raises(DataError, match="holds 300w, but results would be named 'cofw68'"):
        PreparedDataset(stores / "300w", name="cofw68").test()
    assert PreparedDataset(stores / "crops", name="mine").test().table.ids
    assert PreparedDataset(stores / "wflw").test().table.attribute_names[0] == "pose"
    assert PreparedDataset(stores / "wflw", attributes=[]).test().table.attribute_names == ()
