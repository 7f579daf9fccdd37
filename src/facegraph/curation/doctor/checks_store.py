"""Is the store whole, and does it hold what its publisher counts?"""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import ERROR, INFO, WARNING, Finding, Level, some
from facegraph.data.faults import MASK
from facegraph.data.store.layout import ALL, EXIF_APPLIED
from facegraph.data.store.photograph import ROTATED
from facegraph.landmarks import BOX

COUNTS, ATTRIBUTES, STORE, PROBLEMS = "counts", "attributes", "store", "problems"


def counts(examination: Examination) -> list[Finding]:
    """Faces per split beside the official number."""
    info = examination.store.info
    found = {str(name): int(n) for name, n in pd.Series(examination.splits).value_counts().items()}
    official = {name: n for name, n in info.official_counts.items() if "/" not in name}
    if ALL in official:
        found[ALL] = len(examination.splits)
    findings = []
    for split in dict.fromkeys([*official, *found]):
        have, expected = found.get(split, 0), official.get(split)
        level, message = _compare("all splits" if split == ALL else f"split '{split}'", have, expected)
        findings.append(Finding(level, COUNTS, message, values={"split": split, "found": have, "official": expected}))
    if not found:
        findings.append(Finding(ERROR, COUNTS, "the store has no faces. Prepare the set from a source that has some."))
    return findings


def attributes(examination: Examination) -> list[Finding]:
    """Faces per split and attribute beside the official number; missing faces were counted above, so these are info."""
    info = examination.store.info
    official = {name: n for name, n in info.official_counts.items() if "/" in name}
    found: dict[str, int] = {}
    for split in dict.fromkeys(examination.splits):
        sums = examination.store.attributes[examination.splits == split].sum(axis=0)
        found |= {f"{split}/{name}": int(n) for name, n in zip(info.attributes, sums, strict=True)}
    names = [name for name in dict.fromkeys([*official, *found]) if name in official or found[name]]
    findings = []
    for name in names:
        have, expected = found.get(name, 0), official.get(name)
        level, message = _compare(f"'{name}'", have, expected)
        values = {"name": name, "found": have, "official": expected}
        if level == WARNING:
            level, message = INFO, f"'{name}': {have:,} of {expected:,} official faces"
        findings.append(Finding(level, ATTRIBUTES, message, values=values))
    return findings


def _compare(what: str, have: int, expected: int | None) -> tuple[Level, str]:
    if expected is None:
        return INFO, f"{what}: {have:,} faces; no official number"
    if have == expected:
        return INFO, f"{what}: {have:,} faces, all of the official ones"
    if have < expected:
        return WARNING, (
            f"{what}: {have:,} of {expected:,} official faces. Scores are those of a part and compare with no "
            "published one; get the missing files and prepare the set again."
        )
    return ERROR, f"{what}: {have:,} faces, but officially there are {expected:,}. The source holds something else too."


def consistency(examination: Examination) -> list[Finding]:
    """Content hash, repeated ids, crops that cannot be read, numbers that are none or do not fit each other."""
    findings = [*_content_hash(examination), *_repeated_ids(examination), *_damaged(examination)]
    findings += [*_not_finite(examination)]
    findings += [*_stale_distances(examination), *_stale_counts(examination)]
    if not findings:
        info = examination.store.info
        checked = "content hash not checked (--quick)" if examination.quick else f"hash {info.content_hash[:12]} holds"
        crop = info.crop
        message = f"format {info.format_version}, {checked}; {crop.side} px {crop.image_format} crops, {crop.scale:g} x"
        findings.append(Finding(INFO, STORE, message))
    return findings


def _content_hash(examination: Examination) -> list[Finding]:
    if examination.quick:
        return []
    stated, actual = examination.store.info.content_hash, examination.content_hash
    if stated == actual:
        return []
    message = (
        f"content hash is {actual[:12]}, store.json says {stated[:12]}: annotations or images were changed or damaged "
        "after they were written. Prepare the set again."
    )
    return [Finding(ERROR, STORE, message, values={"actual": actual, "stated": stated})]


