"""A mistake or Ctrl-C is answered at once, by one line."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest

from facegraph.cli.guard import guarded
from facegraph.data.processes import _interrupts_held, process_pool
from facegraph.errors import ConfigError
from facegraph.launch.plan import check_tables


@pytest.mark.parametrize(
    ("argument", "first"),
    [
        ("sweeps=scc/table7_tpk", "scc/table7_topk"),
        ("sweeps=table7_topk", "scc/table7_topk"),
        ("sweeps=[all,oclusion]", "robustness/occlusion"),
        ("sweeps=nope", ""),
    ],
)
def test_an_unknown_table_is_answered_by_all_there_are(argument: str, first: str) -> None:
    with pytest.raises(ConfigError, match=f"there is no such table. There are: {first}") as caught:
        check_tables(["scale=small", argument])
    assert all(name in str(caught.value) for name in ("all", "scc/table8_loss", "dpr/stages"))


@pytest.mark.parametrize(
    "arguments",
    [["sweeps=all"], ["sweeps=[dpr/stages,all]"], ["-m", "seed=0,1"], ["sweeps=own", "hydra.searchpath=[file://x]"]],
)
def test_tables_that_exist_or_may_are_let_pass(arguments: list[str]) -> None:
    check_tables(arguments)


def test_ctrl_c_ends_a_command_with_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def command() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        guarded(command, advice="Go on.")
    assert ended.value.code == 130
    assert capsys.readouterr().err.split("\n") == ["", "stopped. Go on.", ""]


def _deaf(process: int) -> bool:
    """Whether a process ignores or blocks Ctrl-C."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return any(int(lines[name], 16) >> (signal.SIGINT - 1) & 1 for name in ("SigBlk", "SigIgn"))


def _family_is_deaf() -> tuple[bool, bool]:
    return _deaf(os.getpid()), _deaf(os.getppid())


@pytest.mark.runs
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
def test_processes_of_a_pool_hear_no_ctrl_c_from_their_first_moment() -> None:
    """Nor does the server that they start from; this process does."""
    with process_pool(2) as pool:
        assert pool.submit(_family_is_deaf).result() == (True, True)
    assert not _deaf(os.getpid())


def test_ctrl_c_while_a_pool_starts_comes_afterwards() -> None:
    """Whichever thread the system hands it to."""
    reached = []

    def press() -> None:
        with _interrupts_held():
            threading.Thread(target=lambda: signal.pthread_kill(threading.get_ident(), signal.SIGINT)).start()
            signal.raise_signal(signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        press()
    assert reached
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
