"""The report of an examination: one JSON object, one row per face and finding, pictures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from facegraph import __version__
from facegraph.doctor.examination import Examination
from facegraph.doctor.findings import Finding, count_levels
from facegraph.doctor.pictures import draw_findings

REPORT, FACES = "report.json", "findings.csv"


def to_dict(examination: Examination, findings: Sequence[Finding]) -> dict[str, Any]:
    """The report as plain values: what was examined, counts per level, all findings."""
    info = examination.store.info
    return {
        "store": str(examination.store.path),
        "dataset": info.dataset,
        "version": info.version,
        "scheme": info.scheme.name,
        "faces": len(examination.store),
        "content_hash": info.content_hash,
        "facegraph": __version__,
        "counts": count_levels(findings),
        "findings": [finding.to_dict() for finding in findings],
    }


def per_face(examination: Examination, findings: Sequence[Finding]) -> pd.DataFrame:
    """A row per face and finding: id, split, level, check, measured (NaN where nothing is), source."""
    frame = examination.frame
    known = {str(i): (s, w) for i, s, w in zip(frame["id"], frame["split"], frame["source"], strict=True)}
    rows = [
        {
            "id": name,
            "split": known[name][0],
            "level": finding.level,
            "check": finding.check,
            "measured": finding.measured[k] if finding.measured else float("nan"),
            "source": known[name][1],
        }
        for finding in findings
        for k, name in enumerate(finding.ids)
    ]
    return pd.DataFrame(rows, columns=["id", "split", "level", "check", "measured", "source"])


def write_report(examination: Examination, findings: Sequence[Finding], wanted: Path) -> Path:
    """Write report.json, findings.csv and pictures into a folder of their own; returns it.

    The folder is `wanted` where that is new or empty, else wanted_2, wanted_3, ...: nothing is overwritten.
    """
    folder = _new_folder(wanted)
    pictures = draw_findings(examination, findings, folder)
    per_face(examination, findings).to_csv(folder / FACES, index=False)
    content = {**to_dict(examination, findings), "pictures": pictures}
    (folder / REPORT).write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    return folder


def _new_folder(wanted: Path) -> Path:
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
    raise AssertionError("unreachable")
