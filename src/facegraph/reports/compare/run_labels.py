"""What to call a run folder in a figure: rows of a sweep by their label, since their folders are named by a hash."""

from __future__ import annotations

from pathlib import Path

from facegraph.errors import FacegraphError
from facegraph.sweeps.manifest import JOBS_FOLDER, is_sweep, read_sweep
from facegraph.sweeps.status import EVALUATIONS


def run_label(folder: Path) -> str:
    """Name of a run, or of a folder of its eval/: 'k = 3, seed 0, occlusion_30' or 'fc_300w, cofw68_last'."""
    folder = Path(folder).resolve()
    parts = folder.parts
    if EVALUATIONS not in parts[1:]:
        return _of_run(folder)
    place = len(parts) - 1 - parts[::-1].index(EVALUATIONS)
    return ", ".join(filter(None, (_of_run(Path(*parts[:place])), "/".join(parts[place + 1 :]))))


def run_of(folder: Path) -> Path:
    """The run folder that a folder of its eval/ belongs to; other folders as they are."""
    folder = Path(folder).resolve()
    above = [parent.parent for parent in folder.parents if parent.name == EVALUATIONS]
    return next((run for run in above if (run / "config.yaml").is_file()), folder)


def _of_run(folder: Path) -> str:
    sweep = folder.parent.parent
    if folder.parent.name != JOBS_FOLDER or not is_sweep(sweep):
        return folder.name
    try:
        for swept in read_sweep(sweep):
            for job in swept.jobs:
                if job.identity == folder.name:
                    return f"{swept.table.row(job.row).label}, seed {job.seed}"
    except FacegraphError:
        pass  # a damaged table must not keep a finished run from being looked at
    return folder.name


def labels_of(first: Path, second: Path) -> tuple[str, str]:
    """Two different names for two folders."""
    a, b = run_label(first), run_label(second)
    if a != b:
        return a, b
    a, b = (f"{Path(f).resolve().parent.name}/{name}" for f, name in ((first, a), (second, b)))
    return (a, b) if a != b else (f"A: {a}", f"B: {b}")
