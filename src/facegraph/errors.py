"""Errors that a user can act on. Each message holds the bad value, what is allowed and the next step."""

from facegraph.files.plain_text import printable


class FacegraphError(ValueError):
    """Base of every error that facegraph raises on purpose; entry points print its message without a traceback.

    A message may quote a stranger's file: it holds no control characters.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(printable(str(message)))


class ConfigError(FacegraphError):
    """A setting that cannot work: a switch out of range, settings that contradict each other."""


def check_multiple(setting: str, value: int, step: int, why: str) -> None:
    """Raises ConfigError unless a setting is a positive multiple of a step; why: what asks for it, after a comma."""
    if value <= 0 or value % step:
        near = max(step, round(value / step) * step)
        raise ConfigError(f"{setting}={value} is no positive multiple of {step}, {why}; try {setting}={near}.")


class DataError(FacegraphError):
    """A file, row or image that cannot be used; the message names the file and, where there is one, the row."""


class RunError(FacegraphError):
    """A run folder or checkpoint that cannot be read, written or continued."""


class NonFiniteError(FacegraphError):
    """A weight or a score became NaN or infinite: nothing to save, and no result."""


class NonFiniteLossError(NonFiniteError):
    """The training loss became NaN or infinite; the message names the samples of the batch."""


class ProcessError(FacegraphError):
    """Another process of a run on several devices ended, so that this one cannot go on."""
