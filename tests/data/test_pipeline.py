"""Geometry of the training pipeline: dots drawn at known places are found where the landmarks say."""

from __future__ import annotations

from pathlib import Path

import albumentations as A
import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.boxes import LandmarkBox
from facegraph.data.normalise import FixedStatistics, PerImage, WholeImage
from facegraph.data.photometric import RectangleOcclusion
from facegraph.data.pipeline import FacePipeline
from facegraph.data.warp import FILL, warp
from facegraph.errors import ConfigError, DataError
from facegraph.geometry.affine import square_crop
from facegraph.geometry.points import map_points
from facegraph.landmarks import SCHEMES
from facegraph.runs.compose import compose, make
from facegraph.structures import FaceSample
from tests.helpers.faces import QUAD, draw_dots, find_dot

_QUARTERS = np.array([[-0.27, -0.24], [0.25, -0.28], [-0.23, 0.26], [0.28, 0.22]])
PAPER = GeometricAugmentation(rotation_degrees=40, scale_min=0.9, scale_max=1.1, shift=0.05, flip_probability=0.5)


def dots_face(crop_over_image: float, seed: int, size: int = 96) -> FaceSample:
    """A face whose box (with margin 1) is scaled by crop_over_image on its way to a crop of size px."""
    rng = np.random.default_rng(seed)
    side = size / crop_over_image
    width, height = (int(np.ceil(side * f)) for f in rng.uniform(1.1, 1.5, size=2))
    centre = np.array([width, height]) / 2 + rng.uniform(-0.05, 0.05, size=2) * side
    landmarks = centre + side * (_QUARTERS + rng.uniform(-0.02, 0.02, size=(4, 2)))
    # a dot of 2.5 px in the crop, and of 1.5 px at least in the image, is band limited in both
    image = draw_dots(landmarks, width, height, sigma=max(2.5 / crop_over_image, 1.5))
    box = np.concatenate([centre - side / 2, centre + side / 2])
    return FaceSample(image, landmarks, box, np.zeros(0, dtype=bool), f"dots{seed}")


@settings(max_examples=60, deadline=None)
@given(crop_over_image=st.floats(0.09, 1.6), seed=st.integers(0, 10_000))
def test_landmarks_stay_on_their_dots(crop_over_image: float, seed: int) -> None:
    sample = dots_face(crop_over_image, seed)
    pipeline = FacePipeline(QUAD, 96, LandmarkBox(1.0), Augmentation(PAPER))
    crop = pipeline.crop(sample, np.random.default_rng(seed))
    radius = 9 * max(1.0, crop_over_image)
    found = np.array([find_dot(crop.image, point, radius) for point in crop.landmarks])
    inside = ((crop.landmarks > radius) & (crop.landmarks < 95 - radius)).all(axis=1)
    assert np.abs(found - crop.landmarks)[inside].max(initial=0) < 0.05


@settings(max_examples=30, deadline=None)
@given(crop_over_image=st.floats(0.05, 2.0), seed=st.integers(0, 10_000))
def test_crop_to_image_takes_landmarks_back(crop_over_image: float, seed: int) -> None:
    sample = dots_face(crop_over_image, seed)
    augmentation = GeometricAugmentation(40, 0.9, 1.1, 0.1, flip_probability=1.0)
    pipeline = FacePipeline(QUAD, 96, LandmarkBox(1.0), Augmentation(augmentation))
    item = pipeline.item(sample, 3, np.ones(2), np.random.default_rng(seed))
    back = map_points(item.crop_to_image[None], item.landmarks[None])[0].numpy()
    assert np.abs(back - sample.landmarks[list(QUAD.flip)]).max() < 0.01


def test_a_mirrored_face_is_renumbered() -> None:
    """The landmark numbered 0 (left in the image) is left in the mirror image as well, and the picture is mirrored."""
    sample = dots_face(1.0, seed=1)
    plain = FacePipeline(QUAD, 96, LandmarkBox(1.0)).crop(sample)
    mirror = Augmentation(GeometricAugmentation(flip_probability=1.0))
    mirrored = FacePipeline(QUAD, 96, LandmarkBox(1.0), mirror).crop(sample, np.random.default_rng(0))
    assert mirrored.landmarks[0, 0] < mirrored.landmarks[1, 0]
    np.testing.assert_allclose(mirrored.landmarks[:, 0], 95 - plain.landmarks[[1, 0, 3, 2], 0], atol=1e-9)
    np.testing.assert_allclose(mirrored.landmarks[:, 1], plain.landmarks[[1, 0, 3, 2], 1], atol=1e-9)
    difference = np.abs(mirrored.image.astype(int) - plain.image[:, ::-1].astype(int))
    assert difference.max() <= 2


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=lambda s: s.name)
def test_mirroring_twice_gives_the_numbers_back(scheme) -> None:
    flip = np.array(scheme.flip)
    np.testing.assert_array_equal(flip[flip], np.arange(scheme.num_landmarks))


