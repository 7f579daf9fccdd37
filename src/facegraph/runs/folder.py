"""Run folders: what lies where, how a run is claimed, continued and opened again.

<folder>/config.yaml                resolved configuration
<folder>/faces.json                 which faces it is trained, validated and tested on
<folder>/checkpoints/{last,best}.ckpt
<folder>/result.json, predictions.parquet, *.png    written when the test is done
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from facegraph.errors import ConfigError, RunError
from facegraph.files import plain_tensors
from facegraph.files.atomic import remove_parts, write_once
from facegraph.files.locking import HeldError, held, may_live
from facegraph.files.plain_text import one_line
from facegraph.landmarks import LandmarkScheme
from facegraph.records import RESULT_FILE
from facegraph.records.faces import SplitFaces, write_faces
from facegraph.records.overrides import for_shell, literal
from facegraph.runs.configuration import CONFIG_FILE
from facegraph.structures import ShapeStatistics
from facegraph.training.callbacks import BEST, LAST
from facegraph.training.checkpoint_files import is_damaged, not_finite
from facegraph.training.task import CHECKPOINT_KEY, THREADS_KEY

CHECKPOINT_FOLDER = "checkpoints"
LOCK_FILE = ".lock"
_PATIENCE_SECONDS = 1.0  # with a lock that somebody may only be looking at
_LOADERS_SECONDS = (
    15.0  # loader processes notice after 5 s that the one that started them, whose lock they share, is gone
)
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP)
_MODEL = "model."
_DESCRIPTION = {"scheme": str, "num_landmarks": int, "trained_on": str, "train_faces": int, "val_faces": int}
_COUNTS = ("epoch", "global_step")
# a process that Lightning starts for another device must join the folder of the first one
_FOLDER_VARIABLE = "FACEGRAPH_OUTPUT_DIR"


def is_first_process() -> bool:
    """Whether this is the process that writes; the variables are Lightning's, torchrun's and Slurm's."""
    names = ("RANK", "SLURM_PROCID", "LOCAL_RANK", "NODE_RANK")
    return all(int(os.environ.get(name, 0)) == 0 for name in names)


def output_folder(configured: str | None, name: str) -> Path:
    """The run's folder: as configured, or outputs/<name>/<date>_<time>; the same in all processes of a run."""
    if not is_first_process() and _FOLDER_VARIABLE in os.environ:
        return Path(os.environ[_FOLDER_VARIABLE])
    if not is_first_process() and not configured:
        raise ConfigError("processes that were not started by facegraph cannot agree on a folder: give output_dir=...")
    now = datetime.now()
    folder = Path(configured) if configured else Path("outputs") / name / f"{now:%Y-%m-%d_%H-%M-%S}_{now:%f}"
    os.environ[_FOLDER_VARIABLE] = str(folder.absolute())
    return folder


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Be the only run that trains in a folder, which is made, until the end of the block or of the process.

    What processes that were killed left of unfinished files is removed. Further processes of a run need no lock: they
    live and end with the first one.

    Raises:
        RunError: another process trains there, or the folder cannot be written.
    """
    with ExitStack() as stack:
        if is_first_process():
            make_writable(folder)
            try:
                stack.enter_context(_held(folder / LOCK_FILE))
            except HeldError as error:
                raise RunError(f"process {error.holder} works on {folder} already. Wait for it, or end it.") from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise RunError(f"cannot lock {folder / LOCK_FILE}: {error.strerror}.") from error
                print(f"warning: {folder} lies where files cannot be locked; see that no other run trains in it.")
            for place in (folder, folder / CHECKPOINT_FOLDER):
                remove_parts(place)
        yield


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold a lock; waits for what is left of a holder that was killed."""
    with ExitStack() as stack:
        try:
            stack.enter_context(held(path, _PATIENCE_SECONDS))
        except HeldError as error:
            if may_live(error.holder):
                raise
            stack.enter_context(held(path, _LOADERS_SECONDS))
        yield


def check_free(folder: Path) -> None:
    """Raises RunError if the folder holds a run already."""
    if is_first_process() and ((folder / CONFIG_FILE).exists() or (folder / RESULT_FILE).exists()):
        raise _taken(folder)


def _taken(folder: Path) -> RunError:
    return RunError(
        f"{folder} holds a run already and a run never overwrites another: continue it with "
        f"{for_shell('resume', str(folder))}, or choose another output_dir."
    )


