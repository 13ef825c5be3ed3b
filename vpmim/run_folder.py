"""The RUN folder: what a training run leaves behind, and the rules for starting and resuming one.

::

    RUN/config.toml        every setting, resolved
        environment.json   versions, device, git state, fingerprints of the data, seed, command
        metrics.jsonl      one object a logged step
        failures.csv       images that could not be read, if any
        checkpoints/       `vpmim.checkpoint`
        panels/            images, masks and reconstructions for the report
        tensorboard/       events, where tensorboard is installed
"""

from __future__ import annotations

import csv
import errno
import fcntl
import io
import json
import os
import shutil
import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gazekit.new_directory import refuse_unwritable
from vpmim.checkpoint import checkpoint_name, write_file
from vpmim.config import Config, ConfigError, config_names, differences, dump_toml, flatten, load_config
from vpmim.panel_pictures import panel_sheet

CONFIG = "config.toml"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
FAILURES = "failures.csv"
PANELS = "panels"
TENSORBOARD = "tensorboard"
_LOCK = ".lock"
_NO_LOCKS_HERE = {errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


class RunError(ValueError):
    """A RUN folder that may not be started, resumed or read as asked."""


def check_new(out: Path) -> None:
    """Refuse to write a new run over anything, or where nothing can be written.

    Raises
    ------
    RunError
        `out` holds something, or is a file.
    NotADirectoryError, PermissionError
        `out` lies under a file, or may not be made.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        refuse_unwritable(out.absolute().parent)  # a new run is made beside its place
        return
    if (out / CONFIG).is_file():
        raise RunError(f"{out} exists already; go on with --resume, or choose another --out")
    raise RunError(f"{out} exists already and holds no run; choose another --out")


def check_same_config(out: Path, config: Config) -> None:
    """Refuse to resume with other settings than the run was started with.

    Raises
    ------
    RunError
        Nothing to resume, a difference, which is shown, or a setting that the run's version did not know.
    """
    changed = differences(read_config(out), config)
    tree = tomllib.loads((out / CONFIG).read_text(encoding="utf-8"))
    known = {f"{name}.{key}" for name, section in tree.items() if isinstance(section, dict) for key in section} | {
        *tree
    }
    if unknown := sorted(flatten(config).keys() - known):
        raise RunError(
            f"{out / CONFIG} lacks {', '.join(unknown)}: it was written by an earlier version, which did not know "
            "them. Go on with that version (environment.json names it), or start a new run"
        )
    if changed:
        raise RunError(
            f"{out.name} was started with another configuration: {'; '.join(changed)}. "
            "Resume with the same one, or start a new run"
        )


def read_environment(out: Path) -> dict[str, Any]:
    """What `vpmim.process.environment_facts` was when the run was started, and at each resumption."""
    facts: dict[str, Any] = json.loads((out / ENVIRONMENT).read_text(encoding="utf-8"))
    return facts


def check_same_data(out: Path, fingerprint: str) -> None:
    """Refuse to resume on other data than the run was started on.

    Raises
    ------
    RunError
    """
    recorded = read_environment(out)["data_fingerprint"]
    if recorded != fingerprint:
        raise RunError(
            f"{out.name} was started on other data: fingerprint {recorded[:12]}, now {fingerprint[:12]}. "
            "Resume with the same caches in the same order, or start a new run"
        )


def read_config(out: Path) -> Config:
    """The configuration a run was started with.

    Raises
    ------
    RunError
        The folder holds no run.
    """
    if not (out / CONFIG).is_file():
        raise RunError(f"{out} holds no run (no {CONFIG}): nothing to resume or read; leave --resume out to start one")
    return load_config(out / CONFIG)


def requested_config(
    out: Path, *, config: str | None, overrides: Sequence[str], init: str | None, resume: bool
) -> Config:
    """The configuration that a command line asks for.

    Parameters
    ----------
    out : the RUN folder
    config : name or file; None, when resuming, for the run's own
    overrides : ``key=value``
    init : overrides ``model.init``
    resume : whether a run goes on

    Raises
    ------
    ConfigError, RunError
    """
    if config is None and not resume:
        raise ConfigError(f"--config is missing; name one of {', '.join(config_names())}, or a .toml file")
    if config is None:
        read_config(out)  # says so where there is none
        config = str(out / CONFIG)
    chosen = load_config(config, overrides)
    return chosen if init is None else replace(chosen, model=replace(chosen.model, init=init))


def create_run(
    out: Path,
    *,
    config: Config,
    environment: Mapping[str, Any],
    failures: Sequence[tuple[str, str, str]],
) -> None:
    """Make the folder with its first files, all of them or none."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        write_file(temporary / CONFIG, dump_toml(config))
        write_file(temporary / ENVIRONMENT, _json(environment))
        if failures:
            table = io.StringIO()
            csv.writer(table, lineterminator="\n").writerows([("image", "reason", "message"), *failures])
            write_file(temporary / FAILURES, table.getvalue())
        temporary.rename(out)  # onto nothing, or an empty folder
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def note_resume(out: Path, *, environment: Mapping[str, Any], step: int) -> None:
    """Add the circumstances of a resumption to ``environment.json``."""
    recorded = read_environment(out)
    recorded.setdefault("resumed", []).append({"from_step": step, **environment})
    write_file(out / ENVIRONMENT, _json(recorded))


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Hold the run for this process; the kernel gives it back when the process ends, however it ends.

    Raises
    ------
    RunError
        Another process is writing to it.
    """
    with (out / _LOCK).open("w", encoding="ascii") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(f"{out} is being written by another process; wait for it, or stop it") from None
        except OSError as error:
            if error.errno not in _NO_LOCKS_HERE:
                raise
        yield


class Log:
    """``metrics.jsonl`` and, where tensorboard is installed, its events; opened behind a checkpoint.

    Lines of later steps and a half-written one are cut off, so that no step is there twice.

    Parameters
    ----------
    out : the RUN folder
    after : steps that the checkpoint to go on from has done; 0 empties the file
    """

    def __init__(self, out: Path, *, after: int) -> None:
        self._out = out
        path = out / METRICS
        keep = _bytes_up_to(path, after) if path.is_file() else 0
        self._file = path.open("ab")
        self._file.truncate(keep)
        self.sync()
        self._events = _open_events(out / TENSORBOARD, after=after)

    def write(self, values: Mapping[str, float | int]) -> None:
        """Add the figures of a step, ``step`` among them."""
        self._file.write(json.dumps(dict(values), allow_nan=False).encode("ascii") + b"\n")
        self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                if name != "step":
                    self._events.add_scalar(name, value, values["step"])

    def panels(self, step: int, arrays: Mapping[str, NDArray[Any]], *, kind: str) -> None:
        """Write ``RUN/panels/step_XXXXXXXX.npz``, arrays by name, which the report draws, and their picture to events.

        Parameters
        ----------
        step : steps done
        arrays : of `vpmim.objective.panels`
        kind : of the target, ``target.kind``
        """
        folder = self._out / PANELS
        folder.mkdir(exist_ok=True)
        content = io.BytesIO()
        np.savez_compressed(content, **arrays)
        write_file(folder / f"{checkpoint_name(step)}.npz", content.getvalue())
        if self._events is not None:
            sheet = panel_sheet(arrays, pixels=kind == "pixel")
            self._events.add_image("panels", sheet, step, dataformats="HWC")

    def sync(self) -> None:
        """Make the lines so far durable."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Sync and close."""
        self.sync()
        self._file.close()
        if self._events is not None:
            self._events.close()


def _open_events(folder: Path, *, after: int) -> Any:
    """tensorboard's writer, behind a step; None, with a warning, where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        warnings.warn(
            "tensorboard is not installed, so no events are written; metrics.jsonl holds the same figures",
            stacklevel=3,
        )
        return None
    return SummaryWriter(str(folder), purge_step=after + 1)


def _bytes_up_to(path: Path, step: int) -> int:
    """Length of the leading lines that are whole and belong to steps up to `step`."""
    length = 0
    with path.open("rb") as file:
        for line in file:
            try:
                whole = line.endswith(b"\n") and json.loads(line)["step"] <= step
            except (ValueError, KeyError, TypeError):
                whole = False
            if not whole:
                break
            length += len(line)
    return length


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"
