"""Names under which loggers keep what a run is told beyond its curves."""

from __future__ import annotations

STEP = "trainer/global_step"  # the axis that Lightning logs to wandb by
PICTURES = "pictures"
FACES = "faces"
REPORT = "report"
OF_PROVENANCE = ("params", "macs", "latency_ms", "train_seconds", "test_seconds")
"""Fields of the provenance that a run's summary has under their own name."""


def score_name(measure: str, checkpoint: str, part: str | None = None) -> str:
    """test/<measure>/<checkpoint>, over all faces by the first normaliser; or over a part of them.

    Args:
        part: a subset or another normaliser.
    """
    return f"test/{measure}/{checkpoint}" + (f"/{part}" if part else "")
