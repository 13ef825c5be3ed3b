"""Checkpoints: written whole or not at all, read back only if every byte is the one that was written.

::

    RUN/checkpoints/step_00000020/   model.safetensors  optimizer.pt  state.json  SHA256SUMS
    RUN/last.json                    names the newest complete one

A checkpoint is a temporary sibling, fsynced and renamed, so a crash at any moment leaves the one before.
``sha256sum -c SHA256SUMS`` checks one by hand. ``model.safetensors`` holds no time, host or path: equal weights are
equal bytes. Nothing is ever unpickled but tensors and plain values (``torch.load(weights_only=True)``).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import shutil
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from gazekit.new_directory import refuse_unwritable

FOLDER = "checkpoints"
LAST = "last.json"
MODEL = "model.safetensors"
OPTIMIZER = "optimizer.pt"
STATE = "state.json"
SUMS = "SHA256SUMS"
METADATA_KEY = "vpmim"
"""The one metadata key: safetensors writes several in an order that changes from process to process."""


class CheckpointError(ValueError):
    """A checkpoint is missing, damaged, or holds what it may not."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files were verified.

    Attributes
    ----------
    path : its folder
    step : steps done when it was written
    state : the contents of ``state.json``
    """

    path: Path
    step: int
    state: Mapping[str, Any]

    def model(self, device: str | torch.device = "cpu") -> dict[str, Tensor]:
        """The model's tensors by name.

        Raises
        ------
        CheckpointError
            The file is not safetensors.
        """
        try:
            return safetensors.torch.load_file(self.path / MODEL, device=str(device))
        except safetensors.SafetensorError as error:
            raise CheckpointError(f"{self.path.name}/{MODEL}: not a whole safetensors file") from error

    def optimizer(self) -> dict[str, Any]:
        """The optimizer's state, on the CPU."""
        return load_tensors(self.path / OPTIMIZER)


def save_checkpoint(
    run: str | Path,
    step: int,
    *,
    model: Mapping[str, Tensor],
    optimizer: Mapping[str, Any],
    state: Mapping[str, Any],
    metadata: Mapping[str, Any],
    keep: int,
) -> Path:
    """Write ``RUN/checkpoints/step_XXXXXXXX`` and ``last.json``, then drop all but the newest `keep`.

    Parameters
    ----------
    run : the RUN folder
    step : steps done
    model : tensors by name
    optimizer : ``Optimizer.state_dict()``
    state : plain values that JSON can hold; ``step`` is added
    metadata : plain values recorded inside ``model.safetensors``: the fields of the encoder's `EncoderSpec`
    keep : complete checkpoints left afterwards

    Returns
    -------
    Path
        The checkpoint's folder.

    Raises
    ------
    OSError
        The disk is full or may not be written: the unfinished folder is removed, older checkpoints are intact.
    """
    parent = Path(run) / FOLDER
    parent.mkdir(exist_ok=True)
    final = parent / checkpoint_name(step)
    temporary = parent / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    tensors = {name: model[name].detach().cpu().contiguous() for name in sorted(model)}
    header = {METADATA_KEY: json.dumps(dict(metadata), sort_keys=True)}
    try:
        temporary.mkdir()
        # made in memory and written as plain bytes: both libraries' own writers hide a full disk behind other errors
        (temporary / MODEL).write_bytes(safetensors.torch.save(tensors, metadata=header))
        content = io.BytesIO()
        torch.save(dict(optimizer), content)
        (temporary / OPTIMIZER).write_bytes(content.getbuffer())
        (temporary / STATE).write_text(json.dumps({**state, "step": step}, indent=1) + "\n", encoding="utf-8")
        sums = [_sum_line(temporary / name) for name in (MODEL, OPTIMIZER, STATE)]
        (temporary / SUMS).write_text("\n".join([*sums, ""]), encoding="utf-8")
        for name in (MODEL, OPTIMIZER, STATE, SUMS):
            fsync_path(temporary / name)
        fsync_path(temporary)
        shutil.rmtree(final, ignore_errors=True)  # a damaged one of the same step, which resuming has passed over
        temporary.rename(final)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_path(parent)
    _write_last(run, step)
    for old in _checkpoint_folders(run)[keep:]:
        shutil.rmtree(old)
    return final


