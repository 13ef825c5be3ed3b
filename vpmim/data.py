"""Training data: caches and image folders as batches on the device.

When they fit, all images live on the device as 8-bit grey, and a batch is one gather: no workers, no copies. When
they do not, a thread reads the next batches from the memory-mapped shards into pinned memory while the device works.
The order is a function of (seed, epoch), so a resumed run needs nothing but its step, and several processes share
out the very batches that one would see.

Shape suffixes: N images of the data, B of a batch, S side of the stored square, F Gaussians an image, 9 their columns
(`vpmim.prior`), 6 frame, 4 box edges x0, y0, x1, y1.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vpmim.cached_features import read_patch_features
from vpmim.image_source import is_cache
from vpmim.images import stored_size
from vpmim.order import Visits, epoch_visits
from vpmim.prior_source import PriorSource, prior_source
from vpmim.schedule import Schedule
from vpmim.settings import Config
from vpmim.training_source import DataError, SquareArray, open_training_cache, read_training_folder

T = TypeVar("T")

_CHUNK = 512
_AHEAD = 2


@dataclass(frozen=True)
class Samples:
    """A batch, before augmentation."""

    image_BSS: Tensor
    """(B, S, S) uint8."""
    frame_B6: Tensor
    """(B, 6) float64: the affine from original to stored pixels, and the original size."""
    gaussians_BF9: Tensor
    """(B, F, 9) float64, original pixels, mass 1 inside the image; padding has weight 0."""
    tau_B: Tensor
    """(B,) float64: Otsu's threshold of the whole image's map."""
    confidence_B: Tensor
    """(B,) float32 in [0, 1]: how far the gaze can be trusted: 1 measured, 0 none, of a prediction what it says."""
    valid_B4: Tensor
    """(B, 4) float64: edges of the area that holds the image, stored pixels."""
    index_B: Tensor
    """(B,) int64: place in the data."""
    visit_B: Tensor
    """(B,) int64: which visit to the image this is, from 0; with its place the key of all random draws."""
    features_BRCD: Tensor
    """(B, R, C, D) float16: features of the whole image; (B, 0, 0, 0) where none are asked for."""

    def to(self, device: torch.device) -> Samples:
        """The same batch on another device."""
        return Samples(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})

    def split(self, size: int) -> list[Samples]:
        """The batch as batches of `size` images, in their order; the last may be smaller."""
        columns = [getattr(self, item.name).split(size) for item in fields(self)]
        return [Samples(*parts) for parts in zip(*columns, strict=True)]


@dataclass(frozen=True)
class TrainingData:
    """All the data of a run; everything but streamed images is on the device.

    Attributes
    ----------
    ids : of images, or of readings in a cache built ``--per reading``, by place
    facts : for each cache or folder: what it is, its fingerprint, how many images, how many with gaze,
        how many of these predicted, and with what mean confidence these count
    failures : (image, reason, message) of the files of a folder that could not be read
    image_NSS : all images on the device, or None where they are streamed
    squares : the host's arrays, one after the other, that are streamed from
    frame_N6, valid_N4 : as in `Samples`
    prior : the gaze of every image, or what stands in for it
    measured_N : whose gaze was measured, some of it on the image; with ``prior.source = "none"`` nobody's
    features_NRCD : as in `Samples`
    """

    ids: list[str]
    facts: list[dict[str, Any]]
    failures: list[tuple[str, str, str]]
    image_NSS: Tensor | None
    squares: list[SquareArray]
    frame_N6: Tensor
    valid_N4: Tensor
    prior: PriorSource
    measured_N: NDArray[np.bool_]
    features_NRCD: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def device(self) -> torch.device:
        """Where batches are."""
        return self.frame_N6.device

    @property
    def fingerprint(self) -> str:
        """Changes when the data does: a resumed run must see the same."""
        return hashlib.sha256(repr([part["fingerprint"] for part in self.facts]).encode()).hexdigest()

    @property
    def gaze_counts(self) -> dict[str, Any]:
        """How many images have measured, predicted and absent gaze, and the mean confidence of predicted gaze."""
        parts = [part for part in self.facts if "images" in part]
        predicted = sum(part["predicted"] for part in parts)
        with_gaze = sum(part["with_gaze"] for part in parts)
        trusted = sum(part["predicted"] * part["confidence"] for part in parts if part["predicted"])
        return {
            "gaze_measured": with_gaze - predicted,
            "gaze_predicted": predicted,
            "gaze_absent": len(self) - with_gaze,
            "gaze_confidence": trusted / predicted if predicted else None,
        }

    def gather(self, index_B: NDArray[np.int64] | Sequence[int]) -> Samples:
        """The samples at given places, in that order, each as on its first visit."""
        index_B = np.asarray(index_B, np.int64)
        image_BSS = None if self.image_NSS is not None else torch.from_numpy(_read_squares(self.squares, index_B))
        return self._samples(Visits(index_B, np.zeros_like(index_B)), image_BSS)

    def batches(
        self,
        schedule: Schedule,
        *,
        seed: int,
        batch_size: int,
        measured_share: float = 0.0,
        after: int = 0,
        rank: int = 0,
        ranks: int = 1,
    ) -> Generator[tuple[int, Samples], None, None]:
        """Steps ``after + 1`` to the last, each with its batch.

        Parameters
        ----------
        schedule : Schedule
        seed : of the order
        batch_size : images a step over all processes
        measured_share : of the visits that are to images with measured gaze, at least; see `epoch_visits`
        after : steps already done
        rank, ranks : this process's place; it gets its own contiguous share of every batch

        Yields
        ------
        step, Samples
        """
        share = batch_size // ranks

        def visits() -> Iterator[tuple[int, Visits]]:
            epoch = -1
            for step in range(after + 1, schedule.steps + 1):
                if schedule.epoch(step) != epoch:
                    epoch = schedule.epoch(step)
                    order = epoch_visits(seed, epoch, self.measured_N, measured_share=measured_share)
                start = (step - 1) % schedule.steps_per_epoch * batch_size + rank * share
                yield step, Visits(*(column[start : start + share] for column in order))

        if self.image_NSS is not None:
            for step, batch in visits():
                yield step, self._samples(batch, None)
            return

        def read() -> Iterator[tuple[int, Visits, Tensor]]:
            for step, batch in visits():
                image_BSS = torch.from_numpy(_read_squares(self.squares, batch.index_V))
                yield step, batch, image_BSS.pin_memory() if self.device.type == "cuda" else image_BSS

        for step, batch, image_BSS in _prefetched(read):
            yield step, self._samples(batch, image_BSS)

    def _samples(self, visits: Visits, image_BSS: Tensor | None) -> Samples:
        # one copy to the device for both
        place_2B = torch.from_numpy(np.stack([visits.index_V, visits.visit_V]))
        if self.device.type == "cuda":
            place_2B = place_2B.pin_memory().to(self.device, non_blocking=True)
        place_B, visit_B = place_2B
        frame_B6 = self.frame_N6[place_B]
        gaussians_BF9, tau_B, confidence_B = self.prior.gather(place_B, frame_B6)
        if image_BSS is None:
            assert self.image_NSS is not None, "images are on the device or given"
            image_BSS = self.image_NSS[place_B]
        return Samples(
            image_BSS=image_BSS.to(self.device, non_blocking=True),
            frame_B6=frame_B6,
            gaussians_BF9=gaussians_BF9,
            tau_B=tau_B,
            confidence_B=confidence_B,
            valid_B4=self.valid_N4[place_B],
            index_B=place_B,
            visit_B=visit_B,
            features_BRCD=self.features_NRCD[place_B],
        )


def load_data(paths: Sequence[str | Path], config: Config, *, device: torch.device) -> TrainingData:
    """Open caches and image folders and make their images ready on the device.

    Parameters
    ----------
    paths : caches of `gazekit build-heatmaps`, folders of PNG or JPEG, or both
    config : Config
    device : where batches are wanted

    Returns
    -------
    TrainingData

    Raises
    ------
    DataError
        Not a cache and not a folder of images; caches of different image sizes; no image; no gaze at all for a
        configuration that uses it.
    CachedFeaturesError
        Features that were asked for and cannot be had.
    gazekit.errors.CacheError
        A cache of another format version, or a damaged one.
    """
    paths = [Path(path) for path in paths]
    if not paths:
        raise DataError("name at least one cache or folder of images to train on")
    # caches first: their images have a size, and a folder's are brought to it
    trusting = config.prior.confidence == "ignore" or not config.uses_gaze
    opened = {path: open_training_cache(path, trusting=trusting) for path in paths if is_cache(path)}
    sizes = {path: int(part.facts["image_size"]) for path, part in opened.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{path}: {size}" for path, size in sizes.items())
        raise DataError(
            f"the caches hold images of different sizes ({listed} pixels); build them with one --image-size"
        )
    size = next(iter(sizes.values()), stored_size(config.data.input_size))
    parts = [opened[path] if path in opened else read_training_folder(path, size) for path in paths]
    ids = [name for part in parts for name in part.ids]
    if len(set(ids)) < len(ids):
        warnings.warn(
            f"{len(ids) - len(set(ids))} of {len(ids)} ids occur more than once; each counts as an image",
            stacklevel=2,
        )
    frame_N6 = torch.from_numpy(np.concatenate([part.frames for part in parts])).to(device)
    prior = prior_source(
        [rows for part in parts for rows in part.gaussians],
        frame_N6,
        source=config.prior.source,
        seed=config.seed,
        image_ids=[image_id for part in parts for image_id in part.image_ids],
        confidence=np.concatenate([part.confidence for part in parts]),
    )
    if config.uses_gaze and not bool((prior.row_N > 0).any()):
        names = ", ".join(path.name for path in paths)
        raise DataError(
            f"this configuration is guided by gaze, and none of the {len(ids)} images in {names} has any; "
            "give a cache with gaze, or train without it: --config localmim, or --set prior.source=none"
        )
    facts = [part.facts for part in parts]
    features_NRCD = torch.zeros((len(ids), 0, 0, 0), dtype=torch.float16)
    if config.recalibrates and config.recalibrate.features is not None and config.recalibrate.mode == "cached":
        file, with_gaze = Path(config.recalibrate.features), (prior.row_N > 0).cpu().numpy()
        features_NRCD, fingerprint = read_patch_features(file, ids, with_gaze)
        facts.append({"kind": "features", "name": file.name, "fingerprint": fingerprint})
    squares = [part.squares for part in parts]
    resident = _fits(len(ids) * size * size, device, config.data.residency)
    return TrainingData(
        ids=ids,
        facts=facts,
        failures=[failure for part in parts for failure in part.failures],
        image_NSS=_to_device(squares, size, device) if resident else None,
        squares=[] if resident else squares,
        frame_N6=frame_N6,
        valid_N4=valid_areas(frame_N6),
        prior=prior,
        # a row that says it has gaze, and has none on its image, is not to be visited more often for it
        measured_N=np.concatenate([part.measured for part in parts]) & (prior.row_N > 0).cpu().numpy(),
        features_NRCD=features_NRCD.to(device),
    )


def valid_areas(frame_N6: Tensor) -> Tensor:
    """Edges, in stored pixels, of the part of each stored square that holds the image: (N, 4) float64."""
    scale_N2, offset_N2, size_N2 = frame_N6[:, 0:2], frame_N6[:, 2:4], frame_N6[:, 4:6]
    return torch.cat([offset_N2 - 0.5 * scale_N2, offset_N2 + (size_N2 - 0.5) * scale_N2], dim=1)


def _fits(size_bytes: int, device: torch.device, residency: str) -> bool:
    """Whether images stay on the device: as asked, or if they take at most half of its free memory."""
    if residency != "auto":
        return residency == "device"
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    elif "SC_AVPHYS_PAGES" not in os.sysconf_names:  # a system that does not tell (macOS)
        return True
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return size_bytes <= free // 2


def _to_device(squares: Sequence[SquareArray], size: int, device: torch.device) -> Tensor:
    """All images on the device, copied piece by piece, so that the host never holds them twice."""
    image_NSS = torch.empty((sum(len(part) for part in squares), size, size), dtype=torch.uint8, device=device)
    done = 0
    for part in squares:
        for start in range(0, len(part), _CHUNK):
            piece = np.array(part[start : start + _CHUNK])
            image_NSS[done : done + len(piece)] = torch.from_numpy(piece).to(device)
            done += len(piece)
    return image_NSS


def _read_squares(squares: Sequence[SquareArray], index_B: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Images at places that count through all the arrays, (B, S, S), copied out of the mapped files."""
    starts = np.cumsum([0, *(len(part) for part in squares)])
    owner_B = np.searchsorted(starts, index_B, side="right") - 1
    return np.stack([squares[part][int(place - starts[part])] for part, place in zip(owner_B, index_B, strict=True)])


def _prefetched(read: Callable[[], Iterator[T]]) -> Iterator[T]:
    """Items of ``read()``, made by a thread up to `_AHEAD` items ahead; its error is raised here."""
    items: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=_AHEAD)
    abandoned = threading.Event()

    def put(item: tuple[bool, Any]) -> bool:
        while not abandoned.is_set():
            try:
                items.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def fill() -> None:
        try:
            for item in read():
                if not put((True, item)):
                    return
            put((False, None))
        except BaseException as error:  # raised again where the items are used
            put((False, error))

    thread = threading.Thread(target=fill, name="vpmim-data", daemon=True)
    thread.start()
    try:
        while True:
            more, item = items.get()
            if more:
                yield item
            elif item is None:
                return
            else:
                raise item
    finally:
        abandoned.set()
        thread.join()
