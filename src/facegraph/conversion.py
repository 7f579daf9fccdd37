"""Weights that authors released -> a run folder that eval.py, facegraph bench and init_from= open like any other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from facegraph import checkpoint as folders
from facegraph.callbacks import LAST
from facegraph.checkpoint_io import WholeCheckpoints
from facegraph.compose import build_model, compose
from facegraph.data.boxes import LandmarkBox
from facegraph.data.synthetic import SyntheticDataset
from facegraph.geometry.affine import transform_points
from facegraph.landmarks import SCHEMES, LandmarkScheme
from facegraph.models.released import ReleasedWeights
from facegraph.structures import REFERENCE_SIZE, ShapeStatistics
from facegraph.task import CHECKPOINT_KEY

_DRAWN = 200


def convert(released: ReleasedWeights, source: Path, out: Path) -> Path:
    """Write config.yaml and checkpoints/last.ckpt; returns the folder.

    The correlation of landmarks is not known of released weights and is stored as the identity; a mean shape that was
    not published is that of drawn faces. Neither is used by the networks that can be converted unless they say so.

    Args:
        released: weights and what they fit. source: where they were read from, kept as what the run was trained on.
        out: a folder without a run.

    Raises:
        RunError: the weights do not fit the model, or the folder holds a run or cannot be written.
    """
    cfg = compose([*released.overrides, f"output_dir={out}"])
    n = released.scheme.num_landmarks
    mean_shape = drawn_mean_shape(released.scheme) if released.mean_shape is None else released.mean_shape.float()
    statistics = ShapeStatistics(mean_shape, torch.eye(n), released.scheme)
    model = build_model(cfg, statistics)
    state = {"mean_shape": statistics.mean_shape, "correlation": statistics.correlation, **released.state}
    folders.restore(model, state, source)
    folders.claim(out, cfg)
    WholeCheckpoints().save_checkpoint(
        {
            "state_dict": {f"model.{name}": value.contiguous() for name, value in model.state_dict().items()},
            "epoch": -1,  # evaluation counts finished epochs from it: none were trained here
            "global_step": 0,
            CHECKPOINT_KEY: {
                "scheme": released.scheme.name,
                "num_landmarks": n,
                "trained_on": f"released weights {source.name}",
                "train_faces": 0,
                "val_faces": 0,
            },
        },
        out / folders.CHECKPOINT_FOLDER / f"{LAST}.ckpt",
    )
    return out


def drawn_mean_shape(scheme: LandmarkScheme) -> torch.Tensor:
    """(N, 2) mean landmarks of drawn faces in their crop, over its side; the crop's middle for an unknown scheme."""
    if SCHEMES.get(scheme.name) != scheme:
        return torch.full((scheme.num_landmarks, 2), 0.5)
    landmarks = SyntheticDataset(scheme, train_size=_DRAWN, test_size=1).train().table.landmarks
    policy, ids = LandmarkBox(), tuple(str(i) for i in range(_DRAWN))
    boxes = policy.boxes(landmarks, np.full((_DRAWN, 4), np.nan), ids)
    size = int(REFERENCE_SIZE)
    crops = [transform_points(policy.square(box, size), points) for box, points in zip(boxes, landmarks, strict=True)]
    return torch.from_numpy(np.mean(crops, axis=0) / size).float()
