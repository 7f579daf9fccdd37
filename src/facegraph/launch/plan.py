"""Which jobs a command means: rows and seeds of tables, or the combinations of a plain multirun."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from facegraph.errors import ConfigError, FacegraphError
from facegraph.machine.resources import Resources
from facegraph.records.overrides import quote_value
from facegraph.runs.compose import compose
from facegraph.runs.configuration import project_root
from facegraph.runs.plugins import conf_folders, enable
from facegraph.runs.train import settings_of
from facegraph.sweeps.conditions import state_of
from facegraph.sweeps.identity import identity, is_volatile
from facegraph.sweeps.manifest import Job, SweptTable
from facegraph.sweeps.status import DONE
from facegraph.sweeps.table import Column, Row, Table, table_from

TRAIN = "facegraph.cli.train"
# settings of the sweep itself; everything else on the command line goes to every job
_OWN = ("sweeps", "rows", "sweep_dir", "seed", "scale")
# settings that every job gets from the sweep
_TAKEN = ("output_dir", "resume", "sweep")
# where Hydra looks for tables besides
_SEARCHED = ("hydra.searchpath=", "--config-dir", "-cd")
_PLAIN_COLUMNS = (
    Column("nme", "NME", "nme"),
    Column("params", "params", "params"),
    Column("macs", "multiply-adds", "macs"),
)


@dataclass(frozen=True)
class Command:
    """What was typed for a sweep.

    Args:
        typed: the whole command line after train.py, for the record.
        sweeps: names of tables; empty for a multirun of combinations.
        rows: names of the rows to train; None: all.
        seeds: None: the table's only one, 0.
        scale: paper, small or smoke.
        fixed: overrides for all jobs, in order.
        swept: key -> its values, of settings that were given several.
    """

    typed: tuple[str, ...]
    sweeps: tuple[str, ...] = ()
    rows: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    scale: str = "paper"
    fixed: tuple[str, ...] = ()
    swept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedJob:
    """A job that is to run: what its table's file keeps of it, and what an executor needs.

    Args:
        job: row, seed, identity and settings.
        table: name of the table that it was first planned for.
        resources: what its processes need.
        evaluations: condition -> overrides of eval.py; of all the tables that it serves.
    """

    job: Job
    table: str
    resources: Resources
    evaluations: Mapping[str, tuple[str, ...]]

    def scored_too(self, other: PlannedJob) -> PlannedJob:
        """This job, which is another's too, with the conditions of both.

        Raises:
            ConfigError: they mean different things by one name.
        """
        for name in self.evaluations.keys() & other.evaluations.keys():
            if self.evaluations[name] != other.evaluations[name]:
                raise ConfigError(
                    f"{self.table} and {other.table} share a training and both have a condition '{name}', but not the "
                    "same one. Rename one, or give each table a sweep_dir of its own."
                )
        return replace(self, evaluations={**self.evaluations, **other.evaluations})

    def overrides(self, sweep: Path) -> list[str]:
        """All that train.py needs to run it in a sweep's folder."""
        own = {
            "output_dir": str(self.job.folder(sweep)),
            "sweep.identity": self.job.identity,
            "sweep.dir": str(sweep),
            "sweep.table": self.table,
            "sweep.row": self.job.row,
        }
        told = [f"{key}={quote_value(text)}" for key, text in own.items()]
        if self.evaluations:
            conditions = (f"{n}:[{','.join(map(quote_value, o))}]" for n, o in self.evaluations.items())
            told.append(f"sweep.evaluations={{{','.join(conditions)}}}")
        return [*self.job.overrides, *told]

    def command(self, sweep: Path, entry: Path | None = None) -> list[str]:
        """The command of its process.

        Args:
            sweep: the sweep's folder.
            entry: the program that runs a job; None: what train.py is.
        """
        program = ["-m", TRAIN] if entry is None else [str(entry)]
        return [sys.executable, *program, *self.overrides(sweep)]

    def is_done(self, sweep: Path) -> bool:
        """Whether it is trained, tested and scored under its conditions as they are now."""
        return state_of(self.job.folder(sweep), self.evaluations) == DONE


