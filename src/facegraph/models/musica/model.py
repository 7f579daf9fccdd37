"""MuSiCa: a cascade that looks at small patches around its own landmarks and knows when to quit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from facegraph.errors import ConfigError
from facegraph.layers.error_head import confidence_of
from facegraph.models.musica.iteration import Iteration, Step
from facegraph.models.musica.output import CascadeOutput
from facegraph.models.musica.patches import choose_patches, cut_patches
from facegraph.models.musica.pyramid import image_pyramid, to_level
from facegraph.models.musica.settings import check_dropout, check_threshold, check_whole, checked_levels
from facegraph.structures import LandmarkModel, ShapeStatistics

_INIT_STD = 0.01


class MuSiCa(LandmarkModel):
    """From the mean shape in the middle of the crop, moved once per iteration, coarse to fine.

    Source: "Knowing when to quit: selective cascaded regression with patch attention" (arXiv 2108.00377) and its
    released code; README.md beside this file tells what is certain and what was chosen.

    In evaluation mode with a quit_threshold, faces whose predicted error lies below it leave the batch after each
    iteration but the last, and what follows is not computed for them. Both thresholds may be set at any time:
    `model.quit_threshold = 0.05`. A face whose predicted error equals a threshold up to rounding may stop, or fail, at
    one size of batch, thread count or processor and not at another, because each sums in an order of its own; its
    landmarks are then those of the one iteration or of the next.

    Args:
        input_size: side S of the crop in px, a multiple of 2^max(levels).
        statistics: mean shape, where the cascade starts, and the number N of landmarks.
        patch_stride: 2 puts a patch around every second landmark.
        patch_landmarks: indices of those with a patch, in place of the stride.
        patch_size: side of a patch in px of each level.
        levels: pyramid level of each iteration; level l has the crop's side / 2^l.
        channels: of both convolutions.
        hidden: size of the state.
        attention: weigh the features of each patch.
        dropout: see Iteration.
        initial_weights: `truncated_normal` (paper: 0.01) or `he`, see INITIAL_WEIGHTS.
        quit_threshold: predicted error, in the unit of CascadeOutput, below which a face is done; None runs all
            iterations.
        fail_threshold: predicted error above which, or without which (NaN), a face is reported as failed; None reports
            nothing.

    Raises:
        ConfigError: a setting out of range.
    """

    patch_indices: Tensor

    SETTINGS_AT_TEST = ("quit_threshold", "fail_threshold")

    def __init__(
        self,
        input_size: int,
        statistics: ShapeStatistics,
        patch_stride: int = 2,
        patch_landmarks: Sequence[int] | None = None,
        patch_size: int = 14,
        levels: Sequence[int] = (2, 1, 0),
        channels: int = 32,
        hidden: int = 512,
        attention: bool = True,
        dropout: float = 0.0,
        initial_weights: str = "truncated_normal",
        quit_threshold: float | None = None,
        fail_threshold: float | None = None,
    ) -> None:
        super().__init__(statistics)
        for name, value, published in (("channels", channels, 32), ("hidden", hidden, 512)):
            check_whole(name, value, published)
        check_dropout(dropout)
        check_threshold("quit_threshold", quit_threshold)
        check_threshold("fail_threshold", fail_threshold)
        self.levels = checked_levels(levels, input_size)
        self.input_size, self.patch_size, self.hidden = input_size, patch_size, hidden
        self.quit_threshold, self.fail_threshold = quit_threshold, fail_threshold
        num_landmarks = len(statistics.mean_shape)
        chosen = choose_patches(num_landmarks, patch_stride, patch_landmarks)
        self.iterations = nn.ModuleList(
            Iteration(len(chosen), num_landmarks, patch_size, channels, hidden, attention, dropout) for _ in levels
        )
        self.register_buffer("patch_indices", torch.tensor(chosen), persistent=False)
        if initial_weights not in INITIAL_WEIGHTS:
            raise ConfigError(f"model.initial_weights={initial_weights!r}; choose from {sorted(INITIAL_WEIGHTS)}.")
        self.apply(INITIAL_WEIGHTS[initial_weights])
        self.to(memory_format=torch.channels_last)

    def protocol_facts(self) -> dict[str, float]:
        thresholds = {"quit_threshold": self.quit_threshold, "fail_threshold": self.fail_threshold}
        return {name: value for name, value in thresholds.items() if value is not None}

    def fails(self, predicted_error: Tensor) -> Tensor | None:
        return None if self.fail_threshold is None else ~(predicted_error <= self.fail_threshold)  # NaN has failed

    @contextmanager
    def complete(self) -> Iterator[None]:
        """Within it every face runs all iterations, as is needed where costs are measured; then as before."""
        kept, self.quit_threshold = self.quit_threshold, None
        try:
            yield
        finally:
            self.quit_threshold = kept

    def forward(self, image: Tensor) -> CascadeOutput:
        """(B, 3, S, S) normalised -> see CascadeOutput.

        Raises:
            ConfigError: the weights are not float32.
        """
        self._check_precision()
        pyramid = image_pyramid(image, max(self.levels))
        faces = len(image)
        run = _Faces(
            (self.mean_shape * self.input_size).expand(faces, -1, -1), image.new_zeros(faces, self.hidden), None
        )
        threshold = None if self.training else self.quit_threshold
        stages: list[_Stage] = []
        for iteration, level in zip(self.iterations, self.levels, strict=True):
            if threshold is not None and stages:
                run = run.without(stages[-1].errors, threshold)
                if run.rows is not None and len(run.rows) == 0:
                    break
            step = self._step(iteration, level, pyramid[level], run)
            run = _Faces(run.landmarks + 2.0**level * step.displacement, step.state, run.rows)
            stages.append(_Stage.after(run, step, stages[-1] if stages else None))
        return self._output(stages)

    def _step(self, iteration: nn.Module, level: int, image: Tensor, run: _Faces) -> Step:
        # a copy of these faces' images: as fast as picking their patches out of the whole batch
        image = image if run.rows is None else image.index_select(0, run.rows)
        centres = to_level(run.landmarks.detach().index_select(1, self.patch_indices), level)
        step: Step = iteration(cut_patches(image, centres, self.patch_size), run.state)
        return step

    def _check_precision(self) -> None:
        found = self.mean_shape.dtype
        if found != torch.float32:
            raise ConfigError(
                f"model=musica has weights of {found}, but its coordinates and patches need float32; train with "
                "trainer.precision=bf16-mixed, 16-mixed or 32-true, evaluate with precision=, which keep weights so."
            )

    def _output(self, stages: list[_Stage]) -> CascadeOutput:
        last = stages[-1]
        # where all faces were done early, later stages repeat the last
        repeated = [*stages, *[last] * (len(self.levels) - len(stages))]
        attention = [stage.attention for stage in repeated if stage.attention is not None]
        return CascadeOutput(
            landmarks=last.landmarks,
            stage_landmarks=torch.stack([stage.landmarks for stage in repeated], dim=1),
            predicted_error=last.errors,
            confidence=confidence_of(last.errors),
            stage_errors=torch.stack([stage.errors for stage in repeated], dim=1),
            iterations=last.iterations,
            failed=self.fails(last.errors),
            attention=torch.stack(attention, dim=1) if attention else None,
        )


@dataclass(frozen=True)
class _Faces:
    """The A faces under way: landmarks (A, N, 2) crop px, state (A, hidden), rows (A,) of the batch or None for all."""

    landmarks: Tensor
    state: Tensor
    rows: Tensor | None

    def without(self, errors: Tensor, threshold: float) -> _Faces:
        """Those whose predicted error, of all faces (B,), does not lie below the threshold; NaN goes on."""
        own = errors if self.rows is None else errors.index_select(0, self.rows)
        left = torch.nonzero(~(own < threshold))[:, 0]
        if len(left) == len(own):
            return self
        rows = left if self.rows is None else self.rows.index_select(0, left)
        return _Faces(self.landmarks.index_select(0, left), self.state.index_select(0, left), rows)


@dataclass(frozen=True)
class _Stage:
    """All faces after an iteration; those that quit before keep what they had."""

    landmarks: Tensor
    errors: Tensor
    attention: Tensor | None
    iterations: Tensor

    @staticmethod
    def after(run: _Faces, step: Step, before: _Stage | None) -> _Stage:
        if before is None:
            once = torch.ones(len(step.error), dtype=torch.int64, device=step.error.device)
            return _Stage(run.landmarks, step.error, step.attention, once)
        rows = run.rows
        if rows is None:
            return _Stage(run.landmarks, step.error, step.attention, before.iterations + 1)
        attention = before.attention
        if attention is not None and step.attention is not None:
            attention = attention.index_copy(0, rows, step.attention)
        return _Stage(
            before.landmarks.index_copy(0, rows, run.landmarks),
            before.errors.index_copy(0, rows, step.error),
            attention,
            before.iterations.index_add(0, rows, torch.ones_like(rows)),
        )


def _truncated_normal(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.trunc_normal_(module.weight, std=_INIT_STD, a=-2 * _INIT_STD, b=2 * _INIT_STD)
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]


def _he(module: nn.Module) -> None:
    """He et al. 2015 for the layers, and heads that begin near the mean shape."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    if isinstance(module, Iteration):
        nn.init.trunc_normal_(module.head.weight, std=_INIT_STD, a=-2 * _INIT_STD, b=2 * _INIT_STD)


INITIAL_WEIGHTS: dict[str, Callable[[nn.Module], None]] = {"truncated_normal": _truncated_normal, "he": _he}
