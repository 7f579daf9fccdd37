"""Parquet tables that anybody may have written, as data frames.

What cannot be read raises an OSError (not there, no file) or a ValueError (anything else).
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from facegraph.files.plain_files import check_file

MAX_CELLS = 400_000_000
"""Rows times columns: predictions of a million faces with 98 points. A file of a few kB can state any number."""


def load(path: Path) -> pd.DataFrame:
    """All columns of a table, with a new index.

    Raises:
        OSError: not there, not readable, no file. ValueError: no parquet table, a damaged one, two columns of a name,
            more than MAX_CELLS cells.
    """
    check_file(path)
    try:
        with pq.ParquetFile(path) as file:
            rows, columns = file.metadata.num_rows, file.metadata.num_columns
            _check_size(rows, columns)
            table = file.read()
            _check_size(table.num_rows, table.num_columns)
            # the file's own notes for pandas could name any index and types
            frame = table.to_pandas(ignore_metadata=True)
    except (OSError, ValueError):
        raise
    except Exception as error:  # pyarrow's errors are of many kinds, KeyError, TypeError and MemoryError among them
        raise ValueError(f"{type(error).__name__}: {error}") from error
    twice = frame.columns[frame.columns.duplicated()]
    if len(twice):
        raise ValueError(f"two columns are called '{twice[0]}'")
    return frame


def _check_size(rows: int, columns: int) -> None:
    if rows < 0 or rows * max(columns, 1) > MAX_CELLS:
        raise ValueError(f"{rows} rows of {columns} columns; at most {MAX_CELLS} cells are read")