def newest_checkpoint(run: str | Path) -> Checkpoint | None:
    """The newest complete checkpoint of a run, or None where none was ever written.

    A damaged one is passed over with a warning that says what is wrong with it.

    Raises
    ------
    CheckpointError
        There are checkpoints, and all of them are damaged.
    """
    folders = _checkpoint_folders(run)
    for folder in folders:
        try:
            return read_checkpoint(folder)
        except CheckpointError as error:
            warnings.warn(f"passing over a damaged checkpoint: {error}", stacklevel=2)
    if folders:
        raise CheckpointError(f"all {len(folders)} checkpoints in {Path(run) / FOLDER} are damaged; train anew")
    return None


def go_back_to(run: str | Path, step: int) -> None:
    """Make a step's checkpoint the newest: remove the damaged ones behind it, which no longer count as kept."""
    _write_last(run, step)
    for folder in _checkpoint_folders(run):
        if folder.name > checkpoint_name(step):
            shutil.rmtree(folder)


def read_checkpoint(folder: str | Path) -> Checkpoint:
    """Verify a checkpoint's files against their sha256 and open it.

    Raises
    ------
    CheckpointError
        A file is missing, truncated or altered.
    """
    folder = Path(folder)
    try:
        written = (folder / SUMS).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{folder.name}/{SUMS} is missing or unreadable") from error
    for name in (MODEL, OPTIMIZER, STATE):
        path = folder / name
        if not path.is_file():
            raise CheckpointError(f"{folder.name}/{name} is missing")
        if _sum_line(path) not in written:
            raise CheckpointError(f"{folder.name}/{name} is not the file that was written (sha256 differs)")
    try:
        state = json.loads((folder / STATE).read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{folder.name}/{STATE} is not JSON") from error
    if not isinstance(state, dict) or not _is_step_of(state.get("step"), folder):
        raise CheckpointError(f"{folder.name}/{STATE} does not name the step of its folder")
    return Checkpoint(path=folder, step=state["step"], state=state)


def checkpoint_name(step: int) -> str:
    """``step_00000020`` for step 20."""
    return f"step_{step:08d}"


def model_metadata(path: str | Path) -> dict[str, Any]:
    """What `save_checkpoint` recorded inside a weights file; empty for a file of another origin.

    Raises
    ------
    CheckpointError
        The file is not safetensors, or cut short.
    """
    try:
        with safetensors.safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise CheckpointError(f"{Path(path).name}: not a whole safetensors file") from error
    return dict(json.loads(header.get(METADATA_KEY, "{}")))


def load_tensors(path: str | Path) -> dict[str, Any]:
    """A ``.pt`` file of tensors and plain values; anything else in it is refused, not executed.

    Raises
    ------
    CheckpointError
        The file is damaged or holds objects other than tensors and plain values.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise CheckpointError(
            f"{Path(path).name}: refused: damaged, or it holds more than tensors and plain values"
        ) from error
    return dict(loaded)


def refuse_unwritable_file(out: Path, suffix: str, error: type[ValueError]) -> None:
    """Refuse a file that could not be written, before the work that it is to hold.

    Raises
    ------
    error
        Its name does not end in `suffix`, or it is a folder.
    NotADirectoryError, PermissionError
        Its folder cannot be written.
    """
    if out.suffix != suffix or out.is_dir():
        raise error(f"{out}: expected a file name ending in {suffix}" + (", found a folder" * out.is_dir()))
    refuse_unwritable(out.absolute().parent)


def write_file(path: Path, content: str | bytes) -> None:
    """Replace a file atomically: temporary sibling, fsync, rename, fsync of the folder. Text becomes UTF-8."""
    temporary = path.with_name(f".{path.name}.tmp")
    with _removed_on_error(temporary):
        temporary.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)
        fsync_path(temporary)
        temporary.replace(path)
    fsync_path(path.parent)


@contextmanager
def _removed_on_error(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _write_last(run: str | Path, step: int) -> None:
    newest = {"step": step, "checkpoint": f"{FOLDER}/{checkpoint_name(step)}"}
    write_file(Path(run) / LAST, json.dumps(newest) + "\n")


def _checkpoint_folders(run: str | Path) -> list[Path]:
    """Newest first."""
    return sorted((Path(run) / FOLDER).glob("step_" + "[0-9]" * 8), reverse=True)


def _is_step_of(step: object, folder: Path) -> bool:
    return isinstance(step, int) and folder.name == checkpoint_name(step)


def _sum_line(path: Path) -> str:
    """A line of ``SHA256SUMS``, in the form of sha256sum."""
    with path.open("rb") as file:
        return f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {path.name}"


def fsync_path(path: Path) -> None:
    """Ask the system to put a file's bytes, or a folder's names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
