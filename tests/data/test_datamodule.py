"""The loaders as a trainer sees them: the same batches whatever the workers, and after every kind of resume."""

from __future__ import annotations

from pathlib import Path

import albumentations as A
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import ModelCheckpoint
from torch.utils.data import DistributedSampler

from facegraph.data.augment import Augmentation, GeometricAugmentation
from facegraph.data.balancing import PoseBalancing
from facegraph.data.boxes import LandmarkBox
from facegraph.data.crops import CropsDataset
from facegraph.data.datamodule import FaceDataModule
from facegraph.data.loader import ResumableLoader
from facegraph.data.normalise import PerImage
from facegraph.data.photometric import RectangleOcclusion
from facegraph.data.synthetic.dataset import CachedSource
from facegraph.errors import ConfigError, DataError
from facegraph.landmarks import LandmarkScheme
from facegraph.runs import compose
from facegraph.structures import FaceBatch
from tests.helpers.faces import QUAD, annotation_frame, write_faces

AUGMENTATION = Augmentation(
    GeometricAugmentation(30, 0.9, 1.1, 0.05, 0.5), [A.RandomBrightnessContrast(p=0.5), RectangleOcclusion()]
)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    frame = annotation_frame(34, tests=5)
    frame["photo"] = [f"p{i // 2}" if i < 29 else f"t{i}" for i in range(34)]
    write_faces(folder, frame)
    return folder


def module(root: Path, **changes) -> FaceDataModule:
    settings = {
        "dataset": CropsDataset(root, QUAD, normalisers=("inter_ocular", "box")),
        "augmentation": AUGMENTATION,
        "normalise": PerImage(),
        "input_size": 32,
        "box": LandmarkBox(1.5),
        "batch_size": 4,
        "eval_batch_size": 3,
        "num_workers": 0,
        "val_fraction": 0.2,
        "seed": 11,
    }
    return FaceDataModule(**(settings | changes))


def test_a_batch_is_complete(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    batch = next(iter(data.train_dataloader()))
    assert isinstance(batch, FaceBatch)
    assert batch.image.shape == (4, 3, 32, 32)
    assert batch.landmarks.shape == (4, 4, 2)
    assert batch.crop_to_image.shape == (4, 2, 3)
    assert batch.norm_distances.shape == (4, 2)
    assert batch.norm_distances.dtype == torch.float32
    assert batch.index.dtype == torch.int64
    table = data.train_table
    eyes = table.landmarks[batch.index.numpy()][:, :2]
    np.testing.assert_allclose(batch.norm_distances[:, 0], np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=1), rtol=1e-5)


