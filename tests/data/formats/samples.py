"""Whole files of every format as bytes, small, with coordinates that tests can predict."""

from __future__ import annotations

import io
import json

import h5py
import numpy as np
import scipy.io

NUM_COFW = 2
COFW_SIZE = (6, 5)
"""Height and width in px of the photographs in a sample of COFW."""


def points(count: int, seed: int = 0) -> np.ndarray:
    """(count, 2) float64 with three decimals, 0-based px; some are negative."""
    return np.random.default_rng(seed).uniform(-5, 200, (count, 2)).round(3)


def pts(landmarks: np.ndarray, header: bool = True) -> bytes:
    rows = "".join(f"{x:.3f} {y:.3f}\n" for x, y in landmarks + 1)
    return (f"version: 1\nn_points:  {len(landmarks)}\n{{\n{rows}}}\n" if header else rows).encode()


def wflw_line(image: str, seed: int = 0, box: bool = True, flags: bool = True) -> str:
    """The box is (20, 30, 120, 140), the flags are 1 for the pose and for blur."""
    tokens = [f"{value:.6f}" for value in points(98, seed).reshape(-1)]
    tokens += ["20", "30", "120", "140"] if box else []
    tokens += ["1", "0", "0", "0", "0", "1"] if flags else []
    return " ".join([*tokens, image])


def mat(compress: bool = True, **variables: object) -> bytes:
    stream = io.BytesIO()
    scipy.io.savemat(stream, variables, do_compression=compress)
    return stream.getvalue()


def lp_face(compress: bool = True) -> bytes:
    """Pitch, yaw and roll are 10, -45 and 5 degrees."""
    pose = [*np.radians([10.0, -45.0, 5.0]), 100.0, 120.0, 0.0, 0.001]
    return mat(
        compress,
        pt2d=(points(68) + 1).T,
        Pose_Para=np.array([pose], dtype=np.float32),
        roi=np.array([[-20.0, 4.0, 300.0, 330.0]]),
        Exp_Para=np.zeros((29, 1)),
    )


def lp_points(compress: bool = True) -> bytes:
    return mat(compress, pts_2d=points(68) + 1, pts_3d=points(68, seed=1) + 1)


def cofw68_points(compress: bool = True) -> bytes:
    """The first four landmarks are hidden."""
    return mat(compress, Points=points(68) + 1, Occ=(np.arange(68) < 4).astype(np.uint8)[:, None])


def cofw68_boxes(compress: bool = True) -> bytes:
    return mat(compress, bboxes=np.array([[11.0, 21.0, 30.0, 40.0], [1.0, 1.0, 5.0, 6.0]]))


def ibug_boxes(compress: bool = True, names: tuple[str, ...] = ("image_0001.png", "image_092 _01.jpg")) -> bytes:
    """Box i is (10 + i, 20, 110, 120), 0-based."""
    cells = np.empty((1, len(names)), dtype=object)
    for i, name in enumerate(names):
        box = np.array([[11.0 + i, 21.0, 111.0, 121.0]])
        cells[0, i] = {"imgName": name, "bb_detector": box, "bb_ground_truth": box + 1}
    return mat(compress, bounding_boxes=cells)


def cofw_pictures() -> list[np.ndarray]:
    """(H, W, 3) uint8, the last one grey: (H, W)."""
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 256, (*COFW_SIZE, 3), dtype=np.uint8) for _ in range(NUM_COFW)]
    return [*pictures[:-1], pictures[-1][..., 0]]


def cofw_landmarks() -> np.ndarray:
    return np.stack([points(29, seed) for seed in range(NUM_COFW)])


def cofw(suffix: str = "Tr", packed: bool = True, **replaced: np.ndarray) -> bytes:
    """A MATLAB 7.3 file: HDF5 behind 512 bytes, axes reversed, chunks packed as MATLAB does. Landmark i of face i is
    hidden, the boxes are (10 + i, 20, 40 + i, 60), 0-based.

    replaced: phis (n, 87) or bboxes (n, 4) to store instead, as MATLAB would see them.
    """
    landmarks = cofw_landmarks() + 1
    phis = np.concatenate([landmarks[..., 0], landmarks[..., 1], np.eye(NUM_COFW, 29)], axis=1)
    boxes = np.array([[11.0 + i, 21.0, 30.0, 40.0] for i in range(NUM_COFW)])
    stream = io.BytesIO()
    with h5py.File(stream, "w", userblock_size=512) as file:
        references = file.create_dataset(f"Is{suffix}", (1, NUM_COFW), dtype=h5py.ref_dtype)
        for i, picture in enumerate(cofw_pictures()):
            held = file.create_dataset(f"#refs#/{i}", data=picture.T, compression="gzip" if packed else None)
            references[0, i] = held.ref
        for name, values in (("phis", phis), ("bboxes", boxes)):
            stored = replaced.get(name, values).T
            file.create_dataset(f"{name}{suffix}", data=stored, compression="gzip" if packed else None)
    content = bytearray(stream.getvalue())
    content[:128] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\x00\x02IM"
    return bytes(content)


def coco(count: int = 5, visibility: tuple[int, ...] = (2, 1, 2, 2, 2)) -> dict[str, object]:
    """Two faces on one photograph, one on another; to be changed by tests and dumped."""
    annotations = []
    for i in range(3):
        triples = [(x, y, v) for (x, y), v in zip(points(count, i).tolist(), visibility, strict=True)]
        flat = [value for triple in triples for value in triple]
        annotations.append(
            {"id": 100 + i, "image_id": i // 2, "category_id": 1, "keypoints": flat, "bbox": [1, 2, 30, 40]}
        )
    images = [{"id": i, "file_name": f"sub/photo {i}.jpg", "width": 640, "height": 480} for i in range(2)]
    names = [f"p{i}" for i in range(count)]
    return {
        "images": images,
        "annotations": annotations,
        "categories": [{"id": 1, "name": "face", "keypoints": names}],
    }


def coco_bytes(**changes: object) -> bytes:
    return json.dumps({**coco(), **changes}).encode()
