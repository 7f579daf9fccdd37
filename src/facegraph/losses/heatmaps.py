"""What heatmap models are trained with: maps against Gaussians, and the distance of what is read from them."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from facegraph.codecs.heatmap import HeatmapCodec
from facegraph.errors import ConfigError
from facegraph.geometry.points import map_points, scale_of
from facegraph.losses.face_errors import predicted_error_term
from facegraph.losses.labelled import mean_of_labelled, over_labelled
from facegraph.structures import FaceBatch, LandmarkOutput, ShapeStatistics

_SMALLEST_BOX = 1.0  # px


class MeanSquaredError(nn.Module):
    """Mean over pixels, landmarks and faces of the squared difference."""

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Heatmaps (B, N, h, w) each -> scalar."""
        return F.mse_loss(pred, target)


class AdaptiveWing(nn.Module):
    """Adaptive wing loss: steep for small errors on the Gaussian, like a square on the background.

    With d = |pred - target| and e = alpha - target: omega ln(1 + (d / epsilon)^e) for d < theta, else linear, joined
    with its slope. Each pixel counts 1 + weight where the target, dilated by 3x3, reaches 0.2, and 1 elsewhere.
    Source: Wang, Bo and Fuxin, ICCV 2019, Eq. 3-5, with their constants. Mean over pixels, landmarks and faces.

    Args:
        alpha, omega, epsilon, theta: see above. Below alpha = 2 the exponent on the peak is below 1 and the gradient of
            an exact prediction infinite.
        weight: of pixels on and next to the Gaussian; 0 switches the map off.

    Raises:
        ConfigError: omega, epsilon or theta not positive, alpha below 2, or a negative weight.
    """

    def __init__(
        self,
        alpha: float = 2.1,
        omega: float = 14.0,
        epsilon: float = 1.0,
        theta: float = 0.5,
        weight: float = 10.0,
    ) -> None:
        super().__init__()
        if not (min(omega, epsilon, theta) > 0 and alpha >= 2 and weight >= 0):
            raise ConfigError(
                f"loss.heatmap_loss has alpha={alpha}, omega={omega}, epsilon={epsilon}, theta={theta}, "
                f"weight={weight}; alpha must be at least 2 (published: 2.1), weight at least 0, the others positive."
            )
        self.alpha, self.omega, self.epsilon, self.theta, self.weight = alpha, omega, epsilon, theta, weight

    def forward(self, pred: Tensor, target: Tensor) -> Tensor:
        """Heatmaps (B, N, h, w) each -> scalar."""
        distance, exponent = (pred - target).abs(), self.alpha - target
        near = self.omega * torch.log1p((distance / self.epsilon) ** exponent)
        ratio = self.theta / self.epsilon
        power = ratio**exponent
        slope = self.omega * exponent * ratio ** (exponent - 1) / (self.epsilon * (1 + power))
        far = slope * (distance - self.theta) + self.omega * torch.log1p(power)
        loss = torch.where(distance < self.theta, near, far)
        if self.weight == 0:
            return loss.mean()
        close = F.max_pool2d(target, kernel_size=3, stride=1, padding=1) >= 0.2
        return (loss * (1 + self.weight * close)).mean()


