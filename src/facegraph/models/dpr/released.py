"""The published GSR weights (98 points): as facegraph's model, and as the released pipeline on photographs.

Source: the test code and weights of github.com/shaoxiaohu/Face_Alignment_DPR (README: MIT). The weights of the local
regressions were never stored with it, so the local stage cannot be loaded; the net that frames the parts can.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from facegraph.errors import DataError, RunError
from facegraph.files import plain_tensors
from facegraph.geometry.matrices import compose, invert
from facegraph.geometry.points import map_points
from facegraph.geometry.sampling import warp
from facegraph.landmarks import WFLW98
from facegraph.models.dpr.model import DPR, GSR
from facegraph.models.dpr.parts import Part, part_means, parts_of
from facegraph.models.dpr.reinit import LocalReinitNetwork, PixelLocalReinitNetwork
from facegraph.models.dpr.transforms import resize
from facegraph.models.released import ReleasedWeights
from facegraph.structures import ShapeStatistics

REINIT = "98_points_global_reinit.pth.tar"
REGRESSION = "98_points_global_regress.pth.tar"
LOCAL_REINIT = "98_points_local_reinit.pth.tar"
MEAN_FACE = "mean_98_face.npy"

INPUT_SIZE, MARGIN = 512, 2.0
"""The crop that eval.py cuts: twice the box, so that the second cut finds what lies around it, at enough px."""
_BLACK = -1.0
_MOST_BYTES = 1_000_000
"""Of mean_98_face.npy, which has about 2,000."""
_AT_ONCE = 16
"""Photographs that are held as float32 at a time."""
_FIRST_LAYERS = ("global_reinit.localization.0.weight", "global_regression.features.0.0.weight")
_OVERRIDES = (
    "model=dpr",
    f"model.stages={GSR}",
    f"model.coarse_share={1 / MARGIN:g}",
    f"model.border={_BLACK:g}",
    "normalise=signed",
    "loss=dpr",
    "dataset=wflw",
    "box=official",
    "box.side=each",
    f"box.margin={MARGIN:g}",
    f"input_size={INPUT_SIZE}",
)


def read_released(path: str | Path) -> ReleasedWeights:
    """The two global nets and the mean face as facegraph's DPR takes them, for RGB crops.

    Args:
        path: folder of the .pth.tar files, or the folder above it; mean_98_face.npy lies in either, or in a folder data
            beside that of the weights.

    Raises:
        RunError: a file is missing, cannot be read, or does not hold the net it is named after.
    """
    folder = _weights_folder(Path(path))
    face = _mean_face(folder)
    nets = {"global_reinit": _state(folder / REINIT), "global_regression": _state(folder / REGRESSION)}
    state = {f"{net}.{name}": value for net, values in nets.items() for name, value in values.items()}
    for name in _FIRST_LAYERS:
        if name not in state:
            raise RunError(f"the files in {folder} lack '{name.split('.', 1)[1]}'; are they the released DPR weights?")
        if state[name].ndim != 4 or state[name].shape[1] != 3:
            raise RunError(
                f"'{name.split('.', 1)[1]}' in {folder} has shape {tuple(state[name].shape)}, which is no "
                "convolution of 3 colours. Download the files again."
            )
        state[name] = state[name][:, [2, 1, 0]].contiguous()  # trained on BGR
    state["mean_face"] = face
    local = "are there but have no place in stages=gsr" if (folder / LOCAL_REINIT).is_file() else "are not there"
    notes = (
        f"{len(nets['global_reinit'])} tensors of the reinitialisation, {len(nets['global_regression'])} of the global "
        "regression, and the mean face",
        "first convolutions turned from BGR to RGB",
        "the weights of the local regressions were never released, so stages=gsr is all there is; those that frame the "
        f"parts {local}",
        "the released code cuts from the photograph, eval.py from a crop of twice the box: scores differ slightly",
        "the released boxes are a detector's; box=official takes those of the data set",
    )
    return ReleasedWeights(state, _OVERRIDES, WFLW98, _mean_in_crop(face), notes)


def load_released(directory: str | Path) -> ReleasedDPR:
    """The released pipeline in eval mode on the CPU. directory and errors: as `read_released`."""
    released = read_released(directory)
    assert released.mean_shape is not None
    statistics = ShapeStatistics(released.mean_shape, torch.eye(len(released.mean_shape)), released.scheme)
    model = DPR(INPUT_SIZE, statistics, PixelLocalReinitNetwork, GSR, coarse_share=1 / MARGIN, border=_BLACK)
    kept = {"mean_shape": model.mean_shape, "correlation": model.correlation}
    folder = _weights_folder(Path(directory))
    _load(model, {**released.state, **kept}, folder)
    parts = parts_of(released.scheme)
    local = None
    if (folder / LOCAL_REINIT).is_file():
        means = part_means(model.mean_face, parts)
        local = PixelLocalReinitNetwork(parts, model.mean_face, means, model.global_size, model.part_size, False)
        _load(local, {**_state(folder / LOCAL_REINIT), "face": model.mean_face}, folder / LOCAL_REINIT)
    return ReleasedDPR(model, local, parts).eval()


class ReleasedStages(NamedTuple):
    """What the released pipeline found on the way.

    Attributes:
        reinit: (B, 2, 3) coarse -> normalised frame in units of the side.
        global_points: (B, 98, 2) px of the global frame.
        landmarks: (B, 98, 2) px of the photographs.
        part_transforms: (B, 4, 2, 3) global px -> part px of left eye, right eye, nose and mouth; None where the folder
            had no weights for them.
    """

    reinit: Tensor
    global_points: Tensor
    landmarks: Tensor
    part_transforms: Tensor | None


class ReleasedDPR(nn.Module):
    """The released pipeline: coarse frame and global frame are both cut out of the photograph itself.

    Args:
        local_reinit: what frames the parts, None where its file is missing.
    """

    def __init__(self, model: DPR, local_reinit: LocalReinitNetwork | None, parts: tuple[Part, ...]) -> None:
        super().__init__()
        self.model = model
        self.local_reinit = local_reinit
        self.parts = parts

    def predict(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
        """(B, 98, 2) float32 px of the photographs.

        Args:
            images: B arrays (H, W, 3) uint8 RGB, of any sizes.
            boxes: (B, 4) x0, y0, x1, y1, a detector's tight box, which is stretched to the coarse frame.

        Raises:
            DataError: an image of another form, boxes of another form or without area, another number of boxes than
                images.
        """
        return self.stages(images, boxes).landmarks.cpu().numpy()

    @torch.no_grad()
    def stages(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> ReleasedStages:
        """As `predict`, with all that it found on the way."""
        boxes = _checked(images, boxes)
        if not len(images):
            nothing = self.model.mean_face.new_zeros(0, *self.model.mean_face.shape)
            return ReleasedStages(nothing.new_zeros(0, 2, 3), nothing, nothing, None)
        starts = range(0, len(images), _AT_ONCE)
        chunks = [self._stages(images[i : i + _AT_ONCE], boxes[i : i + _AT_ONCE]) for i in starts]
        reinit, points, landmarks, frames = zip(*chunks, strict=True)
        framed = None if self.local_reinit is None else torch.cat(frames)
        return ReleasedStages(torch.cat(reinit), torch.cat(points), torch.cat(landmarks), framed)

    def _stages(self, images: Sequence[np.ndarray], boxes: np.ndarray) -> ReleasedStages:
        model, device = self.model, self.model.mean_face.device
        cut = torch.stack([_box_to_frame(box, model.coarse_size) for box in boxes]).to(device)
        photographs = [_signed(image).to(device) for image in images]
        reinit = model.reinitialise(_cut(photographs, cut, model.coarse_size))
        image_to_global = compose(resize(reinit, model.coarse_size, model.global_size), cut)
        points = model.locate(_cut(photographs, image_to_global, model.global_size))
        frames = None
        if self.local_reinit is not None:
            frames = self.local_reinit(points, part_means(model.mean_face, self.parts))
        return ReleasedStages(reinit, points, map_points(invert(image_to_global), points), frames)


def _checked(images: Sequence[np.ndarray], boxes: np.ndarray) -> np.ndarray:
    """The boxes (B, 4) float64. Raises DataError for another form, or another number of them than of images."""
    if isinstance(images, np.ndarray) and images.ndim != 4:
        raise DataError(
            f"images is one array {images.shape}; give a list of arrays (H, W, 3), [image] for a single one."
        )
    try:
        numbers = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError):
        raise DataError(f"boxes are {boxes!r}; an array (B, 4) of x0, y0, x1, y1 in px is needed.") from None
    if numbers.ndim != 2 or numbers.shape[1] != 4:
        raise DataError(
            f"boxes have the shape {numbers.shape}; (B, 4) is needed, a row x0, y0, x1, y1 for each of "
            f"{len(images)} images. For a single box: box[None]."
        )
    if len(numbers) != len(images):
        raise DataError(f"{len(images)} images and {len(numbers)} boxes; one box (x0, y0, x1, y1) each is needed.")
    return numbers


def _cut(photographs: Sequence[Tensor], image_to_frame: Tensor, size: int) -> Tensor:
    """(B, 3, size, size) of B photographs (1, 3, H, W), black outside, rounded to bytes as the released code has it."""
    frames = [warp(photo, m[None], size, _BLACK) for photo, m in zip(photographs, image_to_frame, strict=True)]
    return torch.round((torch.cat(frames) + 1) * 127.5) / 127.5 - 1


def _box_to_frame(box: np.ndarray, size: int) -> Tensor:
    """(2, 3) that maps the corners of a box to the outermost pixel centres of a frame."""
    x0, y0, x1, y1 = box
    if not np.isfinite(box).all() or x1 <= x0 or y1 <= y0:
        raise DataError(f"the box {box.tolist()} has no area; give x0 < x1 and y0 < y1 in px of the image.")
    fx, fy = (size - 1) / (x1 - x0), (size - 1) / (y1 - y0)
    return torch.tensor([[fx, 0.0, -fx * x0], [0.0, fy, -fy * y0]], dtype=torch.float32)


def _signed(image: np.ndarray) -> Tensor:
    """(1, 3, H, W) in [-1, 1]."""
    fits = isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.ndim == 3 and image.shape[-1] == 3
    if not (fits and image.size):
        form = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        raise DataError(f"an image is {form}; an array (H, W, 3) uint8 RGB is needed.")
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)[None].float() / 127.5 - 1


def _weights_folder(path: Path) -> Path:
    """The folder itself or its `weights`, whichever holds the files."""
    for folder in (path, path / "weights"):
        if (folder / REINIT).is_file() and (folder / REGRESSION).is_file():
            return folder
    raise RunError(
        f"{path} does not hold the released DPR weights: {REINIT} and {REGRESSION} are needed there or in its folder "
        "'weights'. Give the folder that they were downloaded to."
    )


def _state(path: Path) -> dict[str, Tensor]:
    """The tensors of a released file, without the prefix of DataParallel."""
    try:
        checkpoint = plain_tensors.load(path)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}. Is the file whole?") from None
    state = checkpoint.get("state_dict") if isinstance(checkpoint, Mapping) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise RunError(f"{path} holds no 'state_dict' of tensors; the released files do. Download it again.")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _mean_face(folder: Path) -> Tensor:
    """(98, 2) in units of the global frame; from beside the weights, from above, or from data/ as in the release."""
    places = [folder / MEAN_FACE, folder.parent / MEAN_FACE, folder.parent / "data" / MEAN_FACE]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise RunError(
            f"{MEAN_FACE} lies neither in {folder} nor above it nor in {folder.parent / 'data'}; it is part of the "
            "released code (98 points, in units of the frame). Put it beside the weights."
        )
    try:
        face = plain_tensors.load_array(path, _MOST_BYTES)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}. Is the file whole?") from None
    if face.size != 2 * WFLW98.num_landmarks:
        raise RunError(f"{path} holds {face.size} numbers; x and y of 98 points are needed.")
    if not np.isfinite(face).all():
        raise RunError(f"{path} holds numbers that are not finite. Download it again.")
    return torch.from_numpy(face.astype(np.float32).reshape(-1, 2))


def _mean_in_crop(face: Tensor) -> Tensor:
    """(98, 2) crop px over the crop's side: the mean face where the reinitialisation changes nothing."""
    frame = INPUT_SIZE / MARGIN
    return (face - 0.5) * frame / INPUT_SIZE + 0.5


def _load(module: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"{path} does not hold the released DPR weights: {error}") from None
