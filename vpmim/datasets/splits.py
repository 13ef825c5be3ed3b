"""Splits that exist as lists: read from files, checked, and named after what they are.

A split is either the publisher's, or a recipe of ours whose name says so; the two must never be taken for each other.
"""

from __future__ import annotations

import gzip
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vpmim.datasets.label_table import read_label_table
from vpmim.datasets.labelled import OWN_SHARES, OWN_VALIDATION, SPLITS, DatasetError, some, split_patients

PART_NAMES: Mapping[str, str] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "validate": "val",
    "test": "test",
}
"""What publishers call a part -> what we do."""


@dataclass(frozen=True)
class PublishedSplit:
    """A split that is known by its counts and read from a file that the user gives.

    Attributes
    ----------
    name : str
        As results name it.
    counts : part -> number of images
    source : str
        Who publishes the lists.
    """

    name: str
    counts: Mapping[str, int]
    source: str


def read_split_file(path: Path) -> dict[str, str]:
    """Image name -> part, from lists.

    Parameters
    ----------
    path : Path
        A comma-separated table with a column ``split`` (train, val, test and their usual spellings), the image's name
        being the first other column; or a folder with one list a part, ``train*.txt``, ``val*.txt``, ``test*.txt``,
        one image a line, of which what follows the first blank is not read (the published lists give labels there).

    Returns
    -------
    dict
        The name is the last part of a path as written, with its ending.

    Raises
    ------
    DatasetError
        No such file, a part that is unknown or listed by two files, an image listed twice.
    """
    if path.is_dir():
        listed = [(name, part) for part, file in _lists(path).items() for name in read_names(file)]
    else:
        table = read_label_table(path, required=("split",))
        names = [column for column in table.columns if column != "split"]
        if not names:
            raise DatasetError(f"{path.name}: expected a column with the images' names beside split")
        parts = []
        for value, line in zip(table.column("split"), table.lines, strict=True):
            if value.lower() not in PART_NAMES:
                raise DatasetError(
                    f"{path.name}, line {line}, column 'split': expected {', '.join(SPLITS)}, got {value[:20]!r}"
                )
            parts.append(PART_NAMES[value.lower()])
        listed = [(_last(name), part) for name, part in zip(table.column(names[0]), parts, strict=True)]
    part_of: dict[str, str] = {}
    for name, part in listed:
        if name in part_of:
            raise DatasetError(f"{path.name}: {name} is listed twice ({part_of[name]} and {part})")
        part_of[name] = part
    return part_of


def read_names(path: Path) -> list[str]:
    """Image names of a list, one a line: up to the first blank, the last part of the path.

    A missing newline at the end is normal (``train_val_list.txt`` has none). `DatasetError` for what is no such list.
    """
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except FileNotFoundError:
        raise DatasetError(f"no list {path}") from None
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path}: cannot be read as a list of image names, one a line ({error})") from None
    if text[:512].lstrip().lower().startswith(("<!doctype", "<html", "<?xml")):
        raise DatasetError(f"{path.name}: an HTML page, not a list; the download needs a login")
    names = [_last(line.split(maxsplit=1)[0]) for line in text.splitlines() if line.strip()]
    if not names:
        raise DatasetError(f"{path.name}: an empty list")
    return names


def chosen_split(
    split: str,
    ids: Sequence[str],
    patients: Sequence[str],
    *,
    split_file: Path | None,
    published: Mapping[str, PublishedSplit],
    seed: int,
    manner: str = "patient-wise",
) -> tuple[list[str], str]:
    """The splits that every data set knows beside its own: ``own``, ``file``, and the published lists.

    Parameters
    ----------
    split : ``own`` (our 70/10/20), ``file`` (whatever the file lists) or a key of `published`
    ids : file names, or names without their endings
    patients : of each image
    split_file : see `read_split_file`
    published : the lists that must have the published counts
    seed, manner : of our own split

    Returns
    -------
    parts : list of str
        "" for an image that the lists leave out.
    name : str

    Raises
    ------
    DatasetError
        Lists that are not given, have other counts than the published ones, or name images that are not there.
    """
    if split == "own":
        return own_split(patients, seed=seed, manner=manner)
    if split_file is None:
        raise DatasetError(f"the split {split!r} exists as lists only; give them by --split-file")
    part_of = read_split_file(split_file)
    if split == "file":
        return listed_parts(ids, part_of, file=split_file), f"as listed in {split_file.name}"
    known = published[split]
    counts = {part: sum(value == part for value in part_of.values()) for part in SPLITS}
    if counts != dict(known.counts):
        raise DatasetError(
            f"{split_file.name}: lists {_numbers(counts)} images, the split {known.name!r} ({known.source}) has "
            f"{_numbers(known.counts)}; give its lists, or use --split file for lists of your own"
        )
    return listed_parts(ids, part_of, file=split_file), known.name


