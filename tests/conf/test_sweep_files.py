"""Every file under sweeps/: it is a table, its rows compose at every scale, and it has the numbers of its paper."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from facegraph.data.augment import Augmentation
from facegraph.data.corruption import NONE, Corruption
from facegraph.landmarks import LandmarkScheme
from facegraph.launch.plan import merged
from facegraph.metrics.names import (
    MEAN_ITERATIONS,
    NME,
    RANK_CORRELATION,
    RETENTION_SCORE,
    auc_name,
    failure_rate_name,
)
from facegraph.runs.compose import compose, make
from facegraph.runs.configuration import offer_data_of_run
from facegraph.sweeps.identity import identity
from facegraph.sweeps.table import Row, Table, table_from
from tests.helpers.models import face_statistics
from tests.helpers.runs import ROOT, TinyRun, evaluate_run

SWEEPS = ROOT / "sweeps"
FILES = sorted(p.relative_to(SWEEPS).with_suffix("").as_posix() for p in SWEEPS.glob("*/*.yaml"))
MEASURES = {
    NME,
    failure_rate_name(0.08),
    failure_rate_name(0.1),
    auc_name(0.1),
    auc_name(0.07),
    "params",
    "macs",
    "latency_ms",
    MEAN_ITERATIONS,
    RANK_CORRELATION,
    RETENTION_SCORE,
}


@functools.cache
def table(name: str) -> Table:
    return table_from(OmegaConf.to_container(OmegaConf.load(SWEEPS / f"{name}.yaml").table))  # type: ignore[arg-type]


@functools.cache
def composed(overrides: tuple[str, ...]) -> DictConfig:
    return compose(overrides)


@functools.cache
def condition_config(overrides: tuple[str, ...]) -> DictConfig:
    offer_data_of_run(None)
    return compose(overrides, "eval")


def config(name: str, row: Row, scale: str) -> DictConfig:
    """A row's configuration."""
    own = table(name)
    before = (*own.base, f"scale={scale}", *own.at_scale.get(scale, ()))
    return composed(tuple(merged(before, (), (*(row.overrides or ()), *row.at_scale.get(scale, ())))))


def recipe(name: str, row: Row) -> str:
    """The experiment that a row changes."""
    given = (*table(name).base, *(row.overrides or ()))
    return next(o.removeprefix("experiment=") for o in reversed(given) if o.startswith("experiment="))


def plain(cfg: DictConfig) -> dict[str, Any]:
    values: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    return values


OF_SCC = {"scc_wflw", "scc_cofw", "scc_300w", "fc_wflw", "lgrn_wflw", "lgrn_wflw_released"}
TRAINED = [(name, row) for name in FILES for row in table(name).trained]


@pytest.mark.parametrize("name", FILES)
def test_file_says_what_it_is(name: str) -> None:
    text = (SWEEPS / f"{name}.yaml").read_text(encoding="utf-8")
    header = text.split("\nhydra:")[0].splitlines()
    assert header[0] == "# @package _global_"
    assert all(line.startswith("# ") for line in header)
    assert f"python train.py sweeps={name}" in "\n".join(header[:3])
    assert any(line.startswith("# Cost") for line in header)
    assert any(line.startswith("# Source") for line in header)
    own = table(name)
    assert own.name == name
    assert own.title
    assert own.source
    assert "not measured" in own.cost
    through_hydra = compose([f"sweeps={name}"])
    assert table_from(OmegaConf.to_container(through_hydra.table, resolve=True)) == own  # type: ignore[arg-type]
    assert OmegaConf.load(SWEEPS / f"{name}.yaml").hydra.mode == "MULTIRUN"


