"""One solid rectangle drawn over the crop."""

from __future__ import annotations

from typing import Any

import albumentations as A
import numpy as np

from facegraph.errors import ConfigError


class RectangleOcclusion(A.ImageOnlyTransform):
    """Cover the crop with one rectangle of a random colour; landmarks stay.

    The centre is uniform over the crop and the part outside is cut off, so the covered area is area_fraction at most.
    Source: the SCC code (area 0.2 of the crop, aspect 0.4 to 2.5, probability 0.5; the paper gives no probability).

    Args:
        area_fraction: area of the rectangle over the area of the crop, before cutting, in (0, 1].
        aspect_min, aspect_max: width over height is uniform between them.
        p: probability.

    Raises:
        ConfigError: a number out of range.
    """

    def __init__(
        self, area_fraction: float = 0.2, aspect_min: float = 0.4, aspect_max: float = 2.5, p: float = 0.5
    ) -> None:
        super().__init__(p=p)
        if not (0 < area_fraction <= 1 and 0 < aspect_min <= aspect_max and 0 <= p <= 1):
            raise ConfigError(
                f"occlusion with area_fraction={area_fraction}, aspect {aspect_min} to {aspect_max}, p={p}: needs "
                "0 < area_fraction <= 1, 0 < aspect_min <= aspect_max, 0 <= p <= 1."
            )
        self.area_fraction = area_fraction
        self.aspect_min = aspect_min
        self.aspect_max = aspect_max

    def get_params_dependent_on_data(self, params: dict[str, Any], data: dict[str, Any]) -> dict[str, Any]:
        height, width = params["shape"][:2]
        rng = self.random_generator
        area = self.area_fraction * height * width
        aspect = rng.uniform(self.aspect_min, self.aspect_max)
        half = np.array([np.sqrt(area * aspect), np.sqrt(area / aspect)]) / 2
        centre = rng.uniform(0, 1, size=2) * (width, height)
        low = np.clip(np.rint(centre - half), 0, (width, height)).astype(int)
        high = np.clip(np.rint(centre + half), 0, (width, height)).astype(int)
        return {"low": low, "high": high, "colour": rng.integers(0, 256, size=3)}

    # albumentations hands every parameter to apply, so the rest has to be taken as well
    def apply(
        self, img: np.ndarray, low: np.ndarray, high: np.ndarray, colour: np.ndarray, **params: Any
    ) -> np.ndarray:
        covered = img.copy()
        covered[low[1] : high[1], low[0] : high[0]] = colour
        return covered

    def get_transform_init_args_names(self) -> tuple[str, ...]:
        return ("area_fraction", "aspect_min", "aspect_max")
