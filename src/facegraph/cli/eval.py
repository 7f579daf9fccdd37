"""Score a finished run: python eval.py, facegraph eval, or python -m facegraph.cli.eval."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Names are answered before torch is imported, which takes seconds, values before Hydra sees them."""
    from facegraph.machine.threads import before_torch

    before_torch()

    import hydra
    from omegaconf import DictConfig

    from facegraph.runs.configuration import offer_data_of_named_run, project_root, refuse_mistyped

    arguments = sys.argv[1:]
    offer_data_of_named_run(arguments)
    refuse_mistyped(arguments, "eval")
    root = project_root()
    os.environ.setdefault("FACEGRAPH_ROOT", str(root))

    from facegraph.runs.entry import guarded, refuse_unusable
    from facegraph.runs.evaluate import evaluate

    refuse_unusable(arguments, "eval")

    @hydra.main(version_base="1.3", config_path=str(root / "conf"), config_name="eval")
    def score(cfg: DictConfig) -> None:
        guarded(evaluate, cfg)

    score()


if __name__ == "__main__":
    main()