def parse_command(arguments: Sequence[str], typed: Sequence[str] | None = None) -> Command:
    """Split the overrides of a multirun.

    Args:
        arguments: overrides as Hydra hands them to its sweeper.
        typed: the whole command line after train.py, for the record; None: `arguments`.

    Raises:
        ConfigError: seeds that are no whole numbers, several values where one is needed.
    """
    own: dict[str, tuple[str, ...]] = {}
    fixed: list[str] = []
    swept: dict[str, tuple[str, ...]] = {}
    for override in OverridesParser.create().parse_overrides(list(arguments)):
        key, values = override.key_or_group, _values(override)
        if key in _OWN:
            own[key] = values
        elif override.is_sweep_override():
            swept[override.get_key_element()] = values
        elif key.split(".", 1)[0] in _TAKEN:
            raise ConfigError(
                f"{key} is what a sweep gives each job itself; leave it out. sweep_dir= says where it lives."
            )
        else:
            fixed.append(str(override.input_line))
    for key in ("scale", "sweep_dir"):
        if len(own.get(key, ())) > 1:
            raise ConfigError(f"{key}={','.join(own[key])}: a sweep has one {key}; run it once for each.")
    names = own.get("rows", ("null",))
    return Command(
        typed=tuple(arguments if typed is None else typed),
        sweeps=own.get("sweeps", ()),
        rows=None if names == ("null",) else names,
        seeds=_seeds(own["seed"]) if "seed" in own else None,
        scale=own.get("scale", ("paper",))[0],
        fixed=tuple(fixed),
        swept=swept,
    )


def check_tables(arguments: Sequence[str]) -> None:
    """Raise for a table that does not exist, before Hydra composes it: Hydra lists what lies beside it alone.

    Where the command line gives folders of its own to search, it is left to Hydra.

    Raises:
        ConfigError: names all tables, the nearest ones first.
    """
    if any(argument.lstrip("+").startswith(_SEARCHED) for argument in arguments):
        return
    for argument in (a for a in arguments if a.startswith("sweeps=")):
        enable(arguments)
        folders = [root / "sweeps" for root in (project_root(), *conf_folders())]
        tables = sorted(p.relative_to(f).with_suffix("").as_posix() for f in folders for p in f.rglob("*.yaml"))
        for name in _values(OverridesParser.create().parse_override(argument)):
            if name not in tables:
                named = {table: max(_likeness(name, table), _likeness(name, table.split("/")[-1])) for table in tables}
                nearest = sorted(tables, key=lambda table: -named[table])
                raise ConfigError(f"sweeps={name}: there is no such table. There are: {', '.join(nearest)}.")


def _likeness(one: str, other: str) -> float:
    return difflib.SequenceMatcher(None, one, other).ratio()


def tables_of(command: Command, master: DictConfig) -> list[Table]:
    """The tables that a command names, or the one that its combinations make.

    Args:
        command: what was typed.
        master: configuration as composed for the sweep, with `table` or `tables` where sweeps= named a file.

    Raises:
        ConfigError: a file that is no table, combinations within a table, nothing to vary.
    """
    names = [*command.sweeps]
    if not names:
        return [_combinations(command, str(master.name))]
    if command.swept:
        raise ConfigError(
            f"a table varies its rows and seeds only, not {', '.join(command.swept)}. Give one value for all rows, or "
            "leave sweeps= out and vary settings with -m."
        )
    tables = []
    while names:
        name = names.pop(0)
        node = compose([f"sweeps={name}"])
        if "tables" in node:
            names = [*node.tables, *names]
        elif "table" in node:
            tables.append(table_from(OmegaConf.to_container(node.table, resolve=True)))  # type: ignore[arg-type]
        else:
            raise ConfigError(f"sweeps/{name}.yaml has neither `table` nor `tables`; see sweeps/scc/table7_topk.yaml.")
    return tables


def plan_table(table: Table, command: Command) -> tuple[SweptTable, list[PlannedJob]]:
    """Rows times seeds of a table as jobs; none where the table only has published rows.

    Raises:
        ConfigError: a row that does not exist or only is published, a setting that both the command and a row fix,
            settings that do not compose.
    """
    planned: list[PlannedJob] = []
    for row in _chosen(table, command):
        _refuse_conflicts(table, row, command)
        planned += _planned(table, row, command)
    jobs = tuple(p.job for p in planned)
    fixed = tuple(override for override in command.fixed if not is_volatile(override))
    return SweptTable(table, command.scale, jobs, command.typed, fixed), planned


def still_composes(job: Job) -> bool:
    """Whether the overrides of a job planned earlier still mean the settings that it was trained with."""
    try:
        return identity(settings_of(compose(job.overrides))) == job.identity
    except FacegraphError:
        return False


def _planned(table: Table, row: Row, command: Command) -> list[PlannedJob]:
    """Jobs of a row, one per seed. It is composed once: planning a thousand jobs takes seconds."""
    assert row.overrides is not None
    scale = command.scale
    before = (*table.base, f"scale={scale}", *table.at_scale.get(scale, ()))
    after = (*row.overrides, *row.at_scale.get(scale, ()))
    overrides = merged(before, command.fixed, after)
    try:
        cfg = compose([*overrides, "seed=0"])
    except ConfigError as error:
        raise ConfigError(f"row '{row.name}' of {table.name}: {error}") from error
    which = () if table.checkpoint == "last" else (f"checkpoint={table.checkpoint}",)
    conditions = {e.name: (*which, *e.overrides, *e.at_scale.get(scale, ())) for e in table.evaluations_of(row)}
    jobs = []
    for seed in command.seeds or (0,):
        cfg.seed = seed
        settings = settings_of(cfg)
        job = Job(row.name, seed, identity(settings), (*overrides, f"seed={seed}"), tuple(conditions))
        resources = Resources.of(settings["trainer"], settings["data"]["num_workers"])
        jobs.append(PlannedJob(job, table.name, resources, conditions))
    return jobs


