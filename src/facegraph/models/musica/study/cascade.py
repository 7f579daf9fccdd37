"""A trained cascade run over the faces of a split: what it says after each iteration, and how long it takes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from facegraph.data.datamodule import FaceDataModule
from facegraph.data.faces import loaded
from facegraph.metrics.cost import count_macs
from facegraph.metrics.functional import nme
from facegraph.models.musica.criterion import CascadeLoss
from facegraph.models.musica.model import MuSiCa
from facegraph.models.musica.output import CascadeOutput
from facegraph.models.musica.study.quitting import RealRun
from facegraph.models.musica.study.stages import StageRecord, iterations_until
from facegraph.structures import FaceBatch
from facegraph.training.task import in_image

BATCHES = (1, 32)
_TIMED_FACES = 96
_ROUNDS = 3
_RECORDED = 64  # faces per batch while recording


def record(
    model: MuSiCa, criterion: CascadeLoss, data: FaceDataModule, split: str, faces: int | None = None
) -> StageRecord:
    """True and predicted error after each iteration, of faces that all ran to the end.

    Args:
        split: "test" or "validation"; the data module must be set up for it.
        criterion: has the unit of what the model predicts.
        faces: so many, evenly spread; None all.
    """
    errors, predicted, own, attention = [], [], [], []
    with model.complete():
        for output, batch in _outputs(model, data, split, faces):
            assert output.stage_landmarks is not None
            stages = output.stage_landmarks.unbind(dim=1)
            errors.append(torch.stack([_error(stage, batch) for stage in stages], dim=1))
            predicted.append(output.stage_errors)
            own.append(criterion.errors(output.stage_landmarks, batch.landmarks, batch.labelled))
            if output.attention is not None:
                attention.append(output.attention)
    first, second, third = (torch.cat(column).double().numpy() for column in (errors, predicted, own))
    return StageRecord(first, second, third, torch.cat(attention).numpy() if attention else None)


def _batches(data: FaceDataModule, split: str, faces: int | None, size: int) -> DataLoader:
    """Batches of a split's faces, all or so many evenly spread ones, as bytes."""
    loader = {"test": data.test_dataloader, "validation": data.val_dataloader}[split]()
    assert isinstance(loader, DataLoader)
    source = loader.dataset
    total = len(source)  # type: ignore[arg-type]
    rows = np.unique(np.linspace(0, total - 1, min(faces or total, total)).astype(int)).tolist()
    return DataLoader(source, batch_size=size, sampler=rows, collate_fn=loaded)


def _outputs(
    model: MuSiCa, data: FaceDataModule, split: str, faces: int | None
) -> Iterator[tuple[CascadeOutput, FaceBatch]]:
    for loaded_batch in _batches(data, split, faces, _RECORDED):
        batch = data.on_after_batch_transfer(loaded_batch, 0)
        with torch.inference_mode():
            output = model(batch.image)
        yield output, batch


def _error(landmarks: Tensor, batch: FaceBatch) -> Tensor:
    return nme(*in_image(landmarks, batch), batch.norm_distances[:, 0])


def macs_by_iterations(model: MuSiCa, input_size: int) -> tuple[int, ...]:
    """(T,) multiply-adds of a face that quits after 1, ..., T iterations. What comes before the first is in all."""
    with model.complete():
        total, by_name = count_macs(model, input_size)
    own = [by_name.get(f"iterations.{number}", 0) for number in range(len(model.levels))]
    return tuple(total - sum(own[number + 1 :]) for number in range(len(own)))


def run_really(
    model: MuSiCa,
    data: FaceDataModule,
    recorded: StageRecord,
    thresholds: Sequence[float | None],
    faces: int | None,
    say: Callable[[str], None] = lambda text: None,
) -> list[RealRun]:
    """Run the model with thresholds on all test faces, and time it on some of them, on one thread, in turns.

    The model's quit_threshold is as before afterwards.
    """
    scores = []
    with model.complete():
        for threshold in thresholds:
            say(f"running with the threshold {threshold}")
            model.quit_threshold = threshold
            pairs = [(_error(o.landmarks, b), o.iterations) for o, b in _outputs(model, data, "test", faces)]
            errors, iterations = (torch.cat(column).numpy() for column in zip(*pairs, strict=True))
            differing = int((iterations != iterations_until(recorded.predicted, threshold)).sum())
            scores.append((float(errors.mean(dtype=np.float64)), float(iterations.mean()), differing))
        say("timing, in turns")
        times = _times(model, data, thresholds, faces)
    return [RealRun(t, *score, seconds) for t, score, seconds in zip(thresholds, scores, times, strict=True)]


def _times(
    model: MuSiCa, data: FaceDataModule, thresholds: Sequence[float | None], faces: int | None
) -> list[dict[int, float]]:
    """Batch size -> processor time of one face, median over rounds, for each threshold; on images at hand."""
    some = min(faces or _TIMED_FACES, _TIMED_FACES)
    images = torch.cat([data.normalise(batch.image) for batch in _batches(data, "test", some, _RECORDED)])
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    found = np.zeros((_ROUNDS, len(thresholds), len(BATCHES)))
    try:
        for turn, column, place in np.ndindex(*found.shape):
            model.quit_threshold = thresholds[column]
            found[turn, column, place] = _seconds(model, images.split(BATCHES[place])) / len(images)
    finally:
        torch.set_num_threads(before)
    return [dict(zip(BATCHES, row, strict=True)) for row in np.median(found, axis=0).tolist()]


def _seconds(model: Callable[[Tensor], CascadeOutput], batches: Sequence[Tensor]) -> float:
    with torch.inference_mode():
        model(batches[0])
        used = time.process_time()
        for images in batches:
            model(images)
        return time.process_time() - used