def _repeated_ids(examination: Examination) -> list[Finding]:
    repeated = sorted(str(name) for name, n in Counter(examination.ids).items() if n > 1)
    if not repeated:
        return []
    message = f"{len(repeated)} ids occur more than once ({some(repeated)}); each face needs its own. Report this."
    return [Finding(ERROR, STORE, message, tuple(repeated))]


def _damaged(examination: Examination) -> list[Finding]:
    damaged = examination.prints.damaged
    if not damaged:
        return []
    first = damaged[min(damaged)]
    rows = np.array(sorted(damaged))
    return [examination.finding(ERROR, STORE, f"{len(damaged)} crops cannot be read; the first: {first}", rows)]


def _not_finite(examination: Examination) -> list[Finding]:
    landmarks, frame = examination.store.landmarks, examination.frame
    sizes = frame[["width", "height", "scale", "shift_x", "shift_y"]].to_numpy(dtype=np.float64)
    there = np.isfinite(landmarks).all(axis=2)
    if examination.store.info.missing == MASK:
        there |= np.isnan(landmarks).all(axis=2)
    findings = []
    for what, finite in (
        ("landmarks that are not finite", there.all(axis=1)),
        ("a size, scale or shift that is not finite", np.isfinite(sizes).all(axis=1)),
    ):
        rows = np.flatnonzero(~finite)
        if len(rows):
            named = some(examination.names(rows), 3)
            message = f"{len(rows):,} of {len(finite):,} faces have {what} ({named}). Prepare the set again."
            findings.append(examination.finding(ERROR, STORE, message, rows))
    return findings


def _stale_distances(examination: Examination) -> list[Finding]:
    scheme, frame = examination.store.info.scheme, examination.frame
    usable = examination.usable
    sides = examination.landmark_boxes[:, 2:] - examination.landmark_boxes[:, :2]
    expected = {f"norm_{name}": scheme.distance(name, examination.store.landmarks) for name in scheme.normalisers}
    expected[f"norm_{BOX}"] = np.sqrt(sides.prod(axis=-1))
    wrong = np.zeros(len(frame), dtype=bool)
    for column, values in expected.items():
        stored = frame[column].to_numpy(dtype=np.float64) if column in frame else np.full(len(frame), np.nan)
        wrong |= ~np.isclose(stored, values, rtol=1e-6, atol=1e-6) & usable
    if not wrong.any():
        return []
    message = (
        f"norm distances of {int(wrong.sum()):,} of {len(frame):,} faces do not fit their landmarks. Prepare again."
    )
    return [examination.finding(ERROR, STORE, message, np.flatnonzero(wrong))]


def _stale_counts(examination: Examination) -> list[Finding]:
    counts = examination.store.info.counts
    stated = {name: n for name, n in counts.items() if "/" not in name and name != ALL and n}
    found = {str(name): int(n) for name, n in Counter(examination.splits).items()}
    if stated == found:
        return []
    message = f"store.json counts {stated}, annotations.parquet has {found}. Prepare the set again."
    return [Finding(ERROR, STORE, message, values={"stated": stated, "found": found})]


def problems(examination: Examination) -> list[Finding]:
    """What prepare could not use, and how unusual the photographs are that it read."""
    info = examination.store.info
    kinds = Counter((str(p.get("kind", "")), str(p.get("split", ""))) for p in info.problems)
    findings = []
    for (kind, split), count in sorted(kinds.items()):
        named = [p for p in info.problems if (p.get("kind", ""), p.get("split", "")) == (kind, split)]
        where = f" of '{split}'" if split else ""
        message = f"prepare recorded {count:,} x {kind}{where}: {some((p.get('name', '') for p in named), 3)}"
        values = {"kind": kind, "split": split, "count": count, "names": [str(p.get("name", "")) for p in named]}
        findings.append(Finding(INFO, PROBLEMS, message, values=values))
    traits = {name: int(n) for name, n in info.photographs.items() if n}
    if traits:
        listed = ", ".join(f"{name} {n:,}" for name, n in traits.items())
        told = "turned upright" if info.crop.exif == EXIF_APPLIED else "as stored"
        exif = f"; landmarks are taken as px of the photographs {told}" if traits.get(ROTATED) else ""
        findings.append(Finding(INFO, PROBLEMS, f"photographs: {listed}{exif}", values=traits))
    return findings
