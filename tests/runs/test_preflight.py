"""What cannot be trained is said before the run's folder is taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from facegraph.errors import ConfigError
from tests.helpers.runs import train_tiny

pytestmark = pytest.mark.usefixtures("no_pictures")
ALL = ("data.val_fraction=0", "trainer.max_epochs=1")


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (["data.batch_size=1"], "Set data.batch_size=2 or more"),
        (
            ["dataset.train_size=5", "data.batch_size=4", "data.drop_last=false"],
            "data.drop_last=true.*data.batch_size=5",
        ),
        (["dataset.train_size=1", "data.batch_size=2"], "1 training faces.*Add training faces"),
        (["callbacks.last=null"], "callbacks.last"),
        (["+optimizer.betas=[0.9,2.0]"], "optimizer cannot be built.*beta"),
    ],
)
def test_it_is_said_before_the_folder_is_taken(overrides: list[str], named: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=named):
        train_tiny(tmp_path / "run", *ALL, *overrides)
    assert not (tmp_path / "run" / "config.yaml").exists()


def test_a_model_without_such_a_layer_trains_on_one_face(tmp_path: Path) -> None:
    small = ("dataset.train_size=5", "data.batch_size=4", "data.drop_last=false")
    assert train_tiny(tmp_path / "run", *ALL, *small, "head=fc").result.protocol.optimiser_steps == 2
