"""Features of unlabelled images as a file: what ``vpmim features`` writes.

``F.npz`` holds ``ids`` (N,), ``features`` (N, D) float32, or of kind ``patches`` (N, rows, columns, D) float16,
``skipped_ids`` and ``skipped_reasons``, and as strings ``kind``, ``architecture``, ``weights_sha256`` and
``preprocessing_sha256``. It is read with ``allow_pickle=False``.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gazekit.cache import open_cache
from vpmim.cached_features import PATCHES
from vpmim.checkpoint import refuse_unwritable_file, write_file
from vpmim.export import load_encoder
from vpmim.features import encoder_features, extract, patch_features, preprocessing, weights_fingerprint
from vpmim.image_source import CachedImages, ImageFiles, ImagesError, ImageSource, is_cache
from vpmim.images import SUFFIXES
from vpmim.process import usable_device


@dataclass(frozen=True)
class FeatureSummary:
    """What was written.

    Attributes
    ----------
    images, width : int
        Rows and columns of the table.
    skipped : tuple of (id, reason, message)
        Images that could not be read.
    preprocessing_sha256, weights_sha256 : str
    """

    images: int
    width: int
    skipped: tuple[tuple[str, str, str], ...]
    preprocessing_sha256: str
    weights_sha256: str


def write_features(
    source: str | Path,
    images: str | Path,
    out: str | Path,
    *,
    kind: str = "cls",
    strict: bool = False,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> FeatureSummary:
    """Encode images and write their features.

    Parameters
    ----------
    source : a RUN or weights; see `vpmim.export.load_encoder`
    images : a folder, searched for PNG and JPEG files at every depth, one such file, or a gazekit cache
    out : file name ending in .npz
    kind : ``cls``, ``mean``, ``both``, ``last4``, or ``patches``, a vector for each patch
    strict : stop at images that cannot be read, before anything is written
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    progress : called with images done and images in all

    Returns
    -------
    FeatureSummary

    Raises
    ------
    ImagesError
        No image, none that can be read, or under `strict` one that cannot; `out` does not end in .npz.
    NotADirectoryError, PermissionError
        The folder of `out` cannot be written.
    """
    images, out = Path(images), Path(out)
    refuse_unwritable_file(out, ".npz", ImagesError)
    place = usable_device(device)
    encoder = load_encoder(source)
    prepared = preprocessing(Path(source), encoder)
    names, found_images = named_images(images)
    if isinstance(found_images, CachedImages):
        prepared = replace(prepared, stored_size=found_images.cache.image_size)
    found = extract(
        found_images.batches(prepared.stored_size, device=place),
        {
            kind: (
                patch_features(encoder, device=place)
                if kind == PATCHES
                else encoder_features(encoder, kind, device=place)
            )
        },
        device=place,
        progress=None if progress is None else lambda done: progress(done, len(names)),
    )
    skipped = tuple((names[row], error.reason, str(error)) for row, error in found.failures)
    if not len(found.row_N):
        raise ImagesError(
            f"{images}: none of {len(names)} images can be read" + (f": {skipped[0][2]}" if skipped else "")
        )
    if skipped and strict:
        raise ImagesError(
            f"{len(skipped)} of {len(names)} images cannot be read, first {skipped[0][0]}: {skipped[0][2]}"
        )
    summary = FeatureSummary(
        images=len(found.row_N),
        width=found.values[kind].shape[-1],
        skipped=skipped,
        preprocessing_sha256=prepared.fingerprint,
        weights_sha256=weights_fingerprint(encoder),
    )
    content = io.BytesIO()
    np.savez_compressed(
        content,
        ids=np.array([names[row] for row in found.row_N], np.str_),
        features=found.values[kind].astype(np.float16 if kind == PATCHES else np.float32, copy=False),
        skipped_ids=np.array([name for name, _, _ in skipped], np.str_),
        skipped_reasons=np.array([reason for _, reason, _ in skipped], np.str_),
        kind=np.array(kind),
        architecture=np.array(encoder.spec.architecture),
        weights_sha256=np.array(summary.weights_sha256),
        preprocessing_sha256=np.array(summary.preprocessing_sha256),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_file(out, content.getvalue())
    return summary


def named_images(images: Path) -> tuple[list[str], ImageSource]:
    """Names and images of a folder, of one file, or of a cache."""
    if is_cache(images):
        cache = open_cache(images)
        return list(cache.ids), CachedImages(cache, tuple(range(len(cache))), {})
    paths = _image_files(images)
    root = images if images.is_dir() else images.parent
    return [path.relative_to(root).as_posix() for path in paths], ImageFiles(tuple(paths))


def _image_files(images: Path) -> list[Path]:
    if images.is_file():
        return [images]
    if not images.is_dir():
        raise ImagesError(f"no folder, image or cache {images}")
    paths = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise ImagesError(
            f"{images}: no PNG or JPEG image; make a cache of DICOM files: "
            "gazekit build-heatmaps DIR CACHE --dataset images --images DIR"
        )
    return paths
