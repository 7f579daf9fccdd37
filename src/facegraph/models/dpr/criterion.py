"""What DPR is trained with: its transforms against the ones the truth asks for, its points in the truth's own frame.

Convention: point errors are in per cent of the side of the normalised frame, in which an upright face's landmark box
has 88 % of the side; so a face counts the same whatever its size in the crop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.geometry.matrices import compose, invert
from facegraph.geometry.points import map_points, scale_of
from facegraph.losses.face_errors import predicted_error_term
from facegraph.models.dpr.output import ReinitOutput
from facegraph.models.dpr.parts import parts_of
from facegraph.models.dpr.transforms import fit_similarity, in_units, resize, upright_box
from facegraph.models.dpr.weighting import LandmarkWeighting
from facegraph.structures import FaceBatch, LandmarkOutput, ShapeStatistics

PER_CENT = 100.0
SMALLEST_SCALE = 0.1
"""Of a transform between frames, in units of their sides. Below, a face would have to be ten times as large as the
frame that it is cut out of; points are not compared there, because the way back multiplies errors and gradients without
bound."""

POINT_ERRORS: dict[str, Callable[[Tensor], Tensor]] = {
    "squared": lambda offset: offset.square().sum(dim=-1),
    "l1": lambda offset: offset.abs().sum(dim=-1),
}
"""Name -> offsets (..., 2) to errors (...). Squared: the Euclidean loss of the authors' Caffe code."""


def _of_numbers(predicted: Tensor, target: Tensor, points: Tensor) -> Tensor:
    """Smooth L1 of the six numbers, translations in units of the side."""
    return F.smooth_l1_loss(PER_CENT * predicted, PER_CENT * target)


def _of_landmarks(predicted: Tensor, target: Tensor, points: Tensor) -> Tensor:
    """Smooth L1 of points (B, n, 2), in units of the source's side, mapped by both."""
    return F.smooth_l1_loss(PER_CENT * map_points(predicted, points), PER_CENT * map_points(target, points))


TRANSFORM_ERRORS: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "numbers": _of_numbers,
    "landmarks": _of_landmarks,
}


