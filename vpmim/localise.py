"""Where an encoder looks, against where the finding is: the pointing game and the patch AUC.

Maps over the encoder's patches are the class token's attention in its last block, and what the gaze head expects to be
looked at, where the run has one; beside them a Gaussian on the middle of the image, which needs no network. Targets are
a data set's boxes, or the gaze that a cache holds.

Legend of shape suffixes: N images, B batch, S side of the stored square, L patches, R bootstrap draws, 4 box edges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from gazekit.cache import PriorCache, open_cache
from gazekit.errors import RecordError
from gazekit.new_directory import refuse_unwritable
from vpmim.audit import EvaluationError, refuse_absent, refuse_failures
from vpmim.checkpoint import newest_checkpoint, write_file
from vpmim.datasets.labelled import Box
from vpmim.encoder import Encoder
from vpmim.evaluation import Task
from vpmim.export import load_encoder
from vpmim.features import preprocessing, resample_square, versions, weights_fingerprint
from vpmim.image_source import CachedImages, ImageSource, is_cache, open_images
from vpmim.model import build_model
from vpmim.prior import grid_edges, original_boxes, otsu_threshold, patch_mass
from vpmim.process import usable_device
from vpmim.run_folder import CONFIG, read_config
from vpmim.statistics import bootstrap_p, draw_patients, interval, roc_auc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

LOCALISATION = "localisation.json"
ATTENTION, PREDICTED, CENTRE = "attention", "predicted gaze", "centre"
CENTRE_SPREAD = 0.25
"""Standard deviation of the centre's Gaussian, as a share of the image's width and height."""
COVERED = 0.5
"""A patch belongs to a target that covers this share of it; a smaller target has the patch that it covers most."""
GAZE = "gaze"
"""In place of a data set: the measured gaze of a cache."""

Maps = Callable[[torch.Tensor], torch.Tensor]
"""Grey images (B, H, W) in [0, 1] -> a value for each patch (B, L)."""


@dataclass(frozen=True)
class Found:
    """One target of one image: its class, the patient, and for each map whether its best patch is the target's, and
    the AUC of the target's patches against the others."""

    name: str
    patient: str
    hit: Mapping[str, bool]
    auc: Mapping[str, float]


