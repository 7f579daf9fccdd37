"""A published table as a sweep file describes it: rows as deltas, columns, conditions, the paper's values."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from facegraph.errors import ConfigError
from facegraph.metrics.names import (
    FAILURE_AUROC,
    MEAN_ITERATIONS,
    RANK_CORRELATION,
    REPORTED_FAILURES,
    RETENTION_SCORE,
)

SCALES = ("paper", "small", "smoke")
_OF_FACES = re.compile(r"nme|(fr|auc)@0\.\d{2,}")
_OF_MODELS = re.compile(r"params|macs|latency_ms")
_OF_CONFIDENCE = re.compile(
    rf"{RANK_CORRELATION}|{RETENTION_SCORE}|{MEAN_ITERATIONS}|{REPORTED_FAILURES}|{FAILURE_AUROC}@0\.\d{{2,}}"
)
_CONDITION = re.compile(r"(?!(true|false|null|nan|inf)$)[A-Za-z][A-Za-z0-9_]*", re.IGNORECASE)


@dataclass(frozen=True)
class Row:
    """A row: what is changed against the table's base.

    Args:
        name: short and unique.
        label: as printed.
        overrides: of train.py; None for a row that is only published, such as another group's method.
        value: the swept number, where rows make a curve.
        series: rows of one series are joined.
        at_scale: scale -> further overrides there.
        paper: column name -> published value in the unit that the column prints; only what the source prints.
        counted: column name -> a cost in that unit, counted from the released code or weights beforehand, of a row that
            facegraph trains.
        evaluations: names of the table's conditions that the row is scored under; None for all.
    """

    name: str
    label: str
    overrides: tuple[str, ...] | None = None
    value: float | None = None
    series: str = ""
    at_scale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    paper: Mapping[str, float] = field(default_factory=dict)
    counted: Mapping[str, float] = field(default_factory=dict)
    evaluations: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Column:
    """A column: one measure.

    NME, FR, AUC and reported failures print in per cent, params in M, macs in G, latency in ms, the others as they are.

    Args:
        name: short and unique.
        label: as printed.
        metric: nme, fr@<t>, auc@<t> as result.json names them, or params, macs, latency_ms, or what is known of a
            model's confidence over all faces by the first normaliser: rank_correlation, retention_score,
            failure_auroc@<t>, mean_iterations, reported_failures.
        subset: attribute of the faces counted; None for all.
        normaliser: None for the data set's first.
        evaluation: name of the condition whose result is shown; None for the run's own test.
    """

    name: str
    label: str
    metric: str
    subset: str | None = None
    normaliser: str | None = None
    evaluation: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """A condition under which every trained row is scored again: overrides of eval.py, after training.

    Args:
        name: also that of the folder of its result.
        label: as printed.
        overrides: of eval.py.
        value: where conditions make a curve, the number on its axis.
        at_scale: scale -> further overrides there.
    """

    name: str
    label: str
    overrides: tuple[str, ...]
    value: float | None = None
    at_scale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """One published table.

    Args:
        name: as after sweeps=, such as scc/table7_topk.
        title: as printed.
        source: paper and table.
        cost: of scale=paper, in words.
        rows: in order.
        columns: in order.
        base: overrides of train.py for every row, such as experiment=scc_wflw.
        at_scale: scale -> further overrides.
        evaluations: conditions under which trained rows are scored again.
        baseline: name of the row that others are tested against.
        axis: label of the swept value (of rows or conditions).
        checkpoint: last or best, which one the columns show.
    """

    name: str
    title: str
    source: str
    cost: str
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    base: tuple[str, ...] = ()
    at_scale: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    evaluations: tuple[Evaluation, ...] = ()
    baseline: str | None = None
    axis: str | None = None
    checkpoint: str = "last"

    @property
    def trained(self) -> tuple[Row, ...]:
        """Rows that facegraph trains."""
        return tuple(row for row in self.rows if row.overrides is not None)

    def row(self, name: str) -> Row:
        return _named(self.rows, name, f"row of {self.name}")

    def evaluation(self, name: str) -> Evaluation:
        return _named(self.evaluations, name, f"condition of {self.name}")

    def evaluations_of(self, row: Row) -> tuple[Evaluation, ...]:
        """Conditions that a row is scored under."""
        return tuple(e for e in self.evaluations if row.evaluations is None or e.name in row.evaluations)

    def to_dict(self) -> dict[str, Any]:
        """As a sweep file has it: `table_from` reads it back."""
        plain = dataclasses.asdict(self)
        for part in ("rows", "columns", "evaluations"):
            plain[part] = {entry.pop("name"): entry for entry in plain[part]}
        return plain


def table_from(node: Mapping[str, Any]) -> Table:
    """A table from the plain values of a sweep file, where rows, columns and evaluations are keyed by name.

    Raises:
        ConfigError: unknown or missing keys, names that refer to nothing, an unknown scale.
    """
    name = str(node.get("name", "without a name"))
    parts = {
        "rows": tuple(_entry(Row, key, value, name) for key, value in (node.get("rows") or {}).items()),
        "columns": tuple(_entry(Column, key, value, name) for key, value in (node.get("columns") or {}).items()),
        "evaluations": tuple(
            _entry(Evaluation, key, value, name) for key, value in (node.get("evaluations") or {}).items()
        ),
    }
    table = _build(Table, {**_frozen(node), **parts}, f"table {name}")
    _check(table)
    return table


def _entry(kind: type, key: Any, value: Any, table: str) -> Any:
    if value is not None and not isinstance(value, Mapping):
        raise ConfigError(
            f"{kind.__name__.lower()} {key} of table {table} is {value!r}, not a block of settings such as "
            "{label: ..., overrides: [head=fc]}. Correct the file."
        )
    return _build(kind, {"name": str(key), **_frozen(value or {})}, f"{kind.__name__.lower()} {key} of table {table}")


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    fields = dataclasses.fields(kind)
    known = {f.name for f in fields}
    needed = {f.name for f in fields if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING}
    unknown, missing = sorted(set(values) - known), sorted(needed - set(values))
    if unknown or missing:
        raise ConfigError(
            f"{where} lacks {missing} and has the unknown keys {unknown}; known are {sorted(known)}. Correct the file."
        )
    for name in ("overrides", "base", "evaluations"):
        if isinstance(values.get(name), str):
            raise ConfigError(f"{where} has {name}: {values[name]}, which must be a list: [{values[name]}].")
    return kind(**values)


def _frozen(node: Mapping[str, Any]) -> dict[str, Any]:
    return {str(key): tuple(v) if isinstance(v, list | tuple) else _scales(key, v) for key, v in node.items()}


def _scales(key: Any, value: Any) -> Any:
    return {str(scale): tuple(added) for scale, added in value.items()} if key == "at_scale" and value else value


def _named(entries: Sequence[Any], name: str, what: str) -> Any:
    for entry in entries:
        if entry.name == name:
            return entry
    raise ConfigError(f"there is no {what} named '{name}'; choose from {', '.join(e.name for e in entries)}.")


def of_confidence(metric: str) -> bool:
    """Whether a metric is one of a model's confidence, which result.json has and predictions of faces do not."""
    return _OF_CONFIDENCE.fullmatch(metric) is not None


