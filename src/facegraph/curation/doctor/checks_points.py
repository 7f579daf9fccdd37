"""Are the landmarks and boxes where landmarks and boxes can be?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import ERROR, INFO, WARNING, Finding, Level
from facegraph.data.faults import without_marked

OUTSIDE_PHOTO, OUTSIDE_BOX, OUTSIDE_CROP = "outside photograph", "outside box", "outside crop"
MISSING = "missing landmarks"
EYES, TWICE, SMALL, UPSAMPLED, BOXES = "eyes", "annotated twice", "small faces", "upsampled", "boxes"
BOX_MARGIN = 0.25
"""Share of the official box's side by which a landmark may leave it."""
SMALLEST_EYE_DISTANCE = 4.0
SMALLEST_SIDE = 32.0
LARGEST_SCALE = 2.0
_ROUNDING = 1e-3  # px of the crop; at scale 1 the outermost landmarks lie on its very edge


def outside(examination: Examination) -> list[Finding]:
    """Landmarks outside the photograph, the official box and the stored crop; measured: how many of a face."""
    frame, landmarks = examination.frame, examination.store.landmarks
    size = frame[["width", "height"]].to_numpy(dtype=np.float64)[:, None]
    boxes = examination.store.boxes[:, None]
    slack = BOX_MARGIN * (boxes[..., 2:] - boxes[..., :2])
    scale = frame["scale"].to_numpy(dtype=np.float64)[:, None, None]
    shift = frame[["shift_x", "shift_y"]].to_numpy(dtype=np.float64)[:, None]
    stored, side = landmarks * scale + shift, examination.store.info.crop.side
    return [
        *_outside(
            examination,
            OUTSIDE_PHOTO,
            _leaves(landmarks, -0.5, size - 0.5),
            "outside the photograph. Some sets annotate so on purpose (WFLW does); training sees padding there.",
        ),
        *_outside(
            examination,
            OUTSIDE_BOX,
            _leaves(landmarks, boxes[..., :2] - slack, boxes[..., 2:] + slack),
            f"outside the official box by more than {BOX_MARGIN:.0%} of its side. Look at some: with box=official "
            "these faces are cut off, or the box belongs to another face.",
        ),
        *_outside(
            examination,
            OUTSIDE_CROP,
            _leaves(stored, -0.5 - _ROUNDING, side - 0.5 + _ROUNDING),
            "outside the stored crop, which is cut out around them: the scale or shift of these faces is wrong. "
            "Prepare the set again.",
            ERROR,
        ),
    ]


def _leaves(points: np.ndarray, low: np.ndarray | float, high: np.ndarray | float) -> np.ndarray:
    """(M, N) bool; a limit that is NaN is no limit."""
    return np.asarray(((points < low) | (points > high)).any(axis=-1))


def _outside(
    examination: Examination, check: str, leaves: np.ndarray, advice: str, level: Level = WARNING
) -> list[Finding]:
    per_face = leaves.sum(axis=-1)
    rows = np.argsort(-per_face, kind="stable")[: int((per_face > 0).sum())]
    if not len(rows):
        return []
    share = leaves.mean()
    message = f"{int(leaves.sum()):,} landmarks ({share:.2%}) on {len(rows):,} of {len(leaves):,} faces lie "
    values = {"landmarks": int(leaves.sum()), "share": round(float(share), 6), "faces": len(rows)}
    return [examination.finding(level, check, message + advice, rows, per_face[rows], values)]


def missing(examination: Examination) -> list[Finding]:
    """Faces that lack landmarks, and those that hold the marks of missing ones as if they were px; measured: how many.

    A store has such marks if it was written by hand, or before they were known.
    """
    landmarks = examination.store.landmarks
    nowhere = np.isnan(landmarks).all(axis=-1)
    kinds: tuple[tuple[Level, np.ndarray, str], ...] = (
        (INFO, nowhere, "lack landmarks; training and scores count the others of these faces (--missing mask)"),
        (
            ERROR,
            ~nowhere & np.isnan(without_marked(landmarks)).all(axis=-1),
            "have landmarks at (0, 0) or (-1, -1), which mark missing ones, as if they were px. Prepare the set again",
        ),
    )
    findings = []
    for level, points, what in kinds:
        per_face = points.sum(axis=-1)
        rows = np.flatnonzero(per_face)
        if len(rows):
            message = f"{len(rows):,} of {len(landmarks):,} faces {what}."
            values = {"landmarks": int(per_face.sum())}
            findings.append(examination.finding(level, MISSING, message, rows, per_face[rows], values))
    return findings


