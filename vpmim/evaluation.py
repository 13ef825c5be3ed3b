"""What every evaluation shares: what is asked, the data it is asked of, and the one reading of the test labels.

Legend of shape suffixes: N images, C classes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gazekit.errors import RecordError
from gazekit.new_directory import refuse_unwritable
from vpmim.audit import (
    EvaluationError,
    overlap,
    read_ids,
    refuse_absent,
    refuse_failures,
    skipped,
    split_record,
)
from vpmim.datasets import LabelledImages, read_dataset
from vpmim.export import load_encoder
from vpmim.features import Preprocessing, preprocessing, versions, weights_fingerprint
from vpmim.image_source import Convert, ImageFiles, ImageSource, dicom_files, open_images, tables_folder
from vpmim.process import usable_device
from vpmim.results import SystemScores, TestScores, measured, write_results
from vpmim.subgroups import subgroup_figures

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vpmim.encoder import Encoder

    Floats = NDArray[np.float64]


class HeldOutLabels:
    """Test labels that can be read once.

    Everything that fits or chooses gets the training and validation labels alone. The test labels stay in here until
    all scores exist, and a second reading, which could only be for choosing by the first one's outcome, fails.
    """

    def __init__(self, labels_NC: Floats) -> None:
        self._labels_NC: Floats | None = labels_NC

    def read(self) -> Floats:
        """The labels, once.

        Raises
        ------
        RuntimeError
            At the second call.
        """
        if self._labels_NC is None:
            raise RuntimeError("the test labels have been read: nothing may be fitted or chosen after that")
        labels_NC, self._labels_NC = self._labels_NC, None
        return labels_NC


@dataclass(frozen=True, kw_only=True)
class Task:
    """What an encoder is evaluated on.

    Attributes
    ----------
    data : the data set's folder; or a gazekit cache of its images, and then `labels`
    dataset : a key of `vpmim.datasets.DATASETS`
    labels : folder of the label tables, where `data` is a cache
    split, split_file, uncertain : options of the data set's reader, see `vpmim.datasets`
    fraction : share of the training images whose labels are used
    allow_missing : go on without images that are missing or unreadable; each is listed in the results
    pretrain_ids : a file with one id a line: images the encoder was pre-trained on, to be sought in the test part
    draws : bootstrap draws over patients
    convert : makes a cache of DICOM images, see `vpmim.image_source.open_images`

    Raises
    ------
    EvaluationError
        A value out of range.
    """

    data: Path
    dataset: str = "folder"
    labels: str | Path | None = None
    split: str | None = None
    split_file: str | Path | None = None
    uncertain: str | None = None
    fraction: float = 1.0
    allow_missing: bool = False
    pretrain_ids: str | Path | None = None
    draws: int = 1000
    convert: Convert | None = None

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise EvaluationError(f"fraction: expected a share of the labels in (0, 1], got {self.fraction}")
        if self.draws < 1:
            raise EvaluationError(f"draws: expected at least 1, got {self.draws}")

    def read(self) -> LabelledImages:
        """The data set, its split and labels; no image is opened."""
        split_file = None if self.split_file is None else Path(self.split_file)
        return read_dataset(
            self.dataset,
            tables_folder(self.data, self.labels),
            split=self.split,
            split_file=split_file,
            uncertain=self.uncertain,
        )


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A task with everything at hand, before an image was read.

    Attributes
    ----------
    task : Task
    source : what the encoder was loaded from
    out : folder of the results
    place : where it runs
    labelled : LabelledImages
    images : where their pixels come from
    absent : places of those that are not there, which is allowed then
    encoder : Encoder
    prepared : how images are prepared for it
    pretrained : ids it was pre-trained on, where given
    """

    task: Task
    source: Path
    out: Path
    place: torch.device
    labelled: LabelledImages
    images: ImageSource
    absent: Sequence[int]
    encoder: Encoder
    prepared: Preprocessing
    pretrained: frozenset[str] | None

    def readable(self, failures: Sequence[tuple[int, RecordError]]) -> LabelledImages:
        """The images without those that could not be read; `EvaluationError` where that is not allowed."""
        refuse_failures(self.labelled.dataset, self.labelled.ids, failures, self.task.allow_missing)
        return self.labelled.without([row for row, _ in failures])


