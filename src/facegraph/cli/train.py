"""Train, test and report: python train.py, facegraph train, or python -m facegraph.cli.train, as jobs of sweeps do."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Names are answered before torch is imported, which takes seconds, values before Hydra sees them."""
    from facegraph.machine.orphan import end_with_parent
    from facegraph.machine.threads import before_torch

    end_with_parent()  # before the imports that take seconds: the launcher of this job may be gone by then
    before_torch()

    import hydra
    from omegaconf import DictConfig

    from facegraph.runs.configuration import project_root, refuse_mistyped

    arguments = sys.argv[1:]
    refuse_mistyped(arguments, "train")
    root = project_root()
    os.environ.setdefault("FACEGRAPH_ROOT", str(root))

    from facegraph.launch.sweeper import refuse_unknown
    from facegraph.runs.entry import refuse_unusable
    from facegraph.runs.job import run

    refuse_unusable(arguments, "train")
    refuse_unknown(arguments)

    @hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name="train")
    def train(cfg: DictConfig) -> None:
        run(cfg)

    train()


if __name__ == "__main__":
    main()
