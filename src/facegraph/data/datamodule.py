"""The data of one experiment as Lightning wants it: train, validation that is given or cut from train, test."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from facegraph.data.augment import Augmentation
from facegraph.data.balancing import Balancing
from facegraph.data.boxes import BoxPolicy
from facegraph.data.corruption import NONE, Corruption
from facegraph.data.faces import Faces, FaceSubset, loaded
from facegraph.data.faults import lacking
from facegraph.data.loader import PatientLoader, ResumableLoader
from facegraph.data.normalise import Normalise
from facegraph.data.pipeline import FacePipeline
from facegraph.data.sampler import EpochSampler, ShardSampler, rank_and_world
from facegraph.data.scheme_file import check_flip
from facegraph.data.source import FaceSource, FaceTable, LandmarkDataset, check_scored
from facegraph.data.splits import split_by_photo
from facegraph.errors import ConfigError
from facegraph.geometry.affine import transform_points
from facegraph.geometry.completion import complete_shapes
from facegraph.structures import FaceBatch

CUT_FROM_TRAIN = "cut from train by photograph"
_SAMPLED = 8  # faces of a split that are read before it is trained on


class FaceDataModule(pl.LightningDataModule):
    """Loaders over one data set. Use Trainer(use_distributed_sampler=False): the samplers share out rows themselves.

    Loaders hand out images of bytes; on_after_batch_transfer normalises them.
    After setup("fit"): train_table and val_table; after setup("test"): test_table. The index of a batch is a row of
    the table of its split.

    Args:
        dataset: the faces and their protocol.
        augmentation: random changes of training faces.
        normalise: from uint8 crops to the network's input, on its device.
        input_size: side of the network's input in px; a model may ask for a multiple of its stride.
        box: which box a face is cut out around, and the square around it.
        batch_size: of training, per device.
        eval_batch_size: of validation and test, per device.
        num_workers: loader processes per device; 0 loads in the training process.
        val_fraction: share of the training faces kept for validation, by photograph; of a data set that has a split for
            validation, none are.
        seed: of the validation cut, the order and the augmentation.
        balancing: how often each training face is drawn per epoch; None for once.
        drop_last: leave the last, smaller batch of an epoch out.
        loader_timeout_seconds: longest wait for a batch of the loader processes; 0 waits for ever.
        corruption: how test faces are made harder; None for as they are. Training and validation never are.

    Raises:
        ConfigError: a setting out of range; at setup also a batch larger than the training set with drop_last.
    """

    train_table: FaceTable
    val_table: FaceTable
    test_table: FaceTable

    def __init__(
        self,
        dataset: LandmarkDataset,
        augmentation: Augmentation,
        normalise: Normalise,
        input_size: int,
        box: BoxPolicy,
        batch_size: int,
        eval_batch_size: int,
        num_workers: int,
        val_fraction: float,
        seed: int,
        balancing: Balancing | None = None,
        drop_last: bool = True,
        corruption: Corruption | None = None,
        loader_timeout_seconds: float = 300.0,
    ) -> None:
        super().__init__()
        _check_settings(input_size, batch_size, eval_batch_size, num_workers, loader_timeout_seconds)
        self.dataset = dataset
        self.input_size = input_size
        self.box = box
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.num_workers = num_workers
        self.val_fraction = val_fraction
        self.seed = seed
        self.balancing = balancing
        self.drop_last = drop_last
        self.corruption = corruption
        self.loader_timeout_seconds = loader_timeout_seconds
        self.normalise = normalise
        self._train_pipeline = FacePipeline(dataset.scheme, input_size, box, augmentation)
        self._eval_pipeline = FacePipeline(dataset.scheme, input_size, box)
        self._test_pipeline = FacePipeline(dataset.scheme, input_size, box, corruption=corruption)
        self._sources: dict[str, FaceSubset] = {}
        self._shapes: dict[str, np.ndarray] = {}

    def setup(self, stage: str) -> None:
        self.dataset.check_protocol()
        if stage in ("fit", "validate") and "train" not in self._sources:
            source = self.dataset.train()
            given = self.dataset.val()
            fraction = self.val_fraction if given is None else 0.0
            train_rows, val_rows = split_by_photo(source.table.photos, fraction, self.seed)
            if given is not None:
                val_rows = np.arange(len(given.table))
            self._sources["train"] = FaceSubset(source, train_rows, self.box)
            self._sources["val"] = FaceSubset(given or source, val_rows, self.box, scored=True)
            self._check_room(self._sources["train"])
            self.train_table = self._sources["train"].table
            self.val_table = self._sources["val"].table
            check_scored(self.val_table, self.dataset)
        if stage == "fit":
            self.check_batch(rank_and_world()[1])
            if self._train_pipeline.mirrors:
                self.check_mirror_list()
        if stage in ("test", "predict") and "test" not in self._sources:
            faces = self.dataset.test()
            self._sources["test"] = FaceSubset(faces, np.arange(len(faces.table)), self.box, scored=True)
            self._check_room(self._sources["test"])
            self.test_table = self._sources["test"].table
            check_scored(self.test_table, self.dataset)

    def check_mirror_list(self) -> None:
        """For whoever mirrors faces: of training faces, or of test faces where nothing is trained.

        Raises:
            DataError: the scheme's mirror list does not fit the faces.
        """
        check_flip(self.dataset.scheme, self._complete("train" if "train" in self._sources else "test"))

    def _check_room(self, faces: FaceSubset) -> None:
        if faces.table.seen is not None:
            check_room(self.box, faces.still_boxes, faces.table.seen, self.dataset.name, self.dataset.wider_pictures)

    def check_images(self) -> None:
        """Read some faces of each split that is set up, spread over it, as training and test will.

        Raises:
            DataError: an image that cannot be read.
        """
        for source in self._sources.values():
            count = len(source.table)
            for row in sorted(set(np.linspace(0, count - 1, min(count, _SAMPLED)).astype(int).tolist())):
                source.image(row)

    @property
    def test_padding(self) -> float:
        """Mean share of the test crops that lies beyond the pictures; 0 where it is not known."""
        table = self.test_table
        return 0.0 if table.seen is None else float(padding_shares(self.box, table.boxes, table.seen).mean())

    def partly_labelled(self) -> dict[str, int]:
        """Split -> number of its faces that lack landmarks, of the splits that are set up and have some."""
        counts = {name: int(lacking(source.table.landmarks).sum()) for name, source in self._sources.items()}
        return {name: count for name, count in counts.items() if count}

    @property
    def validation(self) -> str:
        """Where the validation faces come from, as protocol cards print it."""
        name = self.dataset.val_name
        return CUT_FROM_TRAIN if name is None else f"given as split '{name}'"

    def check_batch(self, world: int) -> None:
        """Raises ConfigError: drop_last leaves none of several processes a batch."""
        draws = int(self.train_repeats().sum()) // world
        if self.drop_last and draws < self.batch_size:
            advice = f"Set data.batch_size to {draws} or less" if draws > 1 else "Add training faces"
            raise ConfigError(
                f"batch_size is {self.batch_size} but an epoch of '{self.dataset.name}' has {draws} training faces per "
                f"process, so drop_last leaves no batch. {advice}, or lower data.val_fraction."
            )

    def train_batch_sizes(self, world: int) -> list[int]:
        """Faces in each batch of an epoch, in one of several processes."""
        draws = len(EpochSampler(self.train_repeats(), self.seed, drop_last=self.drop_last, rank=0, world=world))
        whole, rest = divmod(draws, self.batch_size)
        return [self.batch_size] * whole + ([rest] if rest and not self.drop_last else [])

    def on_after_batch_transfer(self, batch: FaceBatch, dataloader_idx: int) -> FaceBatch:
        """The batch as a model sees it; Lightning calls this when the batch is on the device."""
        return batch._replace(image=self.normalise(batch.image))

    @property
    def test_source(self) -> FaceSource:
        """The faces of test_table."""
        return self._sources["test"]

    @property
    def corruption_description(self) -> str:
        """How test faces are made harder, in words for protocol cards."""
        return NONE if self.corruption is None else self.corruption.describe(self.input_size)

    def train_repeats(self) -> np.ndarray:
        """(M,) int, draws of each row of train_table per epoch."""
        if self.balancing is None:
            return np.ones(len(self.train_table), dtype=np.int64)
        return self.balancing.draws(replace(self.train_table, landmarks=self.train_shapes))

    @property
    def train_shapes(self) -> np.ndarray:
        """(M, N, 2) float64 image px, landmarks of train_table with stand-ins for those that are missing."""
        return self._complete("train")

    def _complete(self, split: str) -> np.ndarray:
        if split not in self._shapes:
            self._shapes[split] = complete_shapes(self._sources[split].table.landmarks)
        return self._shapes[split]

    def train_landmarks_in_crop(self) -> np.ndarray:
        """train_shapes in crop px over input_size, without augmentation."""
        matrices = [self._eval_pipeline.image_to_crop(box) for box in self.train_table.boxes]
        pairs = zip(matrices, self.train_shapes, strict=True)
        return np.stack([transform_points(matrix, points) for matrix, points in pairs]) / self.input_size

    def train_dataloader(self) -> DataLoader:
        sampler = EpochSampler(self.train_repeats(), seed=self.seed, drop_last=self.drop_last)
        return ResumableLoader(
            self._faces("train", self._train_pipeline, seed=self.seed),
            batch_size=self.batch_size,
            sampler=sampler,
            drop_last=self.drop_last,
            num_workers=self.num_workers,
            timeout=self.loader_timeout_seconds / 2 if self.num_workers else 0,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_one_thread,
            collate_fn=loaded,
        )

    def first_train_faces(self, count: int) -> FaceBatch:
        """A batch of the first training faces, or of all if they are fewer, as a model sees it on the CPU."""
        faces = self._faces("train", self._train_pipeline, seed=self.seed)
        return self.on_after_batch_transfer(faces.__getitems__(range(min(count, len(faces)))), 0)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if len(self.val_table) == 0:
            return []
        return self._eval_loader("val", self._eval_pipeline)

    def test_dataloader(self) -> DataLoader:
        return self._eval_loader("test", self._test_pipeline)

    def _eval_loader(self, split: str, pipeline: FacePipeline) -> DataLoader:
        faces = self._faces(split, pipeline, seed=None)
        return PatientLoader(
            faces,
            batch_size=self.eval_batch_size,
            sampler=ShardSampler(len(faces)),
            num_workers=self.num_workers,
            timeout=self.loader_timeout_seconds / 2 if self.num_workers else 0,
            persistent_workers=self.num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            worker_init_fn=_one_thread,
            collate_fn=loaded,
        )

    def _faces(self, split: str, pipeline: FacePipeline, seed: int | None) -> Faces:
        source = self._sources[split]
        distances = self.dataset.norm_distances(source.table.landmarks)
        return Faces(source, pipeline, self._complete(split), distances, seed)


def _one_thread(worker: int) -> None:
    """Loader processes are the parallelism; threads of their own would fight for the same cores."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)


