"""torchmetrics modules that keep every face, so that each number of a report can be traced and recomputed.

States are raw rows with the face's index, gathered by concatenation. A distributed sampler repeats faces to give each
process the same number; rows are de-duplicated by index (the first one stays) and sorted, so 1 and n processes agree.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from facegraph.errors import DataError
from facegraph.metrics.functional import mean_error
from facegraph.metrics.names import SAID


class ErrorRows(NamedTuple):
    """Per-face errors.

    Args:
        index: (M,) int64, unique and ascending.
        errors: (M,) float32 fractions.
    """

    index: Tensor  # type: ignore[assignment]  # the field's name is the suite's, tuple.index is not needed
    errors: Tensor


class PredictionRows(NamedTuple):
    """What is known of every face, rows unique by index and ascending.

    Args:
        index: (M,) int64.
        prediction, truth: (M, N, 2) float32 image px.
        norm_distances: (M, D) float32 image px, one column per normaliser.
        attributes: (M, K) bool.
        said: (M, len(SAID)) float32, what the model says of its own prediction, see metrics.names.SAID; NaN where it
            says nothing.
    """

    index: Tensor  # type: ignore[assignment]  # as above
    prediction: Tensor
    truth: Tensor
    norm_distances: Tensor
    attributes: Tensor
    said: Tensor


class _FaceRows(Metric):
    """Rows of several tensors keyed by `index`; a subclass names the columns with the shape and dtype of one row."""

    full_state_update = False
    is_differentiable = False

    def __init__(self, columns: dict[str, tuple[tuple[int, ...], torch.dtype]]) -> None:
        super().__init__()
        self._columns = {"index": ((), torch.int64), **columns}
        for name in self._columns:
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def _append(self, rows: dict[str, Tensor]) -> None:
        count = rows["index"].shape[0] if rows["index"].ndim == 1 else -1
        for name, (shape, _) in self._columns.items():
            if tuple(rows[name].shape) != (count, *shape):
                raise DataError(
                    f"'{name}' has shape {tuple(rows[name].shape)}; {type(self).__name__} was built for rows of shape "
                    f"{shape} and got index of shape {tuple(rows['index'].shape)}. Build it with the sizes of the data."
                )
        for name, (_, dtype) in self._columns.items():
            getattr(self, name).append(rows[name].detach().to(dtype))

    def _empty(self, name: str) -> Tensor:
        shape, dtype = self._columns[name]
        return torch.empty((0, *shape), dtype=dtype, device=self.device)

    def _rows(self) -> list[Tensor]:
        states = {name: getattr(self, name) for name in self._columns}
        # after a sync a state is one tensor, before it a list of batches
        whole = {
            name: state if isinstance(state, Tensor) else torch.cat([self._empty(name), *state])
            for name, state in states.items()
        }
        keep = _first_of_each(whole["index"])
        return [column[keep] for column in whole.values()]

    def sync(
        self,
        dist_sync_fn: Callable | None = None,
        process_group: Any | None = None,
        should_sync: bool = True,
        distributed_available: Callable | None = None,
    ) -> None:
        # torchmetrics stands in a float vector for a state without rows; other processes then wait for another shape
        for name in self._columns:
            state = getattr(self, name)
            if isinstance(state, list) and not state:
                state.append(self._empty(name))
        super().sync(dist_sync_fn, process_group, should_sync, distributed_available)

    def _wrap_compute(self, compute: Callable) -> Callable:
        wrapped = super()._wrap_compute(compute)

        def with_row_axis(*args: Any, **kwargs: Any) -> Any:
            # torchmetrics squeezes one-element tensors, which takes the axes off a set of one face
            result = wrapped(*args, **kwargs)
            if not isinstance(result, tuple):
                return result
            shapes = (shape for shape, _ in self._columns.values())
            return type(result)(
                *(t.reshape(t.shape[0] if t.ndim else 1, *s) for t, s in zip(result, shapes, strict=True))
            )

        return with_row_axis


class FaceErrors(_FaceRows):
    """Per-face errors of a set; `compute` returns `ErrorRows`."""

    index: list[Tensor]
    errors: list[Tensor]

    def __init__(self) -> None:
        super().__init__({"errors": ((), torch.float32)})

    def update(self, index: Tensor, errors: Tensor) -> None:
        """Add faces.

        Args:
            index: (B,) int64 row of each face in its source.
            errors: (B,) fractions, as `facegraph.metrics.functional.nme` returns them.

        Raises:
            DataError: the two are not vectors of one length.
        """
        self._append({"index": index, "errors": errors})

    def compute(self) -> Any:
        return ErrorRows(*self._rows())


class NME(FaceErrors):
    """Mean of the per-face errors, a fraction. `compute` raises DataError when no face was added."""

    higher_is_better = False

    def compute(self) -> Tensor:
        return mean_error(self._rows()[1])


class PredictionTable(_FaceRows):
    """Prediction, truth, normalisers, attributes, what the model says of itself; `compute` returns `PredictionRows`.

    The sizes are fixed at construction because a process without any face must still send tensors that fit.

    Args:
        num_landmarks: N.
        num_normalisers: D columns of norm_distances.
        num_attributes: K, may be 0.
    """

    def __init__(self, num_landmarks: int, num_normalisers: int, num_attributes: int = 0) -> None:
        points = ((num_landmarks, 2), torch.float32)
        super().__init__(
            {
                "prediction": points,
                "truth": points,
                "norm_distances": ((num_normalisers,), torch.float32),
                "attributes": ((num_attributes,), torch.bool),
                "said": ((len(SAID),), torch.float32),
            }
        )

    def update(
        self,
        index: Tensor,
        prediction: Tensor,
        truth: Tensor,
        norm_distances: Tensor,
        attributes: Tensor,
        said: Mapping[str, Tensor | None] | None = None,
    ) -> None:
        """Add faces.

        Args:
            index: (B,) int64 row of each face in its source.
            prediction: (B, N, 2) image px.
            truth: (B, N, 2) image px.
            norm_distances: (B, D) image px.
            attributes: (B, K) bool.
            said: name of SAID -> (B,); what is None or not there is not said.

        Raises:
            DataError: a shape that does not fit the sizes given at construction.
        """
        known = {name: values for name, values in (said or {}).items() if values is not None}
        nothing = torch.full(index.shape, torch.nan, device=index.device)
        rows = {
            "index": index,
            "prediction": prediction,
            "truth": truth,
            "norm_distances": norm_distances,
            "attributes": attributes,
            "said": torch.stack([known.get(name, nothing).float() for name in SAID], dim=-1),
        }
        self._append(rows)

    def compute(self) -> PredictionRows:
        return PredictionRows(*self._rows())


def _first_of_each(index: Tensor) -> Tensor:
    """Positions (M',) of the first row of each index (M,), in ascending order of index."""
    order = torch.argsort(index, stable=True)
    ascending = index[order]
    first = torch.ones_like(ascending, dtype=torch.bool)
    first[1:] = ascending[1:] != ascending[:-1]
    return order[first]
