"""Names of the measures as logs, result.json and tables print them. Written once, here."""

from __future__ import annotations

NME = "nme"
CONFIDENCE = "confidence"
SAID = (CONFIDENCE, "predicted_error", "iterations", "failed")
"""What a model may say of its own prediction: fields of LandmarkOutput, columns of predictions.parquet."""
RANK_CORRELATION = "rank_correlation"
RETENTION_SCORE = "retention_score"
MEAN_ITERATIONS = "mean_iterations"
FAILURE_AUROC = "failure_auroc"
REPORTED_FAILURES = "reported_failures"


def failure_rate_name(threshold: float) -> str:
    """Name of the failure rate at a threshold (fraction of the normaliser).

    >>> failure_rate_name(0.1)
    'fr@0.10'
    """
    return f"fr@{_threshold_text(threshold)}"


def auc_name(threshold: float) -> str:
    """Name of the area under the error curve up to a threshold (fraction of the normaliser).

    >>> auc_name(0.075)
    'auc@0.075'
    """
    return f"auc@{_threshold_text(threshold)}"


def failure_auroc_name(threshold: float) -> str:
    """Name of how well confidence finds failures at a threshold (fraction of the normaliser).

    >>> failure_auroc_name(0.1)
    'failure_auroc@0.10'
    """
    return f"{FAILURE_AUROC}@{_threshold_text(threshold)}"


def _threshold_text(threshold: float) -> str:
    # two decimals where they are exact, all of them otherwise, so that two thresholds never share a name
    short = f"{threshold:.2f}"
    return short if float(short) == threshold else repr(float(threshold))
