"""Every option of conf/augment: dots stay under their landmarks, and a contact sheet to look at.

FACEGRAPH_SHEETS=<folder> keeps the sheets; otherwise they go with the test's temporary folder.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.boxes import LandmarkBox
from facegraph.data.faces import FaceSubset
from facegraph.data.photometric import ContrastClip, NoiseRectangle, RectangleOcclusion
from facegraph.data.pipeline import FacePipeline
from facegraph.data.source import sample_at
from facegraph.data.synthetic import SyntheticDataset
from facegraph.landmarks import WFLW98
from facegraph.runs.compose import compose, make
from facegraph.structures import FaceSample
from facegraph.viz.faces import contact_sheet, draw_landmarks, write_png
from tests.helpers.faces import QUAD, draw_dots

FOLDER = Path(__file__).parents[2] / "conf" / "augment"
OPTIONS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SIZE = 128
_RADIUS = 9


def augmentation_of(option: str) -> Augmentation:
    return make(compose([f"augment={option}"]).augment)


def dots(seed: int) -> FaceSample:
    rng = np.random.default_rng(seed)
    landmarks = np.array([[100.0, 100.0], [156.0, 98.0], [104.0, 155.0], [153.0, 158.0]]) + rng.uniform(-4, 4, (4, 2))
    image = draw_dots(landmarks, 256, 256, sigma=5.0)
    box = np.array([64.0, 64.0, 192.0, 192.0])
    return FaceSample(image, landmarks, box, np.zeros(0, dtype=bool), f"dots{seed}")


def dot_near(image: np.ndarray, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centroid (2,) of what is brighter than the surroundings within a radius of a point, and that window (P, P)."""
    x, y = np.rint(point).astype(int)
    window = image[y - _RADIUS : y + _RADIUS + 1, x - _RADIUS : x + _RADIUS + 1].astype(float).mean(axis=2)
    dy, dx = np.mgrid[-_RADIUS : _RADIUS + 1, -_RADIUS : _RADIUS + 1]
    ring = np.hypot(dx, dy) > _RADIUS - 1
    weight = np.where(ring, 0, window - np.median(window[ring]))
    # the faint foot of a dot is lost in the artefacts of JPEG
    weight = np.where(weight > 0.25 * weight.max(), weight, 0)
    total = max(weight.sum(), 1e-9)
    return np.array([x + (dx * weight).sum() / total, y + (dy * weight).sum() / total]), window


@pytest.mark.parametrize("option", OPTIONS)
def test_landmarks_follow_their_pixels(option: str) -> None:
    augmentation = augmentation_of(option)
    bare = replace(augmentation, photometric=(), afterwards=())
    painted, plain = (FacePipeline(QUAD, SIZE, LandmarkBox(1.25), a) for a in (augmentation, bare))
    offsets, inside = [], 0
    for seed in range(120):
        sample = dots(seed)
        crop = painted.crop(sample, np.random.default_rng([1, seed]))
        before = plain.crop(sample, np.random.default_rng([1, seed]))
        np.testing.assert_array_equal(crop.landmarks, before.landmarks)
        for point in crop.landmarks:
            if not ((point > _RADIUS + 1) & (point < SIZE - _RADIUS - 2)).all():
                continue
            inside += 1
            (found, window), (_, clean) = dot_near(crop.image, point), dot_near(before.image, point)
            if np.ptp(window) > 15 and np.corrcoef(window.ravel(), clean.ravel())[0, 1] > 0.97:  # else it is covered
                offsets.append(found - point)
    assert inside > 350
    assert len(offsets) > 0.6 * inside
    assert np.abs(offsets).max() < 0.5
    # a systematic shift would be of the geometry, whatever single dots lose to blur and JPEG
    assert np.abs(np.mean(offsets, axis=0)).max() < 0.05


@pytest.mark.parametrize("option", OPTIONS)
def test_same_seed_same_picture(option: str) -> None:
    pipeline = FacePipeline(QUAD, SIZE, LandmarkBox(1.25), augmentation_of(option))
    again = FacePipeline(QUAD, SIZE, LandmarkBox(1.25), augmentation_of(option))
    for seed in range(12):
        first = pipeline.crop(dots(seed), np.random.default_rng([2, seed]))
        second = again.crop(dots(seed), np.random.default_rng([2, seed]))
        np.testing.assert_array_equal(first.image, second.image)
        np.testing.assert_array_equal(first.landmarks, second.landmarks)


def test_paper_has_the_values_of_the_paper() -> None:
    paper = augmentation_of("paper")
    assert paper.geometric == GeometricAugmentation(40, 0.9, 1.1, 30 / 256, flip_probability=0.5)
    assert (paper.probability, len(paper.afterwards)) == (1.0, 0)
    (rectangle,) = paper.photometric
    assert isinstance(rectangle, RectangleOcclusion)
    assert (rectangle.area_fraction, rectangle.aspect_min, rectangle.aspect_max, rectangle.p) == (0.2, 0.4, 2.5, 0.5)


def test_released_code_of_scc_has_another_range_of_scale_than_its_paper() -> None:
    paper, released = augmentation_of("paper"), augmentation_of("paper_released")
    assert released.geometric == replace(paper.geometric, scale_min=0.9314, scale_max=1.0686)
    assert [type(t) for t in released.photometric] == [RectangleOcclusion]


