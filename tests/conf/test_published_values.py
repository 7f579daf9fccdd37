"""Every published value of sweeps/ against a second copy: a list typed here, and the tables of ../shared/spec.

A value that is wrong in one copy alone is found, whichever copy it is.
"""

from __future__ import annotations

import functools
import re

import pytest
from omegaconf import OmegaConf

from facegraph.sweeps.table import Table, table_from
from tests.helpers.runs import ROOT

SWEEPS = ROOT / "sweeps"
FILES = sorted(p.relative_to(SWEEPS).with_suffix("").as_posix() for p in SWEEPS.glob("*/*.yaml"))
SPEC = ROOT.parent / "shared" / "spec"
needs_spec = pytest.mark.skipif(
    not SPEC.is_dir(), reason="the tables in ../shared/spec are not part of this repository"
)

Cells = dict[tuple[str, str], float]
"""(row, column) -> value as a table prints it."""


@functools.cache
def table(name: str) -> Table:
    return table_from(OmegaConf.to_container(OmegaConf.load(SWEEPS / f"{name}.yaml").table))  # type: ignore[arg-type]


def published(name: str) -> Cells:
    return {(row.name, column): value for row in table(name).rows for column, value in row.paper.items()}


# AUC at 7 % of the box on the whole, indoor and outdoor 300-W test, and on that of 300W-LP
IBUG = """
0.1 54.5 54.4 54.7 57.8 | 0.2 56.6 56.3 57.1 60.3 | 1.1 54.2 54.3 54.2 33.7 | 1.2 68.0 67.9 68.3 71.6
2.1 67.7 67.6 67.9 48.2 | 2.2 46.4 45.3 47.7 22.4 | 2.3 67.8 67.5 68.2 48.8 | 3.1 66.8 66.8 67.0 47.5
3.2 66.7 66.7 66.8 47.5 | 3.3 66.4 66.4 66.5 48.1 | 4.1 68.3 68.1 68.6 71.7 | 4.2 67.7 67.6 67.9 71.1
4.3 67.5 67.4 67.8 71.2 | 4.4 64.9 64.5 65.5 67.6 | 4.5 66.4 66.1 66.9 69.7 | 5.1 67.4 67.1 67.7 48.2
6.1 67.3 67.1 67.7 47.6 | 7.1 64.1 63.9 64.5 46.0 | 7.2 65.9 65.7 66.3 47.7 | 7.3 65.6 65.5 66.0 46.8
7.4 66.2 65.9 66.6 46.6
"""


def test_ibugs_ablation_is_the_list_of_its_notebooks() -> None:
    rows = [line.split() for line in re.split(r"[|\n]", IBUG) if line.strip()]
    expected = {
        (row, column): float(value)
        for row, *values in rows
        for column, value in zip(("w300", "indoor", "outdoor", "lp"), values, strict=True)
    }
    assert published("fan/ablation") == {**expected, ("original", "w300"): 66.9}
    for row in ("w300", "indoor", "outdoor"):
        assert len({key for key in expected if key[1] == row}) == 21
    # 300 faces each: the whole lies in the middle, as near as three rounded numbers can say
    for row in {row for row, _ in expected}:
        middle = (expected[row, "indoor"] + expected[row, "outdoor"]) / 2
        assert expected[row, "w300"] == pytest.approx(middle, abs=0.16), row


HEADLINES = {
    "scc/table1_wflw": {("scc", "nme"): 4.40, ("scc", "fr"): 2.88, ("scc", "auc"): 56.66, ("hrnet", "nme"): 4.60},
    "scc/table2_cofw": {("ours_cofw", "cofw_nme"): 3.63, ("ours_300w_cofw68", "cofw68_nme"): 4.18},
    "scc/table3_300w": {("scc", "full"): 3.28, ("scc", "challenging"): 4.93, ("scc", "common"): 2.88},
    "scc/table4_efficiency": {("scc", "params"): 24.68, ("scc", "macs"): 5.165, ("scc", "latency"): 23},
    "scc/table8_loss": {("l1", "nme"): 5.95, ("wing_0.5", "nme"): 5.81, ("softwing_0.5", "nme"): 5.67},
    "dpr/stages": {
        ("global", "nme"): 5.35, ("global", "fr"): 6.84, ("global", "auc"): 48.59, ("global", "latency"): 39,
        ("both", "nme"): 5.08, ("both", "fr"): 6.16, ("both", "auc"): 51.36, ("both", "latency"): 79,
        ("global_phone", "latency"): 7, ("both_phone", "latency"): 13.6,
    },
    "musica/patches_and_iterations": {("m49_n98_i3", "nme_expression"): 8.8},
    "musica/patches_and_iterations_300w": {("m68_n68_i3", "macs"): 0.095, ("m68_n68_i3", "challenging_pupil"): 8.16},
    "musica/quitting": {("m49_n98_i3", "nme_expression"): 8.8},
    "cross/all_systems": {
        ("fc", "nme"): 5.95, ("scc", "nme"): 4.40, ("scc", "fr"): 2.88, ("scc", "auc"): 56.66,
        ("scc", "params"): 24.68, ("scc", "macs"): 5.165, ("scc", "latency"): 23, ("heatmap", "nme"): 4.60,
        ("dpr_global", "nme"): 5.35, ("dpr_global", "fr"): 6.84, ("dpr_global", "auc"): 48.59,
        ("dpr_global", "latency"): 39, ("dpr_both", "nme"): 5.08, ("dpr_both", "fr"): 6.16,
        ("dpr_both", "auc"): 51.36, ("dpr_both", "latency"): 79,
    },
}  # fmt: skip
WHOLE = [name for name in HEADLINES if not name.startswith("scc/")]
"""Tables of which HEADLINES has every published value; those of SCC's are in ../shared/spec."""


