"""What a run left on disk, read back for its report: settings, environment, figures, panels, checkpoint."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from vpmim.checkpoint import LAST
from vpmim.config import Config
from vpmim.panel_pictures import scales_of
from vpmim.run_folder import CONFIG, ENVIRONMENT, METRICS, PANELS, RunError, read_config

_COUNTS = ("images", "with_gaze", "predicted")
_PANEL_ARRAYS = {"image", "prior", "recalibrated", "relevant", "mask"}


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder tells it, finished or not.

    Attributes
    ----------
    name : what it is called on the page
    folder : the RUN folder
    config : its resolved settings
    environment : the contents of ``environment.json``; empty where there is none
    metrics : the logged steps
    checkpoint : step of the newest complete checkpoint; None where there is none
    """

    name: str
    folder: Path
    config: Config
    environment: Mapping[str, Any]
    metrics: Sequence[Mapping[str, Any]]
    checkpoint: int | None

    @property
    def done(self) -> int:
        """The last logged step, 0 where none was logged."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def planned(self) -> int | None:
        """Steps that the run was to take, where that was noted."""
        steps = self.environment.get("steps")
        return steps if isinstance(steps, int) else None

    @property
    def unfinished(self) -> bool:
        """Whether steps are missing."""
        return self.planned is not None and self.done < self.planned

    @property
    def throughput(self) -> float | None:
        """Images a second: median over the logged steps but the first tenth, which hold the machine's warm-up."""
        speeds = [step["images_per_s"] for step in self.metrics if isinstance(step.get("images_per_s"), int | float)]
        return float(np.median(speeds[len(speeds) // 10 :])) if speeds else None

    @property
    def last_loss(self) -> float | None:
        """Of the last logged step."""
        return self.metrics[-1].get("loss") if self.metrics else None

    @property
    def steps_in_words(self) -> str:
        """``40 of 8,000``."""
        return f"{self.done:,}" + (f" of {self.planned:,}" if self.planned else "")

    @property
    def images_in_words(self) -> str:
        """``2,616, 2,000 with gaze``."""
        return f"{self.images():,}, {self.images('with_gaze'):,} with gaze"

    @property
    def speed_in_words(self) -> str:
        """Images a second, or ``none``."""
        return "none" if self.throughput is None else f"{self.throughput:,.0f}"

    def images(self, kind: str = "images") -> int:
        """Images of its data: all (``images``), those ``with_gaze``, or those with ``predicted`` gaze."""
        return sum(part.get(kind, 0) for part in self.environment.get("data") or [])

    @property
    def simulated_gaze(self) -> bool:
        """Whether it has seen gaze, and no person's."""
        parts = [part for part in self.environment.get("data") or [] if part.get("with_gaze")]
        return bool(parts) and all(part.get("simulated") for part in parts)

    def panel_files(self) -> list[tuple[int, Path]]:
        """Step and path of each file of panels, in the order of the steps."""
        found = sorted((self.folder / PANELS).glob(f"step_{'[0-9]' * 8}.npz"))
        return [(int(path.stem.removeprefix("step_")), path) for path in found]


def read_run(folder: Path, name: str | None = None) -> RunRecord:
    """Read a RUN folder, finished or not.

    Parameters
    ----------
    folder : the RUN folder
    name : default the folder's own

    Raises
    ------
    RunError
        The folder holds no run, or its files cannot be read.
    """
    return RunRecord(
        name=folder.resolve().name if name is None else name,
        folder=folder,
        config=_read_config(folder),
        environment=_read_environment(folder),
        metrics=_read_metrics(folder),
        checkpoint=_last_checkpoint(folder),
    )


def read_panels(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of one file of ``RUN/panels``, as `vpmim.objective.panels` makes them.

    Raises
    ------
    RunError
        The file is damaged, or lacks an array.
    """
    try:
        # opened here: numpy leaves a file open that it cannot read
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, OSError, EOFError, BadZipFile) as error:
        raise RunError(f"{path}: cannot be read ({error}); remove it to have a report without it") from None
    missing = sorted(_PANEL_ARRAYS - set(arrays)) + ([] if scales_of(arrays) else ["the weights of any scale"])
    if missing:
        raise RunError(f"{path}: lacks {', '.join(missing)}; remove it to have a report without it")
    return arrays


def distinct_names(folders: Sequence[Path]) -> list[str]:
    """A name for each folder: its own where these differ, else the part of its path that tells it from the others.

    Parameters
    ----------
    folders : none given twice
    """
    paths = [folder.resolve().parts for folder in folders]
    if len({path[-1] for path in paths}) == len(paths):
        return [path[-1] for path in paths]
    # arm_a/seed_0/run and arm_b/seed_0/run are arm_a and arm_b
    while len({path[0] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[1:] for path in paths]
    while len({path[-1] for path in paths}) == 1 and min(map(len, paths)) > 1:
        paths = [path[:-1] for path in paths]
    return ["/".join(path) for path in paths]


def _read_config(run: Path) -> Config:
    if not (run / CONFIG).is_file():
        raise RunError(f"{run} holds no run (no {CONFIG}); give a folder that vpmim train or vpmim ablate wrote")
    return read_config(run)


def _read_environment(run: Path) -> dict[str, Any]:
    path = run / ENVIRONMENT
    if not path.is_file():
        return {}
    try:
        facts = dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise RunError(f"{path}: not a JSON object ({error})") from None
    parts, fingerprint = facts.get("data") or [], facts.get("data_fingerprint")
    if not isinstance(parts, list) or not all(map(_is_part, parts)):
        raise RunError(f"{path}: data is not a list of caches and folders with their numbers of images")
    if fingerprint is not None and not isinstance(fingerprint, str):
        raise RunError(f"{path}: data_fingerprint is no text")
    return facts


def _is_part(part: Any) -> bool:
    """Whether this tells of a cache or folder that a run was trained on; what an older run did not count may lack."""
    return isinstance(part, dict) and all(isinstance(part.get(kind, 0), int) for kind in _COUNTS)


def _read_metrics(run: Path) -> list[dict[str, Any]]:
    """The logged steps; a half-written last line is left out."""
    path = run / METRICS
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    steps = []
    for number, line in enumerate(lines, start=1):
        try:
            steps.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            if number < len(lines):
                raise RunError(f"{path}: line {number} is not a JSON object; the file is damaged") from None
    return [step for step in steps if isinstance(step.get("step"), int)]


def _last_checkpoint(run: Path) -> int | None:
    """Step of the newest complete checkpoint, or None."""
    try:
        return int(json.loads((run / LAST).read_text(encoding="utf-8"))["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
