"""Every measure of a set of faces as the mean of one number per face, which is what resampling faces needs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from facegraph.errors import ConfigError
from facegraph.metrics.names import NME, auc_name, failure_rate_name

FAILURE_RATE, AUC = failure_rate_name(1.0).split("@")[0], auc_name(1.0).split("@")[0]


def face_scores(metric: str, errors: np.ndarray) -> np.ndarray:
    """(M,) numbers whose mean is the metric of per-face errors (M,): `nme`, `fr@<t>` or `auc@<t>`, t a fraction.

    NME: the error. FR: 1 where the error is above t or NaN. AUC: max(0, 1 - e/t), 0 where the error is NaN. Their
    means equal mean_error, failure_rate and auc of facegraph.metrics.functional.

    Raises:
        ConfigError: another metric, or a threshold that is not above zero.
    """
    if metric == NME:
        return errors
    kind, threshold = split_metric(metric)
    return _SCORES[kind](errors, threshold)


def split_metric(metric: str) -> tuple[str, float]:
    """Kind and threshold of `fr@<t>` or `auc@<t>`.

    >>> split_metric("fr@0.10")
    ('fr', 0.1)

    Raises:
        ConfigError: another metric, or a threshold that is not above zero.
    """
    kind, _, text = metric.partition("@")
    try:
        threshold = float(text)
    except ValueError:
        threshold = float("nan")
    if kind not in _SCORES or not 0 < threshold < float("inf"):
        raise ConfigError(
            f"metric '{metric}' is unknown; name {NME}, {FAILURE_RATE}@<t> or {AUC}@<t> with t a fraction above zero "
            f"of the normaliser, such as {FAILURE_RATE}@0.10."
        )
    return kind, threshold


def _failed(errors: np.ndarray, threshold: float) -> np.ndarray:
    return (~(errors <= threshold)).astype(np.float64)


def _area(errors: np.ndarray, threshold: float) -> np.ndarray:
    return np.where(errors < threshold, 1 - errors / threshold, 0.0)


_SCORES: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {FAILURE_RATE: _failed, AUC: _area}