def open_task(source: Path, task: Task, out: Path, *, device: str, convert: bool = True) -> Opened:
    """Open data, encoder and device, and find what is wrong before anything is computed.

    Parameters
    ----------
    source : a RUN or weights; see `vpmim.export.load_encoder`
    task : Task
    out : folder of the results
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    convert : make a cache of DICOM images, as `task` says how; else they stay files, which nothing here can read

    Raises
    ------
    EvaluationError
        Images are missing, unless that is allowed; `out` is a file.
    DatasetError, ImagesError, WeightsError, EncoderError
    NotADirectoryError, PermissionError
        `out` cannot be written.
    """
    if out.exists() and not out.is_dir():
        raise EvaluationError(f"{out} is a file; name a folder for the results")
    refuse_unwritable(out)
    place = usable_device(device)
    labelled = task.read()
    pretrained = None if task.pretrain_ids is None else read_ids(Path(task.pretrain_ids))
    encoder = load_encoder(source)
    prepared = preprocessing(source, encoder)
    images: ImageSource = ImageFiles(tuple(labelled.paths))
    if convert or not dicom_files(labelled.paths, task.data):
        images, prepared = open_images(labelled.ids, labelled.paths, task.data, prepared, convert=task.convert)
    absent = images.absent()
    refuse_absent(labelled.ids, absent, task.allow_missing)
    return Opened(
        task=task,
        source=source,
        out=out,
        place=place,
        labelled=labelled,
        images=images,
        absent=absent,
        encoder=encoder,
        prepared=prepared,
        pretrained=pretrained,
    )


def labelled_share(ids: Sequence[str], fraction: float, *, seed: int) -> NDArray[np.int64]:
    """Positions of the images whose labels may be used.

    Images are put in the order of sha256("seed:id") and the first ``floor(fraction N)`` taken, at least one: a smaller
    share of one seed lies inside a larger one. Rounding down is how the published 1 % and 10 % lists count.
    """
    if fraction == 1:
        return np.arange(len(ids))
    order = sorted(range(len(ids)), key=lambda row: hashlib.sha256(f"{seed}:{ids[row]}".encode()).digest())
    return np.array(sorted(order[: max(1, math.floor(fraction * len(ids) + 1e-9))]), np.int64)


def finish(
    opened: Opened,
    used: LabelledImages,
    held_out: HeldOutLabels,
    systems: Sequence[SystemScores],
    failures: Sequence[tuple[int, RecordError]],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Read the test labels and write ``results.json`` and ``scores.npz``. From here on nothing is fitted or chosen.

    Parameters
    ----------
    opened : Opened
    used : the images that were evaluated
    held_out : their test labels
    systems : what each system says about the test images; the encoder first
    failures : the images that could not be read
    about : what else the record holds: protocol, features, how it was chosen

    Returns
    -------
    dict
        The contents of ``results.json``.
    """
    rows = used.rows("test")
    test = TestScores(
        ids=tuple(used.ids[row] for row in rows),
        patients=tuple(used.patients[row] for row in rows),
        classes=used.classes,
        labels_NC=held_out.read(),
        systems=tuple(systems),
    )
    results, per_image = measured(test, draws=opened.task.draws)
    attributes = {name: [values[row] for row in rows] for name, values in used.attributes.items()}
    record = {
        "format": 1,
        "dataset": opened.labelled.dataset,
        "split": split_record(opened.labelled, used),
        "label_fraction": opened.task.fraction,
        **about,
        **results,
        "subgroups": subgroup_figures(test, attributes, draws=opened.task.draws),
        "skipped": skipped(opened.labelled, failures),
        "notes": list(used.notes),
        "pretraining_overlap": None if opened.pretrained is None else overlap(used, opened.pretrained),
        "encoder": _encoder_record(opened.source, opened.encoder),
        "preprocessing": asdict(opened.prepared) | {"fingerprint": opened.prepared.fingerprint},
        "versions": versions(),
        "device": opened.place.type,
    }
    return write_results(opened.out, record, per_image)


def _encoder_record(source: Path, encoder: Encoder) -> dict[str, Any]:
    return {
        "name": source.name,
        "architecture": encoder.spec.architecture,
        "spec": asdict(encoder.spec),
        "weights_sha256": weights_fingerprint(encoder),
    }
