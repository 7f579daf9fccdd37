"""Tables as csv for spreadsheets, which run a cell that begins like a formula."""

from __future__ import annotations

import pandas as pd

from facegraph.files.plain_text import as_cell


def to_csv(frame: pd.DataFrame) -> str:
    """A csv without the index; texts, names of columns too, as `as_cell` has them. Numbers stay as they are."""
    shown = frame.rename(columns=lambda name: as_cell(str(name)))
    texts = [i for i, dtype in enumerate(shown.dtypes) if not pd.api.types.is_numeric_dtype(dtype)]
    for i in texts:
        shown.isetitem(i, [as_cell(value) if isinstance(value, str) else value for value in shown.iloc[:, i]])
    return shown.to_csv(index=False, lineterminator="\n")
