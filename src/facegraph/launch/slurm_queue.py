"""What Slurm knows of this user's jobs, and which of them belong to a folder of a sweep."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from facegraph.files.atomic import write_atomically

NOTE_FILE = "slurm.json"
_COMMAND = ("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%N|%r|%o")


@dataclass(frozen=True)
class Entry:
    """A line of squeue.

    Args:
        state: PENDING, RUNNING, ...
        node: where the job runs.
        reason: why it waits.
        script: its batch script.
    """

    state: str
    node: str
    reason: str
    script: str


@dataclass(frozen=True)
class Note:
    """Which job of Slurm works on a folder; kept in it.

    Args:
        id: number of the job, with that within its array.
        folder: submitit's, with its placeholders.
        tasks: number of processes.
    """

    id: str
    folder: str
    tasks: int

    def write(self, job_folder: Path) -> None:
        job_folder.mkdir(parents=True, exist_ok=True)
        write_atomically(job_folder / NOTE_FILE, (json.dumps(asdict(self)) + "\n").encode())

    @classmethod
    def read(cls, job_folder: Path) -> Note | None:
        try:
            return cls(**json.loads((job_folder / NOTE_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None


@dataclass
class Queue:
    """The queue as squeue last showed it.

    Needs no accounting (sacct): a job that squeue no longer shows has ended. A controller that does not answer says
    nothing about any job.

    Args:
        seconds: between two calls of squeue, at least.
        entries: number of a job -> its line.
        looks: how often squeue has answered.
    """

    seconds: float = 10.0
    entries: Mapping[str, Entry] = field(default_factory=dict)
    looks: int = 0
    _asked: float = float("-inf")
    _absent: dict[str, float] = field(default_factory=dict)

    def look(self) -> None:
        if time.monotonic() - self._asked < self.seconds:
            return
        try:
            done = subprocess.run(_COMMAND, capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired):
            return
        finally:
            self._asked = time.monotonic()
        if done.returncode == 0:
            self.entries = _parsed(done.stdout)
            self.looks += 1

    def absent_seconds(self, job: str) -> float:
        """How long a job has been missing from the queue; 0 while it is there or nothing is known."""
        if self.looks == 0 or job in self.entries:
            self._absent.pop(job, None)
            return 0.0
        return time.monotonic() - self._absent.setdefault(job, time.monotonic())

    def running_for(self, job_folder: Path) -> Note | None:
        """The job that an earlier launch submitted for a folder and that has not ended."""
        note = Note.read(job_folder)
        if note is None or note.id not in self.entries:
            return None
        # numbers are used again: the script lies in the folder of the sweep that submitted it
        shared = note.folder.split("%", 1)[0]
        return note if self.entries[note.id].script.startswith(shared) else None


def _parsed(text: str) -> dict[str, Entry]:
    parts = (line.strip().split("|", 4) for line in text.splitlines() if line.count("|") >= 4)
    return {number: Entry(*rest) for number, *rest in parts}