@pytest.mark.parametrize("name", FILES)
def test_columns_and_values_make_sense(name: str) -> None:
    own = table(name)
    assert {column.metric for column in own.columns} <= MEASURES
    assert len({(c.metric, c.subset, c.normaliser, c.evaluation) for c in own.columns}) == len(own.columns)
    metrics = {column.name: column.metric for column in own.columns}
    for row in own.rows:
        assert row.overrides is not None or row.paper, row.name
        for column, value in row.paper.items():  # a fraction where per cent is printed would show here
            low, high = {"nme": (2, 13), "macs": (0.005, 30), "params": (0.5, 200)}.get(metrics[column], (0, 400))
            assert low <= value <= high, (row.name, column, value)
            assert not metrics[column].startswith("auc") or 10 <= value <= 100, (row.name, column, value)
    swept = [p for p in (*own.trained, *own.evaluations) if p.value is not None]
    assert bool(swept) <= (own.axis is not None)
    assert own.trained == () or len(own.trained) == 1 or own.baseline is not None or own.evaluations


def test_the_pool_of_all_tables_names_every_file() -> None:
    assert sorted(compose(["sweeps=all"]).tables) == FILES


@pytest.mark.parametrize(("name", "row"), TRAINED, ids=lambda p: p if isinstance(p, str) else p.name)
def test_rows_compose_at_smoke(name: str, row: Row) -> None:
    cfg = config(name, row, "smoke")
    assert (cfg.dataset.name, cfg.input_size, cfg.trainer.accelerator) == ("synthetic", 64, "cpu")
    assert cfg.trainer.max_epochs * cfg.dataset.train_size <= 100
    assert (cfg.data.num_workers, cfg.data.balancing, cfg.trainer.precision) == (0, None, "32-true")
    assert cfg.backbone.name == "test_resnet"
    # what an experiment sets below a group whose option the scale replaces would be left over here
    assert make(cfg.augment) == Augmentation()
    make(cfg.scheduler)


@pytest.mark.parametrize("name", FILES)
def test_rows_differ(name: str) -> None:
    rows = table(name).trained
    assert len({identity(plain(config(name, row, "smoke"))) for row in rows}) == len(rows)


# tables whose recipe is not SCC's have tests of their own below
OTHER_RECIPES = ("fan/",)
# Hydra takes a quarter of a second for each: the quick suite has the first row of each table, and those of Table 2
LARGER = [
    pytest.param(name, row, id=f"{name}-{row.name}", marks=() if first else pytest.mark.slow)
    for name, row in TRAINED
    if not name.startswith(OTHER_RECIPES)
    for first in [row == table(name).trained[0] or name == "scc/table2_cofw"]
]


@pytest.mark.parametrize(("name", "row"), LARGER)
def test_rows_are_the_paper_recipe(name: str, row: Row) -> None:
    cfg = config(name, row, "paper")
    if recipe(name, row) in OF_SCC and row.name != "gcn_moved":  # which has DPR's, below
        assert (cfg.backbone.name, cfg.input_size, cfg.trainer.max_epochs) == ("resnet34", 256, 500)
        assert cfg.data.balancing is not None
    drawn, full = (make(c.dataset.scheme) for c in (config(name, row, "smoke"), cfg))
    assert isinstance(full, LandmarkScheme)
    assert drawn.num_landmarks == full.num_landmarks


@pytest.mark.parametrize(("name", "row"), LARGER)
def test_rows_keep_their_faces_when_small(name: str, row: Row) -> None:
    cfg, paper = config(name, row, "small"), config(name, row, "paper")
    assert (cfg.backbone.name, cfg.trainer.max_epochs) == ("resnet18", 54)
    assert (cfg.dataset, cfg.loss, cfg.box) == (paper.dataset, paper.loss, paper.box)
    assert cfg.head == paper.head
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.AdamW", 2e-3)
    assert set(cfg.scheduler) == {"_target_", "warmup"}, "settings of another schedule do not fit OneCycle"