class DPRCriterion(nn.Module):
    """The sum of up to four terms; for stages=gsr the first two.

    reinit: the predicted transform of the coarse frame against `upright_box` of the true landmarks.
    global: the points of the global stage, weighted landmark by landmark.
    local_reinit: the part transforms against the similarities that fit the predicted part points, as they are at this
    step, onto the model's mean ones; without gradient to these points, and left out where no net makes the transforms.
    local: the points of the parts, weighted by a weighting of their own.
    error: of a predicted error, where the model has one.

    The transforms are asked of all landmarks, with stand-ins for those that are not labelled; point errors count the
    labelled ones. Points of a face, or of a part, whose frame is smaller than `SMALLEST_SCALE` count nothing in global
    and local: such a frame, which start_at_mean=false starts from, has to be opened by the transform terms first.

    Where landmarks are weighted, the largest weight of each stage (1: all alike) is given beside the terms, to be
    logged.

    Args:
        statistics: mean shape and scheme.
        weighting: num_landmarks -> LandmarkWeighting; one is made for each stage.
        point_error: squared | l1, of one landmark.
        transform_error: numbers | landmarks, what reinit and local_reinit compare.
        reinit_weight, local_reinit_weight: of these terms; the point terms have weight 1.
        detach_targets: False compares points in the frame that the true landmarks ask for: predictions are mapped back
            into the crop by their own transforms, so that end to end these learn from the error too, and as the scale
            is the truth's, no transform makes the error small by making the face small. True compares in the frame that
            was predicted, whose transform is a constant then: a transform learns of point errors by the pixels alone.

    Raises:
        ConfigError: a negative weight, an unknown name, or, when called, the output of another model.
    """

    def __init__(
        self,
        statistics: ShapeStatistics,
        weighting: Callable[..., LandmarkWeighting],
        point_error: str = "l1",
        transform_error: str = "landmarks",
        reinit_weight: float = 1.0,
        local_reinit_weight: float = 1.0,
        error_weight: float = 0.05,
        detach_targets: bool = False,
    ) -> None:
        super().__init__()
        weights = {"reinit": reinit_weight, "local_reinit": local_reinit_weight, "error": error_weight}
        for name, weight in weights.items():
            if weight < 0:
                raise ConfigError(
                    f"loss.{name}_weight={weight} is out of range; it must be 0 (switches it off) or more."
                )
        self.point_error = _named(POINT_ERRORS, "point_error", point_error)
        self.transform_error = _named(TRANSFORM_ERRORS, "transform_error", transform_error)
        self.reinit_weight, self.local_reinit_weight, self.error_weight = weights.values()
        self.detach_targets = detach_targets
        self.scheme = statistics.scheme
        self.global_weighting = weighting(num_landmarks=self.scheme.num_landmarks)
        self.parts: tuple[tuple[int, ...], ...] = ()
        self.local_weighting: LandmarkWeighting | None = None
        try:
            self.parts = tuple(part.indices for part in parts_of(self.scheme))
        except ConfigError:  # a scheme without parts is for stages=gsr; the model says so where it is not
            return
        self.local_weighting = weighting(num_landmarks=sum(len(indices) for indices in self.parts))

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        if not isinstance(output, ReinitOutput):
            raise ConfigError(
                f"loss=dpr needs the transforms of model=dpr, but the model gives a {type(output).__name__}. Take "
                "model=dpr, or a point loss: loss=l1, l2, smooth_l1, wing or softwing."
            )
        with torch.autocast(output.landmarks.device.type, enabled=False):
            truth = batch.landmarks.float()
            crop_to_coarse = output.crop_to_coarse[..., :2, :].float().expand(len(truth), 2, 3)
            in_coarse = map_points(crop_to_coarse, truth) / output.coarse_size
            upright = upright_box(in_coarse, self.scheme)
            # crop px -> px of the global frame, had the reinitialisation been perfect
            ideal = compose(resize(upright, output.coarse_size, output.global_size), crop_to_coarse)
            terms = {
                "reinit": self.transform_error(output.reinit, upright, in_coarse),
                "global": self.global_weighting(self._global_errors(output, truth, ideal), batch.labelled),
            }
            loss = self.reinit_weight * terms["reinit"] + terms["global"]
            if output.part_transforms is None or self.local_weighting is None:
                loss = loss + self._idle(loss)
            else:
                inner = batch.labelled[:, [i for part in self.parts for i in part]]
                terms["local"] = self.local_weighting(self._local_errors(output, truth, ideal), inner)
                loss = loss + terms["local"]
                if output.taught_transforms is not None:
                    terms["local_reinit"] = self._local_reinit(output.taught_transforms, output)
                    loss = loss + self.local_reinit_weight * terms["local_reinit"]
            error = predicted_error_term(output, batch)
            if error is not None:
                terms["error"] = error
                loss = loss + self.error_weight * error
        return {"loss": loss, **terms, **self._largest_weights(terms)}

    def _global_errors(self, output: ReinitOutput, truth: Tensor, ideal: Tensor) -> Tensor:
        """(B, N) of the global stage."""
        if self.detach_targets:
            return self._errors(output.global_points, map_points(output.crop_to_global.detach(), truth), output)
        assert output.stage_landmarks is not None
        errors = self._errors(map_points(ideal, output.stage_landmarks[:, 0]), map_points(ideal, truth), output)
        return torch.where(_open(output.reinit)[:, None], errors, 0)

    def _local_errors(self, output: ReinitOutput, truth: Tensor, ideal: Tensor) -> Tensor:
        """(B, n) of the landmarks of all parts, one part after the other."""
        inner = [i for part in self.parts for i in part]
        assert output.part_transforms is not None
        frames = in_units(output.part_transforms, output.global_size, output.part_size)
        kept = torch.cat(
            [_open(frames[:, i])[:, None].expand(-1, len(part)) for i, part in enumerate(self.parts)], dim=1
        )
        if not self.detach_targets:
            assert output.stage_landmarks is not None
            refined = map_points(ideal, output.stage_landmarks[:, -1, inner])
            errors = self._errors(refined, map_points(ideal, truth[:, inner]), output)
            return torch.where(kept & _open(output.reinit)[:, None], errors, 0)
        assert output.part_points is not None
        back = invert(output.part_transforms.detach())
        in_global = torch.cat([map_points(back[:, i], points) for i, points in enumerate(output.part_points)], dim=1)
        errors = self._errors(in_global, map_points(output.crop_to_global.detach(), truth[:, inner]), output)
        return torch.where(kept, errors, 0)

    def _errors(self, points: Tensor, truth: Tensor, output: ReinitOutput) -> Tensor:
        """(B, n) of points and truth (B, n, 2) in px of the global frame."""
        return self.point_error((points - truth) * (PER_CENT / output.global_size))

    def _local_reinit(self, transforms: Tensor, output: ReinitOutput) -> Tensor:
        """Mean over parts of the error of their transforms (B, P, 2, 3), both sides in units of their frames."""
        assert output.part_means is not None
        errors = []
        in_global = (output.global_points / output.global_size).detach()
        for i, indices in enumerate(self.parts):
            points = in_global[:, list(indices)]
            target = fit_similarity(points, output.part_means[i])
            predicted = in_units(transforms[:, i], output.global_size, output.part_size)
            errors.append(self.transform_error(predicted, target, points))
        return torch.stack(errors).mean()

    def _largest_weights(self, terms: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """By how much the most weighted landmark of a stage counts more than the average one."""
        stages = {"global": self.global_weighting, "local": self.local_weighting if "local" in terms else None}
        weights = {stage: form.weights for stage, form in stages.items() if form is not None}
        return {f"{stage}_largest_weight": w.max() for stage, w in weights.items() if w is not None}

    def _idle(self, loss: Tensor) -> Tensor:
        """Zero, from what the local weighting learns: with several processes every parameter needs a gradient."""
        parameters = [] if self.local_weighting is None else list(self.local_weighting.parameters())
        return loss.new_zeros(()) + sum(0 * parameter.sum() for parameter in parameters)


def _open(matrix: Tensor) -> Tensor:
    """(B,) whether frames (B, 2, 3), in units of the sides, are at least of `SMALLEST_SCALE`."""
    return scale_of(matrix.detach()) >= SMALLEST_SCALE


def _named(table: Mapping[str, Callable[..., Tensor]], setting: str, name: str) -> Callable[..., Tensor]:
    if name not in table:
        raise ConfigError(f"loss.{setting}={name} is unknown; choose {' or '.join(table)}.")
    return table[name]
