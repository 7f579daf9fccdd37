"""A report as text: what a reader sees in the terminal, in Markdown, in LaTeX and in the csv."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from facegraph.errors import ConfigError
from facegraph.metrics.bootstrap import Interval, Paired
from facegraph.reports.table.cells import ABSENT, PUBLISHED, Cell, Note, Report, ReportRow
from facegraph.reports.table.csv_file import COLUMNS, to_frame
from facegraph.reports.table.layout import blocks, command_text, p_text, unfinished, value_text
from facegraph.reports.table.reading import sweep_reports
from facegraph.reports.table.text import latex, to_latex, to_markdown, to_rich
from facegraph.reports.table.trainings import Training
from facegraph.reports.table.units import measure_text, unit_of
from facegraph.sweeps.status import DONE, FAILED, NEW, PARTIAL
from facegraph.sweeps.table import Table
from tests.helpers.sweeps import topk_table, write_sweep

NME = {"nme": {"label": "NME", "metric": "nme"}}
DONE_TWICE = {0: DONE, 1: DONE}
FIRST = Cell(DONE, {0: 4.40, 1: 4.50}, DONE_TWICE, 4.45, 0.0707, 4.40, Interval(4.31, 4.62), None, 60)
SECOND = replace(FIRST, mean=4.384, paper=None, against=Paired(-0.066, -0.1, -0.02, 0.0004, 60))


def report_of(cells: dict[str, dict[str, Cell]], table: Table, notes: tuple[Note, ...] = ()) -> Report:
    rows = []
    for row in table.rows:
        papers = {column.name: row.paper.get(column.name) for column in table.columns}
        published = {name: Cell(ABSENT if paper is None else PUBLISHED, paper=paper) for name, paper in papers.items()}
        rows.append(ReportRow(row, (), cells.get(row.name, published)))
    return Report(table, "paper", "last", Path("sweep"), ("sweeps=drawn/topk",), tuple(rows), notes)


def one_column() -> Report:
    table = topk_table(
        columns=NME,
        rows={
            "k3": {"label": "k = 3", "overrides": [], "paper": {"nme": 4.40}},
            "k5": {"label": "k = 5", "overrides": ["head.top_k=5"]},
            "lab": {"label": "LAB & co_1", "paper": {"nme": 5.27}},
        },
    )
    return report_of({"k3": {"nme": FIRST}, "k5": {"nme": SECOND}}, table, (Note("", "A note on 95 % of_it."),))


def by_subsets() -> Report:
    """Table 1 of SCC: three measures by seven subsets."""
    subsets = ("full", "pose", "expression", "illumination", "makeup", "occlusion", "blur")
    columns = {
        f"{metric}_{subset}": {"label": f"{metric.split('@')[0].upper()} {subset}", "metric": metric}
        | ({} if subset == "full" else {"subset": subset})
        for metric in ("nme", "fr@0.10", "auc@0.10")
        for subset in subsets
    }
    rows = {"k3": {"label": "SCC", "overrides": []}, "lab": {"label": "LAB", "paper": {"nme_full": 5.27}}}
    table = topk_table(columns=columns, rows=rows, baseline=None)
    return report_of({"k3": dict.fromkeys(columns, FIRST)}, table)


def terminal(report: Report, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(to_rich(report, width))
    return console.export_text()


def test_one_column_has_all_numbers_in_a_line() -> None:
    (block,) = blocks(one_column())
    assert block.header == ("", "NME [%]", "paper", "ours - paper", "95 % interval", "minus k = 3", "p")
    assert [[words.text for words in row] for row in block.rows] == [
        ["k = 3", "4.45 ± 0.07", "4.40", "+0.05", "[4.31, 4.62]", "-", "-"],
        ["k = 5", "4.38 ± 0.07", "-", "-", "[4.31, 4.62]", "-0.07", "<0.001"],
        ["LAB & co_1", "-", "5.27", "-", "-", "-", "-"],
    ]
    assert [[words.best for words in row] for row in block.rows] == [
        [False] * 7,
        [False, True, *[False] * 5],
        [False] * 7,
    ]


def test_markdown_has_the_same_number_of_columns_in_each_line() -> None:
    for report in (one_column(), by_subsets()):
        lines = to_markdown(report).splitlines()
        tables = [len(re.findall(r"(?<!\\)\|", line)) for line in lines if line.startswith("|")]
        assert set(tables) == ({8} if report.columns[0].name == "nme" else {9})
    text = to_markdown(one_column())
    assert "| k = 5 | **4.38 ± 0.07** | - | - | \\[4.31, 4.62\\] | -0.07 | \\<0.001 |" in text
    assert "| *LAB & co\\_1* | - | *5.27* | - | - | - | - |" in text
    assert "python train.py sweeps=drawn/topk" in text
    assert "- A note on 95 % of\\_it." in text


def check_latex(text: str) -> None:
    """Balanced braces and environments, no bare special character, each row with a cell per column."""
    depth = 0
    for character in re.sub(r"\\.", "", text):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    open_ones: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if what == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    assert text.count("$") % 2 == 0
    for spec, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = [line for line in body.splitlines() if r"\\" in line]
        assert rows
        for line in rows:
            assert len(re.findall(r"(?<!\\)&", line)) == len(spec) - 1, line
            assert not line.startswith(("[", "*"))
    outside = re.sub(r"\\label\{[^}]*\}|\\usepackage\S*|^%.*$", "", text, flags=re.MULTILINE)
    assert not re.search(r"(?<!\\)[%#_]", outside)


def test_what_was_counted_stands_beside_what_was_published() -> None:
    """95 M published, 96.6 M counted: neither takes the place of the other, and a note says which is which."""
    column = {"macs": {"label": "multiply-adds", "metric": "macs"}}
    rows = {"a": {"label": "A", "overrides": [], "paper": {"macs": 0.095}, "counted": {"macs": 0.09657}}}
    cell = Cell(DONE, {0: 0.097}, {0: DONE}, 0.097, paper=0.095, counted=0.09657)
    (block,) = blocks(report_of({"a": {"macs": cell}}, topk_table(columns=column, rows=rows, baseline=None)))
    line = dict(zip(block.header, (words.text for words in block.rows[0]), strict=True))
    assert (line["paper"], line["counted"]) == ("0.095", "0.097")
    columns = column | NME | {"fr": {"label": "FR", "metric": "fr@0.10"}}
    report = report_of({"a": dict.fromkeys(columns, cell)}, topk_table(columns=columns, rows=rows, baseline=None))
    (stacked,) = blocks(report)
    assert [row[0].text for row in stacked.rows] == ["A", "  paper", "  ours - paper", "  counted"]
    assert to_frame(report).set_index(["column", "of"]).loc[("macs", "all seeds"), "counted"] == 0.09657


def test_latex_is_balanced_and_escaped() -> None:
    for report in (one_column(), by_subsets()):
        check_latex(to_latex(report))
    text = to_latex(one_column())
    assert r"\begin{tabular}{lrrrrrr}" in text
    assert r"k = 5 & \textbf{4.38 $\pm$ 0.07} & - & - & [4.31, 4.62] & $-$0.07 & $<$0.001 \\" in text
    assert r"\textit{LAB \& co\_1} & - & \textit{5.27}" in text
    assert r"A note on 95 \% of\_it." in text
    assert all(rule in text for rule in (r"\toprule", r"\midrule", r"\bottomrule"))


def test_latex_of_a_table_with_every_character_that_means_something() -> None:
    report = one_column()
    odd = replace(report.rows[0], row=replace(report.rows[0].row, label=r"[a] 5% $x_1^2$ {#} ~ \n <ε> | ±"), mark="a")
    text = to_latex(replace(report, rows=(odd, *report.rows[1:]), notes=(Note("a", "odd_one 50%"),)))
    check_latex(text)
    assert r"\textsuperscript{a}odd\_one 50\%" in text
    assert latex("  paper") == r"\quad paper"


def test_many_columns_are_split_by_measure() -> None:
    found = blocks(by_subsets())
    assert [(block.title, len(block.header)) for block in found] == [
        ("NME [%]", 8),
        ("FR@10 [%]", 8),
        ("AUC@10 [%]", 8),
    ]
    assert found[0].header[:3] == ("", "full", "pose")
    # LAB has no failure rates and no areas here: no empty line for it
    assert [[row[0].text for row in block.rows] for block in found] == [
        ["SCC", "  paper", "  ours - paper", "  95 % interval", "LAB"],
        ["SCC", "  paper", "  ours - paper", "  95 % interval"],
        ["SCC", "  paper", "  ours - paper", "  95 % interval"],
    ]


@pytest.mark.parametrize("width", [80, 100, 160])
def test_no_number_is_cut_in_the_terminal(width: int) -> None:
    for report in (by_subsets(), one_column()):
        text = terminal(report, width)
        assert max(map(len, text.splitlines())) <= width
        assert "…" not in text
        shown = text.count("[4.31, 4.62]")
        assert shown == sum(c.interval is not None for row in report.rows for c in row.cells.values())


def test_the_best_is_bold_only_where_there_is_a_choice() -> None:
    assert "**" not in to_markdown(by_subsets())
    alike = one_column()
    same = replace(alike, rows=(alike.rows[0], replace(alike.rows[1], cells={"nme": FIRST}), alike.rows[2]))
    assert "**" not in to_markdown(same)


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (FIRST, "4.45 ± 0.07"),
        (replace(FIRST, std=None), "4.45"),
        (replace(FIRST, std=0.0), "4.45 ± 0.00"),
        (replace(FIRST, mean=None, std=None), "not finite"),
        (replace(FIRST, states={0: DONE, 1: DONE, 2: FAILED}, std=None), "4.45 (2 of 3)"),
        (Cell(NEW, remark="not run yet"), "not run"),
        (Cell(PARTIAL, remark="epoch 12 of 60"), "epoch 12/60"),
        (Cell(FAILED, remark="failed: out of memory"), "failed"),
        (Cell(ABSENT, remark="no subset pose"), "-"),
        (Cell(PUBLISHED, paper=5.2), "5.20"),
    ],
)
def test_a_cell_in_words(cell: Cell, text: str) -> None:
    assert value_text(cell, unit_of("nme")) == text


def test_units_decimals_and_signs() -> None:
    assert unit_of("macs").text(5.1654) == "5.165"
    assert unit_of("latency_ms").symbol == "ms"
    assert not unit_of("auc@0.10").lower
    assert unit_of("nme").signed(-0.001) == "+0.00"
    assert (measure_text("auc@0.075"), measure_text("latency_ms")) == ("AUC@7.5", "latency")
    assert (p_text(0.049), p_text(0.001), p_text(1.0)) == ("0.049", "0.001", "1.000")
    with pytest.raises(ConfigError, match=r"'mse' is unknown.*or one of params, macs, latency_ms"):
        unit_of("mse")


def test_what_is_not_done_is_listed_with_its_reason(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={("k1", 0): "partial", ("k5", 0): "failed", ("k5", 1): "new"})
    report = sweep_reports(tmp_path)[0]
    assert [entry[:3] for entry in unfinished(report)] == [
        ("k = 1", 0, "not finished, epoch 1 of 3"),
        ("k = 5", 0, "out of memory: CUDA out of memory. Lower data.batch_size."),
        ("k = 5", 1, "not run yet"),
    ]
    shown = (terminal(report), to_markdown(report).replace("\\", ""), to_latex(report).replace("\\_", "_"))
    for text in shown:
        assert "out of memory: CUDA out of memory. Lower data.batch_size." in " ".join(text.split())
        assert "failed" in text
        assert "(1 of 2)" in text
    check_latex(to_latex(report))


def test_the_command_makes_the_whole_table() -> None:
    report = one_column()
    trained = [replace(row, trainings=tuple(Training(row.row.name, s, Path("x"), DONE) for s in (0, 1)))
               for row in report.trained]  # fmt: skip
    typed = ("sweeps=drawn/topk", "sweep_dir=a b", "rows=[k5]", "seed=1")
    whole = replace(report, rows=tuple(trained), command=typed)
    assert command_text(whole) == "python train.py sweeps=drawn/topk 'sweep_dir=a b' seed=0,1"
    assert "\npython train.py sweeps=drawn/topk 'sweep_dir=a b' seed=0,1\n" in to_markdown(whole)
    half = replace(whole, rows=(replace(trained[0], trainings=()), trained[1]))
    assert command_text(half) == "python train.py sweeps=drawn/topk 'sweep_dir=a b' 'rows=[k5]' seed=0,1"
    assert command_text(replace(whole, command=("head.top_k=1,3",))) == "python train.py -m head.top_k=1,3"


def test_labels_that_are_shares_have_the_unit_in_the_title() -> None:
    shares = {f"s{s}": {"label": f"{s} %", "metric": "nme"} for s in (0, 10, 20)}
    for count, header in ((3, ("", "0 %", "10 %", "20 %")), (1, ("", "NME [%] at 0 %"))):
        table = topk_table(columns=dict(list(shares.items())[:count]), rows={"k3": {"label": "k = 3", "overrides": []}})
        (block,) = blocks(report_of({"k3": dict.fromkeys(shares, FIRST)}, table))
        assert block.header[: count + 1] == header
        assert block.title == ("NME [%]" if count == 3 else "")


def test_csv_keeps_every_number_in_full(tmp_path: Path) -> None:
    write_sweep(tmp_path, unfinished={("k5", 1): "failed"})
    report = sweep_reports(tmp_path)[0]
    written = pd.read_csv(io.StringIO(to_frame(report).to_csv(index=False)))
    assert tuple(written.columns) == COLUMNS
    plain = to_frame(report).to_csv(index=False)
    assert ",seed,0,done," in plain  # whole numbers without a point
    assert not re.search(r",seed,\d\.0,", plain)
    # three trained rows of two seeds and their mean, one published row, five columns
    assert len(written) == 5 * (3 * 3 + 1)
    nme = written[written["column"] == "nme"].set_index(["row", "of"])
    mean = nme.loc[("k1", "all seeds")]
    cell = report.cell("k1", "nme")
    assert mean["ours"].item() == cell.mean
    assert cell.interval is not None
    assert cell.against is not None
    assert (mean["low"].item(), mean["high"].item(), mean["p"].item()) == (*cell.interval, cell.against.p)
    assert nme.loc[("k1", "seed"), "ours"].tolist() == list(cell.values.values())
    assert nme.loc[("k5", "seed"), "state"].tolist() == ["done", "failed"]
    assert nme.loc[("lab", "all seeds"), "paper"].item() == 5.27
    assert np.isnan(nme.loc[("k3", "all seeds"), "p"].item())
