"""Score a finished run: python eval.py run=<output folder> [dataset=... dataset.root=...] [checkpoint=last|best]"""

import os
import sys
from pathlib import Path

os.environ.setdefault("FACEGRAPH_ROOT", str(Path(__file__).resolve().parent))

import hydra
from omegaconf import DictConfig

from facegraph.entry import guarded, offer_data_of_run, refuse_mistyped
from facegraph.evaluation import evaluate


@hydra.main(version_base="1.3", config_path="conf", config_name="eval")
def main(cfg: DictConfig) -> None:
    guarded(evaluate, cfg)


if __name__ == "__main__":
    offer_data_of_run(sys.argv[1:])
    refuse_mistyped(sys.argv[1:], "eval")
    main()