def test_train_val_and_test_are_apart_and_named(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    assert len(data.train_table) + len(data.val_table) == 29
    assert not set(data.train_table.photos) & set(data.val_table.photos)
    assert not hasattr(data, "test_table")
    data.setup("test")
    seen = torch.cat([batch.index for batch in data.test_dataloader()]).tolist()
    assert [data.test_table.ids[i] for i in seen] == [f"face_{i:03d}.png" for i in range(29, 34)]
    evaluated = list(data.val_dataloader())
    assert sum(len(batch.index) for batch in evaluated) == len(data.val_table)
    again = list(data.val_dataloader())
    torch.testing.assert_close(evaluated[0].image, again[0].image, rtol=0, atol=0)


def test_testing_opens_no_train_image(root: Path, tmp_path: Path) -> None:
    frame = annotation_frame(6, tests=2)
    write_faces(tmp_path, frame)
    (tmp_path / "images" / "face_000.png").unlink()
    data = module(tmp_path)
    data.setup("test")
    assert len(list(data.test_dataloader())) == 1


def test_mean_shape_comes_from_plain_crops(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    landmarks = data.train_landmarks_in_crop()
    assert landmarks.shape == (len(data.train_table), 4, 2)
    assert landmarks.dtype == np.float64
    # the tight box fills 1 / margin of the crop and lies in its middle (pixel centres: (S - 1) / 2 of S)
    middle = (landmarks.min(axis=1) + landmarks.max(axis=1)) / 2
    np.testing.assert_allclose(middle, 15.5 / 32, atol=1e-9)
    np.testing.assert_allclose(np.ptp(landmarks, axis=1).max(axis=1), 1 / 1.5, atol=1e-9)


def epoch_of(data: FaceDataModule, epoch: int) -> list[FaceBatch]:
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_workers_change_nothing(root: Path) -> None:
    batches = []
    for workers in (0, 2):
        data = module(root, num_workers=workers, balancing=PoseBalancing(bins=3, max_repeat=3))
        data.setup("fit")
        batches.append(epoch_of(data, 1))
    assert len(batches[0]) == len(batches[1]) > 3
    for alone, shared in zip(*batches, strict=True):
        for a, b in zip(alone, shared, strict=True):
            torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_epochs_differ_and_repeated_faces_are_augmented_anew(root: Path) -> None:
    data = module(root, balancing=PoseBalancing(bins=3, max_repeat=3))
    data.setup("fit")
    repeats = data.train_repeats()
    assert repeats.max() > 1
    first = epoch_of(data, 0)
    faces: dict[int, list[torch.Tensor]] = {}
    for batch in [*first, *epoch_of(data, 1)]:
        for row, landmarks in zip(batch.index.tolist(), batch.landmarks, strict=True):
            faces.setdefault(row, []).append(landmarks)
    for drawn in faces.values():
        assert len({tuple(points.flatten().tolist()) for points in drawn}) == len(drawn)
    assert max(len(drawn) for drawn in faces.values()) > 2


class Watcher(pl.LightningModule):
    """Writes down what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Linear(1, 1)
        self.seen: list[tuple] = []

    def training_step(self, batch: FaceBatch, _: int) -> torch.Tensor:
        self.seen.append((self.current_epoch, *batch.index.tolist(), float(batch.image.abs().sum())))
        return self.weight(batch.image.mean().view(1, 1)).sum()

    def validation_step(self, batch: FaceBatch, _: int) -> None:
        self.log("val", batch.image.mean(), batch_size=len(batch.index))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-9)


def train(root: Path, folder: Path, epochs: int, workers: int, val: float, checkpoint: str | None = None) -> list:
    watcher = Watcher()
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        callbacks=[ModelCheckpoint(folder, "{epoch}-{step}", save_top_k=-1, every_n_train_steps=2)],
    )
    trainer.fit(watcher, module(root, num_workers=workers, val_fraction=val), ckpt_path=checkpoint)
    return watcher.seen


@pytest.mark.parametrize(("workers", "val"), [(0, 0.2), (0, 0.0), (2, 0.2)])
def test_a_resumed_run_sees_what_an_unbroken_one_sees(root: Path, tmp_path: Path, workers: int, val: float) -> None:
    """From the middle and from the end of an epoch; every batch once, with the same augmentation."""
    unbroken = train(root, tmp_path / "unbroken", 3, workers, val)
    broken = train(root, tmp_path / "broken", 2, workers, val)
    assert broken == unbroken[: len(broken)]
    per_epoch = len(unbroken) // 3
    steps = [2, 2 * (per_epoch // 2)] if workers == 0 else [4]
    checkpoints = {int(f.stem.split("step=")[1]): f for f in (tmp_path / "broken").glob("*.ckpt")}
    for step in {*steps, max(checkpoints)}:
        resumed = train(root, tmp_path / "resumed", 3, workers, val, str(checkpoints[step]))
        assert resumed == unbroken[step:], f"resumed at step {step} of {per_epoch} per epoch"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"input_size": 0}, "input_size is 0; .*at least 1 px"),
        ({"input_size": 0}, "input_size is 0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"num_workers": -1}, "num_workers -1"),
    ],
)
def test_settings_out_of_range(root: Path, changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        module(root, **changes)


def test_a_batch_larger_than_the_training_set(root: Path) -> None:
    data = module(root, batch_size=64)
    with pytest.raises(ConfigError, match=r"batch_size is 64 but .*has 2\d training faces.*Set data.batch_size to 2\d"):
        data.setup("fit")
    small = module(root, batch_size=64, drop_last=False)
    small.setup("fit")
    assert len(next(iter(small.train_dataloader())).index) == len(small.train_table)


def test_overfitting_shows_the_same_batches_again(root: Path) -> None:
    watcher = Watcher()
    trainer = pl.Trainer(
        overfit_batches=2,
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        use_distributed_sampler=False,
    )
    trainer.fit(watcher, module(root))
    assert [seen[1:] for seen in watcher.seen[:2]] * 3 == [seen[1:] for seen in watcher.seen]


def test_a_distributed_sampler_put_there_by_lightning_is_refused(root: Path) -> None:
    data = module(root)
    data.setup("fit")
    loader = data.train_dataloader()
    replaced = ResumableLoader(loader.dataset, sampler=DistributedSampler(loader.dataset, 2, 0), batch_size=4)
    with pytest.raises(ConfigError, match=r"is a DistributedSampler.*use_distributed_sampler to false"):
        next(iter(replaced))


def test_cached_images_are_read_once_and_stay_out_of_pickles():
    class Counting:
        table = None
        reads = 0

        def image(self, index):
            Counting.reads += 1
            return np.full((2, 2, 3), index, np.uint8)

    cached = CachedSource(Counting())
    assert (cached.image(3) == cached.image(3)).all()
    assert cached.image(4)[0, 0, 0] == 4
    assert Counting.reads == 2
    assert cached.__getstate__()["_images"] == {}


def test_a_wrong_mirror_list_stops_a_training_that_mirrors(tmp_path: Path) -> None:
    write_faces(tmp_path, annotation_frame(30, tests=2))
    wrong = LandmarkScheme("crossed", flip=(3, 2, 1, 0), normalisers=QUAD.normalisers)
    still = Augmentation(GeometricAugmentation(30, 0.9, 1.1, 0.05, flip_probability=0.0))
    module(tmp_path, dataset=CropsDataset(tmp_path, wrong), augmentation=still).setup("fit")
    with pytest.raises(DataError, match="mirror list does not fit"):
        module(tmp_path, dataset=CropsDataset(tmp_path, wrong)).setup("fit")


def test_a_wrong_mirror_list_stops_a_test_that_mirrors(tmp_path: Path) -> None:
    """A training that mirrors nothing leaves the list unlooked at until the test asks for mirror images."""
    write_faces(tmp_path, annotation_frame(30, tests=25))
    wrong = LandmarkScheme("crossed", flip=(3, 2, 1, 0), normalisers=QUAD.normalisers)
    for scheme, mirrors in ((QUAD, True), (wrong, False)):
        data = module(tmp_path, dataset=CropsDataset(tmp_path, scheme))
        data.setup("test")
        assert compose.test_time(OmegaConf.create({"test_time_flip": mirrors}), data)["test_time_flip"] is mirrors
    with pytest.raises(DataError, match="mirror list does not fit"):
        compose.test_time(OmegaConf.create({"test_time_flip": True}), data)


def test_a_test_set_alone_can_be_scored(tmp_path: Path) -> None:
    frame = annotation_frame(6, tests=6)
    write_faces(tmp_path, frame[frame["split"] == "test"])
    data = module(tmp_path)
    data.setup("test")
    assert len(data.test_table) == 6
    with pytest.raises(DataError, match="no rows of split 'train'"):
        data.setup("fit")