def eyes(examination: Examination) -> list[Finding]:
    """Faces whose norm distance is so small that any error is a large one; measured: px of the photograph."""
    scheme, name = examination.store.info.scheme, examination.normaliser
    if not name:
        return []
    findings = []
    distance = scheme.distance(name, examination.store.landmarks)
    kinds: tuple[tuple[Level, np.ndarray, str], ...] = (
        (ERROR, distance <= 1e-6, "of 0 px: their error is infinite. Correct or remove them"),
        (
            WARNING,
            (distance > 1e-6) & (distance < SMALLEST_EYE_DISTANCE),
            f"under {SMALLEST_EYE_DISTANCE:g} px: one px is at least {1 / SMALLEST_EYE_DISTANCE:.0%} of it. Report a "
            "score of another normaliser beside it",
        ),
    )
    for level, chosen, what in kinds:
        rows = np.flatnonzero(chosen)
        if len(rows):
            rows = rows[np.argsort(distance[rows], kind="stable")]
            message = f"{len(rows):,} of {len(distance):,} faces have a distance '{name}' {what}."
            findings.append(examination.finding(level, EYES, message, rows, distance[rows], {"normaliser": name}))
    distance = distance[np.isfinite(distance)]
    if not findings and len(distance):
        low, middle = float(distance.min()), float(np.median(distance))
        message = f"distance '{name}': smallest {low:.1f} px, median {middle:.1f} px"
        findings.append(Finding(INFO, EYES, message, values={"smallest": low, "median": middle}))
    return findings


def annotated_twice(examination: Examination) -> list[Finding]:
    """Faces with the same landmarks, to a thousandth of a px, as another one."""
    flat = np.round(examination.store.landmarks.reshape(len(examination.ids), -1), 3) + 0.0  # -0.0 is 0.0
    keys = pd.Series([row.tobytes() for row in flat])
    photos = examination.frame["photo"].to_numpy(dtype=object)
    groups = [rows for rows in keys.groupby(keys, sort=False).indices.values() if len(rows) > 1]
    findings = []
    for what, chosen in (
        ("on different photographs: one was copied to the other", [g for g in groups if len(set(photos[g])) > 1]),
        ("on one photograph: a face is listed twice", [g for g in groups if len(set(photos[g])) == 1]),
    ):
        if chosen:
            rows = np.concatenate(chosen)
            message = f"{len(rows):,} of {len(flat):,} faces have exactly the landmarks of another one {what}."
            findings.append(examination.finding(WARNING, TWICE, message, rows, None, {"groups": len(chosen)}))
    return findings


def sizes(examination: Examination) -> list[Finding]:
    """Faces with few pixels and crops that were magnified to the side of the store."""
    boxes = np.where(np.isfinite(examination.store.boxes), examination.store.boxes, examination.landmark_boxes)
    side = (boxes[:, 2:] - boxes[:, :2]).max(axis=-1)
    scale = examination.frame["scale"].to_numpy(dtype=np.float64)
    small, magnified = np.flatnonzero(side < SMALLEST_SIDE), np.flatnonzero(scale > LARGEST_SCALE)
    findings = []
    if len(small):
        small = small[np.argsort(side[small], kind="stable")]
        message = f"{len(small):,} of {len(side):,} faces have a box under {SMALLEST_SIDE:g} px. Look at them."
        findings.append(examination.finding(WARNING, SMALL, message, small, side[small]))
    if len(magnified):
        magnified = magnified[np.argsort(-scale[magnified], kind="stable")]
        message = (
            f"{len(magnified):,} of {len(scale):,} crops are magnified more than {LARGEST_SCALE:g} times, at most "
            f"{scale.max():.1f} times; they hold less than their {examination.store.info.crop.side} px promise"
        )
        findings.append(examination.finding(INFO, UPSAMPLED, message, magnified, scale[magnified]))
    return findings


def box_statistics(examination: Examination) -> list[Finding]:
    """What the official box is, in terms of the landmark box."""
    official, tight = examination.store.boxes, examination.landmark_boxes
    given = np.isfinite(official).all(axis=-1) & examination.usable
    findings = []
    without = int((~np.isfinite(official).all(axis=-1)).sum())
    if without:
        message = f"{without:,} of {len(given):,} faces have no official box; box=landmarks serves them"
        findings.append(Finding(INFO, BOXES, message, values={"without": without}))
    if not given.any():
        return findings
    side, tight_side = official[given, 2:] - official[given, :2], tight[given, 2:] - tight[given, :2]
    tight_side = np.maximum(tight_side, 1e-6)
    ratio = np.median(side / tight_side, axis=0)
    offset = (official[given, :2] + official[given, 2:] - tight[given, :2] - tight[given, 2:]) / 2 / tight_side
    middle = np.median(offset, axis=0)
    values = {
        "width_ratio": float(ratio[0]),
        "height_ratio": float(ratio[1]),
        "offset_x": float(middle[0]),
        "offset_y": float(middle[1]),
        "offset_spread_x": float(np.median(np.abs(offset[:, 0] - middle[0]))),
        "offset_spread_y": float(np.median(np.abs(offset[:, 1] - middle[1]))),
    }
    values = {name: round(value, 4) for name, value in values.items()}
    is_tight = np.abs(official[given] - tight[given]).max(axis=-1) <= 0.01 * tight_side.max(axis=-1) + 1
    share = f"{is_tight.mean():.0%} of the faces"
    meaning = f"; it is the landmark box, to 1 % of its side and 1 px, for {share}" if is_tight.any() else ""
    message = (
        f"official box over landmark box, medians: width x {ratio[0]:.2f}, height x {ratio[1]:.2f}, centre moved by "
        f"{middle[0]:+.2f} of the width and {middle[1]:+.2f} of the height{meaning}"
    )
    return [*findings, Finding(INFO, BOXES, message, values=values)]