class HeatmapCriterion(nn.Module):
    """Heatmaps against Gaussians around the truth, plus the distance of the decoded landmarks, over all stages.

    loss = (heatmap_weight * H + distance_weight * D) / (heatmap_weight + distance_weight). H: heatmap_loss, averaged
    over stages. D: mean over faces, stages and labelled landmarks of the distance as a fraction of sqrt(w * h), where w
    and h are sides of the box around the true landmarks in image px, upright there. Exact unless the crop is stretched.
    Source: ibug's FAN, whose weights are 1 and 0.01. H as the mean over pixels is about a thousand times smaller than
    D at the start, so the two weigh alike; an optimiser other than Adam or RMSprop needs a larger learning rate.

    Args:
        statistics: not used, every criterion gets it.
        codec: what a truth's maps are, and how maps are read where a model does not hand out stage landmarks.
        heatmap_loss: (pred, target), each (B, N, h, w) -> scalar, a mean over pixels that is 0 between equal maps; the
            maps of a landmark that is not labelled count nothing.
        heatmap_weight, distance_weight: at least 0, not both 0. At distance_weight 0 nothing is decoded.
        error_weight: of |predicted error - error|, for models that predict their error; outside the average.

    Raises:
        ConfigError: a weight out of range.
    """

    def __init__(
        self,
        statistics: ShapeStatistics,
        codec: HeatmapCodec,
        heatmap_loss: nn.Module,
        heatmap_weight: float = 1.0,
        distance_weight: float = 0.01,
        error_weight: float = 0.05,
    ) -> None:
        super().__init__()
        total = heatmap_weight + distance_weight
        if not (min(heatmap_weight, distance_weight) >= 0 and 0 < total < math.inf):
            raise ConfigError(
                f"loss.heatmap_weight={heatmap_weight} and loss.distance_weight={distance_weight}: both must be at "
                "least 0 and one of them positive; FAN has 1.0 and 0.01."
            )
        self.codec = codec
        self.heatmap_loss = heatmap_loss
        self.heatmap_weight, self.distance_weight = heatmap_weight, distance_weight
        self.error_weight = error_weight

    def forward(self, output: LandmarkOutput, batch: FaceBatch) -> dict[str, Tensor]:
        """{"loss", "heatmap": H, "distance": D, "predicted_error"}, the last two where they are counted.

        Raises:
            ConfigError: the model hands out no heatmaps.
        """
        if output.heatmaps is None:
            raise ConfigError(
                "this loss compares heatmaps and the model gives none; use it with head=heatmap, head=heatmap_hrnet or "
                "model=fan, or take a loss on points, for example loss=softwing."
            )
        terms = self._terms(output, output.heatmaps, batch)
        error = predicted_error_term(output, batch)
        if error is not None:
            terms |= {"loss": terms["loss"] + self.error_weight * error, "predicted_error": error.detach()}
        return terms

    def _terms(self, output: LandmarkOutput, heatmaps: Tensor, batch: FaceBatch) -> dict[str, Tensor]:
        input_size = batch.image.shape[-1]
        with torch.autocast(batch.landmarks.device.type, enabled=False):
            stages = heatmaps.float()
            truth = self.codec.encode(batch.landmarks, input_size, (stages.shape[-2], stages.shape[-1]))
            # stage by stage: the truth of all stages at once would be as large as all maps together
            heatmap = torch.stack(
                [over_labelled(self.heatmap_loss, stage, truth, batch.labelled) for stage in stages.unbind(dim=1)]
            ).mean()
            if self.distance_weight == 0:
                return {"loss": heatmap, "heatmap": heatmap.detach()}
            points = output.stage_landmarks
            if points is None:
                points = self.codec.decode(stages, input_size)
            distance = box_distance(points.float(), batch).mean()
            loss = self.heatmap_weight * heatmap + self.distance_weight * distance
            total = self.heatmap_weight + self.distance_weight
            return {"loss": loss / total, "heatmap": heatmap.detach(), "distance": distance.detach()}


def box_distance(stages: Tensor, batch: FaceBatch) -> Tensor:
    """(B, T) mean distance of labelled landmarks (B, T, N, 2) crop px from the truth, as a fraction of sqrt(w * h).

    w, h: sides of the upright box around the true, labelled landmarks in image px; one without area counts as one px.
    """
    truth, known = map_points(batch.crop_to_image, batch.landmarks), batch.labelled[..., None]
    high, low = truth.masked_fill(~known, -math.inf).amax(dim=1), truth.masked_fill(~known, math.inf).amin(dim=1)
    sides = high - low
    root = sides.prod(dim=-1).clamp(min=_SMALLEST_BOX**2).sqrt() / scale_of(batch.crop_to_image)
    distances = (stages - batch.landmarks[:, None]).norm(dim=-1)
    return mean_of_labelled(distances, batch.labelled[:, None]) / root[:, None]
