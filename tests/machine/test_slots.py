"""Which GPUs and cores jobs get. The GPUs are pretended; CUDA_VISIBLE_DEVICES is what a user would set."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from facegraph.errors import ConfigError
from facegraph.machine import slots
from facegraph.machine.resources import Resources
from facegraph.machine.slots import Slot, make_slots, visible_gpus


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setattr(slots, "cores", lambda: 16)


@pytest.mark.parametrize(
    ("allowed", "counted", "found"),
    [
        (None, 2, ["0", "1"]),
        ("2,5", 2, ["2", "5"]),
        ("GPU-aa, GPU-bb", 2, ["GPU-aa", "GPU-bb"]),
        ("1,9,0", 1, ["1"]),  # CUDA's list ends at the first that does not exist
        ("", 0, []),
        ("-1", 0, []),
        ("MIG-aa,MIG-bb", 1, ["MIG-aa", "MIG-bb"]),
    ],
)
def test_visible_gpus_are_those_that_cuda_shows(
    monkeypatch: pytest.MonkeyPatch, allowed: str | None, counted: int, found: list[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: counted)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: counted > 0)
    assert visible_gpus({} if allowed is None else {"CUDA_VISIBLE_DEVICES": allowed}) == found


@pytest.mark.usefixtures("four_gpus")
def test_first_jobs_go_to_different_gpus() -> None:
    made = make_slots(Resources(processes=2), jobs_per_device=2)
    assert [slot.devices for slot in made] == [("0", "1"), ("2", "3"), ("0", "1"), ("2", "3")]
    assert [slot.index for slot in made] == [0, 1, 2, 3]
    # 4 jobs of 2 processes share 16 cores
    assert {slot.threads for slot in made} == {2}
    assert made[1].environment()["CUDA_VISIBLE_DEVICES"] == "2,3"


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize(("loaders", "threads"), [(0, 4), (1, 3), (9, 1)])
def test_jobs_beside_gpus_leave_cores_to_their_loaders(loaders: int, threads: int) -> None:
    assert {slot.threads for slot in make_slots(Resources(loaders=loaders))} == {threads}
    assert {slot.threads for slot in make_slots(Resources(loaders=loaders), threads=2)} == {2}, "as the user says"


@given(gpus=st.integers(1, 16), per_job=st.integers(1, 4), sharing=st.integers(1, 3))
def test_no_gpu_serves_more_jobs_than_asked_for(gpus: int, per_job: int, sharing: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        patch.setattr(torch.cuda, "device_count", lambda: gpus)
        if per_job > gpus:
            with pytest.raises(ConfigError, match=f"wants {per_job} GPUs, but there are {gpus}"):
                make_slots(Resources(processes=per_job))
            return
        made = make_slots(Resources(processes=per_job), jobs_per_device=sharing)
    uses = Counter(device for slot in made for device in slot.devices or ())
    assert set(uses.values()) == {sharing}
    assert len(made) == gpus // per_job * sharing
    assert all(len(set(slot.devices or ())) == per_job for slot in made)


@pytest.mark.usefixtures("four_gpus")
def test_devices_can_be_chosen_by_number_or_shortened_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [slot.devices for slot in make_slots(devices=[3, 1])] == [("3",), ("1",)]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa1,GPU-aa2,GPU-bb1,GPU-bb2")
    assert [slot.devices for slot in make_slots(devices=["GPU-bb2", "GPU-aa1"])] == [("GPU-bb2",), ("GPU-aa1",)]
    with pytest.raises(ConfigError, match="GPU-aa, which is no GPU here or not one alone"):
        make_slots(devices=["GPU-aa"])


@pytest.mark.usefixtures("four_gpus")
@pytest.mark.parametrize("devices", [[4], [0, 0], [], "2", 2])
def test_devices_that_are_not_there_are_refused(devices: object) -> None:
    with pytest.raises(ConfigError, match=r"hydra\.launcher\.devices"):
        make_slots(devices=devices)  # type: ignore[arg-type]


def test_devices_without_any_gpu_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(ConfigError, match="there are: none"):
        make_slots(devices=[0])


@pytest.mark.usefixtures("four_gpus")
def test_cpu_jobs_share_the_cores_and_see_no_gpu() -> None:
    made = make_slots(Resources(processes=2, on_cpu=True), threads=2)
    assert made == [Slot(index, None, 2) for index in range(4)]
    assert made[0].environment()["CUDA_VISIBLE_DEVICES"] == ""
    assert made[0].environment()["OMP_NUM_THREADS"] == "2"
    assert len(make_slots(Resources(on_cpu=True), cpu_jobs=3)) == 3
    assert len(make_slots(Resources(on_cpu=True), threads=99)) == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"jobs_per_device": 0},
        {"cpu_jobs": 0},
        {"cpu_jobs": "two"},
        {"cpu_jobs": 1.5},
        {"threads": -2},
        {"threads": 0},
    ],
)
def test_numbers_below_one_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="must be at least 1"):
        make_slots(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "quota"), [("250000 100000\n", 2.5), ("max 100000\n", math.inf), ("", math.inf)])
def test_the_quota_of_a_container_counts(tmp_path: Path, text: str, quota: float) -> None:
    (tmp_path / "cpu.max").write_text(text)
    assert slots._quota(tmp_path) == quota
    assert slots._quota(tmp_path / "missing") == math.inf


@pytest.mark.parametrize(("allowed", "quota"), [("150000", 1.5), ("-1", math.inf)])
def test_the_quota_of_the_first_version_of_control_groups_counts(tmp_path: Path, allowed: str, quota: float) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu" / "cpu.cfs_quota_us").write_text(f"{allowed}\n")
    (tmp_path / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert slots._quota(tmp_path) == quota


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({}, Resources()),
        ({"devices": "2"}, Resources(processes=2)),
        ({"devices": [0]}, Resources()),
        ({"devices": [0, 1]}, Resources(processes=2)),
        ({"devices": [3]}, Resources(named=(3,))),
        ({"devices": "auto"}, Resources(processes=None)),
        ({"devices": -1, "num_nodes": 2}, Resources(nodes=2, processes=None)),
        ({"devices": 4, "accelerator": "cpu"}, Resources(processes=4, on_cpu=True)),
    ],
)
def test_resources_follow_the_trainer(trainer: dict[str, object], expected: Resources) -> None:
    assert Resources.of(trainer) == expected
