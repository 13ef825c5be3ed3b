"""What an ablation compares: arms of one configuration, each trained with several seeds, as a TOML file.

::

    config = "vp_mim"                       # what every arm starts from
    set = ["train.epochs=100"]              # and overrides for all of them
    seeds = [0, 1, 2]                       # of pre-training
    baseline = "VP-MIM"                     # the arm that the others are compared with

    [[arm]]
    name = "VP-MIM"

    [[arm]]
    name = "random masks"
    set = ["mask.kind=random"]              # or config = "mae"

    [[arm]]
    name = "another reader"
    data = "second"                         # trained on the caches given as --cache second=DIR

    [product]                               # instead of arms, or beside them: one arm a combination
    "mask.kappa" = [0.25, 0.5, 0.75]
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vpmim.config import Config, ConfigError, check_fields, load_config, read_named_file
from vpmim.setting_checks import require, toml_value

FOLDER = "ablations"

RUN, EVAL = "run", "eval"
"""Folders of a run and of its evaluation, in the folder of an arm with a seed."""
SEED = "seed_"


@dataclass(frozen=True, kw_only=True)
class _File:
    config: str = "vp_mim"
    set: tuple[str, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline: str = "none"


@dataclass(frozen=True, kw_only=True)
class _Arm:
    name: str
    config: str = "none"
    set: tuple[str, ...] = ()
    data: str = ""


@dataclass(frozen=True)
class Arm:
    """One line of the table: a name, the configuration of its runs (with the seed 0), and the data they are trained on
    ("" = that without a name)."""

    name: str
    config: Config
    data: str = ""

    @property
    def slug(self) -> str:
        """The name as a folder's."""
        return slug(self.name)

    def seeded(self, seed: int) -> Config:
        """The configuration of one run."""
        return replace(self.config, seed=seed)


@dataclass(frozen=True)
class Grid:
    """An ablation.

    Attributes
    ----------
    name : str
    arms : the baseline first
    seeds : of pre-training, one run each
    """

    name: str
    arms: tuple[Arm, ...]
    seeds: tuple[int, ...]


def slug(arm: str) -> str:
    """The name of an arm as a folder's."""
    return re.sub(r"[^A-Za-z0-9]+", "_", arm).strip("_").lower()


def cell_folder(folder: Path, arm: str, seed: int) -> Path:
    """Where an ablation in `folder` keeps an arm with a seed: `RUN` and `EVAL` are in it."""
    return folder / slug(arm) / f"{SEED}{seed}"


def load_grid(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Grid:
    """Read a grid, by name or by file, and check every configuration in it.

    Parameters
    ----------
    name_or_path : a name in ``configs/ablations`` or the path of a TOML file
    overrides : ``key=value`` for every arm, behind the file's own

    Raises
    ------
    ConfigError
        Unknown name or key, a configuration that cannot be, two arms of one name, a baseline that is no arm.
    """
    path, tree = read_named_file(name_or_path, FOLDER, "ablation")
    arms, product = tree.pop("arm", []), tree.pop("product", {})
    file = _File(**check_fields(_File, tree))
    require(bool(file.seeds) and len(set(file.seeds)) == len(file.seeds), "seeds", "different seeds", file.seeds)
    made = [*_written(arms, file, overrides), *_combined(product, file, overrides)]
    if not made:
        raise ConfigError(f"{path.name}: no [[arm]] and no [product]; there is nothing to compare")
    for what in ("name", "slug"):
        if len({getattr(arm, what) for arm in made}) < len(made):
            raise ConfigError(f"{path.name}: two arms have one name")
    names = [arm.name for arm in made]
    baseline = names[0] if file.baseline == "none" else file.baseline
    if baseline not in names:
        raise ConfigError(f"{path.name}: baseline: expected one of {', '.join(names)}, got {baseline!r}")
    made.sort(key=lambda arm: arm.name != baseline)  # stable: the others keep their order
    return Grid(path.stem, tuple(made), file.seeds)


def _written(arms: object, file: _File, overrides: Sequence[str]) -> list[Arm]:
    if not isinstance(arms, list) or not all(isinstance(arm, Mapping) and "name" in arm for arm in arms):
        raise ConfigError("arm: expected [[arm]] sections, each with a name")
    made = []
    for values in arms:
        arm = _Arm(**check_fields(_Arm, values, prefix="arm."))
        config = file.config if arm.config == "none" else arm.config
        made.append(Arm(arm.name, load_config(config, [*file.set, *arm.set, *overrides]), arm.data))
    return made


def _combined(product: object, file: _File, overrides: Sequence[str]) -> list[Arm]:
    if not isinstance(product, Mapping) or not all(isinstance(values, list) for values in product.values()):
        raise ConfigError('product: expected lists of values, such as "mask.kappa" = [0.25, 0.5]')
    made = []
    for values in itertools.product(*product.values()) if product else ():
        settings = [f"{key}={toml_value(value)}" for key, value in zip(product, values, strict=True)]
        name = ", ".join(f"{key} {value}" for key, value in zip(product, values, strict=True))
        made.append(Arm(name, load_config(file.config, [*file.set, *settings, *overrides])))
    return made
