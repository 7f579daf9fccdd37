"""The report of an examination: one JSON object, one row per face and finding, pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd

from facegraph import __version__
from facegraph.curation.doctor.examination import Examination
from facegraph.curation.doctor.findings import Finding, count_levels
from facegraph.curation.doctor.pictures import draw_findings
from facegraph.errors import ConfigError
from facegraph.files import plain_json
from facegraph.files.plain_csv import to_csv

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


def write_report(examination: Examination, findings: Sequence[Finding], folder: Path) -> None:
    """Write report.json, findings.csv and pictures into an empty folder."""
    pictures = draw_findings(examination, findings, folder)
    (folder / FACES).write_text(to_csv(per_face(examination, findings)), encoding="utf-8", newline="")
    content = {**to_dict(examination, findings), "pictures": pictures}
    (folder / REPORT).write_text(plain_json.dump(content), encoding="utf-8")


def new_folder(wanted: Path) -> Path:
    """Make the folder `wanted`, or where that is taken by a file or a folder that is not empty, wanted_2, wanted_3, ...

    Raises:
        ConfigError: no folder can be made there.
    """
    wanted = wanted if wanted.name.strip(".") else wanted.resolve()
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if folder.is_dir() and not any(folder.iterdir()):
                return folder
        except OSError as error:
            raise ConfigError(f"the folder {folder} cannot be made: {error.strerror}. Give another --out.") from error
    raise AssertionError("unreachable")