def geometry(cfg: DictConfig) -> tuple[int, float, tuple[int, ...]]:
    """Side of the crop and its margin, and the sides of what a system makes of it: frames, patches or heatmaps."""
    model = cfg.model
    sides = {
        "facegraph.models.dpr.model.DPR": lambda: (model.coarse_size, model.global_size, model.part_size),
        "facegraph.models.musica.model.MuSiCa": lambda: (model.patch_size,),
        "facegraph.models.fan.model.FAN": lambda: (cfg.input_size // (model.stem_stride * model.stem_pool),),
        "facegraph.models.regressor.LandmarkRegressor": tuple,
    }
    return cfg.input_size, cfg.box.margin, sides[model._target_]()


HALF_SIDE = (128, 1.25, ())
FAN_HALF_SIDE = (128, 1.8182, (32,))
# 120 px of face in the crop, of which a frame of 128 px shows 113: nothing is enlarged
DPR_SMALL = (192, 1.6, (128, 128, 64))
# 142.5 px for the box: what patches of 14 px are made for
MUSICA_AT_ANY_SCALE = (228, 1.6, (14,))
WHEN_SMALL = {
    "scc_wflw": HALF_SIDE,
    "scc_300w": HALF_SIDE,
    "scc_cofw": HALF_SIDE,
    "fc_wflw": HALF_SIDE,
    "lgrn_wflw": HALF_SIDE,
    "lgrn_wflw_released": HALF_SIDE,
    "hrnet_heatmap_wflw": HALF_SIDE,
    "fan_300w": FAN_HALF_SIDE,
    "fan_300wlp": FAN_HALF_SIDE,
    "fan_wflw": FAN_HALF_SIDE,
    "dpr_wflw": DPR_SMALL,
    "musica_wflw": MUSICA_AT_ANY_SCALE,
    "musica_300w": MUSICA_AT_ANY_SCALE,
    # small by themselves: the scale leaves them as they are
    "scc_300w_small": HALF_SIDE,
    "fc_300w_small": HALF_SIDE,
    "heatmap_300w_small": HALF_SIDE,
    "fan_300w_small": (128, 1.25, (32,)),
    "dpr_300w_small": DPR_SMALL,
    "musica_300w_small": MUSICA_AT_ANY_SCALE,
}
# rows about the geometry, and the one that has DPR's
ROWS_WHEN_SMALL = {
    "gcn_moved": (192, 1.6, ()),
    "4.4": (64, 1.8182, (16,)),
    "4.5": (64, 1.8182, (32,)),
    "7.1": (64, 1.8182, (16,)),
    "7.2": (64, 1.8182, (32,)),
    "7.3": (64, 1.8182, (32,)),
    "7.4": (64, 1.8182, (32,)),
}


@pytest.mark.parametrize("name", FILES)
def test_a_small_scale_leaves_each_system_its_geometry(name: str) -> None:
    """Each row that has another recipe than those above it, or a geometry of its own."""
    seen: set[str] = set()
    for row in table(name).trained:
        own = recipe(name, row)
        if own not in seen or row.name in ROWS_WHEN_SMALL:
            expected = ROWS_WHEN_SMALL.get(row.name, WHEN_SMALL[own])
            assert geometry(config(name, row, "small")) == expected, row.name
            seen.add(own)


@pytest.mark.parametrize("name", [name for name in FILES if table(name).evaluations])
def test_conditions_compose(name: str) -> None:
    own = table(name)
    shown = {column.evaluation for column in own.columns} - {None}
    assert shown == {condition.name for condition in own.evaluations}
    for condition in own.evaluations:
        for scale in ("paper", "smoke"):
            cfg = condition_config((*condition.overrides, *condition.at_scale.get(scale, ())))
            if "corruption" in cfg:
                corruption = make(cfg.corruption)
                assert isinstance(corruption, Corruption)
                first = condition == own.evaluations[0]
                assert (corruption.describe(256) == NONE) == first, condition.name
                # at scale=small a crop has no more px than the second point of this curve leaves
                same = first or condition.name == "side_128"
                assert (corruption.describe(128) == NONE) == same, condition.name


@pytest.mark.parametrize("option", [p.stem for p in sorted((ROOT / "conf" / "corruption").glob("*.yaml"))])
def test_corruptions_build_and_default_to_none(option: str) -> None:
    assert isinstance(make(condition_config((f"corruption={option}",)).corruption), Corruption)
    assert "corruption" not in condition_config(())


CURVES = {
    "robustness/occlusion": ("corruption.share", [0, 0.1, 0.2, 0.3, 0.4, 0.5]),
    "robustness/blur": ("corruption.sigma", [0, 1, 2, 4, 8]),
    "robustness/resolution": ("corruption.side", [256, 128, 64, 32, 16]),
    "robustness/box_jitter": ("box.shift", [0, 0.05, 0.1, 0.15, 0.2, 0.3]),
}


@pytest.mark.parametrize("name", CURVES)
def test_curves_say_the_value_that_they_set(name: str) -> None:
    key, values = CURVES[name]
    for condition, value in zip(table(name).evaluations, values, strict=True):
        cfg = condition_config(condition.overrides)
        assert OmegaConf.select(cfg, key) == value == condition.value
        if key == "box.shift":
            assert list(cfg.box.width) == list(cfg.box.height) == pytest.approx([1 - value, 1 + value])
            assert cfg.box.around == "landmarks"
    rows = {row.name: config(name, row, "paper") for row in table(name).trained}
    heads = [rows[row].head._target_.rsplit(".", 1)[-1] for row in ("fc", "gcn")]
    assert heads == ["FullyConnectedHead", "GraphHead"]
    assert (list(rows) == ["fc", "gcn"]) == (name != "robustness/box_jitter")
    assert table(name).baseline == "fc"


def test_boxes_move_as_much_at_a_small_scale_and_the_control_by_its_boxes_alone() -> None:
    small = table("robustness/box_jitter_300w_small")
    assert small.evaluations == table("robustness/box_jitter").evaluations
    exact, moved, dpr = (config(small.name, small.row(row), "paper") for row in ("scc", "scc_moved", "dpr"))
    assert {key for key in plain(moved) if plain(moved)[key] != plain(exact).get(key)} <= {"box", "data", "sweep"}
    for key in ("shift", "width", "height", "around", "scored_too"):
        assert moved.box[key] == dpr.box[key]


def test_quitting_runs_from_all_iterations_to_one() -> None:
    own = table("musica/quitting")
    set_ = [condition_config(condition.overrides).model.quit_threshold for condition in own.evaluations]
    assert (set_[0], set_[-1]) == ("never", 1e9)
    assert set_[1:-1] == [condition.value for condition in own.evaluations[1:-1]]
    assert set_[1:-1] == sorted(set_[1:-1])
    shown = {(column.metric, column.evaluation) for column in own.columns if column.evaluation}
    assert shown == {(metric, c.name) for metric in (NME, MEAN_ITERATIONS) for c in own.evaluations}
    assert {row.name for row in own.trained} <= {row.name for row in table("musica/patches_and_iterations").trained}
    for row in own.trained:  # the same trainings
        other = table("musica/patches_and_iterations").row(row.name)
        ours, theirs = (
            plain(config(n, r, "smoke")) for n, r in ((own.name, row), ("musica/patches_and_iterations", other))
        )
        assert identity(ours) == identity(theirs)


@pytest.mark.parametrize("name", CURVES)
def test_curves_start_at_the_clean_test(name: str, tiny_run: TinyRun, tmp_path: Path, no_pictures: None) -> None:
    """The first condition changes nothing, and the strongest one does."""
    conditions = table(name).evaluations
    first, strongest = (
        evaluate_run(tiny_run.folder, f"output_dir={tmp_path}/{c.name}", *c.overrides).metrics["test"]["last"]["nme"]
        for c in (conditions[0], conditions[-1])
    )
    clean = tiny_run.result.metrics["test"]["last"]["nme"]
    assert first == pytest.approx(clean, rel=1e-5)
    assert abs(strongest - clean) > 1e-5 * clean


def values(name: str, column: str = "nme") -> dict[str, float]:
    return {row.name: row.paper[column] for row in table(name).rows if column in row.paper}


def test_the_best_cells_are_those_that_the_papers_print_bold() -> None:
    lowest = {
        ("scc/table1_wflw", "nme"): "scc",
        ("scc/table2_cofw", "cofw_nme"): "ours_cofw",
        ("scc/table3_300w", "common"): "hrnet",
        ("scc/table3_300w", "full"): "scc",
        ("scc/table7_topk", "nme"): "k3",
        ("scc/table8_loss", "nme"): "softwing_0.2",
        ("scc/table6_features", "nme"): "f345",
        ("scc/table4_efficiency", "params"): "scc",
    }
    for (name, column), row in lowest.items():
        cells = values(name, column)
        assert min(cells, key=cells.__getitem__) == row, (name, column)


def test_tables_share_the_cells_of_shared_rows() -> None:
    """The full model is one number, whichever table prints it, and so are the rows that two tables have."""
    full = [values("scc/table1_wflw")["scc"], values("scc/table5_components")["full"], values("scc/table7_topk")["k3"]]
    assert {*full, values("scc/table4_efficiency")["scc"], values("cross/all_systems")["scc"]} == {4.40}
    shared = {
        "scc/table1_wflw": "scc",
        "scc/table5_components": "full",
        "scc/table7_topk": "k3",
        "cross/all_systems": "scc",
        "robustness/blur": "gcn",
    }
    assert len({identity(plain(config(name, table(name).row(row), "smoke"))) for name, row in shared.items()}) == 1
    pairs = (("gcn_l1", "f5"), ("gcn_attention_l1", "f345"))
    for component, level in pairs:
        assert values("scc/table5_components")[component] == values("scc/table6_features")[level]
        rows = table("scc/table5_components").row(component), table("scc/table6_features").row(level)
        first, second = (
            config("scc/table5_components", rows[0], "smoke"),
            config("scc/table6_features", rows[1], "smoke"),
        )
        assert identity(plain(first)) == identity(plain(second))


def test_table_2_scores_each_model_where_it_belongs() -> None:
    cofw = table("scc/table2_cofw")
    scored = {row.name: [condition.name for condition in cofw.evaluations_of(row)] for row in cofw.trained}
    assert scored == {"ours_cofw": ["cofw"], "ours_300w_cofw68": ["cofw68"]}
    assert {row.name: config(cofw.name, row, "paper").dataset.name for row in cofw.trained} == {
        "ours_cofw": "cofw",
        "ours_300w_cofw68": "300w",
    }


def test_loss_rows_set_what_their_labels_say() -> None:
    for row in table("scc/table8_loss").trained:
        loss = config("scc/table8_loss", row, "smoke").loss
        name, _, omega = (row.series or row.label).partition(", omega ")
        assert loss._target_.rsplit(".", 1)[-1].lower() == name.lower()
        assert row.value is None or loss.epsilon == row.value
        # the figure beside the losses draws 20 for both; 10 is that of Wing's own paper
        assert name != "Wing" or loss.omega == (10 if omega else 20) == float(omega or 20)
        assert name != "SoftWing" or (loss.omega1, loss.omega2) == (2, 20)


def fan_row(name: str, scale: str = "paper") -> DictConfig:
    return config("fan/ablation", table("fan/ablation").row(name), scale)


def test_fan_rows_are_the_published_recipes() -> None:
    length = {
        "1.1": (5e-4, 8, 10),
        "1.2": (5e-4, 3, 25),
        "2.3": (5e-4, 24, 180),
        "4.4": (3e-4, 4, 60),
        "6.1": (5e-4, 8, 60),
    }
    for name, expected in length.items():
        cfg = fan_row(name)
        assert (cfg.optimizer.lr, cfg.scheduler.epochs, cfg.trainer.max_epochs) == expected, name
        assert (cfg.scheduler.gamma, cfg.data.batch_size, cfg.test_time_flip) == (0.7, 32, True)
    strong, plain_cfg = fan_row("4.4"), fan_row("1.2")
    assert (strong.dataset.name, plain_cfg.dataset.name) == ("300wlp", "300wlp")
    assert strong.data.balancing == plain_cfg.data.balancing is not None
    assert [len(cfg.augment.photometric) for cfg in (strong, plain_cfg)] == [5, 4]
    assert (strong.input_size, strong.model.stem_pool) == (128, 2)
    assert (fan_row("3.2").loss.distance_weight, fan_row("3.2").codec.subpixel) == (0, False)
    assert (fan_row("7.4").model.stem_kernel, fan_row("7.4").model.stem_pool, fan_row("7.4").input_size) == (5, 1, 128)


@pytest.mark.parametrize("name", ["1.2", "2.3", "4.1", "7.1"])
def test_fan_rows_build_when_small(name: str) -> None:
    cfg = fan_row(name, "small")
    assert (cfg.optimizer._target_, cfg.optimizer.lr) == ("torch.optim.AdamW", 2e-3)
    assert set(cfg.scheduler) == {"_target_", "warmup"}, "settings of another schedule do not fit OneCycle"
    assert cfg.data.balancing is None
    assert cfg.input_size == (64 if name == "7.1" else 128)
    assert (cfg.dataset, cfg.loss, cfg.box) == (fan_row(name).dataset, fan_row(name).loss, fan_row(name).box)
    make(cfg.scheduler)
    make(cfg.model)(input_size=cfg.input_size, statistics=face_statistics(68))


def test_dpr_rows_say_what_is_trained() -> None:
    stages = {row.name: config("dpr/stages", row, "paper") for row in table("dpr/stages").trained}
    assert [cfg.model.stages for cfg in stages.values()] == ["gsr", "glsr", "glsr", "glsr", "glsr"]
    assert [cfg.model.detach for cfg in stages.values()] == [True, True, True, True, False]
    assert [name for name, cfg in stages.items() if "stages" in cfg.callbacks] == ["by_stage"]
    phases = stages["by_stage"].callbacks.stages.phases
    assert [(phase.detach, phase.modules is None) for phase in phases] == [(True, False)] * 3 + [(False, True)]
    assert stages["fitted"].model.local_reinit._target_.endswith("SimilarityFit")
    weighted = [config("dpr/weighting", row, "smoke") for row in table("dpr/weighting").trained]
    forms = [cfg.loss.weighting._target_.rsplit(".", 1)[-1] for cfg in weighted]
    assert forms == ["Equal", "Uncertainty", "InverseError", "HardLandmarks"]
    for row in (*table("dpr/stages").trained, *table("dpr/weighting").trained):
        name = "dpr/weighting" if row in table("dpr/weighting").trained else "dpr/stages"
        cfg = config(name, row, "smoke")
        make(cfg.model)(input_size=cfg.input_size, statistics=face_statistics(98))
        make(cfg.loss)(statistics=face_statistics(98))


SCALES = ("paper", "small", "smoke")


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize(
    "rows",
    [
        {"dpr/stages": "global", "cross/all_systems": "dpr_global", "robustness/box_jitter": "dpr_gsr"},
        {
            "dpr/stages": "both",
            "dpr/weighting": "inverse",
            "cross/all_systems": "dpr_both",
            "robustness/box_jitter": "dpr_glsr",
        },
    ],
    ids=["gsr", "glsr"],
)
def test_tables_share_the_trainings_of_dpr(rows: dict[str, str], scale: str) -> None:
    assert len({identity(plain(config(name, table(name).row(row), scale))) for name, row in rows.items()}) == 1


@pytest.mark.parametrize("scale", SCALES)
def test_the_moved_graph_differs_from_dpr_by_the_system(scale: str) -> None:
    graph, dpr = (
        plain(config("robustness/box_jitter", table("robustness/box_jitter").row(row), scale))
        for row in ("gcn_moved", "dpr_glsr")
    )
    differing = {key for key in graph.keys() | dpr.keys() if graph.get(key) != dpr.get(key)}
    assert differing - {"backbone"} == {"name", "normalise", "loss", "model", "data"}  # DPR has no backbone
    assert {key for key in graph["data"] if graph["data"][key] != dpr["data"][key]} == {"normalise"}


def test_no_folder_is_left_out() -> None:
    assert [Path(p).name for p in SWEEPS.glob("*.yaml")] == ["all.yaml"]
    assert {p.parent.parent for p in SWEEPS.rglob("*/*.yaml")} == {SWEEPS}
