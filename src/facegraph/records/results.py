"""result.json: protocol card, metrics and provenance of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from reprlib import repr as shortened
from typing import Any

import numpy as np

import facegraph
from facegraph.errors import RunError
from facegraph.files import plain_json
from facegraph.files.atomic import write_atomically
from facegraph.files.plain_files import check_file
from facegraph.records.predictions import RESULT_FILE
from facegraph.records.provenance import Provenance

SCHEMA_VERSION = 3
MAX_BYTES = 64_000_000
MAX_THRESHOLDS = 100
"""Of a normaliser; their names tell them apart by per cent."""
_Measures = dict[str, float | None]
_SUMMARY = {
    "count": int,
    "normalisers": dict[str, _Measures],
    "subsets": dict[str, _Measures],
    "per_landmark": list[float | None],
}
"""What every summary has, see predictions.summarise; the rest are measures."""


@dataclass(frozen=True)
class ProtocolCard:
    """All that must be equal before two numbers may stand in one table.

    Args:
        dataset: where the model was tested.
        split: of that data set.
        crop: policy in words ("landmark box").
        crop_margin: side of the crop over the side of that box.
        test_hash: fingerprint of the faces scored (ids and landmarks).
        trained_on: the data set it was trained on.
        normaliser: the primary one.
        thresholds: normaliser -> fractions, of failure rate and AUC.
        validation: where the validation faces came from, in words.
        checkpoint_rule: how "last" and "best" were chosen.
        corruption: how test faces were made harder; results written before this field existed are of unchanged faces.
        exif: "applied" where some picture was turned upright as its EXIF orientation says, None where all are as
            stored.
        initial_weights: folder that training started from, None for random weights.
        model_facts: settings of the model that change what a test measures, as it says itself.
        shared_photographs: how many photographs of one's own data set more than one of train, validation and test
            shows.
        padding: mean share of the test crops beyond their pictures, None for none.
        partly_labelled: split -> faces that lack landmarks; the others of these count.
    """

    dataset: str
    split: str
    scheme: str
    num_landmarks: int
    trained_on: str
    train_faces: int
    val_faces: int
    test_faces: int
    test_hash: str
    crop: str
    crop_margin: float
    input_size: int
    normaliser: str
    thresholds: dict[str, tuple[float, ...]]
    checkpoint_rule: str
    epochs: int
    optimiser_steps: int
    seed: int
    test_time_flip: bool = False
    corruption: str = "none"
    exif: str | None = None
    initial_weights: str | None = None
    model_facts: dict[str, float] = field(default_factory=dict)
    padding: float | None = None
    partly_labelled: dict[str, int] = field(default_factory=dict)
    validation: str = "cut from train by photograph"
    shared_photographs: int = 0

    def differences(self, other: ProtocolCard) -> dict[str, tuple[Any, Any]]:
        """Field -> (mine, other's) for each field that differs."""
        pairs = {f.name: (getattr(self, f.name), getattr(other, f.name)) for f in fields(self)}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@dataclass(frozen=True)
class RunResult:
    """result.json.

    Args:
        metrics: {"val": {...}, "test": {"last": {...}, "best": {...}}}, inner entries as `summarise`.
    """

    protocol: ProtocolCard
    metrics: dict[str, Any]
    provenance: Provenance
    schema_version: int = field(default=SCHEMA_VERSION)

    def to_json(self) -> str:
        """Strict JSON text: NaN and infinities become null, numpy numbers plain ones."""
        return plain_json.dump(asdict(self)) + "\n"

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        """The result that `to_json` wrote.

        Raises:
            RunError: the text is no strict JSON, has another schema version, or fields are missing or unknown.
        """
        try:
            data = plain_json.parse(text.encode(), strict=True)
        except ValueError as error:
            raise RunError(f"the result is no strict JSON: {error}. Write it with RunResult.write.") from None
        version = data.get("schema_version") if isinstance(data, dict) else None
        if version != SCHEMA_VERSION:
            raise RunError(
                f"the result has schema version {version!r}, this facegraph ({facegraph.__version__}) reads "
                f"{SCHEMA_VERSION}; use the version that wrote it or run eval.py again."
            )
        try:
            result = plain_json.build(cls, data)
            _check_thresholds(result.protocol.thresholds)
            _check_metrics(result.metrics)
        except ValueError as error:
            raise RunError(f"{error}; use the facegraph version that wrote it or run eval.py again.") from None
        return result

    def write(self, folder: Path) -> Path:
        """Write result.json into a run folder in one step and return its path; an equal file is left alone.

        Raises:
            RunError: the folder holds a different result.json.
        """
        path, text = Path(folder) / RESULT_FILE, self.to_json()
        if path.exists():
            if path.read_text(encoding="utf-8") == text:
                return path
            raise RunError(f"{path} holds another result; a run never overwrites results. Choose another folder.")
        write_atomically(path, text.encode())
        return path

    @classmethod
    def read(cls, path: Path) -> RunResult:
        """Read result.json or the run folder that holds it.

        Raises:
            RunError: there is no such file, or as `from_json`.
        """
        path = Path(path) / RESULT_FILE if Path(path).is_dir() else Path(path)
        try:
            check_file(path, MAX_BYTES)
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise RunError(f"cannot read a result from {path}: {error}. Pass a finished run's folder.") from None
        try:
            return cls.from_json(text)
        except RunError as error:
            raise RunError(f"{path}: {error}") from None


def _check_thresholds(thresholds: Mapping[str, tuple[float, ...]]) -> None:
    for name, values in thresholds.items():
        if len(values) > MAX_THRESHOLDS:
            raise ValueError(f"{len(values)} thresholds of {name}; at most {MAX_THRESHOLDS} are reported")
        if not all(0 < value < np.inf for value in values):
            raise ValueError(f"thresholds of {name} are {shortened(values)}; they must be above zero and finite")


def _check_metrics(metrics: Mapping[str, Any]) -> None:
    """Raises ValueError unless they are as RunResult has them: reports take them as they are."""
    plain_json.as_type(metrics.get("val", {}), dict[str, _Measures], "metrics.val")
    for checkpoint, summary in plain_json.as_type(
        metrics.get("test"), dict[str, dict[str, Any]], "metrics.test"
    ).items():
        for name, kind in _SUMMARY.items():
            plain_json.as_type(summary.get(name), kind, f"metrics.test.{checkpoint}.{name}")
        rest = {name: value for name, value in summary.items() if name not in _SUMMARY}
        plain_json.as_type(rest, dict[str, _Measures | float | None], f"metrics.test.{checkpoint}")