@pytest.mark.parametrize("name", HEADLINES)
def test_headline_values(name: str) -> None:
    found = published(name)
    assert {key: found.get(key) for key in HEADLINES[name]} == HEADLINES[name]
    if name in WHOLE:
        assert found == HEADLINES[name]


@functools.cache
def spec_tables() -> dict[str, dict[str, dict[str, str]]]:
    """First cell of the header, and the heading above where several begin alike -> first cell of a row -> cells."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    heading, header = "", []
    for line in (SPEC / "scc_lgrn.md").read_text(encoding="utf-8").splitlines():
        bold = re.match(r"\*\*(Table \d)", line)
        heading = bold[1] if bold else heading
        cells = [cell.strip().strip("*").strip() for cell in line.strip().strip("|").split("|")]
        if not line.startswith("|"):
            header = []
        elif not header:
            header = cells
        elif set(cells[0]) != {"-"}:
            rows = found.setdefault(f"{heading}: {header[0]}", {})
            rows[cells[0]] = dict(zip(header[1:], cells[1:], strict=True))
    return found


def number(cell: str) -> float | None:
    """Of `4.40`, `5.11 (g)`, `5.95 (one value, ...)`; None for what is lost or missing."""
    match = re.match(r"\**([\d.]+)", cell)
    return float(match[1]) if match else None


def cells_of(heading: str, rows: dict[str, str], columns: dict[str, str], factor: float = 1) -> Cells:
    """rows, columns: in sweeps/ -> in the spec."""
    spec = spec_tables()[heading]
    found = {}
    for ours, theirs in rows.items():
        (cells,) = [c for label, c in spec.items() if label == theirs or label.startswith(f"{theirs} (")] or [{}]
        for column, label in columns.items():
            value = number(cells.get(label, ""))
            if value is not None:
                found[ours, column] = round(factor * value, 6)
    return found


def labelled(name: str, **others: str) -> dict[str, str]:
    """Row -> label, for rows that have published values; others: rows that the paper calls something else."""
    return {row.name: others.get(row.name, row.label) for row in table(name).rows if row.paper}


SUBSETS = {
    "": "Full", "_pose": "Pose", "_expression": "Expr", "_illumination": "Illum", "_makeup": "MkUp",
    "_occlusion": "Occl", "_blur": "Blur",
}  # fmt: skip


def table_1() -> Cells:
    rows = labelled("scc/table1_wflw", scc="Ours")
    measures = (("nme", "NME %", 1), ("fr", "FR@10 %", 1), ("auc", "AUC@0.1", 100))
    found: Cells = {("fc", "nme"): 5.67}  # of Table 8
    for metric, label, factor in measures:
        columns = {f"{metric}{ours}": theirs for ours, theirs in SUBSETS.items()}
        found |= cells_of(f"Table 1: {label}", rows, columns, factor)
    return found


def table_8() -> Cells:
    (eps,) = [rows for heading, rows in spec_tables().items() if heading == "Table 8: eps"]
    found = {("l1", "nme"): 5.95}
    for loss in ("Wing", "SoftWing"):
        found |= {(f"{loss.lower()}_{e}", "nme"): value for e, c in eps[loss].items() if (value := number(c))}
    return found


def scc_cells(name: str) -> Cells:
    """What the spec has of a table of SCC."""
    nme = {"nme": "NME"}
    tables = {
        "scc/table1_wflw": table_1,
        "scc/table2_cofw": lambda: cells_of(
            "Table 2: method",
            labelled(name, ours_cofw="Ours"),
            {"cofw_nme": "COFW NME", "cofw_fr": "COFW FR", "cofw68_nme": "300W->COFW68 NME", "cofw68_fr": "FR"},
        ),
        "scc/table3_300w": lambda: cells_of(
            "Table 3: method",
            labelled(name, scc="Ours"),
            {"common": "Common", "challenging": "Challenging", "full": "Full"},
        ),
        "scc/table4_efficiency": lambda: {
            **cells_of(
                "Table 4: model",
                labelled(name, scc="Ours"),
                {"params": "params M", "macs": "FLOPs G", "latency": "runtime ms"},
            ),
            **{(row, "nme"): table_1()[row, "nme"] for row in ("lab", "wing", "scc")},
        },
        "scc/table5_components": lambda: cells_of(
            "Table 5: col", {row.name: str(i) for i, row in enumerate(table(name).rows, 1)}, nme
        ),
        "scc/table6_attention": lambda: cells_of(
            "Table 6: design", {"self": "self-attention", "semantic": "semantic-guided"}, nme
        ),
        "scc/table6_features": lambda: cells_of(
            "Table 6: design",
            {"f5": "{F5}", "f45": "{F4,F5}", "f345": "{F3,F4,F5}", "f2345": "{F2,F3,F4,F5}"},
            nme,
        ),
        "scc/table7_topk": lambda: {
            (f"k{k}", "nme"): value for k, c in spec_tables()["Table 7: k"]["NME"].items() if (value := number(c))
        },
        "scc/table8_loss": table_8,
    }
    return tables[name]()


@needs_spec
@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("scc/")])
def test_every_value_of_sccs_tables_is_that_of_the_spec(name: str) -> None:
    found, expected = published(name), scc_cells(name)
    if name == "scc/table2_cofw":  # the paper has one row for the two models
        ours = {column: value for (row, column), value in expected.items() if row == "ours_cofw"}
        expected = {key: value for key, value in expected.items() if key[0] != "ours_cofw"}
        for column, value in ours.items():
            expected["ours_cofw" if column.startswith("cofw_") else "ours_300w_cofw68", column] = value
    assert found == expected


@needs_spec
def test_ibugs_whole_tests_are_those_of_the_spec() -> None:
    text = (SPEC / "fan.md").read_text(encoding="utf-8")
    lines = [[c.strip().strip("*") for c in line.strip("|").split("|")] for line in text.splitlines()]
    found: Cells = {}
    for cells in lines:
        if len(cells) != 5 or not re.match(r"\d\.\d", cells[0].strip("* ")):
            continue
        names = re.findall(r"\d\.\d", cells[0])
        if names[0] == "7.1":  # a range in one line
            names = ["7.1", "7.2", "7.3", "7.4"]
        for column, cell in zip(("w300", "lp"), cells[3:], strict=True):
            values = [round(100 * float(v), 6) for v in re.findall(r"\.\d{3}", cell.split("(")[0])]
            values = values * len(names) if len(values) == 1 else values
            found |= {(row, column): value for row, value in zip(names, values, strict=True)}
    ours = {key: value for key, value in published("fan/ablation").items() if key[1] in ("w300", "lp")}
    assert found == {key: value for key, value in ours.items() if key[0] != "original"}


@needs_spec
@pytest.mark.parametrize(
    ("file", "printed"),
    [
        ("dpr.md", "GSR_w NME 5.35, FR 6.84, AUC 0.4859 (39 ms on P100 PyTorch; ~7 ms MNN iPhone 6S)"),
        ("dpr.md", "G&LSR_w 5.08, 6.16, 0.5079 (79 ms; 13.6 ms)"),
        ("dpr.md", "**AUC 0.513569**"),
        ("musica.md", "**0.088** on the WFLW expression list with 49 patches"),
        ("musica.md", "300W challenging **8.16**"),
        ("musica.md", "**95 M multiply-adds**"),
        ("fan.md", "Original paper's 66.9 % (4 stacks)"),
    ],
)
def test_the_typed_headlines_are_printed_in_the_spec(file: str, printed: str) -> None:
    assert printed in (SPEC / file).read_text(encoding="utf-8")


def test_no_published_value_is_left_unchecked() -> None:
    checked = {*WHOLE, "fan/ablation", *(name for name in FILES if name.startswith("scc/"))}
    assert {name for name in FILES if published(name)} <= checked


def test_counted_costs_are_those_of_the_networks() -> None:
    """MuSiCa's by the formula of its layers, DPR's as its released networks have them; see test_musica, test_dpr."""
    for name in ("musica/patches_and_iterations", "musica/patches_and_iterations_300w", "musica/quitting"):
        for row in table(name).rows:
            if "macs" not in row.counted:
                continue
            patches, landmarks, iterations = (int(n) for n in re.findall(r"\d+", row.name))
            of_one = patches * 337_408 + (256 * patches + 512) * 512 + 512 * (2 * landmarks + 1)
            assert row.counted["macs"] == pytest.approx(iterations * of_one / 1e9, abs=6e-6), row.name
    for name, rows in {"dpr/stages": ("global", "both"), "cross/all_systems": ("dpr_global", "dpr_both")}.items():
        counted = [table(name).row(row).counted for row in rows]
        assert counted == [{"params": 0.538, "macs": 0.0538}, {"params": 1.962, "macs": 0.1013}]
    assert not any("macs" in row.paper or "params" in row.paper for row in table("dpr/stages").rows)


def test_costs_count_the_faces_that_are_trained_on() -> None:
    """5 % of each training set are for validation, by photograph, so that the number is about that."""
    sets = {"7,500": 7500, "3,148": 3148, "1,345": 1345, "61,225": 61225, "2,012": 2012}
    trained = {f"{round(0.95 * count):,}" for count in sets.values()}
    for name in FILES:
        numbers = set(re.findall(r"\d+,\d{3}", table(name).cost)) - {"21,300"}  # steps
        assert numbers <= trained, name
        assert numbers, name
