"""The settings of a run: frozen dataclasses, each checked once when it is made.

The defaults are VP-MIM's (method.md). Reading them from TOML and command lines is `vpmim.config`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from vpmim.setting_checks import ConfigError, require, toml_value
from vpmim.train_settings import TrainConfig


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The encoder.

    Attributes
    ----------
    encoder : a timm vision transformer's name
    init : ``imagenet`` (timm's own pre-trained weights), ``scratch``, or a path to a weights file
    drop_path : stochastic depth rate of the last block
    depth, width, heads : override the named encoder's number of blocks, channels, heads; 0 = its own
    """

    encoder: str = "vit_base_patch16_224"
    init: str = "imagenet"
    drop_path: float = 0.0
    depth: int = 0
    width: int = 0
    heads: int = 0

    def __post_init__(self) -> None:
        require(bool(self.encoder), "model.encoder", "the name of a timm vision transformer", self.encoder)
        require(bool(self.init), "model.init", '"scratch", "imagenet" or the path of a weights file', self.init)
        require(0 <= self.drop_path < 1, "model.drop_path", "a rate in [0, 1)", self.drop_path)
        for name in ("depth", "width", "heads"):
            value = getattr(self, name)
            require(value >= 0, f"model.{name}", "0 (the encoder's own) or a positive integer", value)


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """Images and their augmentation.

    Attributes
    ----------
    input_size : side of the crop the encoder sees, pixels
    crop_scale : range of the crop's share of the image area
    crop_ratio : range of the crop's width / height
    hflip : probability of a horizontal flip
    mean, std : normalisation of the [0, 1] grey values, recorded with the weights
    measured_share : least share of an epoch's visits that are to images whose gaze was measured; where fewer were
        read, these are visited more often than the others. 0 = all equally often, as in methods that use no gaze
    residency : where the images live: on the ``device``, ``stream`` from disk, or ``auto`` (device if they fit)
    """

    input_size: int = 224
    crop_scale: tuple[float, float] = (0.2, 1.0)
    crop_ratio: tuple[float, float] = (0.75, 1.3333)
    hflip: float = 0.5
    mean: float = 0.5
    std: float = 0.25
    measured_share: float = 0.5
    residency: Literal["auto", "device", "stream"] = "auto"

    def __post_init__(self) -> None:
        require(self.input_size >= 1, "data.input_size", "a positive number of pixels", self.input_size)
        low, high = self.crop_scale
        require(0 < low <= high <= 1, "data.crop_scale", "[low, high] with 0 < low <= high <= 1", self.crop_scale)
        low, high = self.crop_ratio
        require(0 < low <= high, "data.crop_ratio", "[low, high] with 0 < low <= high", self.crop_ratio)
        require(0 <= self.hflip <= 1, "data.hflip", "a probability in [0, 1]", self.hflip)
        require(self.std > 0, "data.std", "a positive number", self.std)
        require(0 <= self.measured_share <= 1, "data.measured_share", "a share in [0, 1]", self.measured_share)


@dataclass(frozen=True, kw_only=True)
class PriorConfig:
    """The gaze prior (method.md a, e).

    Attributes
    ----------
    source : ``gaze``, its negative controls ``mean``, ``shuffled``, ``uniform``, or ``none`` (as if no gaze)
    partition : how a prior becomes relevant and other patches
    otsu : threshold from the whole ``image`` (once, at load) or from each ``crop``
    share : for ``mass``: the smallest set of patches that holds this share of the gaze
    k : for ``topk``: this share of the patches
    confidence : ``scale`` what gaze does by how far it can be trusted (method.md e): 1 where it was measured, of
        predicted gaze what its cache says; or ``ignore`` that, and take predicted gaze for measured
    """

    source: Literal["gaze", "mean", "shuffled", "uniform", "none"] = "gaze"
    partition: Literal["otsu", "mass", "topk", "soft"] = "otsu"
    otsu: Literal["image", "crop"] = "image"
    share: float = 0.8
    k: float = 0.25
    confidence: Literal["scale", "ignore"] = "scale"

    def __post_init__(self) -> None:
        require(0 < self.share <= 1, "prior.share", "a share in (0, 1]", self.share)
        require(0 < self.k <= 1, "prior.k", "a share in (0, 1]", self.k)


