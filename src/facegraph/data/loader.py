"""Loaders of batches: they wait only so long, and that of training continues where a checkpoint was written, in the
middle of an epoch as well."""

from __future__ import annotations

import atexit
import multiprocessing
from collections.abc import Iterator

from torch.utils.data import DataLoader, SequentialSampler

from facegraph.data.sampler import EpochSampler
from facegraph.errors import ConfigError, ProcessError
from facegraph.structures import FaceBatch


class PatientLoader(DataLoader[FaceBatch]):
    """DataLoader that ends with a message where its processes give no batch for some time.

    It waits for a batch twice for half the time: a run that was stopped as a whole (Ctrl-Z, a machine put to sleep)
    finds its first wait over when it goes on, before its loader processes could do anything.

    timeout, as torch's, is that half; 0 waits for ever.

    Raises:
        ProcessError: no batch within twice the timeout, or no sign of the processes within it at the start of an epoch.
    """

    def __iter__(self) -> Iterator[FaceBatch]:  # type: ignore[override]
        try:
            batches = super().__iter__()
        except RuntimeError as error:  # processes of the epoch before do not answer; asked again they would twice
            self._give_up(error)
            raise
        while True:
            try:
                batch = _next_patiently(batches)
            except StopIteration:
                return
            except RuntimeError as error:
                self._give_up(error)
                raise
            yield batch

    def _give_up(self, error: RuntimeError) -> None:
        """Raises ProcessError if an error of torch's is about time."""
        if not _timed_out(error):
            return
        atexit.register(_end_loaders)
        raise ProcessError(
            f"the {self.num_workers} loader process(es) gave no batch for {2 * self.timeout:g} s: one is stopped, or "
            "the disk that the images lie on is slow or gone. See to these (state T or D in top), then go on; if "
            "loading does take so long, raise data.loader_timeout_seconds, or add processes with data.num_workers."
        ) from None


def _timed_out(error: RuntimeError) -> bool:
    return "DataLoader timed out" in str(error)


def _next_patiently(batches: Iterator[FaceBatch]) -> FaceBatch:
    try:
        return next(batches)
    except RuntimeError as error:
        if not _timed_out(error):
            raise
    return next(batches)


def _end_loaders() -> None:
    """A stopped process does not hear what torch ends it by, and Python would wait for it when it ends itself."""
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


class ResumableLoader(PatientLoader):
    """PatientLoader over an EpochSampler, which must be given as sampler.

    Lightning 2.6 calls iter() before it restores the epoch of a checkpoint and passes it to the sampler, and workers
    that fetch ahead would by then have taken the order of epoch 0; so workers start at the first batch instead.
    Lightning saves state_dict in its checkpoints and hands it to load_state_dict before the first iter(). Batch size
    and number of processes must stay the same for a resume in mid-epoch.

    Trainer(overfit_batches=...) puts a SequentialSampler in: the first rows, augmented the same way each time.

    Raises:
        ConfigError: Lightning put its distributed sampler in.
    """

    _given = 0
    _resume: tuple[int, int] | None = None

    def __iter__(self) -> Iterator[FaceBatch]:  # type: ignore[override]
        sampler = self._epoch_sampler()
        resume, self._resume = self._resume, None
        self._given = 0
        if sampler is not None:
            # a checkpoint from the end of an epoch is followed by the next one, which starts at its first batch
            if resume is not None and resume[0] == sampler.epoch:
                self._given = resume[1]
            sampler.start = self._given * (self.batch_size or 1)
        for batch in super().__iter__():
            self._given += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch of the sampler and number of batches of it that were handed out."""
        sampler = self._epoch_sampler()
        return {"epoch": sampler.epoch if sampler is not None else 0, "batches": self._given}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration skip the batches handed out, if it is one over the same epoch."""
        self._resume = (state["epoch"], state["batches"])

    def _epoch_sampler(self) -> EpochSampler | None:
        if isinstance(self.sampler, EpochSampler):
            return self.sampler
        if isinstance(self.sampler, SequentialSampler):
            return None
        raise ConfigError(
            f"the training loader's sampler is a {type(self.sampler).__name__}, put there by Lightning; the data "
            "module's own one shares faces out over processes. Set trainer.use_distributed_sampler to false."
        )