def _check_metric(column: Column, table: str) -> None:
    if not any(kind.fullmatch(column.metric) for kind in (_OF_FACES, _OF_MODELS, _OF_CONFIDENCE)):
        raise ConfigError(
            f"column {column.name} of table {table} shows the metric '{column.metric}'; there are nme, fr@0.10, "
            "auc@0.10 (any threshold with two decimals or more), params, macs, latency_ms, rank_correlation, "
            "retention_score, failure_auroc@0.10, mean_iterations, reported_failures."
        )
    if of_confidence(column.metric) and (column.subset is not None or column.normaliser is not None):
        raise ConfigError(
            f"column {column.name} of table {table} shows {column.metric} of subset {column.subset} by normaliser "
            f"{column.normaliser}; it is measured over all faces by the first normaliser only: leave both out."
        )


def _check(table: Table) -> None:
    if not table.rows or not table.columns:
        raise ConfigError(f"table {table.name} needs at least one row and one column.")
    if not table.name[:1].isalnum():
        raise ConfigError(f"table '{table.name}' gives its files their names: let it begin with a letter or digit.")
    if table.checkpoint not in ("last", "best"):
        raise ConfigError(f"table {table.name} shows checkpoint '{table.checkpoint}'; there are last and best.")
    for column in table.columns:
        _check_metric(column, table.name)
    for condition in table.evaluations:
        if not _CONDITION.fullmatch(condition.name):
            raise ConfigError(
                f"condition '{condition.name}' of table {table.name} is to be a folder's name: a letter, then letters, "
                "digits and _."
            )
    if table.baseline is not None and table.row(table.baseline).overrides is None:
        raise ConfigError(
            f"the baseline '{table.baseline}' of table {table.name} is only published; name a trained row."
        )
    for what, entries in (("rows", table.rows), ("columns", table.columns)):
        labels = [entry.label for entry in entries]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ConfigError(f"table {table.name} has several {what} labelled {twice}; give each its own label.")
    columns = {column.name for column in table.columns}
    for row in table.rows:
        unknown = sorted({*row.paper, *row.counted} - columns)
        if unknown:
            raise ConfigError(f"row {row.name} of table {table.name} has values for no column: {unknown}.")
        if row.counted and row.overrides is None:
            raise ConfigError(
                f"row {row.name} of table {table.name} is only published; only trained rows have counted."
            )
        for name in row.evaluations or ():
            table.evaluation(name)
    for column in table.columns:
        if column.evaluation is not None:
            table.evaluation(column.evaluation)
    parts: tuple[Table | Row | Evaluation, ...] = (table, *table.rows, *table.evaluations)
    for part in parts:
        strange = sorted(set(part.at_scale) - set(SCALES))
        if strange:
            raise ConfigError(f"table {table.name} names the scales {strange}; there are {', '.join(SCALES)}.")