def test_identity_crop_copies_pixels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    np.testing.assert_array_equal(warp(image, np.eye(3), 40), image[:, :40])


def test_outside_the_image_is_grey() -> None:
    image = np.zeros((20, 20, 3), dtype=np.uint8)
    crop = warp(image, square_crop(np.array([-100.0, -100.0, -50.0, -50.0]), 1.0, 32), 32)
    assert (crop == FILL).all()
    tiny = warp(image, square_crop(np.array([-2000.0, -2000.0, -1000.0, -1000.0]), 1.0, 32), 32)
    assert np.abs(tiny.astype(int) - 127).max() <= 0


@pytest.mark.parametrize("k", [2, 3, 5, 8])
def test_shrinking_averages_fine_texture(k: int) -> None:
    """Stripes one pixel wide must come out as their mean, not as a pattern of their own."""
    side = 32 * k
    image = np.zeros((side, side, 3), dtype=np.uint8)
    image[:, ::2] = 200
    crop = warp(image, square_crop(np.array([0.0, 0.0, side, side]), 1.0, 30), 30)
    inner = crop[2:-2, 2:-2].astype(float)
    assert abs(inner.mean() - 100) < 2
    assert inner.std() < 25 if k < 4 else inner.std() < 15


def test_shrinking_agrees_with_area_averages() -> None:
    image = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8), (0, 0), 8)
    crop = warp(image, square_crop(np.array([39.5, -0.5, 279.5, 239.5]), 1.0, 60), 60)
    np.testing.assert_allclose(crop, cv2.resize(image[:, 40:280], (60, 60), interpolation=cv2.INTER_AREA), atol=1)


def test_a_box_without_size_is_named() -> None:
    sample = dots_face(1.0, seed=0)
    flat = FaceSample(sample.image, sample.landmarks, np.array([5.0, 5.0, 5.0, 9.0]), sample.attributes, "flat face")
    with pytest.raises(DataError, match=r"flat face.*5\.0, 5\.0, 5\.0, 9\.0.*no size"):
        FacePipeline(QUAD, 96, LandmarkBox(1.0)).crop(flat)


def as_loaded(images: np.ndarray) -> torch.Tensor:
    """(B, S, S, 3) as loaders hand it out: (B, 3, S, S), channels last in memory."""
    return torch.from_numpy(images).permute(0, 3, 1, 2)


