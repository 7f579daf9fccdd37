"""What a setting may be is said before data are read; what every option of conf/ holds is allowed."""

from __future__ import annotations

import pytest

from facegraph.errors import ConfigError
from facegraph.runs.compose import compose, make
from facegraph.runs.settings import PRECISIONS

REFUSED = {
    "input_size=[64,48]": ["input_size=[64,48]", "one whole number", "square"],
    "input_size=abc": ["input_size=abc", "one whole number"],
    "input_size=64.5": ["input_size=64.5"],
    "input_size=true": ["input_size=true"],
    "seed=-1": ["seed=-1", "from 0 to 4294967295"],
    "seed=1099511627776": ["seed=1099511627776", "from 0 to 4294967295"],
    "seed=null": ["seed=null"],
    "name=null": ["name=null", "output folder"],
    "test_time_flip=foo": ["test_time_flip=foo", "true or false"],
    "data.batch_size=[1,2]": ["data.batch_size=[1,2]", "whole number"],
    "data.batch_size=1.5": ["data.batch_size=1.5"],
    "data.eval_batch_size=2.5": ["data.eval_batch_size=2.5"],
    "data.num_workers=-1": ["data.num_workers=-1", "0 or more"],
    "data.drop_last=foo": ["data.drop_last=foo", "true or false"],
    "data.val_fraction=x": ["data.val_fraction=x", "a number"],
    "data.val_fraction=null": ["data.val_fraction=null", "a number"],
    "data.balancing=foo": ["data.balancing=foo", "_target_"],
    "dataset.train_size=1.5": ["dataset.train_size=1.5", "a whole number"],
    "head.top_k=foo": ["head.top_k=foo", "a whole number or null"],
    "callbacks.last.every_n_epochs=x": ["callbacks.last.every_n_epochs=x", "a whole number"],
    "optimizer.lr=-1": ["optimizer.lr=-1", "0 or more"],
    "optimizer.lr=abc": ["optimizer.lr=abc", "0 or more"],
    "trainer.precision=64": ["trainer.precision=64", *PRECISIONS],
    "trainer.precision=bf16-true": ["trainer.precision=bf16-true", *PRECISIONS],
    "trainer.max_epochs=0": ["trainer.max_epochs=0", "1 or more"],
    "trainer.max_epochs=-1": ["trainer.max_epochs=-1", "1 or more"],
    "trainer.max_epochs=null": ["trainer.max_epochs=null", "1 or more"],
    "trainer.accumulate_grad_batches=0": ["trainer.accumulate_grad_batches=0", "1 or more"],
    "trainer.gradient_clip_val=-1": ["trainer.gradient_clip_val=-1", "0 or more"],
    "trainer.check_val_every_n_epoch=0": ["trainer.check_val_every_n_epoch=0", "1 or more"],
    "trainer.devices=0": ["trainer.devices=0", "auto"],
    "trainer.devices=1.5": ["trainer.devices=1.5", "auto"],
    "+trainer.limit_train_batches=0": ["trainer.limit_train_batches=0"],
    "+trainer.val_check_interval=0": ["trainer.val_check_interval=0"],
    "+trainer.deterministic=foo": ["trainer.deterministic=foo", "warn"],
    "+trainer.foo=1": ["trainer.foo", "max_epochs"],
    "trainer=null": ["trainer=null", "options"],
}
ALLOWED = (
    "trainer.precision=32",
    "trainer.precision=16",
    "trainer.precision=bf16",
    "trainer.devices=auto",
    "trainer.devices=[0,1]",
    "trainer.check_val_every_n_epoch=null",
    "head.top_k=null",
    "name=5",
    "optimizer.lr=1",
    "+trainer.limit_train_batches=0.5",
    "+trainer.deterministic=warn",
)


@pytest.mark.parametrize("override", REFUSED)
def test_a_value_that_cannot_be_used_is_named(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose([override])
    for part in REFUSED[override]:
        assert part in str(caught.value)


@pytest.mark.parametrize("override", ALLOWED)
def test_a_value_that_can_be_used_is_not_refused(override: str) -> None:
    compose([override])


@pytest.mark.parametrize(
    ("override", "named"),
    [("trainer.accelerator=foo", "accelerator='foo'"), ("+trainer.max_time=foo", "duration='foo'")],
)
def test_what_lightning_refuses_names_the_setting(override: str, named: str) -> None:
    with pytest.raises(ConfigError, match=r"^trainer cannot be built: ") as caught:
        make(compose([override]).trainer)
    assert named in str(caught.value)
    assert "Error in call" not in str(caught.value)
