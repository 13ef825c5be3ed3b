"""The network of a run: encoder, pyramid of decoders, and what the configuration adds: gaze head, mask token in the
encoder, loss predictor, teacher."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from vpmim.encoder import Encoder, build_encoder
from vpmim.masking import Selection
from vpmim.pyramid import Pyramid
from vpmim.settings import Config, ConfigError
from vpmim.teacher import LossPredictor, Teacher


class Outputs(NamedTuple):
    """What one forward pass gives; B batch, N cells of a scale, C target channels, L patches, K visible ones."""

    predictions: list[Tensor]
    """(B, N, C) for each scale."""
    tokens_BLW: Tensor | None
    """(B, L, W): the tokens behind the prediction of scale 1, None without that scale."""
    gaze_logits_BK: Tensor | None
    """(B, K): the gaze head's output for the visible patches, None without a head."""
    difficulty_BL: Tensor | None
    """(B, L): the predicted loss of each patch, None where it is not predicted."""


class GazeHead(nn.Module):
    """How much each patch token expects to be looked at: LayerNorm and one linear layer (method.md g)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.score = nn.Linear(width, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, tokens_BKD: Tensor) -> Tensor:
        """(B, K, D) to (B, K) logits."""
        return self.score(self.norm(tokens_BKD)).squeeze(-1)


class MaskedImageModel(nn.Module):
    """Every method of the table in method.md (f), by configuration.

    Parameters
    ----------
    config : Config
    encoder : Encoder, with the taps of the configuration

    Attributes
    ----------
    teacher : the moving average of the encoder, where the method looks through one

    Raises
    ------
    ConfigError
        Blocks to hide that are no whole number of patches.
    """

    def __init__(self, config: Config, encoder: Encoder) -> None:
        super().__init__()
        if config.mask.kind == "blocks" and config.mask.block % encoder.patch:
            raise ConfigError(
                f"mask.block = {config.mask.block} pixels is no multiple of the patch of {encoder.spec.name}, "
                f"{encoder.patch} pixels; set mask.block={2 * encoder.patch}"
            )
        channels = {
            "hog": config.target.bins + config.target.magnitude,
            "pixel": encoder.patch**2,
            "feature": encoder.width,
        }[config.target.kind]
        self.encoder = encoder
        self.pyramid = Pyramid(encoder.width, channels, config.decoder, grid=encoder.grid, prefix=encoder.prefix)
        # made last, so that a configuration without it starts from the same weights in everything else
        self.gaze_head = GazeHead(encoder.width) if config.predicts_gaze else None
        self.mask_token = None
        if config.mask.tokens == "replace":
            self.mask_token = nn.Parameter(torch.zeros(encoder.width))
            nn.init.normal_(self.mask_token, std=0.02)
        self.loss_predictor = None
        if config.mask.kind == "hard":
            self.loss_predictor = LossPredictor(encoder.width, config.decoder, grid=encoder.grid, prefix=encoder.prefix)
        self.teacher = Teacher(config, encoder, self.loss_predictor) if config.uses_teacher else None

    def forward(self, grey_BHW: Tensor, selection: Selection) -> Outputs:
        """One pass over the visible patches, or over all of them with a mask token in place of the hidden ones.

        Parameters
        ----------
        grey_BHW : (B, H, W) float, grey in [0, 1]
        selection : Selection
        """
        ids_keep_BK, ids_restore_BL, mask_BL = selection
        if self.mask_token is None:
            taps = self.encoder(grey_BHW, ids_keep_BK)
        else:
            taps = self.encoder(grey_BHW, replaced=(mask_BL, self.mask_token))
            ids_restore_BL = torch.arange(mask_BL.shape[1], device=mask_BL.device).expand_as(ids_restore_BL)
        predictions, tokens_BLW = self.pyramid(taps, ids_restore_BL)
        last = taps[self.encoder.last]
        logits = difficulty_BL = None
        if self.gaze_head is not None:
            logits = self.gaze_head(last[:, self.encoder.prefix :])
            if self.mask_token is not None:
                logits = logits.gather(1, ids_keep_BK)
        if self.loss_predictor is not None:
            difficulty_BL = self.loss_predictor(last, ids_restore_BL)
        return Outputs(predictions, tokens_BLW, logits, difficulty_BL)

    def update_teacher(self, keep: float) -> None:
        """After a step: the teacher keeps this share of itself. After new first weights: 0, a copy."""
        if self.teacher is not None:
            self.teacher.follow(self.encoder, self.loss_predictor, keep)

    @torch.no_grad()
    def expected_gaze(self, grey_BHW: Tensor) -> Tensor:
        """The gaze head's logits for every patch of unmasked images, without gradient: (B, L).

        Raises
        ------
        ValueError
            If the model has no gaze head.
        """
        if self.gaze_head is None:
            raise ValueError("this model has no gaze head; train it with loss.gaze_prediction > 0 and a prior")
        return self.gaze_head(self.encoder.encode(grey_BHW)[:, self.encoder.prefix :])


def build_model(config: Config) -> MaskedImageModel:
    """The network of a configuration with random weights that depend on ``seed`` alone.

    Raises
    ------
    EncoderError
        If the encoder cannot be built as asked.
    """
    # on the CPU whatever the device of the run, so that the weights are the same everywhere
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return MaskedImageModel(config, build_encoder(config))