def _check_settings(
    input_size: int, batch_size: int, eval_batch_size: int, num_workers: int, loader_timeout_seconds: float
) -> None:
    if not 0 <= loader_timeout_seconds < np.inf:
        raise ConfigError(
            f"data.loader_timeout_seconds={loader_timeout_seconds} must be 0 or more seconds; 300 is usual, 0 waits "
            "for ever."
        )
    if input_size < 1:
        raise ConfigError(f"input_size is {input_size}; the side of the crop must be at least 1 px. 256 is usual.")
    if batch_size < 1 or eval_batch_size < 1 or num_workers < 0:
        raise ConfigError(
            f"batch_size is {batch_size}, eval_batch_size {eval_batch_size}, num_workers {num_workers}; the sizes must "
            "be 1 or more and num_workers 0 or more."
        )


MOST_PADDING = 0.02
"""Of the crop of a set's middle face, with its box as annotated. Faces at a border have more, a whole set has none."""
_SLACK = 0.1  # of a hundredth, so that a rounded 1.9999 is 2


def padding_shares(policy: BoxPolicy, boxes: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """(M,) share of the square that a policy cuts around each box (M, 4) that lies outside of seen (M, 4), image px."""
    centre, half = _squares(policy, boxes)
    low, high = np.maximum(centre - half, seen[:, :2]), np.minimum(centre + half, seen[:, 2:])
    return 1 - (np.maximum(high - low, 0) / (2 * half)).prod(axis=1)


def check_room(
    policy: BoxPolicy, boxes: np.ndarray, seen: np.ndarray, name: str, advice: Callable[[float], str]
) -> None:
    """Raises ConfigError if the squares around most boxes leave what there is to see; arguments as padding_shares.

    Args:
        name: of the data set.
        advice: what else helps where a picture has to show so many times as much.
    """
    share = float(np.median(padding_shares(policy, boxes, seen)))
    if share <= MOST_PADDING:
        return
    centre, half = _squares(policy, boxes)
    reach = np.minimum(centre - seen[:, :2], seen[:, 2:] - centre) / half
    room = float(np.median(reach.min(axis=1)))
    largest = math.floor(100 * policy.margin * room + _SLACK) / 100
    raise ConfigError(
        f"box.margin={policy.margin:g} cuts more than the pictures of '{name}' show: of the middle face's crop "
        f"{share:.0%} would be grey padding. Set box.margin={largest:g} or less{advice(1 / room)}."
    )


def _squares(policy: BoxPolicy, boxes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Centre and half sides (M, 2) of the squares around boxes (M, 4), image px."""
    matrices = np.stack([policy.square(box, 1) for box in boxes])  # a crop of one px: [-0.5, 0.5] each way
    scale = matrices[:, [0, 1], [0, 1]]
    return -matrices[:, :2, 2] / scale, 0.5 / scale
