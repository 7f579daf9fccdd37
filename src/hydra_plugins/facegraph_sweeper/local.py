"""hydra/launcher=local: jobs as processes of this machine. Hydra imports this in every program: keep it light."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

if TYPE_CHECKING:
    from hydra.core.utils import JobReturn
    from hydra.types import HydraContext, TaskFunction
    from omegaconf import DictConfig


class LocalLauncher(Launcher):
    """Settings of conf/hydra/launcher/local.yaml for facegraph.launch.local.LocalLauncher, where each is described."""

    def __init__(
        self,
        devices: Any = "auto",
        devices_per_job: int | None = None,
        jobs_per_device: int = 1,
        cpu_jobs: str | int = "auto",
        threads_per_job: int | None = None,
        grace_seconds: float = 15.0,
    ) -> None:
        self.stopped_by: int | None = None
        self._settings: dict[str, Any] = {
            "devices": devices if isinstance(devices, str | int) else list(devices),
            "devices_per_job": devices_per_job,
            "jobs_per_device": jobs_per_device,
            "cpu_jobs": cpu_jobs,
            "threads_per_job": threads_per_job,
            "grace_seconds": grace_seconds,
        }

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """The processes compose their configuration themselves."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Ends the program with a message where no job could start."""
        from facegraph.errors import FacegraphError
        from facegraph.launch import local

        launcher = local.LocalLauncher(**self._settings)
        try:
            return launcher.launch(job_overrides, initial_job_idx)
        except FacegraphError as error:
            sys.exit(f"error: {error}")
        finally:
            self.stopped_by = launcher.stopped_by
