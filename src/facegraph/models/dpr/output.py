"""What DPR returns besides landmarks: the frames it cut the face into, and the points in them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from facegraph.structures import LandmarkOutput


@dataclass(frozen=True, eq=False, kw_only=True)
class ReinitOutput(LandmarkOutput):
    """Landmarks with every transform on the way to them; all float32, all in the graph unless the model detaches.

    Convention: frames are px with integers at pixel centres; a matrix maps px of its source to px of its target. "In
    units of a side" means that the translations of a matrix, or the coordinates of points, are divided by the side of
    the frame: matrix and unit coordinates then fit together, see `transforms.in_px`.

    Attributes:
        stage_landmarks: (B, 2, N, 2) crop px after the global and after the local stage; (B, 1, N, 2) for stages=gsr.
        crop_to_coarse: (3, 3) crop px -> px of the coarse frame, the same for all faces.
        reinit: (B, 2, 3) coarse frame -> normalised frame in units of the side: the six numbers that the net regresses.
        coarse_to_global: (B, 2, 3) the same in px: coarse px -> px of the global frame.
        crop_to_global: (B, 2, 3) crop px -> px of the global frame.
        global_points: (B, N, 2) of the global stage, px of the global frame.
        part_transforms: (B, P, 2, 3) px of the global frame -> px of a part's frame; None for stages=gsr.
        taught_transforms: the same numbers, without gradient to the points that the parts were framed by: what the
            local reinitialisation is taught with. None for stages=gsr, and where nothing of it can learn
            (SimilarityFit).
        part_points: P tensors (B, n_p, 2) px of the part's frame, in the order of `parts.parts_of(scheme)`; None for
            gsr.
        part_means: P tensors (n_p, 2) in units of the part's frame, the model's own; None for gsr.
        coarse_size, global_size, part_size: sides of the frames in px.
    """

    crop_to_coarse: Tensor
    reinit: Tensor
    coarse_to_global: Tensor
    crop_to_global: Tensor
    global_points: Tensor
    part_transforms: Tensor | None = None
    taught_transforms: Tensor | None = None
    part_points: tuple[Tensor, ...] | None = None
    part_means: tuple[Tensor, ...] | None = None
    coarse_size: int = 128
    global_size: int = 256
    part_size: int = 128
