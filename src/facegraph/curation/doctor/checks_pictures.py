"""Does one picture occur twice, and does a split know another one's pictures?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import ERROR, INFO, WARNING, Finding, Level, some

SAME_PHOTO, IDENTICAL, SIMILAR = "same photograph", "identical crops", "near-duplicates"
MOST_PAIRS = 1000
"""Pairs that a finding lists; the others are only counted."""


def photographs(examination: Examination) -> list[Finding]:
    """One photograph in several splits, by the columns photo and image."""
    findings: list[Finding] = []
    told: dict[Level, set[str]] = {ERROR: set(), WARNING: set()}
    for column in ("photo", "image"):
        names = examination.frame[column].to_numpy(dtype=object)
        table = pd.DataFrame({"name": names, "split": examination.splits, "train": examination.in_train})
        shared = table.groupby("name", sort=False).agg({"split": "nunique", "train": "nunique"})
        for level, chosen in ((ERROR, shared["train"] > 1), (WARNING, (shared["train"] == 1) & (shared["split"] > 1))):
            photos = list(shared.index[chosen])
            finding = _shared_photographs(examination, level, column, names, photos)
            if photos and not told[level].issuperset(finding.ids):  # mostly both columns say the same
                findings.append(finding)
        for finding in findings:
            told[WARNING].update(finding.ids)
            told[finding.level].update(finding.ids)
    return findings or [Finding(INFO, SAME_PHOTO, "no photograph is in two splits")]


def _shared_photographs(
    examination: Examination, level: Level, column: str, names: np.ndarray, photos: list[str]
) -> Finding:
    rows = np.flatnonzero(pd.Series(names).isin(photos))  # np.isin compares object arrays one by one
    rows = rows[np.argsort(names[rows], kind="stable")]
    sides = "train and another split" if level == ERROR else "two splits that are scored"
    message = (
        f"{len(photos)} photographs ({some(photos, 3)}) with {len(rows)} faces are in {sides}, by column {column}. "
        + ("A score on them is no test: keep all faces of a photograph in one split." if level == ERROR else "")
    ).strip()
    return examination.finding(level, SAME_PHOTO, message, rows, values={"photographs": photos})


def identical(examination: Examination) -> list[Finding]:
    """Faces whose stored crops have the same pixels."""
    prints, in_train = examination.prints, examination.in_train
    groups: dict[bytes, list[int]] = {}
    for row in np.setdiff1d(np.arange(len(examination.ids)), list(prints.damaged)):
        groups.setdefault(prints.digests[row].tobytes(), []).append(int(row))
    pairs = []
    for rows in groups.values():
        for row in rows[1:]:
            # a partner on the other side of the split shows the leak, where there is one
            partner = next((other for other in rows if in_train[other] != in_train[row]), rows[0])
            pairs.append(sorted((row, partner)))
    return _by_side(examination, IDENTICAL, np.array(pairs, dtype=np.int64).reshape(-1, 2), None)


def similar(examination: Examination) -> list[Finding]:
    """Faces that look alike but are not identical; the measured number is the correlation of the grey pictures."""
    pairs, digests = examination.pairs, examination.prints.digests
    other = ~(digests[pairs.first] == digests[pairs.second]).all(axis=-1)
    both = np.stack([pairs.first, pairs.second], axis=-1)[other]
    return _by_side(examination, SIMILAR, both, pairs.correlation[other])


_LEAK = {
    IDENTICAL: "Remove one of each pair from the split that trains.",
    SIMILAR: "Look at the picture of the pairs; if they are the same pictures, the score is that of a leak.",
}
_SCORED = {
    IDENTICAL: "Nothing leaks into training, but these splits are scored on the same faces.",
    SIMILAR: "Look at the picture of the pairs; nothing leaks into training, but a face may be scored twice.",
}


def _by_side(examination: Examination, check: str, pairs: np.ndarray, alike: np.ndarray | None) -> list[Finding]:
    """One finding per kind of pair.

    Args:
        pairs: (P, 2) rows, the most alike first.
        alike: (P,) correlations.
    """
    first, second = examination.in_train[pairs].T if len(pairs) else (np.zeros(0, bool), np.zeros(0, bool))
    splits = examination.splits[pairs] if len(pairs) else np.empty((0, 2), object)
    same = splits[:, 0] == splits[:, 1]
    leak_level = ERROR if check == IDENTICAL else WARNING
    kinds: Iterable[tuple[Level, str, np.ndarray, str]] = (
        (leak_level, "between train and another split", first != second, _LEAK[check]),
        (WARNING, "between splits that are scored", (first == second) & ~same, _SCORED[check]),
        (INFO, "within a split", same, ""),
    )
    findings = []
    for level, where, chosen, advice in kinds:
        if not chosen.any():
            continue
        listed = pairs[chosen][:MOST_PAIRS]
        message = f"{int(chosen.sum()):,} pairs {where}"
        if level != INFO:
            message += f": {some((' = '.join(examination.names(pair)) for pair in listed), 3)}. {advice}"
        measured = None if alike is None else np.repeat(alike[chosen][:MOST_PAIRS], 2)
        values = {"pairs": int(chosen.sum()), "listed": len(listed), "where": where}
        findings.append(examination.finding(level, check, message, listed.ravel(), measured, values))
    return findings or [Finding(INFO, check, "none found")]