def localise(
    source: str | Path,
    task: Task,
    out: str | Path,
    *,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Compare an encoder's maps with boxes or with measured gaze, and write ``localisation.json``.

    Parameters
    ----------
    source : a RUN or weights; see `vpmim.export.load_encoder`
    task : Task
        A data set with boxes, of which the images of every part that have any are used, since nothing is fitted; or,
        with the data set ``gaze``, a cache whose gaze is the target.
    out : folder of the result
    device : ``auto``, ``cpu``, ``cuda`` or ``cuda:N``
    progress : called with images done and images in all

    Returns
    -------
    dict
        For each map ``pointing``, the share of targets whose best patch is theirs (Zhang et al. 2018), and ``auc``, the
        mean AUC of patches inside against those outside, with 95 % intervals by bootstrap over patients, over all
        targets and for each class; and the paired difference from the centre. Patches of padding are left out.

    Raises
    ------
    EvaluationError
        No box, or no gaze, in what is to be localised; images missing or unreadable, unless that is allowed.
    NotADirectoryError, PermissionError
        `out` cannot be written.
    """
    source, out = Path(source), Path(out)
    refuse_unwritable(out)
    place = usable_device(device)
    encoder = load_encoder(source)
    maps = patch_maps(source, encoder, device=place)
    prepared = preprocessing(source, encoder)
    if task.dataset == GAZE:
        if not is_cache(task.data):
            raise EvaluationError(f"{task.data}: expected a cache with gaze")
        cache = open_cache(task.data)
        about: dict[str, Any] = {"dataset": GAZE, "split": None}
        ids, patients = list(cache.ids), [str(row["patient_id"] or row["id"]) for row in cache.rows]
        images: ImageSource = CachedImages(cache, tuple(range(len(cache))), {})
        prepared = replace(prepared, stored_size=cache.image_size)
        targets_of = partial(_gaze_targets, cache, encoder.grid)
    else:
        labelled = task.read()
        rows = [row for row, name in enumerate(labelled.ids) if name in labelled.boxes]
        if not rows:
            raise EvaluationError(f"{task.dataset}: no image has a box; chestxray14, rsna and vindr publish boxes")
        about = {"dataset": labelled.dataset, "split": labelled.split}
        ids, patients = [labelled.ids[row] for row in rows], [labelled.patients[row] for row in rows]
        paths = [labelled.paths[row] for row in rows]
        images, prepared = open_images(ids, paths, task.data, prepared, convert=task.convert)
        targets_of = partial(_box_targets, [labelled.boxes[name] for name in ids], prepared.stored_size, encoder.grid)
    refuse_absent(ids, images.absent(), task.allow_missing)

    found: list[Found] = []
    failures: list[tuple[int, RecordError]] = []
    done = 0
    for batch in images.batches(prepared.stored_size, device=place):
        failures += batch.failures
        with torch.inference_mode():
            grey_BHW = resample_square(torch.from_numpy(batch.squares).to(place), encoder.spec.input_size)
            values = {name: function(grey_BHW).float().cpu().numpy() for name, function in maps.items()}
        for k, row in enumerate(batch.index.tolist()):
            frame_6 = batch.frames[k]
            valid_L = valid_patches(frame_6, prepared.stored_size, encoder.grid)
            shown = {name: value_BL[k] for name, value_BL in values.items()}
            shown[CENTRE] = _centre(frame_6, prepared.stored_size, encoder.grid)
            for name, patches_L in targets_of(row, frame_6):
                if (one := _judged(name, patients[row], shown, patches_L, valid_L)) is not None:
                    found.append(one)
        done += len(batch.index) + len(batch.failures)
        if progress is not None:
            progress(done, len(ids))
    refuse_failures(task.dataset, ids, failures, task.allow_missing)
    if not found:
        raise EvaluationError(f"{task.data}: nothing to localise: no target covers some patches and leaves others")
    record = {
        "format": 1,
        **about,
        "images": len(ids) - len(failures),
        "targets": len(found),
        "grid": list(encoder.grid),
        "skipped": [f"{ids[row]} ({error.reason})" for row, error in failures],
        **_figures(found, [*maps, CENTRE], draws=task.draws),
        "encoder": {"name": source.name, "spec": asdict(encoder.spec), "weights_sha256": weights_fingerprint(encoder)},
        "versions": versions(),
    }
    out.mkdir(parents=True, exist_ok=True)
    write_file(out / LOCALISATION, json.dumps(record, indent=1, allow_nan=False) + "\n")
    return record


def patch_maps(source: Path, encoder: Encoder, *, device: torch.device) -> dict[str, Maps]:
    """The maps that an encoder has.

    Parameters
    ----------
    source : a RUN, whose gaze head is taken where it has one, or weights
    encoder : Encoder of it
    device : where they run
    """
    maps: dict[str, Maps] = {}
    encoder = encoder.to(device).eval()
    if encoder.has_class_token:
        maps[ATTENTION] = lambda grey: encoder.encode_with_attention(grey, slice(0, 1))[1][:, 0, encoder.prefix :]
    if (source / CONFIG).is_file() and (config := read_config(source)).predicts_gaze:
        checkpoint = newest_checkpoint(source)
        if checkpoint is not None:
            model = build_model(config)
            model.load_state_dict(checkpoint.model())
            model = model.to(device).eval()
            maps[PREDICTED] = lambda grey: model.expected_gaze(grey)
    if not maps:
        raise EvaluationError("the encoder has no class token and no gaze head, so there is no map of it to judge")
    return maps


def covered_patches(boxes_K4: Floats, size: int, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Patches that boxes cover.

    Parameters
    ----------
    boxes_K4 : (K, 4) edges in stored pixels
    size : side of the stored square
    grid : (rows, cols) of patches over the whole square

    Returns
    -------
    (L,) bool, row by row
        Each box takes the patches that it covers to `COVERED`, or the one that it covers most.
    """
    rows, cols = grid
    y_edges, x_edges = (np.linspace(-0.5, size - 0.5, n + 1) for n in (rows, cols))
    chosen = np.zeros(rows * cols, bool)
    for x0, y0, x1, y1 in boxes_K4:
        across = np.clip(np.minimum(x1, x_edges[1:]) - np.maximum(x0, x_edges[:-1]), 0, None) / np.diff(x_edges)
        down = np.clip(np.minimum(y1, y_edges[1:]) - np.maximum(y0, y_edges[:-1]), 0, None) / np.diff(y_edges)
        share = np.outer(down, across).ravel()
        chosen |= (share >= COVERED) | ((share == share.max()) & (share.max() > 0) & (share.max() < COVERED))
    return chosen


def _box_targets(
    boxes: Sequence[Sequence[Box]], size: int, grid: tuple[int, int], place: int, frame_6: Floats
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Each class with boxes in an image, and the patches that they cover together."""
    scale, offset = np.tile(frame_6[0:2], 2), np.tile(frame_6[2:4], 2)
    for name in dict.fromkeys(box.name for box in boxes[place]):
        edges_K4 = np.array([(box.x0, box.y0, box.x1, box.y1) for box in boxes[place] if box.name == name])
        yield name, covered_patches(edges_K4 * scale + offset, size, grid)


def _gaze_targets(
    cache: PriorCache, grid: tuple[int, int], place: int, frame_6: Floats
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """The patches of an image whose gaze mass is above Otsu's threshold; none for one without measured gaze."""
    if cache.gaze_kinds[place] == "measured":
        gaussians = torch.from_numpy(np.array(cache.fixations(place)[:, :9]))[None]
        edge = cache.image_size - 0.5
        square_14 = torch.tensor([[-0.5, -0.5, edge, edge]], dtype=torch.float64)
        box_14 = original_boxes(square_14, torch.from_numpy(np.array(frame_6))[None])
        mass_1L = patch_mass(gaussians, *grid_edges(box_14, *grid)).flatten(1)
        yield GAZE, (mass_1L > otsu_threshold(mass_1L)[:, None])[0].numpy()


def valid_patches(frame_6: Floats, size: int, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """Patches of which the image, and not its padding, covers at least half."""
    width, height = frame_6[4:6]
    low, high = frame_6[2:4] - 0.5 * frame_6[0:2], frame_6[2:4] + (np.array([width, height]) - 0.5) * frame_6[0:2]
    return covered_patches(np.array([[*low, *high]]), size, grid)


def _centre(frame_6: Floats, size: int, grid: tuple[int, int]) -> Floats:
    """A Gaussian on the middle of the image, at the patches' centres, (L,)."""
    rows, cols = grid
    middle = frame_6[2:4] + (frame_6[4:6] - 1) / 2 * frame_6[0:2]
    spread = CENTRE_SPREAD * frame_6[4:6] * frame_6[0:2]
    x, y = ((np.arange(n) + 0.5) * size / n - 0.5 for n in (cols, rows))
    across, down = (np.exp(-0.5 * ((at - middle[k]) / spread[k]) ** 2) for k, at in enumerate((x, y)))
    return np.outer(down, across).ravel()


def _judged(
    name: str, patient: str, shown: Mapping[str, Floats], patches_L: NDArray[np.bool_], valid_L: NDArray[np.bool_]
) -> Found | None:
    """A target under every map; None where it covers no patch, or all of them."""
    inside = patches_L[valid_L]
    if not inside.any() or inside.all():
        return None
    values = {which: value_L[valid_L] for which, value_L in shown.items()}
    return Found(
        name,
        patient,
        hit={which: bool(inside[int(np.argmax(value))]) for which, value in values.items()},
        auc={which: roc_auc(inside, value) for which, value in values.items()},
    )


def _figures(found: Sequence[Found], maps: Sequence[str], *, draws: int) -> dict[str, Any]:
    """Means over targets with their intervals, and what each map is better by than the centre."""
    drawn = draw_patients([one.patient for one in found], draws=draws)
    count_NR = drawn.counts_PR[drawn.patient_N].astype(np.float64)
    classes = sorted({one.name for one in found})
    of_class = {name: np.array([one.name == name for one in found]) for name in classes}

    def figure(value_N: Floats, rows: NDArray[np.bool_]) -> tuple[dict[str, Any], Floats]:
        weights_R = count_NR[rows].sum(axis=0)
        with np.errstate(invalid="ignore"):
            means_R = value_N[rows] @ count_NR[rows] / weights_R
        bounds = interval(means_R)
        return {"value": float(value_N[rows].mean()), "low": bounds.low, "high": bounds.high}, means_R

    everything = np.ones(len(found), bool)
    results: dict[str, Any] = {"maps": {}, "differences_from_centre": {}}
    reference: dict[str, Floats] = {}
    for which in (CENTRE, *(name for name in maps if name != CENTRE)):
        values = {
            "pointing": np.array([float(one.hit[which]) for one in found]),
            "auc": np.array([one.auc[which] for one in found]),
        }
        drawn_of = {name: figure(value_N, everything) for name, value_N in values.items()}
        results["maps"][which] = {name: shown for name, (shown, _) in drawn_of.items()} | {
            "classes": {
                name: {"targets": int(rows.sum())} | {k: figure(v, rows)[0] for k, v in values.items()}
                for name, rows in of_class.items()
            }
        }
        if which == CENTRE:
            reference = {name: means_R for name, (_, means_R) in drawn_of.items()}
            centre = values
            continue
        results["differences_from_centre"][which] = {
            name: figure(values[name] - centre[name], everything)[0]
            | {"p_bootstrap": bootstrap_p(drawn_of[name][1] - reference[name])}
            for name in values
        }
    return results