@dataclass(frozen=True, kw_only=True)
class MaskConfig:
    """What is hidden (method.md b).

    Attributes
    ----------
    kind : ``random``; ``regions`` (relevant patches hidden at their own rate); ``blocks`` (whole squares, SimMIM);
        ``attention`` (by the attention of the teacher, AttMask); ``hard`` (by the loss that the teacher predicts, HPM)
    ratio : share of the patches hidden, rho
    kappa : share of the relevant patches hidden, for ``regions``
    kappa_end, ratio_end : value at the end of a linear schedule over the run; none = constant
    kappa_jitter : each image's kappa is drawn from this far below to this far above its value, cut to [0, 1]
    block : side of a square of ``blocks``, pixels, a multiple of the encoder's patch
    attention : hide the patches with most attention (``high``), with least (``low``), or with most but for some
        ``hint``
    hint, hint_from : for ``hint``: share of the patches shown, drawn from this share of all with most attention
    hard, hard_end : for ``hard``: share of the hidden patches taken by predicted loss and not at random, at the start
        and at the end of the run; ``hard_end = "none"`` = constant
    tokens : what the encoder gets for a hidden patch: nothing (``drop``), or a mask token in its place (``replace``)
    """

    kind: Literal["random", "regions", "blocks", "attention", "hard"] = "regions"
    ratio: float = 0.75
    kappa: float = 0.5
    kappa_end: float | None = None
    ratio_end: float | None = None
    kappa_jitter: float = 0.0
    block: int = 32
    attention: Literal["high", "low", "hint"] = "high"
    hint: float = 0.05
    hint_from: float = 0.1
    hard: float = 0.0
    hard_end: float | None = 0.5
    tokens: Literal["drop", "replace"] = "drop"

    def __post_init__(self) -> None:
        for name in ("ratio", "ratio_end"):
            value = getattr(self, name)
            require(value is None or 0 < value < 1, f"mask.{name}", "a share strictly between 0 and 1", value)
        for name in ("kappa", "kappa_end", "kappa_jitter", "hard", "hard_end"):
            value = getattr(self, name)
            require(value is None or 0 <= value <= 1, f"mask.{name}", "a share in [0, 1]", value)
        require(self.block >= 1, "mask.block", "a positive number of pixels", self.block)
        shares = 0 <= self.hint <= self.hint_from <= 1
        require(shares, "mask.hint, mask.hint_from", "0 <= hint <= hint_from <= 1", (self.hint, self.hint_from))


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The pyramid of decoders (method.md c): one tap of the encoder for each scale.

    Attributes
    ----------
    taps : blocks after which the encoder is read, from 1; 0 is the last, -2 the second before it
    scales : cells a patch side at each tap, of 4, 2, 1, 0.5
    width, depth, heads, mlp_ratio : of each decoder's transformer; with depth 0 there is none, and the prediction is
        linear in the encoder's tokens, which then must be there for hidden patches too (``mask.tokens = "replace"``)
    topdown : whether each decoder's tokens attend to those of the next coarser scale, through a gate that starts at 0
    """

    taps: tuple[int, ...] = (2, 4, -2, 0)
    scales: tuple[float, ...] = (4.0, 2.0, 1.0, 0.5)
    width: int = 256
    depth: int = 1
    heads: int = 8
    mlp_ratio: float = 4.0
    topdown: bool = False

    def __post_init__(self) -> None:
        require(len(self.taps) >= 1, "decoder.taps", "at least one block number", self.taps)
        allowed = all(scale in (4.0, 2.0, 1.0, 0.5) for scale in self.scales)
        unique = len(set(self.scales)) == len(self.scales)
        require(allowed and unique, "decoder.scales", "different values of 4, 2, 1, 0.5", self.scales)
        if len(self.taps) != len(self.scales):
            raise ConfigError(
                f"decoder.taps and decoder.scales go together, one tap a scale: "
                f"got {len(self.taps)} taps and {len(self.scales)} scales"
            )
        for name in ("width", "heads"):
            require(getattr(self, name) >= 1, f"decoder.{name}", "a positive integer", getattr(self, name))
        require(self.depth >= 0, "decoder.depth", "a number of blocks, 0 or more", self.depth)
        require(self.mlp_ratio > 0, "decoder.mlp_ratio", "a positive number", self.mlp_ratio)
        # sin-cos positions need two halves of sine and cosine in each of two directions
        divisible = self.width % self.heads == 0 and self.width % 4 == 0
        require(divisible, "decoder.width", f"a multiple of 4 and of decoder.heads = {self.heads}", self.width)


@dataclass(frozen=True, kw_only=True)
class TargetConfig:
    """What is reconstructed (method.md c).

    Attributes
    ----------
    kind : ``hog`` histograms of oriented gradients, ``pixel`` values, or ``feature``: the teacher's tokens of the
        unmasked crop
    normalise : pixels by the mean and variance of each ``patch``, or of the whole ``image`` as the encoder sees it
        (``data.mean``, ``data.std``)
    bins : unsigned orientations of a HOG cell
    gate : magnitude below which a HOG cell counts as flat, as a share of the image's gradient scale
    magnitude : whether a HOG cell has one more channel, the logarithm of the contrast that its normalisation discards
    """

    kind: Literal["hog", "pixel", "feature"] = "hog"
    normalise: Literal["patch", "image"] = "patch"
    bins: int = 9
    gate: float = 0.05
    magnitude: bool = False

    def __post_init__(self) -> None:
        require(self.bins >= 2, "target.bins", "at least 2 orientations", self.bins)
        require(self.gate >= 0, "target.gate", "a share of the gradient scale, 0 or more", self.gate)


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """How errors are weighted and summed (method.md d, g).

    Attributes
    ----------
    norm : ``l2`` squared or ``l1`` absolute error
    gaze_weighting : ``none``, ``ref`` (the predecessor's), ``mass`` (ours)
    gaze_lambda : weight of the gaze term of ``mass``; 0 is LocalMIM exactly
    temperature : of the softmax over the prior, for ``mass``
    clip : largest weight of a cell, for ``mass``
    normalise : divide by the weights of each ``sample`` or of the whole ``batch``
    gaze_prediction : weight of the gaze head's cross-entropy (method.md g); 0, or ``prior.source = "none"`` = no head
    """

    norm: Literal["l2", "l1"] = "l2"
    gaze_weighting: Literal["none", "ref", "mass"] = "mass"
    gaze_lambda: float = 1.0
    temperature: float = 0.25
    clip: float = 8.0
    normalise: Literal["sample", "batch"] = "sample"
    gaze_prediction: float = 0.3

    def __post_init__(self) -> None:
        require(self.gaze_lambda >= 0, "loss.gaze_lambda", "0 or more", self.gaze_lambda)
        require(self.temperature > 0, "loss.temperature", "a positive number", self.temperature)
        require(self.clip >= 1, "loss.clip", "1 or more", self.clip)
        require(self.gaze_prediction >= 0, "loss.gaze_prediction", "0 or more", self.gaze_prediction)


@dataclass(frozen=True, kw_only=True)
class RecalibrateConfig:
    """Semantic-aware recalibration of the heatmap (method.md d).

    Attributes
    ----------
    mode : ``none``; ``decoder`` (spread by the similarity of the scale-1 decoder tokens); ``ema`` (by that of the
        teacher's tokens of the unmasked crop); ``cached`` (by features of the whole image that were made before);
        ``attn`` (by the teacher's attention); or ``predicted`` (the gaze head's own map of the unmasked crop). ``ema``,
        ``attn`` and ``predicted`` take one more forward pass without gradient
    features : for ``cached``: file of ``vpmim features --features patches``
    beta : share of the spread heatmap once fully on
    temperature : of the feature similarity
    sigma : reach over the patch grid, patches
    start, full : shares of the training at which beta leaves 0 and reaches its value
    """

    mode: Literal["none", "decoder", "ema", "cached", "attn", "predicted"] = "decoder"
    features: str | None = None
    beta: float = 0.5
    temperature: float = 0.1
    sigma: float = 4.0
    start: float = 0.1
    full: float = 0.3

    def __post_init__(self) -> None:
        require(0 <= self.beta <= 1, "recalibrate.beta", "a share in [0, 1]", self.beta)
        require(self.temperature > 0, "recalibrate.temperature", "a positive number", self.temperature)
        require(self.sigma > 0, "recalibrate.sigma", "a positive number of patches", self.sigma)
        ordered = 0 <= self.start <= self.full <= 1
        require(ordered, "recalibrate.start, recalibrate.full", "0 <= start <= full <= 1", (self.start, self.full))


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run. ``Config()`` is VP-MIM with its gaze head, ``configs/vp_mim.toml``."""

    seed: int = 0
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    mask: MaskConfig = field(default_factory=MaskConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    target: TargetConfig = field(default_factory=TargetConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    recalibrate: RecalibrateConfig = field(default_factory=RecalibrateConfig)
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**31, "seed", "an integer in [0, 2^31)", self.seed)
        if self.target.kind != "hog" and self.decoder.scales != (1.0,):
            raise ConfigError(
                f'target.kind = "{self.target.kind}" is per patch: it needs decoder.scales = [1] and one tap, '
                f"got decoder.scales = {toml_value(self.decoder.scales)}"
            )
        if self.recalibrate.mode == "decoder" and self.uses_gaze and 1.0 not in self.decoder.scales:
            raise ConfigError(
                'recalibrate.mode = "decoder" reads the decoder of scale 1: put 1 into decoder.scales, '
                'or set recalibrate.mode = "none"'
            )
        if self.recalibrate.mode == "cached" and self.recalibrate.features is None:
            raise ConfigError(
                'recalibrate.mode = "cached" reads features made before: set recalibrate.features to a file of '
                "vpmim features --features patches"
            )
        if self.recalibrate.mode == "predicted" and self.loss.gaze_prediction == 0:
            raise ConfigError(
                'recalibrate.mode = "predicted" reads the gaze head, which loss.gaze_prediction = 0 leaves out; '
                "set loss.gaze_prediction, such as 0.1"
            )
        if self.decoder.topdown and (self.decoder.depth == 0 or len(self.decoder.scales) < 2):
            raise ConfigError(
                "decoder.topdown joins the decoders of two scales or more: it needs decoder.depth of at least 1, and "
                f"more scales than decoder.scales = {toml_value(self.decoder.scales)}"
            )
        if self.decoder.depth == 0 and self.mask.tokens == "drop":
            raise ConfigError(
                "decoder.depth = 0 predicts from the encoder's tokens alone, and hidden patches have none with "
                'mask.tokens = "drop"; set mask.tokens = "replace", or decoder.depth = 1'
            )
        if self.train.accumulate > 1 and self.loss.normalise == "batch":
            raise ConfigError(
                'loss.normalise = "batch" divides by the weights of a whole batch, and train.accumulate = '
                f'{self.train.accumulate} sees it in parts; set loss.normalise = "sample", or train.accumulate = 1'
            )
        if self.mask.kind == "hard" and 1.0 not in self.decoder.scales:
            raise ConfigError(
                'mask.kind = "hard" learns to predict the loss of scale 1, a cell a patch: put 1 into decoder.scales, '
                f"which are {toml_value(self.decoder.scales)}"
            )

    @property
    def recalibrates(self) -> bool:
        """Whether the heatmap is recalibrated: there is one, and it weighs the errors."""
        return self.recalibrate.mode != "none" and self.loss.gaze_weighting != "none" and self.uses_gaze

    @property
    def uses_teacher(self) -> bool:
        """Whether the method looks at the image through a moving average of its own encoder."""
        guides = self.mask.kind in ("attention", "hard") or self.target.kind == "feature"
        return guides or (self.recalibrates and self.recalibrate.mode in ("ema", "attn"))

    @property
    def predicts_gaze(self) -> bool:
        """Whether there is a gaze head: it has a weight, and gaze to learn from."""
        return self.loss.gaze_prediction > 0 and self.prior.source != "none"

    @property
    def uses_gaze(self) -> bool:
        """Whether the method does anything with gaze; one that does needs data that has some."""
        weighted = self.loss.gaze_weighting == "ref" or (
            self.loss.gaze_weighting == "mass" and self.loss.gaze_lambda > 0
        )
        asked = self.mask.kind == "regions" or weighted or self.loss.gaze_prediction > 0
        return asked and self.prior.source != "none"

    @property
    def measured_share(self) -> float:
        """``data.measured_share``, of a method that does something with gaze; of another 0."""
        return self.data.measured_share if self.uses_gaze else 0.0

    @property
    def learning_rate(self) -> float:
        """Peak learning rate: ``train.lr``, or ``train.base_lr`` scaled by batch / 256 (as MAE's blr)."""
        if self.train.lr is not None:
            return self.train.lr
        return self.train.base_lr * self.train.batch_size / 256
