"""Which jobs a command means: rows and seeds of tables, or the combinations of a plain multirun."""

from __future__ import annotations

import difflib
import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from facegraph.errors import ConfigError, FacegraphError
from facegraph.runs.compose import compose, project_root
from facegraph.runs.train import settings_of, several_processes
from facegraph.sweeps.identity import identity, is_volatile
from facegraph.sweeps.manifest import Job, SweptTable
from facegraph.sweeps.table import Column, Row, Table, table_from

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
    """What was typed: own settings and overrides for all jobs (fixed) or with several values (swept)."""

    typed: tuple[str, ...]
    sweeps: tuple[str, ...] = ()
    rows: tuple[str, ...] | None = None
    seeds: tuple[int, ...] | None = None
    scale: str = "paper"
    fixed: tuple[str, ...] = ()
    swept: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedJob:
    """A job. devices, num_nodes: its trainer's. evaluations: condition -> overrides of eval.py."""

    job: Job
    table: str
    devices: Any
    num_nodes: int
    evaluations: Mapping[str, tuple[str, ...]]

    @property
    def several_processes(self) -> bool:
        return several_processes(self.devices, self.num_nodes)

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
        own = [
            f"output_dir={_quoted(str(self.job.folder(sweep)))}",
            f"sweep.identity={_quoted(self.job.identity)}",
            f"sweep.dir={_quoted(str(sweep))}",
            f"sweep.table={_quoted(self.table)}",
            f"sweep.row={_quoted(self.job.row)}",
        ]
        if self.evaluations:
            conditions = (f"{n}:[{','.join(map(_quoted, o))}]" for n, o in self.evaluations.items())
            own.append(f"sweep.evaluations={{{','.join(conditions)}}}")
        return [*self.job.overrides, *own]


def parse_command(arguments: Sequence[str], typed: Sequence[str] | None = None) -> Command:
    """Split the overrides of a multirun. typed: the whole command line after train.py, for the record.

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
        folder = project_root() / "sweeps"
        tables = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.yaml"))
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
    rows = _chosen(table, command)
    planned = []
    for row in rows:
        _refuse_conflicts(table, row, command)
        for seed in command.seeds or (0,):
            planned.append(_planned(table, row, seed, command))
    jobs = tuple(p.job for p in planned)
    fixed = tuple(override for override in command.fixed if not is_volatile(override))
    return SweptTable(table, command.scale, jobs, command.typed, fixed), planned


def still_composes(job: Job) -> bool:
    """Whether the overrides of a job planned earlier still mean the settings that it was trained with."""
    try:
        return identity(settings_of(compose(job.overrides))) == job.identity
    except FacegraphError:
        return False


def _planned(table: Table, row: Row, seed: int, command: Command) -> PlannedJob:
    assert row.overrides is not None
    scale = command.scale
    overrides = _later_wins(
        [
            *table.base,
            f"scale={scale}",
            *table.at_scale.get(scale, ()),
            *command.fixed,
            *row.overrides,
            *row.at_scale.get(scale, ()),
            f"seed={seed}",
        ]
    )
    try:
        cfg = compose(overrides)
    except ConfigError as error:
        raise ConfigError(f"row '{row.name}' of {table.name}: {error}") from error
    settings = settings_of(cfg)
    which = () if table.checkpoint == "last" else (f"checkpoint={table.checkpoint}",)
    conditions = {e.name: (*which, *e.overrides, *e.at_scale.get(scale, ())) for e in table.evaluations_of(row)}
    job = Job(row.name, seed, identity(settings), tuple(overrides), tuple(conditions))
    trainer = settings["trainer"]
    return PlannedJob(job, table.name, trainer["devices"], int(trainer.get("num_nodes", 1)), conditions)


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


def _later_wins(overrides: Sequence[str]) -> list[str]:
    """Of several overrides of one key the last, where the last stands."""
    last = {_key(override): i for i, override in enumerate(overrides)}
    return [override for i, override in enumerate(overrides) if last[_key(override)] == i]


def _key(override: str) -> str:
    return override.split("=", 1)[0].lstrip("+~")


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _quoted(text: str) -> str:
    """A text in Hydra's quotes, where a backslash means something before a quote only."""
    escaped = re.sub(r'(\\*)"', r'\1\1\\"', text)
    trailing = len(escaped) - len(escaped.rstrip("\\"))
    return '"' + escaped + "\\" * trailing + '"'
