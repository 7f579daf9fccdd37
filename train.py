"""Train, test and report: python train.py [group=option ...] [key=value ...] or [sweeps=table ...]"""

import os
import sys
from pathlib import Path

os.environ.setdefault("FACEGRAPH_ROOT", str(Path(__file__).resolve().parent))

from facegraph.machine.orphan import end_with_parent
from facegraph.machine.threads import before_torch

end_with_parent()  # before the imports that take seconds: the launcher of this job may be gone by then
before_torch()

import hydra  # noqa: E402
from omegaconf import DictConfig  # noqa: E402

from facegraph.launch.sweeper import refuse_unknown  # noqa: E402
from facegraph.runs.entry import refuse_mistyped  # noqa: E402
from facegraph.runs.job import run  # noqa: E402


@hydra.main(version_base="1.3", config_path="conf", config_name="train")
def main(cfg: DictConfig) -> None:
    run(cfg)


if __name__ == "__main__":
    refuse_mistyped(sys.argv[1:], "train")
    refuse_unknown(sys.argv[1:])
    main()
