"""The synthetic faces: exact places, the same face anywhere, flags that are true of the picture."""

from __future__ import annotations

import dataclasses
import hashlib
import pickle
import subprocess
import sys

import cv2
import numpy as np
import pytest

from facegraph.data.source import FaceTable, sample_at
from facegraph.data.synthetic import SyntheticDataset
from facegraph.data.synthetic.camera import FaceGeometry, view_faces
from facegraph.data.synthetic.canvas import SCALE, Canvas, circle_directions, curve, pigment
from facegraph.data.synthetic.look import Look
from facegraph.data.synthetic.parameters import (
    ATTRIBUTE_RATES,
    ATTRIBUTES,
    LARGE_PITCH,
    LARGE_YAW,
    FaceParameters,
    sample_parameters,
)
from facegraph.data.synthetic.renderer import render
from facegraph.data.synthetic.scene import Scene, face_outline
from facegraph.data.synthetic.shape import MIRROR, face_points, scheme_weights
from facegraph.errors import ConfigError
from facegraph.geometry.procrustes import procrustes
from facegraph.landmarks import COFW29, IBUG68, SCHEMES, WFLW98, LandmarkScheme
from tests.helpers.drawn import neutral_parameters, plain_look

SIZE = 128
WHITE = pigment(np.full(3, 255.0))
BLACK = pigment(np.zeros(3))
POSES = [(0, 0, 0), (20, -10, 15), (-30, 8, -20), (45, 0, 0), (-60, 20, 10), (60, -25, 30)]


def posed(yaw: float = 0, pitch: float = 0, roll: float = 0, **changes: float) -> FaceGeometry:
    values = {"yaw": yaw, "pitch": pitch, "roll": roll, "shift_x": 0.0031, "shift_y": -0.0017, **changes}
    faces = dataclasses.replace(neutral_parameters(), **{k: np.array([float(v)]) for k, v in values.items()})
    return view_faces(face_points(faces), faces, SIZE)


def drawn(geometry: FaceGeometry, look: Look) -> np.ndarray:
    return render(geometry.points[0], geometry.camera(0), look, SIZE)


def blank() -> Canvas:
    return Canvas(np.zeros((SIZE * SCALE, SIZE * SCALE, 4), dtype=np.uint8))


def developed(canvas: Canvas) -> np.ndarray:
    """Coverage (S, S) in 0..1, reduced to image px as the renderer does it."""
    return cv2.resize(canvas.pixels, (SIZE, SIZE), interpolation=cv2.INTER_AREA)[..., 0] / 255.0


