"""Train, test and report: python train.py [group=option ...] [key=value ...]"""

import os
from pathlib import Path

os.environ.setdefault("FACEGRAPH_ROOT", str(Path(__file__).resolve().parent))

import hydra
from omegaconf import DictConfig

from facegraph.run import guarded, train


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    guarded(train, cfg)


if __name__ == "__main__":
    main()
