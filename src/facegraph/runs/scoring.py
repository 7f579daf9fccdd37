"""A trained run scored under several conditions.

    python -m facegraph.runs.scoring <run> '{"<condition>": ["<override>"]}'

What eval.py does for each of them, in one process: importing takes longer than scoring.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from omegaconf import open_dict

from facegraph.errors import FacegraphError
from facegraph.records.overrides import literal
from facegraph.runs.compose import compose
from facegraph.runs.configuration import offer_data_of_run
from facegraph.runs.evaluate import evaluate
from facegraph.sweeps.failures import failure_of
from facegraph.sweeps.status import evaluation_folder, write_failure


def score(run: Path, conditions: Mapping[str, Sequence[str]]) -> None:
    """Score into the run's eval/<condition>; overrides are those of eval.py.

    Raises:
        FacegraphError: as `evaluate`.
    """
    for name, overrides in conditions.items():
        print(f"scoring under {name}: {' '.join(overrides)}", flush=True)
        offer_data_of_run(run)
        cfg = compose(list(overrides), "eval")
        with open_dict(cfg):
            cfg.run, cfg.output_dir = literal(str(run)), literal(str(evaluation_folder(run, name)))
        evaluate(cfg, overrides)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    try:
        score(folder, json.loads(sys.argv[2]))
    except Exception as error:
        write_failure(folder, failure_of(error))
        if isinstance(error, FacegraphError):
            sys.exit(f"error: {error}")
        raise
