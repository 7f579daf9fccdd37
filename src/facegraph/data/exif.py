"""Were landmarks marked on pictures as stored, or on pictures turned upright by their EXIF orientation?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from facegraph.data.images import UPRIGHT, ImageHeader
from facegraph.errors import DataError

IGNORE, APPLY = "ignore", "apply"
"""Words of the user: pictures as stored, or turned upright as their EXIF orientation says."""
_NAMED = 3

SIZE_ADVICE = (
    "Bring the picture back that was marked, give landmarks and size in px of this one, or delete a size that is wrong."
)

Size = tuple[float, float]
"""Width and height, px."""


class MarkedFace(NamedTuple):
    """A face and its image file.

    Attributes:
        image: its name.
        header: of the file.
        marked_size: of the picture that was marked, as the annotation states it; None where it does not.
        landmarks: (N, 2) px as marked.
    """

    image: str
    header: ImageHeader
    marked_size: Size | None
    landmarks: np.ndarray

    @property
    def turned(self) -> bool:
        return self.header.orientation != UPRIGHT

    def stated(self) -> bool | None:
        """Whether the stated size is that of the upright picture alone; None where it fits both or neither."""
        fits = [self.marked_size == self.header.size(upright) for upright in (False, True)]
        return None if fits[0] == fits[1] else fits[1]

    def reached(self) -> bool | None:
        """Whether the landmarks lie within the upright picture alone; None where they do in both or neither."""
        points = self.landmarks[np.isfinite(self.landmarks).all(axis=1)]
        fits = [bool(((points >= -1) & (points <= self.header.size(upright))).all()) for upright in (False, True)]
        return None if fits[0] == fits[1] else fits[1]


def decide_upright(faces: Sequence[MarkedFace], where: str, option: str) -> bool:
    """Whether images must be turned upright for the landmarks to lie on the faces.

    Nothing is to be decided where no image asks for a turn. Otherwise the sizes that the annotations state decide it if
    they do so for every such image: a quarter turn exchanges width and height.

    Args:
        faces: all faces of a data set whose image can be read.
        where: names the annotations, for the message.
        option: what the user writes before "ignore" or "apply".

    Raises:
        DataError: sizes do not decide it.
    """
    turned = [face for face in faces if face.turned]
    stated = [face.stated() for face in turned]
    if not turned or all(said is False for said in stated):
        return False
    if all(said is True for said in stated):
        return True
    names = list(dict.fromkeys(face.image for face in turned))
    shown = ", ".join(f"'{name}'" for name in names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    raise DataError(
        f"{where}: {len(names)} of {len({face.image for face in faces})} images ask to be shown turned (EXIF "
        f"orientation: {shown}), and nothing says for all of them whether their landmarks are px of the picture as "
        f"stored or of the upright one.{_evidence(turned, stated)} Give {option}{APPLY} if they were marked on upright "
        f"pictures, as viewers and most annotation tools show them, or {option}{IGNORE} if on pictures as stored."
    )


def _evidence(turned: Sequence[MarkedFace], stated: Sequence[bool | None]) -> str:
    reached = [face.reached() for face in turned]
    said = [
        f"{what} only the {kind} picture for {count} face(s)"
        for what, found in (("width and height fit", stated), ("landmarks lie within", reached))
        for kind, count in (("upright", found.count(True)), ("stored", found.count(False)))
        if count
    ]
    if not said:
        return ""
    text = "; ".join(said)
    return f" {text[0].upper()}{text[1:]} (of {len(turned)})."


def check_some_fit(faces: Sequence[MarkedFace], upright: bool, where: str) -> None:
    """Raise before a picture is read if no face is on a picture of the size that its annotation states.

    Raises:
        DataError: none is.
    """
    faults = [(face, size_fault(face.marked_size, face.header.size(upright))) for face in faces]
    if faults and all(fault is not None for _, fault in faults):
        face, fault = faults[0]
        raise DataError(
            f"{where}: none of {len(faces)} faces is on a picture of the size that its annotation states; of image "
            f"'{face.image}', {fault}. {SIZE_ADVICE}"
        )


def size_fault(marked_size: Size | None, size: Size) -> str | None:
    """How the picture that was marked differs from the one that is there, in words; None if it does not.

    Args:
        marked_size: as the annotation states it; None where it does not.
        size: of the picture as it is read.
    """
    if marked_size is None or marked_size == size:
        return None
    text = (
        f"it has {size[0]:g} x {size[1]:g} px, but the annotation was made on {marked_size[0]:g} x {marked_size[1]:g}"
    )
    if marked_size == size[::-1]:
        return f"{text}: one was turned, by EXIF or after it was marked, or the two numbers are exchanged"
    factor = max(size) / max(marked_size)
    if all(abs(side - factor * marked) <= 1 for side, marked in zip(size, marked_size, strict=True)):
        return f"{text}: it was resized by {factor:.4g} after it was marked"
    return f"{text}: it was cut after it was marked, or is another picture"
