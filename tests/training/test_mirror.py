"""Test-time averaging over the mirror image: known answers, invariance, only in the test."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from facegraph.errors import ConfigError
from facegraph.landmarks import SCHEMES
from facegraph.metrics.names import SAID
from facegraph.records import read_predictions
from facegraph.structures import FaceBatch, LandmarkModel, LandmarkOutput
from facegraph.training.mirror import mirror_points, predict_with_mirror
from facegraph.training.task import LandmarkTask
from tests.helpers.models import face_statistics
from tests.helpers.runs import TinyRun, evaluate_run

SIZE = 9
FLIP = torch.tensor([1, 0, 2])
"""Left, right and middle of a face."""


class Stubborn(LandmarkModel):
    """Says the same landmarks of every image, and is as sure as the first pixel is bright."""

    def __init__(self) -> None:
        super().__init__(face_statistics(3))
        self.images: list[Tensor] = []

    def forward(self, image: Tensor) -> LandmarkOutput:
        self.images.append(image)
        points = torch.tensor([[1.0, 2.0], [7.0, 3.0], [3.0, 5.0]]).repeat(len(image), 1, 1)
        return LandmarkOutput(points, predicted_error=1 - image[:, 0, 0, 0], confidence=image[:, 0, 0, 0])


class Dots(LandmarkModel):
    """Landmarks where the brightest pixels are: the left and the right one of channel 0, the one of channel 1."""

    def __init__(self) -> None:
        super().__init__(face_statistics(3))

    def forward(self, image: Tensor) -> LandmarkOutput:
        def place(flat: Tensor) -> Tensor:
            return torch.stack([flat % SIZE, flat // SIZE], dim=-1).float()

        pair = place(image[:, 0].flatten(1).topk(2).indices)
        order = pair[..., 0].argsort(dim=1)
        pair = pair.gather(1, order[..., None].expand(-1, -1, 2))
        return LandmarkOutput(torch.cat([pair, place(image[:, 1].flatten(1).argmax(1))[:, None]], dim=1))


def batch_of(image: Tensor, landmarks: Tensor) -> FaceBatch:
    b = len(image)
    matrix = torch.tensor([[2.0, 0, 1], [0, 2.0, 0]]).repeat(b, 1, 1)
    labelled, none = torch.ones(landmarks.shape[:2], dtype=torch.bool), torch.zeros(b, 0, dtype=torch.bool)
    return FaceBatch(image, landmarks, labelled, matrix, torch.ones(b, 1), none, torch.arange(b))


def task_of(model: LandmarkModel, **switches: object) -> LandmarkTask:
    return LandmarkTask(model, None, None, None, None, 3, 1, 0, {}, **switches).eval()  # type: ignore[arg-type]


@pytest.mark.parametrize("faces", [1, 2])
def test_known_answer(faces: int) -> None:
    """S = 9: x -> 8 - x, then left and right change places."""
    model = Stubborn()
    image = torch.zeros(faces, 3, SIZE, SIZE)
    image[:, :, 0, 0], image[:, :, 0, -1] = 0.25, 0.75
    task = task_of(model, test_time_flip=True, flip=(1, 0, 2))
    task.test_step(batch_of(image, torch.zeros(faces, 3, 2)), 0)
    rows = task.test_table.compute()
    expected = torch.tensor([[1.0, 2.5], [7.0, 2.5], [4.0, 5.0]]).repeat(faces, 1, 1)
    torch.testing.assert_close(rows.prediction, 2 * expected + torch.tensor([1.0, 0.0]))
    assert rows.said[:, SAID.index("confidence")].tolist() == [0.5] * faces
    assert len(model.images) == 2
    torch.testing.assert_close(model.images[1], model.images[0].flip(-1))
    error = predict_with_mirror(model, image, FLIP).predicted_error
    assert error is not None
    assert error.tolist() == [0.5] * faces


def test_only_the_test_is_averaged() -> None:
    model = Stubborn()
    image = torch.zeros(2, 3, SIZE, SIZE)
    task = task_of(model, test_time_flip=True, flip=(1, 0, 2))
    task.validation_step(batch_of(image, torch.zeros(2, 3, 2)), 0)
    assert len(model.images) == 1
    plain = task_of(model, flip=(1, 0, 2))
    plain.test_step(batch_of(image, torch.zeros(2, 3, 2)), 0)
    assert len(model.images) == 2
    torch.testing.assert_close(plain.test_table.compute().prediction[0, 2], torch.tensor([7.0, 10.0]))


@given(st.lists(st.permutations(range(SIZE)), min_size=1, max_size=3), st.integers(0, 2**16))
def test_an_equivariant_prediction_stays(columns: list[list[int]], seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    image = torch.zeros(len(columns), 3, SIZE, SIZE)
    rows = torch.randint(0, SIZE, (len(columns), 3), generator=generator)
    for face, (x, y) in enumerate(zip(columns, rows.tolist(), strict=True)):
        image[face, 0, y[0], x[0]] = image[face, 0, y[1], x[1]] = image[face, 1, y[2], x[2]] = 1.0
    model = Dots()
    plain = model(image).landmarks
    torch.testing.assert_close(predict_with_mirror(model, image, FLIP).landmarks, plain, rtol=0, atol=0)
    # without renumbering left and right would meet in the middle
    wrong = predict_with_mirror(model, image, torch.arange(3)).landmarks
    torch.testing.assert_close(wrong[:, 0, 0], plain[:, :2, 0].mean(1))


@pytest.mark.parametrize("name", SCHEMES)
def test_mirroring_twice_is_nothing(name: str) -> None:
    flip = torch.tensor(SCHEMES[name].flip)
    points = torch.rand(2, len(flip), 2) * 64
    once = mirror_points(points, 64, flip)
    torch.testing.assert_close(once[:, :, 1], points[:, flip, 1])
    torch.testing.assert_close(mirror_points(once, 64, flip), points)


def test_a_model_without_confidence() -> None:
    task = task_of(Dots(), test_time_flip=True, flip=(1, 0, 2))
    task.test_step(batch_of(torch.rand(2, 3, SIZE, SIZE), torch.zeros(2, 3, 2)), 0)
    assert torch.isnan(task.test_table.compute().said).all()


@pytest.mark.parametrize("flip", [None, (1, 0)])
def test_it_needs_the_mirror_list(flip: tuple[int, ...] | None) -> None:
    with pytest.raises(ConfigError, match="mirror list of 3 landmarks"):
        task_of(Dots(), test_time_flip=True, flip=flip)


@pytest.mark.usefixtures("no_pictures")
def test_a_run_is_scored_with_it(tiny_run: TinyRun) -> None:
    output = tiny_run.folder / "eval" / "mirrored"
    result = evaluate_run(tiny_run.folder, "test_time_flip=true", f"output_dir={output}")
    assert result.protocol.test_time_flip
    assert not tiny_run.result.protocol.test_time_flip
    plain, averaged = (read_predictions(folder).query("checkpoint == 'last'") for folder in (tiny_run.folder, output))
    moved = np.abs(plain["pred_x0"].to_numpy() - averaged["pred_x0"].to_numpy())
    assert 0 < moved.max() < 30
