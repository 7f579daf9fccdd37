"""Train, test and report: python train.py [group=option ...] [key=value ...] or [sweeps=table ...]"""

import os
import sys
from pathlib import Path

os.environ.setdefault("FACEGRAPH_ROOT", str(Path(__file__).resolve().parent))

import hydra
from omegaconf import DictConfig

from facegraph.entry import refuse_mistyped
from facegraph.job import run


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    refuse_mistyped(sys.argv[1:], "train")
    main()
