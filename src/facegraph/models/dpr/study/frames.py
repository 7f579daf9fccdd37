"""`facegraph bench frames`: whether a trained DPR loses by its frames, by batch norm's running means, or elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from facegraph.data.datamodule import FaceDataModule
from facegraph.errors import ConfigError
from facegraph.geometry.points import map_points
from facegraph.landmarks import LandmarkScheme
from facegraph.metrics.functional import nme
from facegraph.models.dpr.model import DPR
from facegraph.models.dpr.output import ReinitOutput
from facegraph.models.dpr.transforms import upright_box
from facegraph.runs.compose import build_data
from facegraph.runs.configuration import read_config
from facegraph.runs.evaluate import OpenedRun
from facegraph.structures import FaceBatch
from facegraph.training.task import in_image

TRAIN, VALIDATION, TEST = "train", "validation", "test"


@dataclass(frozen=True)
class FrameErrors:
    """Errors of a split under one choice of frames and statistics.

    Args:
        split: train (as augmented) | validation | test.
        statistics: what batch norm takes: its running means, as a test does, or those of each batch, as training does.
        frames: predicted, or true: those that the true landmarks ask for.
        faces: number of faces.
        stages: NME after each stage, by the data set's first normaliser, as fractions.
        reinit: mean distance of the true landmarks in the predicted frame from where they lie in the true one, as a
            share of the frame's side.
    """

    split: str
    statistics: str
    frames: str
    faces: int
    stages: tuple[float, ...]
    reinit: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def bench_frames(run: OpenedRun, faces: int, say: Callable[[str], None] = lambda text: None) -> list[FrameErrors]:
    """Errors with predicted and with true frames, with running means and with those of the batch, on every split.

    In float32 on the CPU. Training faces are augmented as in training.

    Args:
        run: a DPR, opened for its test.
        faces: at most so many of a split, the first ones.
        say: called with what is being done.

    Raises:
        ConfigError: another model, or no face asked for.
    """
    model = run.model
    if not isinstance(model, DPR):
        raise ConfigError(f"{run.folder} holds a {type(model).__name__}; bench frames needs a run of model=dpr.")
    if faces < 1:
        raise ConfigError(f"--faces is {faces}; give at least 1.")
    saved = read_config(run.folder)
    saved.data.num_workers = 0
    own = build_data(saved)
    own.setup("fit")
    loaders = {
        TRAIN: (own, own.train_dataloader),
        VALIDATION: (own, own.val_dataloader),
        TEST: (run.data, run.data.test_dataloader),
    }
    scheme, found = run.statistics.scheme, []
    for split, (data, loader) in loaders.items():
        if split == VALIDATION and not len(own.val_table):
            continue
        say(f"{split} faces")
        batches = list(_batches(data, loader(), faces))
        for statistics in ("running", "batch"):
            for frames in ("predicted", "true"):
                with _as_asked(model, statistics == "batch"):
                    errors, shifts = _errors(model, scheme, batches, frames == "true")
                stages = tuple(errors.mean(dim=0).tolist())
                found.append(FrameErrors(split, statistics, frames, len(errors), stages, float(shifts.mean())))
    return found


def _batches(data: FaceDataModule, loader: object, faces: int) -> Iterator[FaceBatch]:
    assert isinstance(loader, DataLoader)
    seen = 0
    for loaded in loader:
        if seen >= faces:
            return
        batch = data.on_after_batch_transfer(loaded, 0)
        seen += len(batch.index)
        yield batch


def _errors(
    model: DPR, scheme: LandmarkScheme, batches: Sequence[FaceBatch], true_frames: bool
) -> tuple[Tensor, Tensor]:
    """(M, T) errors after each stage, and (M,) how far frames are off."""
    errors, shifts = [], []
    with torch.inference_mode():
        for batch in batches:
            points = _in_coarse(model, batch.landmarks)
            upright = upright_box(points, scheme)
            output = _given_frames(model, batch.image, upright if true_frames else None)
            assert output.stage_landmarks is not None
            stages = output.stage_landmarks.unbind(dim=1)
            errors.append(torch.stack([nme(*in_image(s, batch), batch.norm_distances[:, 0]) for s in stages], dim=1))
            shifts.append((map_points(output.reinit, points) - map_points(upright, points)).norm(dim=-1).mean(dim=1))
    return torch.cat(errors).double(), torch.cat(shifts).double()


def _in_coarse(model: DPR, landmarks: Tensor) -> Tensor:
    """Crop px -> units of the coarse frame."""
    crop_to_coarse = model.crop_to_coarse[:2].expand(len(landmarks), 2, 3)
    return map_points(crop_to_coarse, landmarks) / model.coarse_size


def _given_frames(model: DPR, image: Tensor, frames: Tensor | None) -> ReinitOutput:
    """The model's answer, in frames (B, 2, 3) that are given or in its own."""
    if frames is None:
        output = model(image)
    else:
        handle = model.global_reinit.register_forward_hook(lambda *_: frames)
        try:
            output = model(image)
        finally:
            handle.remove()
    assert isinstance(output, ReinitOutput)
    return output


@contextmanager
def _as_asked(model: DPR, of_batch: bool) -> Iterator[None]:
    """Evaluation, with batch norm by each batch where asked; running means are left as they are."""
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    tracked = [norm.track_running_stats for norm in norms]
    model.eval()
    kept = [(norm.running_mean, norm.running_var) for norm in norms]
    if of_batch:
        for norm in norms:
            norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    try:
        yield
    finally:
        for norm, was, (mean, var) in zip(norms, tracked, kept, strict=True):
            norm.track_running_stats, norm.running_mean, norm.running_var = was, mean, var
