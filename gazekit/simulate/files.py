"""A simulated data set on disk: its folder, its files, and invented ids."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from gazekit.errors import InputError
from gazekit.simulate.dicom_out import Identity, encode_dicom
from gazekit.simulate.pictures import Picture


def picture_dicom(picture: Picture, identity: Identity) -> bytes:
    """A picture as a DICOM file."""
    return encode_dicom(
        picture.pixels,
        identity,
        encoding=picture.encoding,
        view_position=picture.view_position,
        derivation=picture.derivation,
    )


def invented_identities(count: int, rng: np.random.Generator) -> list[Identity]:
    """Invented ids, all different, that begin with 99."""
    subjects = rng.choice(1_000_000, count, replace=False)
    studies = rng.choice(1_000_000, count, replace=False)
    words = rng.integers(0, 2**32, (count, 5))
    return [
        Identity(
            f"99{subject:06d}", f"99{study:06d}", "-".join(("99" + f"{w[0]:08x}"[2:], *(f"{v:08x}" for v in w[1:])))
        )
        for subject, study, w in zip(subjects.tolist(), studies.tolist(), words.tolist(), strict=True)
    ]


def new_folder(out: Path) -> Path:
    """An empty temporary sibling of `out`, which must be new or empty."""
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not an empty folder: name a new one")
    partial = out.absolute().with_name(f".{out.absolute().name}.partial-{os.getpid()}")
    partial.mkdir(parents=True)
    return partial


def write_text(path: Path, text: str) -> None:
    """Write a new file as UTF-8, with its folders, onto the disk."""
    write_file(path, text.encode("utf-8"))


def write_file(path: Path, content: bytes) -> None:
    """Write a new file, with its folders, onto the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
