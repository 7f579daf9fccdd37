"""Score a finished run: python eval.py run=<output folder> [dataset=... dataset.root=...] [checkpoint=last|best]"""

import os
import sys
from pathlib import Path

os.environ.setdefault("FACEGRAPH_ROOT", str(Path(__file__).resolve().parent))

from facegraph.machine.threads import before_torch

before_torch()

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from facegraph.runs.entry import guarded, offer_data_of_named_run, refuse_mistyped  # noqa: E402
from facegraph.runs.evaluate import evaluate  # noqa: E402


@hydra.main(version_base="1.3", config_path="conf", config_name="eval")
def main(cfg: DictConfig) -> None:
    guarded(evaluate, cfg)


if __name__ == "__main__":
    offer_data_of_named_run(sys.argv[1:])
    refuse_mistyped(sys.argv[1:], "eval")
    main()