def centroid(weight: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[: weight.shape[0], : weight.shape[1]]
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def edge_offsets(coverage: np.ndarray, points: np.ndarray, normals: np.ndarray, reach: float = 2.0) -> np.ndarray:
    """How far (K,) along its normal the edge lies from each point.

    The integral of a coverage profile across an edge gives its place without bias; the half-way crossing of pixels
    that average the coverage is off by up to 0.09 px.
    """
    steps = (np.arange(200) + 0.5) / 100 * reach - reach
    where = points[:, None] + steps[None, :, None] * normals[:, None]
    x, y = where.astype(np.float32)[..., 0], where.astype(np.float32)[..., 1]
    profile = cv2.remap(coverage.astype(np.float32), x, y, cv2.INTER_LINEAR)
    rises = profile[:, -1] > profile[:, 0]
    share = np.where(rises, 1 - profile.mean(axis=1), profile.mean(axis=1))
    assert np.abs(profile[:, 0] - profile[:, -1]).min() > 0.9, "a profile does not cross the edge"
    return 2 * reach * share - reach


def line_normals(points: np.ndarray, closed: bool = False) -> np.ndarray:
    ahead, behind = (np.roll(points, -1, 0), np.roll(points, 1, 0)) if closed else (points[2:], points[:-2])
    tangent = ahead - behind
    return np.stack([tangent[:, 1], -tangent[:, 0]], axis=1) / np.linalg.norm(tangent, axis=1, keepdims=True)


# --- places -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pose", POSES)
def test_discs_are_centred_on_every_landmark(pose):
    geometry = posed(*pose)
    for point in geometry.points[0]:
        canvas = blank()
        canvas.fill(point + 2.5 * circle_directions(24), WHITE)
        assert np.abs(centroid(developed(canvas)) - point).max() < 0.06


def test_filled_and_stroked_shapes_have_their_true_size():
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    ring = np.array([60.3, 61.7]) + 20.4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    filled, stroked = blank(), blank()
    filled.fill(ring, WHITE)
    stroked.stroke(ring, 3.0, WHITE, closed=True)
    assert np.sqrt(developed(filled).sum() / np.pi) == pytest.approx(20.4, abs=0.05)
    assert developed(stroked).sum() == pytest.approx(2 * np.pi * 20.4 * 3.0, rel=0.03)
    assert np.abs(centroid(developed(stroked)) - [60.3, 61.7]).max() < 0.03


@pytest.mark.parametrize("pose", POSES)
def test_the_face_ends_at_the_jaw_landmarks(pose):
    geometry = posed(*pose)
    canvas = blank()
    scene = Scene(canvas, geometry.points[0], geometry.camera(0), plain_look(), 1.0, 1.0, np.random.default_rng(0))
    canvas.fill(face_outline(scene), WHITE)
    jaw = geometry.points[0, :33]
    sharp = 6 if abs(pose[0]) > 40 else 2  # around the chin of a turned head the outline bends within a pixel or two
    offsets = edge_offsets(developed(canvas), jaw[1:-1], line_normals(jaw))
    assert np.median(np.abs(offsets)) < 0.05
    assert np.sort(np.abs(offsets))[-1 - sharp] < 0.1


@pytest.mark.parametrize("pose", [(0, 0, 0), (15, -10, 12), (-20, 8, -20)])
def test_painted_lips_and_brows_end_at_their_landmarks(pose):
    """Repaint one feature of a complete picture: what changed is that feature, and its edge meets the landmarks."""
    geometry = posed(*pose, lip_thickness=1.5, brow_thickness=1.8, mouth_open=0.5)
    points, look = geometry.points[0], plain_look()
    for change, outline, chosen, level in (
        ("lips", points[76:88], [1, 5], 0.84),
        ("lips", points[76:88], [7, 8, 9, 10, 11], 1.0),
        ("brow", points[33:42], [2, 3, 6, 7], 1.0),
        ("brow", points[42:51], [2, 3, 6, 7], 1.0),
    ):
        bright, dark = (drawn(geometry, dataclasses.replace(look, **{change: paint})) for paint in (WHITE * 0.8, BLACK))
        coverage = (bright[..., 0].astype(float) - dark[..., 0]) / (204 * level)
        normals = line_normals(outline, closed=True)
        offsets = edge_offsets(coverage, outline[chosen], normals[chosen], reach=1.6)
        assert np.abs(offsets).max() < 0.1, change


@pytest.mark.parametrize("pose", POSES[:4])
def test_the_drawn_iris_is_centred_on_the_pupil_landmark(pose):
    geometry = posed(*pose, left_eye_open=1.6, right_eye_open=1.6, eye_roundness=1.4, eye_size=1.2, gaze_y=0.15)
    bright, dark = (drawn(geometry, dataclasses.replace(plain_look(), iris=paint)) for paint in (WHITE, BLACK))
    change = bright[..., 1].astype(float) - dark[..., 1]
    for pupil in (96, 97):
        x, y = geometry.points[0, pupil]
        window = np.zeros_like(change)
        window[int(y) - 9 : int(y) + 10, int(x) - 9 : int(x) + 10] = 1
        assert np.abs(centroid(change * window) - (x, y)).max() < 0.1


def test_landmarks_lie_inside_the_image_and_fill_it_as_promised():
    table = SyntheticDataset(train_size=1500, test_size=1).train().table
    inside = ((table.landmarks >= 0) & (table.landmarks <= SIZE - 1)).all(axis=(1, 2))
    assert inside.mean() > 0.99
    extent = np.ptp(table.landmarks, axis=1).max(axis=1) / SIZE
    assert extent.min() >= 0.499
    assert extent.max() <= 0.651
    assert np.isnan(table.boxes).all()  # nobody gave boxes: box=official must not find any


# --- shape ------------------------------------------------------------------------------------------------------


def test_the_face_at_rest_is_its_own_mirror_image():
    points = face_points(neutral_parameters())[0]
    np.testing.assert_allclose(points[list(MIRROR)] * [-1, 1, 1], points, atol=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES.values(), ids=SCHEMES)
def test_the_mean_shape_is_symmetric_under_the_flip_of_the_scheme(scheme):
    table = SyntheticDataset(scheme, train_size=2000, test_size=1).train().table
    _, mean = procrustes(table.landmarks)
    mirrored = mean[list(scheme.flip)] * [-1, 1]
    size = mean.max() - mean.min()
    assert np.abs(mirrored - mean).max() < 0.02 * size
    assert np.abs(mean - (mean * [-1, 1])).max() > 0.1 * size  # without the flip it does not fit


@pytest.mark.parametrize("yaw", [-60, -30, 30, 60])
def test_turning_mirrors_and_the_far_contour_stays_in_front_of_the_ear(yaw):
    one, other = posed(yaw, shift_x=0, shift_y=0).points[0], posed(-yaw, shift_x=0, shift_y=0).points[0]
    np.testing.assert_allclose(other[list(MIRROR)] * [-1, 1] + [SIZE - 1, 0], one, atol=1e-9)
    far = slice(17, 33) if yaw > 0 else slice(0, 16)
    towards = 1 if yaw > 0 else -1
    assert (towards * (one[far, 0] - one[96:98, 0].mean()) > 0).all()
    nose_shift = towards * (one[54, 0] - one[51, 0])
    assert nose_shift > 0


def test_every_face_is_in_order_whatever_its_expression():
    faces = sample_parameters(3, 0, 0, 2000)
    points = face_points(faces)
    assert np.isfinite(points).all()
    x, y = points[..., 0], points[..., 1]
    assert (np.diff(x[:, :33], axis=1) > -0.02).all()
    assert (y[:, [61, 62, 63]] <= y[:, [67, 66, 65]] + 1e-9).all()
    assert (y[:, [89, 90, 91]] <= y[:, [95, 94, 93]] + 1e-9).all()
    assert (y[:, 85] < y[:, 16]).all()
    assert (y[:, 57] < y[:, 79]).all()


def test_all_yaw_is_reached_and_the_limits_hold():
    faces = sample_parameters(0, 0, 0, 4000)
    histogram, _ = np.histogram(faces.yaw, bins=np.arange(-60, 61, 10))
    outer = np.abs(np.arange(-55, 60, 10)) != 35  # unflagged faces stop at 30 degrees, flagged ones start at 35
    assert (histogram[outer] > 15).all()
    assert np.abs(faces.yaw).max() <= 60
    assert np.abs(faces.pitch).max() <= 25
    assert np.abs(faces.roll).max() <= 30


# --- schemes ----------------------------------------------------------------------------------------------------


def test_schemes_agree_on_what_they_share():
    tables = {s.name: SyntheticDataset(s, train_size=50, test_size=1).train().table.landmarks for s in SCHEMES.values()}
    wflw, ibug, cofw = tables["wflw98"], tables["ibug68"], tables["cofw29"]
    same = [((36, 39, 42, 45, 48, 54, 8, 30, 33), (60, 64, 68, 72, 76, 82, 16, 54, 57))]
    np.testing.assert_array_equal(ibug[:, same[0][0]], wflw[:, same[0][1]])
    np.testing.assert_array_equal(cofw[:, [8, 9, 10, 11, 16, 17, 28]], wflw[:, [60, 72, 64, 68, 96, 97, 16]])
    for scheme in (IBUG68, COFW29):
        np.testing.assert_allclose(
            scheme.distance("inter_ocular", tables[scheme.name]), WFLW98.distance("inter_ocular", wflw)
        )


def test_lid_points_of_68_lie_on_the_drawn_lid():
    points = posed().points[0]
    lid = curve(points[60:65], steps=50)
    for i in (98, 99):
        assert np.linalg.norm(lid - points[i], axis=1).min() < 0.15


def test_the_picture_does_not_depend_on_the_scheme():
    pictures = [SyntheticDataset(s, train_size=3, test_size=1).train().image(2) for s in SCHEMES.values()]
    assert all((p == pictures[0]).all() for p in pictures)


def test_unknown_schemes_and_sizes_are_refused():
    odd = LandmarkScheme("five", (1, 0, 2, 4, 3), {"inter_ocular": ((0,), (1,))})
    with pytest.raises(ConfigError, match=r"'five' has 5 landmarks.*cofw29, ibug68, wflw98"):
        SyntheticDataset(odd, train_size=1, test_size=1)
    with pytest.raises(ConfigError, match="test_size is 0"):
        SyntheticDataset(train_size=1, test_size=0)
    with pytest.raises(ConfigError, match="seed is -1"):
        SyntheticDataset(train_size=1, test_size=1, seed=-1)
    with pytest.raises(IndexError, match="face 1 of 1"):
        SyntheticDataset(train_size=1, test_size=1).train().image(1)
    assert all(scheme_weights(s).sum(axis=1) == pytest.approx(1) for s in SCHEMES.values())


# --- the same face anywhere -------------------------------------------------------------------------------------

_DIGEST = """
import hashlib
from facegraph.data.synthetic import SyntheticDataset
source = SyntheticDataset(train_size=9, test_size=2, seed=5).train()
pictures = {i: source.image(i).tobytes() for i in (7, 0, 4)}
digest = hashlib.sha256(source.table.landmarks.tobytes())
for i in (0, 4, 7):
    digest.update(pictures[i])
print(digest.hexdigest())
"""


def test_another_process_and_another_order_give_the_same_bytes():
    source = SyntheticDataset(train_size=9, test_size=2, seed=5).train()
    digest = hashlib.sha256(source.table.landmarks.tobytes())
    for i in (0, 4, 7):
        digest.update(source.image(i).tobytes())
    printed = subprocess.run([sys.executable, "-c", _DIGEST], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == digest.hexdigest()


def test_a_face_does_not_depend_on_how_many_there_are():
    few = SyntheticDataset(train_size=20, test_size=1).train()
    many = SyntheticDataset(train_size=700, test_size=1).train()
    np.testing.assert_array_equal(few.table.landmarks, many.table.landmarks[:20])
    np.testing.assert_array_equal(few.image(11), many.image(11))


def test_splits_and_seeds_share_no_face():
    data = SyntheticDataset(train_size=300, test_size=300)
    other = SyntheticDataset(train_size=300, test_size=300, seed=1)
    tables = [source.table for d in (data, other) for source in (d.train(), d.test())]
    shapes = np.concatenate([t.landmarks.reshape(300, -1) for t in tables]).round(6)
    assert len(np.unique(shapes, axis=0)) == 1200
    assert not set(tables[0].photos) & set(tables[1].photos)


def test_sources_pickle_small_and_come_back_whole():
    source = SyntheticDataset(train_size=2000, test_size=1).train()
    picture, table = source.image(3), source.table
    data = pickle.dumps(source)
    assert len(data) < 10_000
    again = pickle.loads(data)
    np.testing.assert_array_equal(again.image(3), picture)
    np.testing.assert_array_equal(again.table.landmarks, table.landmarks)


def test_samples_and_distances_follow_the_contract():
    data = SyntheticDataset(train_size=4, test_size=2, image_size=96)
    sample = sample_at(data.test(), 1)
    assert sample.image.shape == (96, 96, 3)
    assert sample.image.dtype == np.uint8
    assert sample.landmarks.shape == (98, 2)
    assert sample.landmarks.dtype == np.float64
    assert sample.attributes.shape == (6,)
    assert data.norm_distances(sample.landmarks).shape == (3,)


# --- flags ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def table() -> FaceTable:
    return SyntheticDataset(train_size=5000, test_size=1).train().table


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_flags_are_as_frequent_as_in_wflw(table, name):
    column = table.attribute_names.index(name)
    rate = ATTRIBUTE_RATES[column]
    spread = np.sqrt(rate * (1 - rate) / len(table))
    assert abs(table.attributes[:, column].mean() - rate) < 4 * spread


def test_pose_and_expression_flags_follow_the_parameters():
    faces = sample_parameters(0, 0, 0, 5000)
    large = (np.abs(faces.yaw) >= LARGE_YAW) | (np.abs(faces.pitch) >= LARGE_PITCH)
    np.testing.assert_array_equal(faces.flags[:, 0], large)
    shut = (faces.left_eye_open < 0.2) & (faces.right_eye_open < 0.2)
    strong = (faces.mouth_open >= 0.6) | (faces.smile >= 0.8) | shut | (faces.pucker >= 0.75)
    np.testing.assert_array_equal(faces.flags[:, 1], strong)


def test_occlusion_flags_hide_landmarks_and_others_do_not():
    source = SyntheticDataset(train_size=160, test_size=1).train()
    flags: FaceParameters = source._faces.parameters
    column = ATTRIBUTES.index("occlusion")
    sharp = plain_look().quality
    seen = 0
    for i in range(len(source.table)):
        look = dataclasses.replace(source.look(i), quality=sharp)
        assert look.covered == flags.flags[i, column]
        if not look.covered:
            continue
        seen += 1
        points, camera = source._faces.geometry.points[i], source._faces.geometry.camera(i)
        covered, clear = (render(points, camera, v, SIZE) for v in (look, dataclasses.replace(look, covered=False)))
        change = (covered != clear).any(axis=2)
        x, y = np.clip(np.rint(points[:98]).astype(int), 0, SIZE - 1).T
        assert change[y, x].sum() >= 4, f"face {i}"
    assert seen > 25


def test_only_the_flagged_wear_lipstick():
    """The lips of the others lie between their own red and the skin."""
    source = SyntheticDataset(train_size=160, test_size=1).train()
    worn = source.table.attributes[:, ATTRIBUTES.index("makeup")]
    looks = [source.look(i) for i in range(len(source.table))]
    skin, lips = (
        np.array([part[:3] for part in parts]) for parts in ([k.skin for k in looks], [k.lips for k in looks])
    )
    red = skin * [0.84, 0.60, 0.60] + [8, 0, 4]
    shares = (lips - red) / (skin - red)
    own = np.ptp(shares, axis=1) < 1e-6
    assert 5 < worn.sum() < 40
    assert own[~worn].all()
    assert not own[worn].any()


def test_blurred_pictures_have_less_detail():
    source = SyntheticDataset(train_size=60, test_size=1).train()
    column = ATTRIBUTES.index("blur")
    ratios: dict[bool, list[float]] = {True: [], False: []}
    for i in range(60):
        look = dataclasses.replace(source.look(i), quality=dataclasses.replace(source.look(i).quality, noise=0.0))
        points, camera = source._faces.geometry.points[i], source._faces.geometry.camera(i)
        taken, sharp = (
            render(points, camera, v, SIZE) for v in (look, dataclasses.replace(look, quality=plain_look().quality))
        )
        detail = [cv2.Laplacian(p.astype(np.float32), cv2.CV_32F).var() for p in (taken, sharp)]
        ratios[bool(source.table.attributes[i, column])].append(detail[0] / detail[1])
    assert max(ratios[True]) < 0.5
    assert min(ratios[False]) > 0.5