def test_per_image_is_a_z_score_per_channel() -> None:
    images = np.random.default_rng(0).integers(0, 200, (2, 32, 32, 3), dtype=np.uint8)
    images[1, ..., 2] = 77
    z = PerImage()(as_loaded(images))
    assert (z.shape, z.dtype) == ((2, 3, 32, 32), torch.float32)
    expected = (images - images.mean(axis=(1, 2), keepdims=True)) / np.where(
        images.std((1, 2)) > 0, images.std((1, 2)), 1
    )[:, None, None]
    np.testing.assert_allclose(z, expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert (z[1, 2] == 0).all()


def test_fixed_statistics_by_hand() -> None:
    images = np.array([[[[255, 0, 51]]]], dtype=np.uint8)
    planes = FixedStatistics([0.5, 0.25, 0.2], [0.5, 0.25, 0.1])(as_loaded(images))
    np.testing.assert_allclose(planes.ravel(), [1.0, -1.0, 0.0], atol=1e-6)
    with pytest.raises(ConfigError, match="each std must be positive"):
        FixedStatistics([0.5, 0.5, 0.5], [0.5, 0.0, 0.5])
    with pytest.raises(ConfigError, match="three finite numbers"):
        FixedStatistics([0.5, float("nan"), 0.5], [0.5, 0.5, 0.5])
    with pytest.raises(ConfigError, match="three finite numbers"):
        FixedStatistics([0.5, 0.5, 0.5], [0.5, float("nan"), 0.5])


def test_a_whole_image_has_one_mean_and_one_deviation() -> None:
    images = np.random.default_rng(3).integers(0, 255, (2, 8, 8, 3), dtype=np.uint8)
    images[..., 0] //= 4  # a dark channel stays darker than the others
    z = WholeImage()(as_loaded(images)).double()
    np.testing.assert_allclose(z.mean(dim=(1, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(dim=(1, 2, 3), correction=0), 1, rtol=1e-6)
    assert (z[:, 0].mean(dim=(1, 2)) < z[:, 1].mean(dim=(1, 2)) - 1).all()
    assert torch.isfinite(WholeImage()(as_loaded(np.full((1, 8, 8, 3), 7, np.uint8)))).all()


@pytest.mark.parametrize("normalise", [PerImage(), WholeImage(), FixedStatistics([0.5, 0.4, 0.3], [0.2, 0.3, 0.4])])
def test_normalising_on_another_device_gives_the_same(normalise: PerImage) -> None:
    """The branch of other devices, run on this one."""
    images = np.random.default_rng(1).integers(0, 256, (3, 48, 48, 3), dtype=np.uint8)
    images[0, ..., 1] = 30
    here = normalise(as_loaded(images))

    class Elsewhere(torch.Tensor):
        device = torch.device("meta")  # type: ignore[assignment]

    elsewhere = as_loaded(images).as_subclass(Elsewhere)
    torch.testing.assert_close(normalise(elsewhere).as_subclass(torch.Tensor), here, rtol=0, atol=2e-5)


@pytest.mark.parametrize(
    "photometric",
    [[A.HorizontalFlip()], [A.OneOf([A.GaussianBlur(), A.Affine()])], [A.Transpose()]],
    ids=["flip", "nested", "transpose"],
)
def test_transforms_that_move_pixels_are_refused(photometric) -> None:
    with pytest.raises(ConfigError, match="may move pixels"):
        Augmentation(photometric=photometric)


@pytest.mark.parametrize(
    "settings_",
    [{"rotation_degrees": -1}, {"scale_min": 1.2, "scale_max": 1.1}, {"scale_min": 0}, {"shift": 30}],
    ids=str,
)
def test_augmentation_out_of_range_is_refused(settings_: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(settings_))}={next(iter(settings_.values()))}"):
        GeometricAugmentation(**settings_)


def test_occlusion_covers_what_it_says() -> None:
    occlusion = RectangleOcclusion(area_fraction=0.2, p=1.0)
    rng = np.random.default_rng(0)
    image = np.full((100, 100, 3), 127, dtype=np.uint8)
    augmentation = Augmentation(photometric=[occlusion])
    covered = []
    for _ in range(300):
        hidden = (augmentation.paint(image, rng) != image).any(axis=2)
        ys, xs = np.nonzero(hidden)
        covered.append(hidden.mean())
        assert hidden.sum() == (np.ptp(xs) + 1) * (np.ptp(ys) + 1)  # one solid rectangle
    assert 0.18 < np.max(covered) < 0.22
    # a centre anywhere leaves (1 - w/4)(1 - h/4) of w x h on average, w = sqrt(0.2 a), h = sqrt(0.2 / a)
    assert 0.145 < np.mean(covered) < 0.17


def test_paint_is_a_function_of_the_generator() -> None:
    augmentation = Augmentation(
        photometric=[
            A.OneOf([A.RandomBrightnessContrast(p=1), A.HueSaturationValue(p=1)], p=0.8),
            A.GaussNoise(p=0.5),
            RectangleOcclusion(),
        ]
    )
    image = np.random.default_rng(1).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    first = [augmentation.paint(image, np.random.default_rng([7, n])) for n in range(20)]
    again = [augmentation.paint(image, np.random.default_rng([7, n])) for n in reversed(range(20))][::-1]
    np.testing.assert_array_equal(first, again)
    assert len({picture.tobytes() for picture in first}) > 15


def test_light_augmentation_keeps_dtype_and_shape(tmp_path: Path) -> None:
    """Every transform of the shipped recipes runs on a crop (probability 1) and returns bytes."""
    folder = Path(__file__).parents[2] / "conf" / "augment"
    for file in sorted(folder.glob("*.yaml")):
        config = compose([f"augment={file.stem}"]).augment
        for transform in config.get("photometric", []):
            transform.p = 1.0
        augmentation = make(config)
        assert isinstance(augmentation, Augmentation), file
        picture = augmentation.paint(np.full((64, 64, 3), 90, dtype=np.uint8), np.random.default_rng(0))
        assert picture.shape == (64, 64, 3), file
        assert picture.dtype == np.uint8, file


def test_item_has_the_shapes_of_a_batch_row() -> None:
    sample = dots_face(0.5, seed=5)
    item = FacePipeline(QUAD, 64, LandmarkBox(1.2)).item(sample, 12, np.array([10.0, 20.0]))
    assert item.image.shape == (3, 64, 64)
    assert item.image.dtype == torch.uint8
    assert item.landmarks.shape == (4, 2)
    assert item.crop_to_image.shape == (2, 3)
    assert item.norm_distances.tolist() == [10.0, 20.0]
    assert item.attributes.shape == (0,)
    assert int(item.index) == 12
