"""Features kept on disk, so that other label fractions, splits and classes of the same images need no second pass.

A file is named by the fingerprint of everything that its content depends on, so it is never wrong and never renewed.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gazekit.errors import RecordError
from vpmim.checkpoint import write_file
from vpmim.features import Features


def fingerprint(parts: Mapping[str, Any]) -> str:
    """sha256 of what features depend on, as 16 hexadecimal digits."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


def kept_features(folder: Path, key: str, compute: Callable[[], Features]) -> Features:
    """Features from the folder, or computed and kept there.

    Parameters
    ----------
    folder : made where it does not exist
    key : their fingerprint
    compute : called where the folder has none of this key, or a damaged file, which is said

    Returns
    -------
    Features
    """
    path = folder / f"{key}.npz"
    if path.exists():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            warnings.warn(f"{path.name}: damaged ({error}); the features are computed again", stacklevel=2)
    features = compute()
    folder.mkdir(parents=True, exist_ok=True)
    content = io.BytesIO()
    np.savez(
        content,
        row_N=features.row_N,
        failed=np.array([row for row, _ in features.failures], np.int64),
        reasons=np.array([error.reason for _, error in features.failures], np.str_),
        messages=np.array([str(error) for _, error in features.failures], np.str_),
        names=np.array(list(features.values), np.str_),
        **{f"values_{k}": table for k, table in enumerate(features.values.values())},
    )
    write_file(path, content.getvalue())
    return features


def _read(path: Path) -> Features:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        names = [str(name) for name in arrays["names"]]
        failures = tuple(
            (int(row), RecordError(str(reason), str(message)))
            for row, reason, message in zip(arrays["failed"], arrays["reasons"], arrays["messages"], strict=True)
        )
        values = {name: arrays[f"values_{k}"] for k, name in enumerate(names)}
        features = Features(row_N=arrays["row_N"], values=values, failures=failures)
    if any(len(table) != len(features.row_N) for table in values.values()):
        raise ValueError("tables of other lengths than the list of images")
    return features
