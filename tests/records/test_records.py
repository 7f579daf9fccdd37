"""Prediction frames, summaries and result.json: known answers, round trips, refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import numpy as np
import pandas as pd
import pytest

from facegraph.errors import ConfigError, DataError, RunError
from facegraph.records import (
    ProtocolCard,
    RunResult,
    collect_provenance,
    prediction_frame,
    predictions_of,
    read_predictions,
    summarise,
    write_predictions,
)
from facegraph.records.provenance import git_state


def small_frame(checkpoint: str = "last") -> pd.DataFrame:
    """Four faces of two landmarks; the second one is off by 2, 4, 6 and 16 px along x."""
    truth = np.tile([[10.0, 10.0], [30.0, 10.0]], (4, 1, 1))
    offset = np.array([1.0, 2.0, 3.0, 8.0])
    prediction = truth.copy()
    prediction[:, 1, 0] += 2 * offset
    return prediction_frame(
        ids=["a.jpg#0", "b.jpg#0", "b.jpg#1", "c.jpg#0"],
        index=np.array([4, 5, 7, 9]),
        prediction=prediction,
        truth=truth,
        norm_distances={"inter_ocular": np.full(4, 20.0), "box": np.full(4, 40.0)},
        attributes={"pose": np.array([True, False, False, True]), "blur": np.zeros(4, dtype=bool)},
        checkpoint=checkpoint,
    )


def card() -> ProtocolCard:
    return ProtocolCard(
        dataset="synthetic",
        split="test",
        scheme="ibug68",
        num_landmarks=68,
        trained_on="300w",
        train_faces=80,
        val_faces=20,
        test_faces=4,
        test_hash="0123456789ab",
        crop="landmark box",
        crop_margin=1.25,
        input_size=64,
        normaliser="inter_ocular",
        thresholds={"inter_ocular": (0.08, 0.1)},
        checkpoint_rule="last epoch; best: lowest validation NME",
        epochs=3,
        optimiser_steps=30,
        seed=1,
    )


def summary(nme: float) -> dict[str, object]:
    return {"count": 1, "nme": nme, "normalisers": {}, "subsets": {}, "per_landmark": []}


def result(**metrics: object) -> RunResult:
    provenance = collect_provenance(
        device="cpu",
        overrides=["trainer=cpu"],
        started_at=datetime(2024, 5, 1, tzinfo=timezone.utc),
        git=git_state(),
        seed=0,
        params=12,
    )
    return RunResult(protocol=card(), metrics=dict(metrics), provenance=provenance)


def test_frame_holds_points_and_errors_by_name() -> None:
    frame = small_frame()
    assert list(frame.columns) == [
        *("id", "index", "checkpoint", "norm_inter_ocular", "norm_box", "attr_pose", "attr_blur"),
        *("nme_inter_ocular", "nme_box", "pred_x0", "pred_y0", "pred_x1", "pred_y1"),
        *("true_x0", "true_y0", "true_x1", "true_y1"),
    ]
    assert frame["nme_inter_ocular"].tolist() == pytest.approx([0.05, 0.1, 0.15, 0.4])
    assert frame["nme_box"].tolist() == pytest.approx([0.025, 0.05, 0.075, 0.2])


def test_arrays_come_back_from_frame_and_file(tmp_path) -> None:
    frame = pd.concat([small_frame("last"), small_frame("best")])
    path = write_predictions(frame, tmp_path / "run")
    assert write_predictions(frame, tmp_path / "run") == path  # the same table again is no overwriting
    read = read_predictions(tmp_path / "run")
    faces, again = predictions_of(small_frame("best")), predictions_of(read[read["checkpoint"] == "best"])
    assert again.ids == faces.ids == ("a.jpg#0", "b.jpg#0", "b.jpg#1", "c.jpg#0")
    assert again.checkpoint == "best"
    assert again.row.tolist() == [4, 5, 7, 9]
    assert again.prediction.dtype == np.float32
    np.testing.assert_array_equal(again.prediction[:, 1, 0], [32, 34, 36, 46])
    np.testing.assert_array_equal(again.truth, faces.truth)
    assert again.attributes["pose"].tolist() == [True, False, False, True]
    assert again.attributes["pose"].dtype == bool
    assert list(again.norm_distances) == ["inter_ocular", "box"]
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["predictions.parquet"]


def test_predictions_are_replaced_only_while_the_run_is_unfinished(tmp_path) -> None:
    write_predictions(small_frame("best"), tmp_path)
    write_predictions(small_frame("last"), tmp_path)  # a second attempt at a test that was killed
    assert predictions_of(read_predictions(tmp_path)).checkpoint == "last"
    (tmp_path / "result.json").touch()
    with pytest.raises(RunError, match="holds other predictions"):
        write_predictions(small_frame("best"), tmp_path)


def test_summary_of_hand_computed_faces() -> None:
    summary = summarise(small_frame(), ["inter_ocular", "box"], {"inter_ocular": (0.10, 0.2), "box": (0.07,)})
    assert summary["count"] == 4
    assert summary["nme"] == pytest.approx(0.175)
    assert summary["fr@0.10"] == 0.5
    assert summary["auc@0.20"] == pytest.approx((0.75 + 0.5 + 0.25) / 4)
    assert summary["normalisers"]["inter_ocular"]["nme"] == summary["nme"]
    assert set(summary["normalisers"]["box"]) == {"nme", "fr@0.07", "auc@0.07"}
    assert summary["normalisers"]["box"]["fr@0.07"] == 0.5
    assert summary["subsets"]["pose"]["nme"] == pytest.approx(0.225)
    assert summary["subsets"]["pose"]["count"] == 2
    empty = {"count": 0, "nme": None, "fr@0.10": None, "auc@0.10": None, "fr@0.20": None, "auc@0.20": None}
    assert summary["subsets"]["blur"] == empty
    assert summary["per_landmark"] == pytest.approx([0, 0.35])
    json.dumps(summary, allow_nan=False)


def test_nan_predictions_become_null_and_fail() -> None:
    frame = small_frame()
    faces = predictions_of(frame)
    prediction = faces.prediction.copy()
    prediction[0, 0] = np.nan
    broken = prediction_frame(
        faces.ids, faces.row, prediction, faces.truth, faces.norm_distances, faces.attributes, "last"
    )
    summary = summarise(broken, ["inter_ocular"], {"inter_ocular": (0.2,)})
    assert summary["nme"] is None
    assert summary["fr@0.20"] == 0.5
    assert summary["per_landmark"][0] is None


def test_unusable_frames_are_refused() -> None:
    faces = predictions_of(small_frame())
    with pytest.raises(DataError, match="'5' occurs twice"):
        prediction_frame(faces.ids, [4, 5, 5, 9], *faces[2:])
    with pytest.raises(DataError, match="lengths"):
        prediction_frame(faces.ids[:3], *faces[1:])
    with pytest.raises(DataError, match="last"):
        summarise(pd.concat([small_frame("last"), small_frame("best")]), ["inter_ocular"], {})
    with pytest.raises(DataError, match="'inter_pupil' is not among"):
        summarise(small_frame(), ["inter_pupil"], {})
    with pytest.raises(ConfigError, match="name at least one"):
        summarise(small_frame(), [], {})
    with pytest.raises(RunError, match=r"eval\.py"):
        read_predictions("nowhere/predictions.parquet")


def test_result_comes_back_from_its_file(tmp_path) -> None:
    test = {
        name: summarise(small_frame(name), ["inter_ocular"], {"inter_ocular": (0.08, 0.1)}) for name in ("last", "best")
    }
    written = result(val={"last": {"nme": 0.04}}, test=test)
    path = written.write(tmp_path / "run")
    assert path.name == "result.json"
    assert RunResult.read(path) == RunResult.read(tmp_path / "run") == written
    assert [p.name for p in path.parent.iterdir()] == ["result.json"]


def test_json_is_strict() -> None:
    text = result(test={"last": {"nme": float("nan"), "count": np.int64(3), "x": np.array([1.5, np.inf])}}).to_json()

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} in strict JSON")

    assert json.loads(text, parse_constant=refuse)["metrics"]["test"]["last"] == {
        "nme": None,
        "count": 3,
        "x": [1.5, None],
    }


def test_a_different_result_is_never_overwritten(tmp_path) -> None:
    first = result(test={"last": summary(0.04)})
    first.write(tmp_path)
    first.write(tmp_path)
    with pytest.raises(RunError, match="never overwrites"):
        result(test={"last": summary(0.05)}).write(tmp_path)
    assert RunResult.read(tmp_path) == first


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d: d.update(schema_version=99), "schema version 99"),
        (lambda d: d["protocol"].pop("seed"), "ProtocolCard lacks the fields .'seed'"),
        (lambda d: d["provenance"].update(mood="good"), "unknown ones .'mood'"),
        (lambda d: d.update(metrics=float("nan")), "no strict JSON"),
    ],
)
def test_files_of_another_kind_are_refused(tmp_path, change, words) -> None:
    data = json.loads(result(test={}).to_json())
    change(data)
    (tmp_path / "result.json").write_text(json.dumps(data))
    with pytest.raises(RunError, match=words):
        RunResult.read(tmp_path)


def test_cards_say_in_which_fields_they_differ() -> None:
    assert card().differences(card()) == {}
    assert card().differences(replace(card(), seed=2, crop="detector")) == {
        "crop": ("landmark box", "detector"),
        "seed": (1, 2),
    }


def test_provenance_knows_versions_and_leaves_out_the_host(tmp_path) -> None:
    found = collect_provenance(
        device="cpu", overrides=[], started_at=datetime(2024, 5, 1, 12), git=git_state(), seed=0, params=3, macs=5
    )
    assert found.versions["numpy"] == np.__version__
    assert datetime.fromisoformat(found.started_at).tzinfo is not None
    assert not {"host", "hostname", "user"} & set(found.__dataclass_fields__)
    assert git_state(tmp_path) == (None, None)