def listed_parts(ids: Sequence[str], part_of: Mapping[str, str], *, file: Path) -> list[str]:
    """The part of each image, "" for one that the lists leave out; `DatasetError` for one that only they have."""
    if unknown := unlisted(part_of, ids):
        raise DatasetError(
            f"{file.name}: {len(unknown)} of {len(part_of)} images are not in the data set's table: {some(unknown)}"
        )
    parts = {Path(name).stem: part for name, part in part_of.items()} | dict(part_of)
    return [parts.get(name, "") for name in ids]


def unlisted(listed: Collection[str], ids: Collection[str]) -> list[str]:
    """Names of a list that are not among the ids, with or without their endings; sorted."""
    known = set(ids) | {Path(name).stem for name in ids}
    return sorted(name for name in listed if name not in known and Path(name).stem not in known)


def own_split(patients: Sequence[str], *, seed: int, manner: str = "patient-wise") -> tuple[list[str], str]:
    """Our own split of everything, and its name."""
    shares = "/".join(f"{100 * share:.0f}" for share in OWN_SHARES.values())
    return list(split_patients(patients, OWN_SHARES, seed=seed)), f"own {manner} {shares}, seed {seed}"


def own_validation(
    parts: Sequence[str],
    patients: Sequence[str],
    *,
    seed: int,
    share: float = OWN_VALIDATION["val"],
    manner: str = "patient-wise",
) -> tuple[list[str], str]:
    """Cut our own validation part from ``train``, by patient; the parts, and words for the split's name."""
    train = [row for row, part in enumerate(parts) if part == "train"]
    shares = {"train": 1 - share, "val": share}
    cut = iter(split_patients([patients[row] for row in train], shares, seed=seed))
    return (
        [next(cut) if part == "train" else part for part in parts],
        f"own {manner} val, {share:.1%} of train, seed {seed}",
    )


def two_way_split(count: int, test_share: float, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (train, test) as scikit-learn's ``train_test_split(test_size=..., random_state=seed)`` draws them.

    The published recipes are defined by that function: the test part is ceil(count * test_share) of a permutation by
    numpy's frozen legacy generator, and comes first in it.
    """
    n_test = int(np.ceil(count * test_share))
    order = np.random.RandomState(seed).permutation(count)
    return order[n_test:], order[:n_test]


def _lists(folder: Path) -> dict[str, Path]:
    """The list of each part in a folder."""
    found: dict[str, Path] = {}
    for file in sorted(folder.glob("*.txt")):
        part = next((ours for name, ours in PART_NAMES.items() if file.name.lower().startswith(name)), None)
        if file.name.lower().startswith(("train_val", "trainval")):
            part = None
        if part is None:
            continue
        if part in found:
            raise DatasetError(f"{folder}: both {found[part].name} and {file.name} list the part {part}; keep one")
        found[part] = file
    if missing := [part for part in SPLITS if part not in found]:
        raise DatasetError(
            f"{folder}: expected train*.txt, val*.txt and test*.txt; there is none for {' and '.join(missing)}"
        )
    return found


def _last(path: str) -> str:
    return path.strip().replace("\\", "/").rsplit("/", 1)[-1]


def _numbers(counts: Mapping[str, int]) -> str:
    return " / ".join(f"{counts[part]:,}" for part in SPLITS)
