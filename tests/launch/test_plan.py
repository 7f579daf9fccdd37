"""What a command means: jobs, their settings, their identity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from facegraph.errors import ConfigError
from facegraph.launch.plan import PlannedJob, parse_command, plan_table, tables_of
from facegraph.runs.compose import compose
from facegraph.runs.train import settings_of
from facegraph.sweeps.identity import identity
from facegraph.sweeps.table import Column, Evaluation, Row, Table

TABLE = Table(
    name="test/table",
    title="",
    source="",
    cost="",
    base=("head=gcn", "loss=l1"),
    rows=(
        Row("a", "a", ("head.top_k=3", "loss=l2"), at_scale={"smoke": ("head.blocks=1",)}),
        Row("b", "b", ("head=fc",), evaluations=()),
        Row("other", "another group's", None, paper={"nme": 5.0}),
    ),
    columns=(Column("nme", "NME", "nme"), Column("hard", "hard", "nme", evaluation="hard")),
    evaluations=(Evaluation("hard", "hard", ("box=detector-jittered", "box.shift=0.2")),),
)


def plan(*arguments: str, table: Table = TABLE) -> list[PlannedJob]:
    return plan_table(table, parse_command(arguments))[1]


def settings(job: PlannedJob) -> dict[str, str]:
    return dict(override.split("=", 1) for override in job.job.overrides)


def test_rows_times_seeds_without_published_rows() -> None:
    jobs = plan("sweeps=x", "seed=0,2")
    assert [(j.job.row, j.job.seed) for j in jobs] == [("a", 0), ("a", 2), ("b", 0), ("b", 2)]
    assert len({j.job.identity for j in jobs}) == 4
    assert [tuple(j.evaluations) for j in jobs] == [("hard",), ("hard",), (), ()]


def test_the_row_wins_over_the_base_and_the_scale_belongs_to_it() -> None:
    (paper, _), (smoke, _) = plan(), plan("scale=smoke")
    assert settings(paper)["loss"] == "l2"
    assert "head.blocks" not in settings(paper)
    assert settings(smoke)["head.blocks"] == "1"
    composed = compose(list(paper.job.overrides))
    assert composed.loss._target_.endswith(".L2")


def test_what_the_user_gives_goes_to_every_row_but_not_over_what_a_row_varies() -> None:
    jobs = plan("input_size=64", "rows=[a]")
    assert [settings(j)["input_size"] for j in jobs] == ["64"]
    with pytest.raises(ConfigError, match=r"head\.top_k is what row 'a' of test/table sets itself"):
        plan("head.top_k=5")


def test_rows_that_are_no_jobs_are_refused() -> None:
    with pytest.raises(ConfigError, match="trains no row other of test/table; it trains: a, b"):
        plan("rows=[other]")
    with pytest.raises(ConfigError, match="no row of test/table named 'c'; choose from a, b, other"):
        plan("rows=[c]")
    with pytest.raises(ConfigError, match=r"row 'a' of test/table: .*no setting 'optimizer\.speed'"):
        plan("optimizer.speed=1")


@pytest.mark.parametrize("seeds", ["seed=one", "seed=-1,2", "seed=0.5"])
def test_seeds_are_whole_numbers(seeds: str) -> None:
    with pytest.raises(ConfigError, match="whole numbers from 0"):
        parse_command([seeds])


def test_identity_is_of_what_changes_numbers() -> None:
    (first, *_) = plan("rows=[a]")
    (again,) = plan("rows=[a]", "logger=tensorboard", "data.num_workers=3", "name=else", "sweep_dir=elsewhere")
    (other,) = plan("rows=[a]", "optimizer.lr=0.001")
    assert first.job.identity == again.job.identity
    assert first.job.identity != other.job.identity


def test_combinations_make_a_table_with_a_row_each() -> None:
    command = parse_command(["head.top_k=1,3", "loss=l1,softwing", "seed=0,1", "input_size=64"])
    (table,) = tables_of(command, compose(["input_size=64"]))
    assert [row.label for row in table.rows] == [
        "head.top_k=1 loss=l1",
        "head.top_k=1 loss=softwing",
        "head.top_k=3 loss=l1",
        "head.top_k=3 loss=softwing",
    ]
    assert len(plan_table(table, command)[1]) == 8
    numbers = parse_command(["loss=l1,softwing", "head.top_k=1,3"])
    (curve,) = tables_of(numbers, compose([]))
    assert [(row.series, row.value) for row in curve.rows] == [
        ("loss=l1", 1.0),
        ("loss=l1", 3.0),
        ("loss=softwing", 1.0),
        ("loss=softwing", 3.0),
    ]
    assert curve.axis == "head.top_k"


def test_nothing_to_vary_is_said() -> None:
    with pytest.raises(ConfigError, match="nothing varies"):
        tables_of(parse_command(["seed=0"]), compose([]))
    with pytest.raises(ConfigError, match="varies its rows and seeds only, not loss"):
        tables_of(parse_command(["sweeps=scc/table7_topk", "loss=l1,l2"]), compose([]))


def test_what_a_job_is_told_survives_hydras_grammar(tmp_path: Path) -> None:
    """Folders with spaces and commas, conditions with brackets."""
    (job,) = plan("rows=[a]")
    folder = tmp_path / 'a, b="c" [d]'
    cfg = compose(job.overrides(folder))
    assert cfg.sweep.identity == job.job.identity
    assert Path(cfg.output_dir) == folder / "jobs" / job.job.identity
    assert cfg.sweep.evaluations == {"hard": ["box=detector-jittered", "box.shift=0.2"]}
    assert all(override.input_line for override in OverridesParser.create().parse_overrides(job.overrides(folder)))


def test_what_a_job_needs_follows_its_trainer() -> None:
    found = [
        plan("rows=[a]", f"trainer.devices={n}")[0].resources.processes for n in ("1", "[0]", "2", "[0,1]", "auto")
    ]
    assert found == [1, 1, 2, 2, None]


def test_an_option_chosen_later_starts_from_its_own_values() -> None:
    """Those that a sweep file set in the group before do not fit it; those of the user are the user's."""
    step = ("scheduler=step", "scheduler.epochs=3")
    row = Row("a", "a", step, at_scale={"small": ("scheduler=one_cycle",)})
    table = replace(TABLE, rows=(row,))
    (paper,), (small,) = plan(table=table), plan("scale=small", table=table)
    assert compose(paper.job.overrides).scheduler.epochs == 3
    assert small.job.overrides == ("head=gcn", "loss=l1", "scale=small", "scheduler=one_cycle", "seed=0")
    base = replace(TABLE, base=("head=gcn", *step), rows=(Row("a", "a", ()),))
    (given,) = plan("scheduler=cosine", table=base)
    assert given.job.overrides == ("head=gcn", "scale=paper", "scheduler=cosine", "seed=0")
    with pytest.raises(ConfigError, match="scheduler"):
        plan("scheduler.gamma=0.5", table=replace(TABLE, rows=(Row("a", "a", ("scheduler=one_cycle",)),)))


