"""How one face looks: colours, what covers it, light and picture quality, drawn so that each WFLW flag is true."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from facegraph.data.synthetic.canvas import Colour, colour, mix, pigment
from facegraph.data.synthetic.parameters import ATTRIBUTES

# Anchors from light to dark skin and common hair, iris and lipstick colours, own choice.
_SKINS = np.array([[248, 219, 197], [236, 194, 163], [219, 170, 132], [190, 135, 96], [144, 96, 66], [92, 60, 44]])
_HAIRS = np.array(
    [[28, 22, 20], [52, 36, 28], [88, 58, 38], [132, 90, 52], [196, 156, 98], [150, 70, 36], [176, 174, 172]]
)
_IRISES = np.array([[54, 34, 22], [84, 54, 30], [96, 98, 60], [82, 120, 150], [88, 128, 92]])
_LIPSTICKS = np.array([[186, 24, 44], [150, 20, 60], [212, 60, 110], [120, 16, 30], [220, 84, 70]])


@dataclass(frozen=True)
class Light:
    """The lamp and the exposure: a lit pixel gets ambient + diffuse * max(0, n . direction).

    Attributes:
        direction: (3,) unit vector from the head to the lamp, camera axes (x right, y down, z to the viewer).
        exposure: factor on the whole picture.
        tint: (3,) factors on red, green and blue of the whole picture.
        fall: (2,) change of log brightness from one side of the picture to the other.
    """

    direction: np.ndarray
    ambient: float
    diffuse: float
    exposure: float
    tint: np.ndarray
    fall: np.ndarray


@dataclass(frozen=True)
class Quality:
    """Lengths are fractions of the image side.

    Attributes:
        motion: (2,) vector of the smear.
        coarse: pixels merged into one.
    """

    softness: float
    motion: np.ndarray
    coarse: int
    noise: float


@dataclass(frozen=True)
class Look:
    """Everything that is drawn besides the shape.

    Attributes:
        covered: a board hides a part.
        seed: of what varies.
    """

    skin: Colour
    lips: Colour
    iris: Colour
    brow: Colour
    hair: Colour
    cloth: Colour
    covered: bool
    light: Light
    quality: Quality
    seed: int

    @property
    def skin_shadow(self) -> Colour:
        """Skin where it is creased or lies in its own shade."""
        return self.skin * np.array([0.72, 0.62, 0.58, 1.0])


def _between(rng: np.random.Generator, anchors: np.ndarray, spread: float) -> np.ndarray:
    """A colour (3,) between two neighbouring anchors, varied by a spread per channel."""
    place = rng.uniform(0, len(anchors) - 1)
    low = min(int(place), len(anchors) - 2)
    base = anchors[low] + (place - low) * (anchors[low + 1] - anchors[low])
    return np.clip(base + rng.uniform(-spread, spread, 3), 0, 255)


def _one_of(rng: np.random.Generator, anchors: np.ndarray, spread: float) -> np.ndarray:
    return np.clip(anchors[rng.integers(len(anchors))] + rng.uniform(-spread, spread, 3), 0, 255)


def muted(rng: np.random.Generator, strength: float) -> np.ndarray:
    """A colour (3,) of any brightness, its hue at a share of full strength."""
    return rng.uniform(25, 230) * (1 - strength) + strength * rng.uniform(10, 245, 3)


def sample_look(rng: np.random.Generator, flags: np.ndarray) -> Look:
    """Draw a look; flags (6,) bool in the order of parameters.ATTRIBUTES decide what must and what must not occur."""
    flag = dict(zip(ATTRIBUTES, flags.tolist(), strict=True))
    skin = pigment(_between(rng, _SKINS, 6))
    hair = pigment(_one_of(rng, _HAIRS, 12), 200)
    painted, own = pigment(_one_of(rng, _LIPSTICKS, 12)), skin * np.array([0.84, 0.60, 0.60, 1.0]) + colour(8, 0, 4, 0)
    return Look(
        skin=skin,
        lips=painted if flag["makeup"] else mix(own, skin, rng.uniform(0, 0.25)),
        iris=pigment(_one_of(rng, _IRISES, 12)),
        # Brows follow the hair but always stand out from the skin, or nobody could annotate them.
        brow=pigment(np.minimum(hair[:3] * rng.uniform(0.7, 0.95), skin[:3] * 0.62)),
        hair=hair,
        cloth=pigment(muted(rng, 0.6), 150),
        covered=flag["occlusion"],
        light=_sample_light(rng, flag["illumination"]),
        quality=_sample_quality(rng, flag["blur"]),
        seed=int(rng.integers(2**31)),
    )


def _direction(x: float, y: float, z: float) -> np.ndarray:
    vector = np.array([x, y, z])
    return vector / np.linalg.norm(vector)


def _sample_light(rng: np.random.Generator, strong: bool) -> Light:
    """Strong light is one of: lamp from the side, nearly dark, over-exposed, steep fall-off with a colour cast."""
    tint = 1 + rng.uniform(-0.06, 0.06, 3)
    if not strong:
        direction = _direction(rng.uniform(-0.6, 0.6), rng.uniform(-0.7, 0.1), 1.0)
        return Light(direction, rng.uniform(0.55, 0.75), rng.uniform(0.3, 0.5), rng.uniform(0.85, 1.12), tint,
                     rng.uniform(-0.15, 0.15, 2))  # fmt: skip
    side = rng.choice([-1.0, 1.0])
    kind = rng.random()
    if kind < 0.35:
        direction = _direction(side * rng.uniform(1.4, 3.0), rng.uniform(-0.8, 0.4), rng.uniform(0.1, 0.9))
        return Light(direction, rng.uniform(0.16, 0.3), rng.uniform(0.8, 1.1), 1.0, tint, np.zeros(2))
    direction = _direction(side * rng.uniform(0, 0.8), rng.uniform(-0.7, 0.3), 1.0)
    if kind < 0.6:
        return Light(direction, 0.5, 0.5, rng.uniform(0.26, 0.45), tint, rng.uniform(-0.3, 0.3, 2))
    if kind < 0.8:
        return Light(direction, 0.7, 0.5, rng.uniform(1.6, 2.1), tint, rng.uniform(-0.2, 0.2, 2))
    cast = np.clip(1 + rng.uniform(-0.45, 0.35, 3), 0.55, 1.35)
    fall = np.array([side * rng.uniform(1.2, 2.0), rng.uniform(-0.8, 0.8)])
    return Light(direction, 0.6, 0.45, 0.95, cast, fall)


def _sample_quality(rng: np.random.Generator, blurred: bool) -> Quality:
    noise = rng.uniform(0, 5) if rng.random() < 0.7 else rng.uniform(5, 10)
    if not blurred:
        return Quality(rng.uniform(0, 0.003), np.zeros(2), 1, noise)
    kind = rng.random()
    if kind < 0.4:
        return Quality(rng.uniform(0.008, 0.016), np.zeros(2), 1, noise)
    if kind < 0.7:
        angle, length = rng.uniform(0, np.pi), rng.uniform(0.04, 0.075)
        return Quality(0.003, length * np.array([np.cos(angle), np.sin(angle)]), 1, noise)
    return Quality(0.002, np.zeros(2), int(rng.integers(3, 5)), noise)