def _chosen(table: Table, command: Command) -> tuple[Row, ...]:
    if command.rows is None:
        return table.trained
    rows = tuple(table.row(name) for name in command.rows)
    published = [row.name for row in rows if row.overrides is None]
    if published:
        trained = ", ".join(row.name for row in table.trained) or "none"
        raise ConfigError(f"facegraph trains no row {', '.join(published)} of {table.name}; it trains: {trained}.")
    return rows


def _refuse_conflicts(table: Table, row: Row, command: Command) -> None:
    given = {_key(override) for override in command.fixed}
    own = (*(row.overrides or ()), *row.at_scale.get(command.scale, ()))
    both = sorted(given & {_key(override) for override in own})
    if both:
        raise ConfigError(
            f"{', '.join(both)} is what row '{row.name}' of {table.name} sets itself; leave it out, or choose "
            "other rows with rows=[...]."
        )


def _combinations(command: Command, name: str) -> Table:
    axes = list(command.swept)
    if not axes and len(command.seeds or ()) < 2:
        raise ConfigError("nothing varies: give several values, such as -m head.top_k=1,3 seed=0,1, or sweeps=<table>.")
    rows: list[Row] = []
    for values in itertools.product(*command.swept.values()):
        settings = [f"{key}={value}" for key, value in zip(axes, values, strict=True)]
        number = _number(values[-1]) if axes else None
        taken = {row.name for row in rows}
        rows.append(
            Row(
                name=_row_name(settings, taken) or "all",
                label=" ".join(settings) or name,
                overrides=tuple(settings),
                value=number,
                series=" ".join(settings[:-1]) if number is not None else "",
            )
        )
    title = f"{name}: {' x '.join(axes) or 'seeds'}"
    axis = axes[-1] if axes and all(row.value is not None for row in rows) else None
    lasting = sorted(override for override in command.fixed if not is_volatile(override))
    # other settings for all rows make another table, since no row may mix them
    marks = [hashlib.sha256(" ".join(lasting).encode()).hexdigest()[:6]] if lasting else []
    return Table(
        name="multirun/" + "-".join([name, *(axis_name.replace("/", ".") for axis_name in axes), *marks]),
        title=f"{title} ({' '.join(lasting)})" if lasting else title,
        source="",
        cost="",
        rows=tuple(rows),
        columns=_PLAIN_COLUMNS,
        axis=axis,
    )


def _row_name(settings: Sequence[str], taken: set[str]) -> str:
    text = "-".join(settings)
    name = "".join(c if c.isalnum() or c in "._=-" else "_" for c in text)
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:4]}" if name in taken else name


def _values(override: Override) -> tuple[str, ...]:
    if override.is_sweep_override():
        if not override.is_discrete_sweep():
            raise ConfigError(
                f"'{override.input_line}' names no values to run; list them: {override.key_or_group}=1,2."
            )
        return tuple(override.sweep_string_iterator())
    value = override.value()
    if isinstance(value, list):
        return tuple(str(part) for part in value)
    return (str(override.get_value_element_as_str()),) if value is not None else ("null",)


def _seeds(values: Sequence[str]) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(value) for value in values))
    except ValueError:
        seeds = ()
    if not seeds or min(seeds) < 0:
        raise ConfigError(f"seed={','.join(values)}: seeds are whole numbers from 0 on, such as seed=0,1,2.")
    return seeds


def merged(before: Sequence[str], given: Sequence[str], after: Sequence[str]) -> list[str]:
    """Overrides of a row in the order in which they hold: of several of one key the last, where the last stands.

    A group that is chosen anew starts from its option's own values: those that a sweep file set in the group before
    (scheduler.epochs=3, then scheduler=one_cycle) are dropped. What the user gave stays, even where it does not fit.

    Args:
        before: of the table and its scale.
        given: of the user, for all rows.
        after: of the row.
    """
    overrides = [*before, *given, *after]
    last = {_key(override): i for i, override in enumerate(overrides)}
    users = range(len(before), len(before) + len(given))

    def dropped(i: int) -> bool:
        key = _key(overrides[i])
        return last[key] != i or (i not in users and last.get(key.split(".", 1)[0], i) > i)

    return [override for i, override in enumerate(overrides) if not dropped(i) and _key(override) != "seed"]


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