def test_jobs_of_one_row_and_other_seeds_have_the_identities_of_their_own_settings() -> None:
    """A row is composed once for all its seeds."""
    for job in plan("rows=[b]", "seed=0,7"):
        assert identity(settings_of(compose(job.job.overrides))) == job.job.identity


@pytest.mark.parametrize("folder", ['a, b="c" [d]', "back\\slash", 'end\\"', "ünï/{x}=(y)&~"])
def test_any_folder_survives_hydras_grammar(folder: str) -> None:
    (job,) = plan("rows=[a]")
    assert compose(job.overrides(Path(folder))).sweep.dir == folder


def test_what_the_sweep_gives_is_not_for_the_user() -> None:
    for taken in ("output_dir=x", "resume=x", "sweep.row=x"):
        with pytest.raises(ConfigError, match="leave it out"):
            parse_command([taken])


def test_two_tables_mean_one_thing_by_a_condition() -> None:
    (job,) = plan("rows=[a]")
    assert job.scored_too(job).evaluations == job.evaluations
    with pytest.raises(ConfigError, match="share a training and both have a condition 'hard'"):
        job.scored_too(replace(job, evaluations={"hard": ("box.shift=0.1",)}))


def test_the_checkpoint_of_a_table_is_that_of_its_conditions() -> None:
    (job,) = plan("rows=[a]", table=replace(TABLE, checkpoint="best"))
    assert job.evaluations["hard"][0] == "checkpoint=best"


def test_other_settings_for_all_rows_make_another_table() -> None:
    names = {
        tables_of(parse_command(["head.top_k=1,3", *more]), compose([]))[0].name
        for more in ([], ["logger=wandb"], ["input_size=64"], ["input_size=96"])
    }
    assert len(names) == 3


def test_a_table_of_published_rows_has_no_jobs() -> None:
    published = replace(TABLE, rows=TABLE.rows[2:], baseline=None)
    swept, jobs = plan_table(published, parse_command(["sweeps=x"]))
    assert (swept.jobs, jobs) == ((), [])
