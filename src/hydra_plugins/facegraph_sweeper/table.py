"""hydra/sweeper=table: tables and combinations as jobs. Hydra imports this in every program: keep it light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper

if TYPE_CHECKING:
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class TableSweeper(Sweeper):
    """Plans the jobs of a command, hands the open ones to the launcher, sums up; see facegraph.launch.sweeper."""

    def __init__(self) -> None:
        self._sweep: Any = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        from facegraph.launch.sweeper import Sweep

        self._sweep = Sweep(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> Any:
        return self._sweep.run(arguments)