def claim(folder: Path, config: DictConfig, faces: Mapping[str, SplitFaces] | None = None) -> None:
    """Make a new run's folder and put its configuration there, and which faces it is trained on.

    For who is `alone_in` the folder. The configuration is written last and never over another, so that of several
    starts at once one gets the folder even where locks do not work.

    Raises:
        RunError: the folder holds a run already, or cannot be written.
    """
    if not is_first_process():
        return
    check_free(folder)
    make_writable(folder)
    values = _literals(OmegaConf.to_container(config, resolve=True))
    try:
        if faces is not None:
            write_faces(folder, faces)
        write_once(folder / CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(values)).encode())
    except FileExistsError:
        raise _taken(folder) from None


def _literals(node: Any) -> Any:
    """Plain values of which no text is an interpolation when it is read again, such as a path with ${ in it."""
    if isinstance(node, dict):
        return {key: _literals(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_literals(value) for value in node]
    return literal(node) if isinstance(node, str) else node


def make_writable(folder: Path, setting: str = "output_dir") -> None:
    """Create a folder and prove that files can be written there.

    Args:
        setting: what names it, for the message.

    Raises:
        RunError: they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RunError(f"cannot write to {folder}: {error.strerror}. Choose another {setting}.") from None


def checkpoint_path(folder: Path, which: str) -> Path:
    """Path of a run's 'last' or 'best' checkpoint.

    Raises:
        ConfigError: another name. RunError: the file is missing.
    """
    if which not in (LAST, BEST):
        raise ConfigError(f"checkpoint='{which}' does not exist; choose last or best.")
    path = folder / CHECKPOINT_FOLDER / f"{which}.ckpt"
    if not path.is_file():
        raise RunError(f"{path} is missing; the run has not come that far. Continue it with resume={folder}.")
    return path


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Contents of a checkpoint on the CPU; nothing but tensors and plain values is ever unpickled.

    The checksums of all its parts are compared: torch reads changed bytes without a word.

    Raises:
        RunError: unreadable, damaged, not facegraph's, or with weights that are NaN or infinite.
    """
    checkpoint: Any = None
    try:
        damaged = is_damaged(path)
        if not damaged:
            checkpoint = plain_tensors.load(path)
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read the checkpoint {path}: {error}. Is the file whole?") from None
    if damaged:
        raise RunError(
            f"cannot read the checkpoint {path}: it is not whole, or has other bytes than were written. Restore it "
            "from a backup, or train again in another output_dir."
        )
    if not isinstance(checkpoint, dict) or CHECKPOINT_KEY not in checkpoint:
        raise RunError(f"{path} is no checkpoint of facegraph: it lacks '{CHECKPOINT_KEY}'.")
    wrong = _wrong_parts(checkpoint)
    if wrong:
        raise RunError(
            f"{path} is no whole checkpoint of facegraph: its {', '.join(wrong)} is missing or of another kind. "
            "Restore it from a backup."
        )
    broken = not_finite(model_state(checkpoint))
    if broken:
        raise RunError(
            f"{path} has {len(broken)} tensor(s) that are not finite, the first '{broken[0]}': its training broke, and "
            "nothing can be scored or gone on with. Train again in another output_dir with a lower optimizer.lr, or "
            "with trainer.gradient_clip_val=1."
        )
    return checkpoint


def _wrong_parts(checkpoint: dict[Any, Any]) -> list[str]:
    described, state = checkpoint[CHECKPOINT_KEY], checkpoint.get("state_dict")
    if not isinstance(described, dict):
        return [CHECKPOINT_KEY]
    wrong = [name for name, kind in _DESCRIPTION.items() if not _is(described.get(name), kind)]
    wrong += [name for name in _COUNTS if not _is(checkpoint.get(name), int)]
    if not isinstance(state, dict) or not all(_is(n, str) and _is(value, Tensor) for n, value in state.items()):
        wrong.append("state_dict")
    return wrong


def _is(value: object, kind: type) -> bool:
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def set_damaged_aside(folder: Path) -> bool:
    """Rename both checkpoints of a run where one is damaged, so that training starts again; returns whether one was.

    best alone is nothing to go on from: last knows how good it was, and would never write it again.

    Raises:
        RunError: they cannot be looked at or renamed.
    """
    paths = [folder / CHECKPOINT_FOLDER / f"{name}.ckpt" for name in (LAST, BEST)]
    try:
        there = [path for path in paths if path.is_file()]
        damaged = [path for path in there if is_damaged(path)]
        if damaged and is_first_process():
            now = f"{datetime.now():%Y-%m-%d_%H-%M-%S}"
            for path in there:
                path.rename(path.with_name(f"{path.name}.damaged-{now}"))
            names = " and ".join(path.name for path in damaged)
            print(f"{names} in {paths[0].parent} cannot be read: kept as *.damaged-{now}, and training starts again.")
    except FileNotFoundError:
        return True  # another process of this run has just renamed it
    except OSError as error:
        raise RunError(
            f"cannot look at the checkpoints in {paths[0].parent}: {error}. Mend that, then go on."
        ) from error
    return bool(damaged)


def check_scheme(checkpoint: dict[str, Any], scheme: LandmarkScheme, path: Path) -> None:
    """Raises RunError if a checkpoint was trained on another landmark scheme."""
    made_for = checkpoint[CHECKPOINT_KEY]
    if (made_for["scheme"], made_for["num_landmarks"]) != (scheme.name, scheme.num_landmarks):
        raise RunError(
            f"{path} was trained on scheme '{made_for['scheme']}' with {made_for['num_landmarks']} landmarks, the data "
            f"set has '{scheme.name}' with {scheme.num_landmarks}. Choose a data set with the checkpoint's scheme."
        )


def model_state(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    """The model's weights and buffers, without the task's."""
    state = checkpoint["state_dict"]
    return {name.removeprefix(_MODEL): value for name, value in state.items() if name.startswith(_MODEL)}


def saved_statistics(state: dict[str, Tensor], scheme: LandmarkScheme) -> ShapeStatistics:
    """The training statistics that a model keeps with its weights; the scheme is that of its data set.

    Raises:
        RunError: they are missing, or of another number of landmarks.
    """
    n = scheme.num_landmarks
    for name, shape in (("mean_shape", (n, 2)), ("correlation", (n, n))):
        found = tuple(state[name].shape) if name in state else None
        if found != shape:
            raise RunError(
                f"the checkpoint's {name} is {'missing' if found is None else f'of shape {found}'}; {shape} is needed "
                f"for scheme '{scheme.name}'. Restore the checkpoint, or choose a data set with its scheme."
            )
    return ShapeStatistics(state["mean_shape"], state["correlation"], scheme)


def restore(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Load weights, all of them and nothing else.

    Raises:
        RunError: names or shapes do not fit.
    """
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise RunError(f"the weights in {path} do not fit the model of its config.yaml: {error}") from None


@dataclass(frozen=True)
class InitialWeights:
    """The last weights of a run: of another one, trained or converted, to start from (`init_from=<folder>`), or of this
    one to go on with.

    Args:
        state: the model's weights and buffers.
        scheme, num_landmarks: what its landmarks are.
        threads: it was trained with; None: not known.
    """

    folder: Path
    state: dict[str, Tensor]
    scheme: str
    num_landmarks: int
    threads: int | None

    @classmethod
    def read(cls, folder: Path) -> InitialWeights:
        """Raises RunError: no run lies there, or its last checkpoint cannot be read."""
        path = folder / CHECKPOINT_FOLDER / f"{LAST}.ckpt"
        if not path.is_file():
            raise RunError(f"init_from={folder}: there is no {path}. Give the folder of a run that has a checkpoint.")
        checkpoint = load_checkpoint(path)
        made_for = checkpoint[CHECKPOINT_KEY]
        threads = made_for.get(THREADS_KEY)
        return cls(folder, model_state(checkpoint), made_for["scheme"], made_for["num_landmarks"], threads)

    def statistics(self, scheme: LandmarkScheme) -> ShapeStatistics | None:
        """Mean shape and correlation that these weights were trained with; None for another number of landmarks."""
        if self.num_landmarks != scheme.num_landmarks:
            return None
        return saved_statistics(self.state, scheme)

    def put_into(self, model: nn.Module) -> None:
        """Take over all tensors whose names and shapes fit; prints what did not.

        Raises:
            RunError: no weight fits.
        """
        own, learned = model.state_dict(), {name for name, _ in model.named_parameters()}
        fitting = {n: value for n, value in self.state.items() if n in own and own[n].shape == value.shape}
        if not learned & fitting.keys():
            raise RunError(
                f"init_from={self.folder}: no weight fits this model by name and shape; start from a run of its kind."
            )
        model.load_state_dict(fitting, strict=False)
        if is_first_process():
            scheme = one_line(self.scheme)
            print(f"started from {self.folder}, scheme {scheme}: {len(fitting)} of {len(own)} tensors fit.")
            _list("new, as initialised", learned - fitting.keys())
            _list("left out", self.state.keys() - fitting.keys())


def _list(what: str, names: Iterable[str]) -> None:
    ordered = sorted(names)
    if ordered:
        rest = f" and {len(ordered) - 8} more" if len(ordered) > 8 else ""
        print(one_line(f"  {what}: {', '.join(ordered[:8])}{rest}"))
