"""The report's curves, settings and environment: what was logged, beside what it was logged under."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from vpmim.charts import curves
from vpmim.config import Config, flatten
from vpmim.markup import Html, join, table, tag
from vpmim.run_folder import ENVIRONMENT
from vpmim.setting_checks import toml_value

LEVELS = {"images_per_s": "Images a second", "lr": "Learning rate"}
"""Figures that are no losses: their axis is never logarithmic."""


def training_section(metrics: Sequence[Mapping[str, Any]]) -> Html:
    """Curves of what was logged: losses, speed, learning rate, gradient."""
    if not metrics:
        return tag("p", "No step was logged.", class_="note")

    def chart(title: str, chosen: Mapping[str, str]) -> Html | None:
        series = {label: line for key, label in chosen.items() if (line := logged(metrics, key))[0]}
        return curves(series, title=title, logarithmic=not chosen.keys() & LEVELS.keys()) if series else None

    scales = {name: name.removeprefix("loss_") for name in scale_losses(metrics)}
    charts = [
        chart("Loss", {"loss": "loss"}),
        chart("Reconstruction loss at each scale", scales),
        chart("Gaze head: cross-entropy, nats", {"loss_gaze": "gaze"}),
        *(chart(title, {key: key}) for key, title in LEVELS.items()),
        chart("Gradient norm", {"grad_norm": "gradient norm"}),
    ]
    return join(
        tag("p", "Each step's own value, faint, and its running mean. These are losses on the training images."),
        tag("div", charts, class_="charts"),
    )


def logged(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps at which a figure was logged, and its values."""
    found = [(step["step"], step[key]) for step in metrics if isinstance(step.get(key), int | float)]
    return [step for step, _ in found], [value for _, value in found]


def scale_losses(metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the losses of single scales, finest first: ``loss_4x``."""
    names = {name for step in metrics for name in step}
    scales = [name for name in names if re.fullmatch(r"loss_[0-9.]+x", name)]
    return sorted(scales, key=lambda name: float(name[5:-1]), reverse=True)


def config_section(config: Config) -> Html:
    """The settings, those that differ from the defaults first."""
    flat, default = flatten(config), flatten(Config())
    changed = [key for key in flat if flat[key] != default[key]]
    same = [key for key in flat if key not in changed]

    def settings(keys: Sequence[str], label: str) -> Html:
        rows = [[code(key), code(toml_value(flat[key])), code(toml_value(default[key]))] for key in keys]
        return table(["setting", "this run", "default"], rows, label=label)

    return join(
        tag("p", f"{len(changed)} of {len(flat)} settings differ from the defaults, which are VP-MIM's."),
        settings(changed, "Settings that differ from the defaults") if changed else None,
        tag("details", tag("summary", f"The other {len(same)} settings"), settings(same, "Settings as by default")),
    )


def environment_section(environment: Mapping[str, Any]) -> Html:
    """Versions, device, git state, fingerprints."""
    if not environment:
        return tag("p", f"There is no {ENVIRONMENT}.", class_="note")
    rows = [
        [key.replace("_", " "), tag("td", code(_plain(value)), class_="long")] for key, value in environment.items()
    ]
    return table(["fact", "value"], rows, label="Environment")


def code(text: str) -> Html:
    """What is written as a machine would."""
    return tag("code", text)


def _plain(value: Any) -> str:
    """A JSON value as a line of text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        between = "; " if any(isinstance(item, Mapping) for item in value) else " "
        return between.join(_plain(item) for item in value) or "none"
    if value is None or isinstance(value, bool):
        return "none" if value is None else "yes" if value else "no"
    return str(value) or "none"