def test_hrnet_has_the_values_of_its_code() -> None:
    assert augmentation_of("hrnet") == Augmentation(GeometricAugmentation(30, 0.75, 1.25, flip_probability=0.5))


def test_fan_has_the_values_of_its_code() -> None:
    fan = augmentation_of("fan")
    assert fan.geometric == GeometricAugmentation(50, 0.8, 1.2, 2 * 0.0625, flip_probability=0.5, probability=0.5)
    assert (fan.probability, len(fan.afterwards)) == (1.0, 0)
    blur, colours, jpeg, holes = fan.photometric
    assert [type(t).__name__ for t in fan.photometric] == ["Blur", "ColorJitter", "ImageCompression", "CoarseDropout"]
    assert [t.p for t in fan.photometric] == [0.5, 1.0, 0.5, 0.5]
    assert tuple(blur.blur_limit) == (3, 7)
    assert colours.brightness == colours.contrast == colours.saturation == (0.7, 1.3)
    assert tuple(colours.hue) == (0, 0)
    assert tuple(jpeg.quality_range) == (30, 100)
    assert tuple(holes.num_holes_range) == (1, 8)
    assert tuple(holes.hole_height_range) == tuple(holes.hole_width_range) == (1 / 32, 1 / 8)
    assert holes.fill == 0


def test_musica_has_the_values_of_its_code() -> None:
    musica = augmentation_of("musica")
    assert musica.geometric == GeometricAugmentation(30, width_min=0.6, width_max=1.4, shear=0.3)
    assert musica.probability == 0.5
    clip, noise = musica.photometric
    assert isinstance(clip, ContrastClip)
    assert isinstance(noise, NoiseRectangle)
    assert (clip.low_max, clip.high_min, clip.p, noise.max_side, noise.p) == (0.4, 0.6, 1.0, 0.5, 1.0)
    assert [(type(t).__name__, t.p) for t in musica.afterwards] == [("ToGray", 0.5)]


def test_the_boxes_that_the_comments_recommend() -> None:
    landmarks, official = np.array([[[10.0, 10], [30, 50]]]), np.array([[0.0, 0, 99, 99]])
    fan, musica = (make(compose(recommended(option)).box) for option in ("fan", "musica"))
    assert isinstance(fan, LandmarkBox)
    assert (fan.side, fan.margin) == ("mean", pytest.approx(1 / 0.55, abs=1e-4))
    # 0.3 of the sides of the box on every side; landmarks' box, moved by the coin in training, never where scored
    assert (musica.margin, musica.side) == (1 + 2 * 0.3, "longer")
    boxes = musica.boxes(landmarks, official, ("a",))
    assert boxes.tolist() == musica.scored(boxes, ("a",)).tolist() == [[10, 10, 30, 50]]
    moved = np.array([musica.jittered(boxes[0], np.random.default_rng(n)) for n in range(2000)])
    assert np.mean((moved == boxes[0]).all(axis=1)) == pytest.approx(0.5, abs=0.04)
    sides = (moved[:, 2:] - moved[:, :2]) / [20, 40]
    np.testing.assert_allclose([sides.min(axis=0), sides.max(axis=0)], [[1, 1], [1.2, 1.1]], atol=0.005)
    shifts = np.abs((moved[:, :2] + moved[:, 2:]) / 2 - [20, 30]) / [20, 40]
    np.testing.assert_allclose(shifts.max(axis=0), 0.2, atol=0.002)


def recommended(option: str) -> list[str]:
    """The overrides in the comment at the head of an option."""
    return re.findall(r"\b(?:augment|box)[\w.]*=\S+", (FOLDER / f"{option}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("option", OPTIONS)
def test_contact_sheet(option: str, tmp_path: Path) -> None:
    """Four drawn faces, each plain and in seven draws; all tiles are faces with 98 landmarks drawn on them."""
    folder = Path(os.environ.get("FACEGRAPH_SHEETS") or tmp_path)
    drawn = SyntheticDataset(WFLW98, train_size=4, test_size=1, image_size=256).train()
    source = FaceSubset(drawn, np.arange(4), LandmarkBox(1.25))
    plain = FacePipeline(WFLW98, SIZE, LandmarkBox(1.25))
    augmented = FacePipeline(WFLW98, SIZE, LandmarkBox(1.25), augmentation_of(option))
    tiles, captions = [], []
    for row in range(4):
        sample = sample_at(source, row)
        crops = [plain.crop(sample), *(augmented.crop(sample, np.random.default_rng([row, n])) for n in range(7))]
        tiles += [draw_landmarks(crop.image, crop.landmarks, WFLW98, thickness=0.5) for crop in crops]
        captions += ["plain", *(f"draw {n}" for n in range(7))]
    sheet = contact_sheet(tiles, columns=8, captions=captions)
    write_png(folder / f"augment_{option}.png", sheet)
    stored = cv2.imread(str(folder / f"augment_{option}.png"))
    assert stored.shape == sheet.shape
    assert sheet.shape[1] >= 8 * SIZE
    # musica leaves a quarter of the faces as they are
    different = len({tile.tobytes() for tile in tiles})
    assert different == (4 if option == "none" else pytest.approx(27, abs=6))
