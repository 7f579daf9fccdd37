"""train.py of which one process dies in the middle of the second epoch: DIES="<rank>:<how>" in the environment.

The processes that a run starts for its other devices repeat its command, so a test cannot patch them from outside.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import NoReturn

from torch import Tensor

from facegraph.structures import FaceBatch
from facegraph.training.task import LandmarkTask


def fail() -> NoReturn:
    raise RuntimeError("this rank fails on purpose")


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def end() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


HOW = {"fail": fail, "kill": kill, "end": end}


def main() -> None:
    rank, how = os.environ["DIES"].split(":")
    step = LandmarkTask.training_step

    def dying(self: LandmarkTask, batch: FaceBatch, batch_idx: int) -> Tensor:
        if self.current_epoch == 1 and batch_idx == 1 and str(self.global_rank) == rank:
            print(f"dies at {time.monotonic()}", flush=True)
            HOW[how]()
        return step(self, batch, batch_idx)

    LandmarkTask.training_step = dying  # type: ignore[method-assign]
    script = Path(__file__).resolve().parents[2] / "train.py"
    # unlike runpy.run_path this leaves sys.argv[0] alone, by which the further processes are started
    exec(compile(script.read_text(), str(script), "exec"), {"__name__": "__main__", "__file__": str(script)})


if __name__ == "__main__":
    main()
