"""What an evaluation says about its images: which are missing, which were seen before, which it used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gazekit.errors import RecordError
from vpmim.datasets.labelled import SPLITS, LabelledImages, id_hash, some
from vpmim.image_source import DICOM_SUFFIXES, name_endings
from vpmim.images import SUFFIXES


class EvaluationError(ValueError):
    """An evaluation that cannot be run as asked, or must not be: images are missing."""


def refuse_absent(ids: Sequence[str], places: Sequence[int], allow_missing: bool) -> None:
    """Every image is there; asked before anything is computed.

    Raises
    ------
    EvaluationError
        Images are missing, unless that is allowed.
    """
    absent = [ids[place] for place in places]
    if absent and not allow_missing:
        raise EvaluationError(
            f"{len(absent)} of {len(ids)} images are missing: {some(absent)}; complete the data set, or "
            "evaluate without them by --allow-missing"
        )


def refuse_failures(
    dataset: str, ids: Sequence[str], failures: Sequence[tuple[int, RecordError]], allow_missing: bool
) -> None:
    """Every image could be read.

    Raises
    ------
    EvaluationError
        Images could not, unless that is allowed; none could, in any case.
    """
    if len(failures) == len(ids):
        raise EvaluationError(f"no image of {dataset} can be read; the first: {failures[0][1]}")
    if failures and not allow_missing:
        named = [f"{ids[row]} ({error.reason})" for row, error in failures]
        raise EvaluationError(
            f"{len(failures)} of {len(ids)} images cannot be read: {some(named)}; replace them, or evaluate "
            "without them by --allow-missing"
        )


def read_ids(path: Path) -> frozenset[str]:
    """Ids from a file, one a line; `EvaluationError` where there are none."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationError(f"{path}: cannot be read as a list of ids, one a line ({error})") from None
    if not (ids := frozenset(line.strip() for line in lines if line.strip())):
        raise EvaluationError(f"{path}: holds no id")
    return ids


def overlap(used: LabelledImages, pretrained: frozenset[str]) -> dict[str, Any]:
    """Test images that the encoder has seen, by file name, whatever folders and ending either side gives it.

    The ids of a cache count too: they are paths with dots for slashes, without the ending.
    """
    known = {ending for name in pretrained for ending in name_endings(_file_stem(name))}
    test = [used.ids[row] for row in used.rows("test")]
    seen = [name for name in test if _file_stem(name) in known]
    return {"pretraining_ids": len(pretrained), "in_test": len(seen), "ids": seen}


def _file_stem(name: str) -> str:
    """The last part of a path, without the ending of an image; a dot of the id itself is no ending."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return Path(last).stem if Path(last).suffix.lower() in (*SUFFIXES, *DICOM_SUFFIXES) else last


def split_record(labelled: LabelledImages, used: LabelledImages) -> dict[str, Any]:
    """Each part's size and hash: of what was evaluated, and of what the data set lists."""
    parts = {}
    for part in SPLITS:
        rows = used.rows(part)
        parts[part] = {
            "images": len(rows),
            "patients": len({used.patients[row] for row in rows}),
            "sha256": id_hash([used.ids[row] for row in rows]),
            "images_listed": len(labelled.rows(part)),
            "sha256_listed": labelled.part_hash(part),
            "positives": {
                name: int((used.labels[rows, column] == 1).sum()) for column, name in enumerate(used.classes)
            },
        }
    return {"name": labelled.split, **parts}


def skipped(labelled: LabelledImages, failures: Sequence[tuple[int, RecordError]]) -> list[dict[str, str]]:
    """Each image that was left out, with its part and the reason code."""
    return [
        {"id": labelled.ids[row], "part": labelled.parts[row], "reason": error.reason, "message": str(error)}
        for row, error in failures
    ]
