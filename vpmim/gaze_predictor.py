"""A fitted gaze predictor: one network for each fold of patients and one of all, and who must be predicted by which.

::

    G/   predictor.json         what it is, the fold of every patient and image, sha256 of the files
         networks.safetensors   each network's weights and the mean map of the images it was fitted on
         encoder.safetensors    the frozen encoder, of the gaze head
         results.json           how well it does, out of fold

Legend of shape suffixes: B batch, S side of the stored square, L patches, F Gaussians, 9 their columns, 6 frame.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from gazekit.new_directory import new_directory
from vpmim.checkpoint import METADATA_KEY, write_file
from vpmim.encoder import Encoder
from vpmim.export import load_encoder
from vpmim.gaze_confidence import CONFIDENCE, confidence_of, information
from vpmim.gaze_network import (
    MODELS,
    UNET,
    build_network,
    holds_image,
    log_distribution,
    mean_maps,
    network_inputs,
)
from vpmim.prior import patch_mass, smallest_share

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from gazekit.cache import PriorCache

    Floats = NDArray[np.float64]

PREDICTOR, NETWORKS, ENCODER, RESULTS = "predictor.json", "networks.safetensors", "encoder.safetensors", "results.json"
FORMAT = 2
ALL = "all"
"""The network fitted on every patient."""

KEPT_MASS = 0.99
"""Share of a predicted distribution that the Gaussians keep; the smallest patches make up the rest."""

_BATCH = {"cpu": 32, "cuda": 256}


class GazePredictionError(ValueError):
    """Gaze that cannot be learned or predicted as asked."""


@dataclass(frozen=True)
class GazePredictor:
    """What `vpmim.gaze_fit` makes.

    Attributes
    ----------
    model : ``head`` or ``unet``
    grid : (rows, cols) of patches over the stored square
    stored_size : side of the stored squares it was fitted on
    encoder : the frozen encoder of a head, None for a U-Net
    networks : fold, or `ALL`, -> network
    mean_rows : the same -> the mean map it starts from, see `vpmim.gaze_network.mean_row`
    folds : `image_keys` -> fold of those whose gaze it was fitted on
    measured_gain : the same -> mean `information` of the measured maps that it was fitted on, nats
    simulated : whether that gaze was of no person
    encoder_saw_gaze : ``yes``, ``no`` or ``unknown``, see `vpmim.seen_gaze`; ``no`` without an encoder
    """

    model: str
    grid: tuple[int, int]
    stored_size: int
    encoder: Encoder | None
    networks: Mapping[str, nn.Module]
    mean_rows: Mapping[str, Tensor]
    folds: Mapping[str, str]
    measured_gain: Mapping[str, float]
    simulated: bool
    encoder_saw_gaze: str

    def network_for(self, keys: Sequence[str]) -> str:
        """The network that has not seen an image's gaze, nor its patient's: of its fold, or `ALL` for others."""
        return next((self.folds[key] for key in keys if key in self.folds), ALL)

    def distributions(self, input_B: Tensor, names: Sequence[str], frame_B6: Tensor, size: int) -> Tensor:
        """Predicted distributions over the patches, (B, L) float64, each by its own network."""
        valid_BL = holds_image(frame_B6, size, self.grid)
        found = torch.zeros(valid_BL.shape, dtype=torch.float64)
        for name in dict.fromkeys(names):
            rows = torch.tensor([row for row, other in enumerate(names) if other == name])
            mean_BL = mean_maps(self.mean_rows[name], frame_B6[rows], size, valid_BL[rows], self.grid)
            with torch.inference_mode():
                logits_BL = self.networks[name](input_B[rows.to(input_B.device)].float()).cpu()
            found[rows] = log_distribution(logits_BL, mean_BL).exp()
        return found


def image_keys(row: Mapping[str, Any], square_SS: NDArray[np.uint8]) -> list[str]:
    """What an image is known by: hashes of its pixels, its id and its patient, the most particular first."""
    said = [("image", row["image_id"]), ("patient", row["patient_id"])]
    known = [hashlib.sha256(b"pixels " + np.ascontiguousarray(square_SS).tobytes()).hexdigest()]
    return known + [hashlib.sha256(f"{kind} {name}".encode()).hexdigest() for kind, name in said if name is not None]


def batches_to_predict(
    predictor: GazePredictor, cache: PriorCache, *, everything: bool = False, batch_size: int = _BATCH["cpu"]
) -> Iterator[tuple[list[int], NDArray[np.uint8], list[str]]]:
    """The rows of a cache that gaze is to be predicted for, ascending; their squares (B, S, S); each one's network.

    They are those without measured gaze, or all with `everything`.
    """
    rows = [row for row, kind in enumerate(cache.gaze_kinds) if everything or kind != "measured"]
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        squares = cache.images[batch]
        known = (image_keys(cache.rows[row], square) for row, square in zip(batch, squares, strict=True))
        yield batch, squares, [predictor.network_for(keys) for keys in known]


def predict_gaze(
    predictor: GazePredictor, cache: PriorCache, *, everything: bool = False, device: torch.device
) -> Iterator[tuple[int, Floats, float, str]]:
    """Predict gaze for the rows of a cache that have no measured gaze.

    Parameters
    ----------
    predictor : GazePredictor
    cache : PriorCache
        Its measured gaze is never looked at.
    everything : predict rows with measured gaze too
    device : torch.device

    Yields
    ------
    row, gaussians, confidence, name of the network
        Rows ascending; `gaussians` (F, 9) as of `as_gaussians`; `confidence` as of `CONFIDENCE`.
    """
    if predictor.encoder is not None:
        predictor.encoder.to(device)
    for network in predictor.networks.values():
        network.to(device)
    inputs = network_inputs(predictor.grid, predictor.encoder)
    named = batches_to_predict(predictor, cache, everything=everything, batch_size=_BATCH[device.type])
    for batch, squares, names in named:
        with torch.inference_mode():
            input_B = inputs(torch.from_numpy(squares).to(device))
        frame_B6 = torch.from_numpy(cache.frames[batch])
        shares_BL = predictor.distributions(input_B, names, frame_B6, cache.image_size)
        gains_B = information(shares_BL, holds_image(frame_B6, cache.image_size, predictor.grid)).tolist()
        for k, row in enumerate(batch):
            gaussians = as_gaussians(shares_BL[k], frame_B6[k], cache.image_size, predictor.grid)
            yield row, gaussians, confidence_of(gains_B[k], predictor.measured_gain[names[k]]), names[k]


def as_gaussians(share_L: Tensor, frame_6: Tensor, size: int, grid: tuple[int, int]) -> Floats:
    """A distribution over patches as the sum of clipped Gaussians that a prior is.

    Parameters
    ----------
    share_L : (L,) float64 of sum 1
    frame_6 : (6,) of the image
    size : side of the stored square
    grid : (rows, cols)

    Returns
    -------
    (F, 9) float64, original pixels
        One at the centre of each patch, half a patch wide (sigma), clipped to the image, with the patch's share of the
        mass inside the image. The smallest patches are left out as long as `KEPT_MASS` remains, which is then 1.
    """
    rows, cols = grid
    kept = torch.nonzero(smallest_share(share_L[None], KEPT_MASS)[0])[:, 0]
    step = torch.tensor([size / cols, size / rows], dtype=torch.float64)
    place_F2 = torch.stack([kept % cols, kept // cols], dim=1).double()
    scale, offset, shape = frame_6[0:2], frame_6[2:4], frame_6[4:6]
    table_F9 = torch.zeros(len(kept), 9, dtype=torch.float64)
    table_F9[:, 0:2] = ((place_F2 + 0.5) * step - 0.5 - offset) / scale
    table_F9[:, 2:4] = 0.5 * step / scale
    table_F9[:, 4] = 1.0
    table_F9[:, 7:9] = shape
    edges = [torch.stack([torch.full_like(side, -0.5), side - 0.5]).expand(len(kept), 2) for side in shape]
    inside_F = patch_mass(table_F9[:, None], *edges)[:, 0, 0]
    table_F9[:, 4] = share_L[kept] / share_L[kept].sum() / inside_F
    return table_F9.numpy()


def save_predictor(predictor: GazePredictor, results: Mapping[str, Any], out: Path) -> None:
    """Write the folder G, all of it or nothing; `out` must not exist yet, or be empty."""
    tensors = {f"{name}.mean_row": row for name, row in predictor.mean_rows.items()}
    for name, network in predictor.networks.items():
        tensors |= {f"{name}.{key}": tensor for key, tensor in network.state_dict().items()}
    files = {NETWORKS: _bytes(tensors, {})}
    if predictor.encoder is not None:
        files[ENCODER] = _bytes(predictor.encoder.vit.state_dict(), asdict(predictor.encoder.spec))
    about = {
        "format": FORMAT,
        "model": predictor.model,
        "grid": list(predictor.grid),
        "stored_size": predictor.stored_size,
        "confidence": CONFIDENCE,
        "measured_gain_nats": dict(predictor.measured_gain),
        "simulated_gaze": predictor.simulated,
        "encoder_saw_gaze": predictor.encoder_saw_gaze,
        "networks": list(predictor.networks),
        "folds": dict(sorted(predictor.folds.items())),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    files |= {
        name: (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()
        for name, content in ((RESULTS, results), (PREDICTOR, about))
    }
    with new_directory(out) as directory:
        for name, content in files.items():
            write_file(directory / name, content)


def load_predictor(folder: str | Path) -> GazePredictor:
    """Load the folder G that ``vpmim gaze fit`` wrote; only tensors and JSON are read.

    Raises
    ------
    GazePredictionError
        No predictor there, or a file that is not the one that was written.
    """
    folder = Path(folder)
    if not (folder / PREDICTOR).is_file():
        raise GazePredictionError(f"{folder}: no {PREDICTOR}; give a folder of vpmim gaze fit")
    try:
        about = json.loads((folder / PREDICTOR).read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise ValueError(f"format {about['format']}, expected {FORMAT}: another version wrote it")
        for name, expected in about["files"].items():
            if name not in (NETWORKS, ENCODER):
                raise ValueError(f"{name} is no file of a predictor")
            if hashlib.sha256((folder / name).read_bytes()).hexdigest() != expected:
                raise ValueError(f"{name} is not the file that was written, its sha256 differs")
        model, grid = about["model"], (int(about["grid"][0]), int(about["grid"][1]))
        if model not in MODELS:
            raise ValueError(f"model {model!r} is none of {', '.join(MODELS)}")
        encoder = None if model == UNET else load_encoder(folder / ENCODER)
        if encoder is not None and encoder.grid != grid:
            raise ValueError(f"the encoder has {encoder.grid} patches, the predictor {grid}")
        tensors = safetensors.torch.load_file(folder / NETWORKS)
        networks, mean_rows, measured_gain = {}, {}, {}
        for name in about["networks"]:
            own = {key.removeprefix(f"{name}."): t for key, t in tensors.items() if key.startswith(f"{name}.")}
            mean_rows[name] = own.pop("mean_row")
            network = build_network(model, grid=grid, width=None if encoder is None else encoder.width, seed=0)
            network.load_state_dict(own)
            networks[name] = network.eval()
            measured_gain[name] = float(about["measured_gain_nats"][name])
        folds = {str(key): str(fold) for key, fold in about["folds"].items()}
        if not {ALL, *folds.values()} <= networks.keys():
            raise ValueError("a fold has no network")
        size, simulated, saw = int(about["stored_size"]), bool(about["simulated_gaze"]), str(about["encoder_saw_gaze"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise GazePredictionError(f"{folder}: damaged: {reason}; fit it again") from None
    return GazePredictor(model, grid, size, encoder, networks, mean_rows, folds, measured_gain, simulated, saw)


def identity(folder: str | Path, *, everything: bool) -> dict[str, Any]:
    """What a cache of its predictions says of a predictor: equal for equal predictions."""
    about = json.loads((Path(folder) / PREDICTOR).read_text(encoding="utf-8"))
    return {
        "model": about["model"],
        "sha256": hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest(),
        "replaces_measured_gaze": everything,
        "fitted_on_simulated_gaze": about["simulated_gaze"],
        "encoder_saw_gaze": about["encoder_saw_gaze"],
        "confidence": CONFIDENCE,
    }


def _bytes(tensors: Mapping[str, Tensor], spec: Mapping[str, Any]) -> bytes:
    plain = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    return safetensors.torch.save(plain, metadata={METADATA_KEY: json.dumps(dict(spec), sort_keys=True)})
