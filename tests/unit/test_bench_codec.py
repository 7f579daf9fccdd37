"""facegraph bench codec: what it measures, by numbers that are known."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from facegraph.bench.codec import CodecBench, bench_codec
from facegraph.cli import app
from facegraph.compose import build_data, compose
from facegraph.errors import ConfigError

DRAWN = ("dataset.train_size=4", "dataset.test_size=6", "dataset.image_size=64")


@pytest.fixture(scope="module")
def found() -> CodecBench:
    return bench_codec(DRAWN, sizes=(32, 64), noises=(0.0, 0.05), input_size=128)


def nme(found: CodecBench, codec: str, size: int, noise: float = 0.0) -> float:
    (cost,) = [c for c in found.costs if (c.codec, c.size, c.noise) == (codec, size, noise)]
    assert 0 <= cost.nme <= cost.worst < 1
    return cost.nme


def test_every_option_is_measured(found: CodecBench) -> None:
    names = {cost.codec for cost in found.costs}
    assert names == {"argmax", "centroid", "quarter", "soft_argmax", "centroid, plain"}
    assert len(found.costs) == len(names) * 4
    assert (found.dataset, found.faces, found.landmarks, found.input_size) == ("synthetic", 6, 98, 128)
    assert found.outside == 0


def test_known_costs(found: CodecBench) -> None:
    """An arg-max halves its error as the map doubles; a quarter step halves it again; the centroid has none."""
    assert nme(found, "centroid", 32) < 1e-5
    assert nme(found, "centroid", 64) < 1e-5
    assert nme(found, "argmax", 32) / nme(found, "argmax", 64) == pytest.approx(2, rel=0.1)
    assert nme(found, "argmax", 64) / nme(found, "quarter", 64) == pytest.approx(2, rel=0.1)
    assert nme(found, "centroid, plain", 32) > 1e-4  # its window is narrower than the Gaussian
    assert nme(found, "centroid", 64, 0.05) > 1e-3
    assert nme(found, "argmax", 64, 0.05) > nme(found, "argmax", 64)


def test_errors_are_in_the_photograph(found: CodecBench) -> None:
    """An arg-max loses the mean distance to the middle of a square, 0.3826 of a map pixel as long as that is there."""
    data = build_data(compose([*DRAWN, "input_size=128"]))
    data.setup("test")
    table = data.test_table
    pixel = np.array([1 / data.box.square(box, 32)[0, 0] for box in table.boxes])
    expected = 0.3826 * float(np.mean(pixel / data.dataset.norm_distances(table.landmarks)[:, 0]))
    assert nme(found, "argmax", 32) == pytest.approx(expected, rel=0.05)
    half = bench_codec(DRAWN, sizes=(32,), noises=(0.0,), input_size=64)
    assert nme(half, "argmax", 32) == pytest.approx(expected, rel=0.05)


def test_landmarks_outside_are_counted() -> None:
    close = bench_codec([*DRAWN, "box.margin=0.8"], sizes=(32,), noises=(0.0,), input_size=64)
    assert 0 < close.outside < 0.5
    assert nme(close, "centroid", 32) > 1e-3


def test_command() -> None:
    arguments = ["bench", "codec", *DRAWN, "--sizes", "16", "--noise", "0", "--input-size", "64"]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0
    for part in ("synthetic", "argmax", "quarter", "16 px", "inter_ocular"):
        assert part in shown.stdout
    written = json.loads(CliRunner().invoke(app, [*arguments, "--json"]).stdout)
    assert {cost["size"] for cost in written["costs"]} == {16}
    assert written["normaliser"] == "inter_ocular"


def test_the_crop_is_that_of_the_configuration() -> None:
    """As small a crop as asked for by input_size=, unless the option says otherwise."""
    given = [*DRAWN, "input_size=96"]
    assert [bench_codec(given, (8,), (0.0,), option).input_size for option in (None, 128)] == [96, 128]


def test_settings_of_a_decoder() -> None:
    """Each value for the decoders that have it; a sharper softmax is nearer to the arg-max."""
    measured = bench_codec([*DRAWN, "codec.decoder.beta=8,64", "codec.decoder.radius=0.2"], (32,), (0.0,), 64)
    names = [cost.codec for cost in measured.costs]
    assert names == [
        "argmax", "centroid, radius=0.2", "quarter", "soft_argmax, beta=8", "soft_argmax, beta=64",
        "centroid, plain, radius=0.2",
    ]  # fmt: skip
    (background, sharp) = (nme(measured, f"soft_argmax, beta={beta}", 32) for beta in (8, 64))
    assert sharp < background
    assert nme(measured, "centroid, plain, radius=0.2", 32) < 1e-5  # its window holds the Gaussian now
    chosen = bench_codec([*DRAWN, "codec.decoder.border=plain,corrected"], (32,), (0.0,), 64)
    assert [c.codec for c in chosen.costs if "centroid" in c.codec] == [
        "centroid, border=plain", "centroid, border=corrected",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"sizes": ()}, r"sizes=\[\].*at least 2 px"),
        ({"sizes": (32, 1)}, r"sizes=\[32, 1\]"),
        ({"noises": (-0.1,)}, r"noises=\[-0\.1\].*finite and at least 0"),
        ({"noises": (float("nan"),)}, r"noises=\[nan\]"),
        ({"noises": (0.0, float("inf"))}, r"noises=\[0\.0, inf\]"),
        ({"overrides": ("codec=argmax",)}, r"^codec=argmax chooses a codec.*leave it out"),
        ({"overrides": ("codec.decoder.bet=4",)}, r"no decoder has a setting 'bet'.*soft_argmax beta"),
    ],
)
def test_settings_out_of_range(settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        bench_codec(**{"overrides": DRAWN, **settings})


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [("--sizes", "64.7", "whole numbers"), ("--sizes", "inf", "whole numbers"), ("--sizes", "nan", "whole numbers"),
     ("--noise", "much", "numbers with commas"), ("--noise", "nan", "finite")],
)  # fmt: skip
def test_options_that_are_no_numbers(option: str, value: str, named: str) -> None:
    done = CliRunner().invoke(app, ["bench", "codec", *DRAWN, option, value])
    assert done.exit_code == 1
    assert value in done.stderr
    assert named in done.stderr
