"""The validation curve of a training from its csv logs, those of resumed parts included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from facegraph.files.plain_files import check_file

_VAL_NME = "val/nme"


def training_curve(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Validation NME by finished epoch, from <folder>/log*/metrics.csv in the order they were begun.

    An epoch that a resumed part trained again counts as that part saw it. Both arrays are empty where nothing was
    logged yet (or only to another logger).

    Returns:
        epochs (E,) int, 1 after the first; NME (E,) as fractions.
    """
    epochs: dict[int, float] = {}
    # "log" sorts before "log_from_<time>", and these by time
    for path in sorted(Path(folder).glob("log*/metrics.csv"), key=lambda p: p.parent.name):
        try:
            check_file(path)
            table = pd.read_csv(path)
        except (OSError, ValueError):  # empty where a part was ended before its first line
            continue
        if not {"epoch", _VAL_NME} <= set(table.columns):
            continue
        known = table[["epoch", _VAL_NME]].apply(pd.to_numeric, errors="coerce")
        known = known[np.isfinite(known).all(axis=1)]
        epochs |= {int(epoch) + 1: float(nme) for epoch, nme in known.itertuples(index=False)}
    order = sorted(epochs)
    return np.array(order, dtype=np.int64), np.array([epochs[e] for e in order], dtype=np.float64)
