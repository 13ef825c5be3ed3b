"""A folder of saliency maps, one file an image: what a saliency model writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gazekit.cache import PriorCache, open_cache
from gazekit.errors import InputError, RecordError
from gazekit.ids import is_id
from gazekit.shards import HEADER_FILE

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".npy", ".png")


@dataclass(frozen=True)
class SaliencyMaps:
    """Maps on disk, by image id.

    Attributes
    ----------
    path : Path
        Their folder.
    files : mapping
        Image id to file name, sorted.
    """

    path: Path
    files: Mapping[str, str]

    def load(self, image_id: str) -> NDArray[np.float64]:
        """(h, w) float64 as stored, over the whole image whatever its size.

        Raises
        ------
        RecordError
            ``unreadable``, ``not_image`` (neither a map of numbers nor a picture) or ``not_grey``.
        """
        name = self.files[image_id]
        path = self.path / name
        try:
            array = _read_png(path, name) if path.suffix.lower() == ".png" else np.load(path, allow_pickle=False)
        except RecordError:
            raise
        except PermissionError:
            raise RecordError("unreadable", f"{name}: permission denied; make the file readable") from None
        except (OSError, ValueError, EOFError, SyntaxError):
            raise RecordError(
                "not_image", f"{name}: neither a .npy array of numbers nor a PNG; write it anew"
            ) from None
        if not isinstance(array, np.ndarray) or array.ndim != 2 or array.size == 0 or array.dtype.kind not in "fiub":
            raise RecordError("not_image", f"{name}: expected an array (h, w) of real numbers")
        return array.astype(np.float64)


def read_saliency_maps(folder: str | Path) -> SaliencyMaps:
    """Index a folder of ``<image id>.npy`` (any scale) and ``<image id>.png`` (grey, 8 or 16 bit) files.

    Raises
    ------
    InputError
        No such folder, no map in it, a name that cannot be an id, or two files of one image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(
            f"{folder}: expected a folder of saliency maps, found {'a file' if folder.exists() else 'nothing'}"
        )
    files: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if not is_id(path.stem):
            raise InputError(f"{folder}: {path.name!r} cannot be an image id: expected A-Z a-z 0-9 . _ - ; rename it")
        if path.stem in files:
            raise InputError(f"{folder}: {files[path.stem]} and {path.name} are both maps of {path.stem}; keep one")
        files[path.stem] = path.name
    if not files:
        raise InputError(
            f"{folder}: no <image id>.npy or .png in it, so it is no folder of saliency maps, and no cache"
        )
    return SaliencyMaps(folder, files)


def open_cache_or_maps(path: str | Path) -> PriorCache | SaliencyMaps:
    """A cache, or else a folder of saliency maps.

    Raises
    ------
    InputError
        As `gazekit.open_cache` where the folder has a cache's header, else as `read_saliency_maps`.
    """
    return open_cache(path) if (Path(path) / HEADER_FILE).exists() else read_saliency_maps(path)


def _read_png(path: Path, name: str) -> NDArray[np.generic]:
    from PIL import Image

    with Image.open(path, formats=("PNG",)) as picture:
        array = np.asarray(picture.convert("RGB") if picture.mode == "P" else picture)
    if array.ndim == 3:
        colours = array[:, :, : 1 if array.shape[2] < 3 else 3]
        if (colours != colours[:, :, :1]).any():
            raise RecordError("not_grey", f"{name}: a colour picture; a saliency map is grey, not a rendering of one")
        array = colours[:, :, 0]
    return array
