"""DPR: re-cut the face where a small net says, regress all landmarks there, then each part in a patch of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.geometry.matrices import compose, invert
from facegraph.geometry.points import map_points
from facegraph.geometry.sampling import warp
from facegraph.layers.error_head import ErrorHead, with_predicted_error
from facegraph.models.dpr.local import LocalRegression, Replacement
from facegraph.models.dpr.mobilenet import STRIDES, GlobalRegression, trunk_numbers
from facegraph.models.dpr.output import ReinitOutput
from facegraph.models.dpr.parts import mean_face, part_means, parts_of
from facegraph.models.dpr.reinit import GlobalReinit
from facegraph.models.dpr.transforms import resize, upright_box
from facegraph.structures import LandmarkModel, ShapeStatistics

GSR, GLSR = "gsr", "glsr"


class DPR(LandmarkModel):
    """Global and local subnetworks with reinitialisation, after the released test code.

    The crop is resampled to a coarse frame; the global reinitialisation net puts an upright face into the global frame,
    which is sampled from the given crop, not from the coarse one; the global net regresses all landmarks there. With
    stages=glsr the parts' patches are cut out of the global frame and replace the points of eyes, nose and mouth.

    Args:
        input_size: side S of the crop in px.
        statistics: mean shape and scheme.
        stages: gsr or glsr.
        local_reinit: class that frames the parts, see reinit.py.
        coarse_share: share of the crop's side, centred, that the coarse frame shows; below 1 the reinitialisation can
            cut from what lies around it.
        coarse_size, global_size, part_size: sides of the frames in px.
        trunk_stride: of the regressions' nets, see mobilenet.trunk: 128 as released; 64 suits frames of half the size.
        border: normalised value of what lies outside of the crop; under normalise=signed 0 is the grey that the
            pipeline puts outside of a photograph, -1 the black of the released code.
        start_at_mean: the untrained reinitialisation is that of the mean face; false starts from matrices of zeros as
            released, which the transforms must then be supervised out of.
        detach: no gradient from a later stage into an earlier one.
        channels_last: memory layout of the convolutions.
        error_head: builds what predicts the error from the flattened features of the global regression; None: no
            prediction. The landmarks are the same with and without it.

    Raises:
        ConfigError: another name of stages, a share, a size or a stride out of range, a scheme without eyes or
            without parts.
    """

    mean_face: Tensor
    crop_to_coarse: Tensor

    def __init__(
        self,
        input_size: int,
        statistics: ShapeStatistics,
        local_reinit: Callable[..., nn.Module],
        stages: str = GLSR,
        coarse_share: float = 1.0,
        coarse_size: int = 128,
        global_size: int = 256,
        part_size: int = 128,
        trunk_stride: int = STRIDES[0],
        border: float = 0.0,
        start_at_mean: bool = True,
        detach: bool = False,
        channels_last: bool = True,
        error_head: Callable[..., ErrorHead] | None = None,
    ) -> None:
        super().__init__(statistics)
        _check(stages, coarse_share, {"coarse_size": coarse_size, "global_size": global_size, "part_size": part_size})
        if trunk_stride not in STRIDES:
            raise ConfigError(
                f"model.trunk_stride={trunk_stride} cannot be had; choose {', '.join(map(str, STRIDES))}."
            )
        self.coarse_size, self.global_size, self.part_size = coarse_size, global_size, part_size
        self.border, self.detach = border, detach
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        crop_to_coarse = _centred(input_size, coarse_share, coarse_size)
        self.register_buffer("crop_to_coarse", crop_to_coarse, persistent=False)
        face = mean_face(statistics)
        self.register_buffer("mean_face", face)
        self.global_reinit = GlobalReinit(coarse_size, self._start(statistics, input_size) if start_at_mean else None)
        self.global_regression = GlobalRegression(len(face), global_size, trunk_stride)
        self.parts = parts_of(statistics.scheme) if stages == GLSR else ()
        if self.parts:
            means = part_means(face, self.parts)
            for part, mean in zip(self.parts, means, strict=True):
                self.register_buffer(f"{part.name}_mean", mean)
            self.local_reinit = local_reinit(
                parts=self.parts, face=face, means=means, global_size=global_size, part_size=part_size,
                start_at_mean=start_at_mean,
            )  # fmt: skip
            self.local_regression = LocalRegression(self.parts, part_size, trunk_stride, border, self.memory_format)
            self.replacement = Replacement(self.parts, len(face))
        self.error_head = error_head(channels=trunk_numbers(global_size, trunk_stride)) if error_head else None
        self.to(memory_format=self.memory_format)

    def _start(self, statistics: ShapeStatistics, input_size: int) -> Tensor:
        """(2, 3) reinitialisation of the mean shape."""
        shape = map_points(self.crop_to_coarse[None, :2], statistics.mean_shape.float()[None] * input_size)
        return upright_box(shape / self.coarse_size, statistics.scheme)[0]

    def forward(self, image: Tensor) -> ReinitOutput:
        """(B, 3, S, S) normalised -> landmarks (B, N, 2) float32 crop px, and all frames."""
        coarse = warp(image, self.crop_to_coarse.expand(image.shape[0], 3, 3), self.coarse_size, self.border)
        reinit = self.reinitialise(coarse)
        passed = self._passed(reinit)
        coarse_to_global = resize(passed, self.coarse_size, self.global_size)
        crop_to_global = compose(coarse_to_global, self.crop_to_coarse)
        frames = warp(image, crop_to_global, self.global_size, self.border)
        points, features = self._locate(frames)
        global_to_crop = invert(crop_to_global)
        landmarks = [map_points(global_to_crop, points)]
        local: dict[str, Any] = {}
        if self.parts:
            local, refined = self.refine(frames, self._passed(points))
            landmarks.append(map_points(global_to_crop, refined))
        output = ReinitOutput(
            landmarks=landmarks[-1],
            stage_landmarks=torch.stack(landmarks, dim=1),
            crop_to_coarse=self.crop_to_coarse,
            reinit=reinit,
            coarse_to_global=coarse_to_global,
            crop_to_global=crop_to_global,
            global_points=points,
            coarse_size=self.coarse_size,
            global_size=self.global_size,
            part_size=self.part_size,
            **local,
        )
        if self.error_head is None:
            return output
        scored = with_predicted_error(output, self.error_head(features[..., None, None]))
        assert isinstance(scored, ReinitOutput)
        return scored

    def reinitialise(self, coarse: Tensor) -> Tensor:
        """(B, 2, 3) in units of the side, coarse -> normalised frame, of coarse frames (B, 3, C, C)."""
        return self.global_reinit(coarse.contiguous(memory_format=self.memory_format))

    def locate(self, frames: Tensor) -> Tensor:
        """(B, N, 2) global px of global frames (B, 3, G, G)."""
        return self._locate(frames)[0]

    def _locate(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        residuals, features = self.global_regression(frames.contiguous(memory_format=self.memory_format))
        return (residuals / 2 + self.mean_face) * self.global_size, features

    def refine(self, frames: Tensor, points: Tensor) -> tuple[dict[str, Any], Tensor]:
        """The fields of ReinitOutput about parts, and refined points (B, N, 2) in global px."""
        means = tuple(self.get_buffer(f"{part.name}_mean") for part in self.parts)
        transforms = self.local_reinit(points, means)
        taught: Tensor | None = transforms
        if next(self.local_reinit.parameters(), None) is None:
            taught = None
        elif points.requires_grad:
            taught = self.local_reinit(points.detach(), means)
        passed = self._passed(transforms)
        part_points = self.local_regression(frames, passed, means)
        fields = {
            "part_transforms": transforms,
            "taught_transforms": taught,
            "part_points": part_points,
            "part_means": means,
        }
        return fields, self.replacement(points, passed, part_points)

    def _passed(self, result: Tensor) -> Tensor:
        """A stage's result as the next stage gets it."""
        return result.detach() if self.detach else result


def _centred(input_size: int, share: float, coarse_size: int) -> Tensor:
    """crop_to_coarse (3, 3): the edges of the centred share of the crop come to lie on the outermost pixel centres.

    The released code maps the corners of the box to (0, 0), (0, 127), (127, 0); a box's edges are positions.
    """
    factor = (coarse_size - 1) / (share * input_size)
    shift = (coarse_size - 1) / 2 - factor * (input_size - 1) / 2
    return torch.tensor([[factor, 0.0, shift], [0.0, factor, shift], [0.0, 0.0, 1.0]])


def _check(stages: str, coarse_share: float, sizes: dict[str, int]) -> None:
    if stages not in (GSR, GLSR):
        raise ConfigError(
            f"model.stages={stages} does not exist; {GSR} (global) and {GLSR} (global, then the parts) do."
        )
    if not 0 < coarse_share <= 1:
        raise ConfigError(
            f"model.coarse_share={coarse_share} is no share of the crop's side; take a number above 0 and up to 1."
        )
    small = {name: size for name, size in sizes.items() if size < 2}
    if small:
        raise ConfigError(f"model: sides of frames {small} are no sides in px; released: 128, 256 and 128.")
