"""Settings from TOML files, names and ``--set key=value``, and back to TOML.

A method is a configuration, nothing else: one file in ``configs/``, which may start with ``extends = "name"``.
A key that does not exist or a value of the wrong type is a `ConfigError` that names the nearest key.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from vpmim.setting_checks import UNSET, ConfigError, require, toml_value
from vpmim.settings import (
    Config,
    DataConfig,
    DecoderConfig,
    LossConfig,
    MaskConfig,
    ModelConfig,
    PriorConfig,
    RecalibrateConfig,
    TargetConfig,
    TrainConfig,
)

__all__ = [
    "SECTIONS",
    "Config",
    "ConfigError",
    "DataConfig",
    "DecoderConfig",
    "LossConfig",
    "MaskConfig",
    "ModelConfig",
    "PriorConfig",
    "RecalibrateConfig",
    "TargetConfig",
    "TrainConfig",
    "check_fields",
    "config_folders",
    "config_from_tree",
    "config_names",
    "differences",
    "dump_toml",
    "file_names",
    "flatten",
    "load_config",
    "parse_override",
    "read_named_file",
]

EXTENDS = "extends"
SECTIONS: dict[str, type] = {
    name: hint for name, hint in typing.get_type_hints(Config).items() if dataclasses.is_dataclass(hint)
}
"""Section name -> its dataclass."""


def config_folders() -> tuple[Path, ...]:
    """Where names are looked up: inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parent
    return package / "configs", package.parent / "configs"


def config_names() -> list[str]:
    """Names that ``--config`` takes, such as ``vp_mim`` and ``paper/mae``."""
    names: set[str] = set()
    for folder in config_folders():
        names.update(path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob("*.toml"))
    return sorted(name for name in names if not name.startswith(("recipes/", "ablations/")))  # files of other kinds


def load_config(name_or_path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration by name or by file, and apply ``section.key=value`` overrides.

    Parameters
    ----------
    name_or_path : a name in ``configs/`` or the path of a TOML file
    overrides : ``key=value`` with a value in TOML; a bare word is a string; ``none`` unsets an optional key

    Returns
    -------
    Config
        Checked whole.

    Raises
    ------
    ConfigError
        Unknown name, file that cannot be read, unknown key, wrong type, or contradiction.
    """
    tree = _read_tree(_find(str(name_or_path), beside=None), trail=())
    for override in overrides:
        _apply_override(tree, override)
    return config_from_tree(tree)


def config_from_tree(tree: Mapping[str, Any]) -> Config:
    """A parsed TOML document as a checked `Config`; keys left out take VP-MIM's values."""
    values: dict[str, Any] = {}
    for name, value in tree.items():
        if name in SECTIONS:
            values[name] = _section(name, value)
        elif name in _top_level_keys():
            values[name] = _convert(value, typing.get_type_hints(Config)[name], name)
        else:
            raise _unknown(name)
    return Config(**values)


def flatten(config: Config) -> dict[str, Any]:
    """Every setting as ``section.key -> value``, in file order."""
    flat: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if item.name in SECTIONS:
            flat.update({f"{item.name}.{f.name}": getattr(value, f.name) for f in dataclasses.fields(value)})
        else:
            flat[item.name] = value
    return flat


def differences(old: Config, new: Config) -> list[str]:
    """One line a setting in which two configurations differ: ``key: old -> new``."""
    before, after = flatten(old), flatten(new)
    return [
        f"{key}: {toml_value(before[key])} -> {toml_value(after[key])}" for key in before if before[key] != after[key]
    ]


def dump_toml(config: Config) -> str:
    """The whole configuration as TOML that `load_config` reads back to an equal one."""
    lines: list[str] = []
    section = ""
    for key, value in flatten(config).items():
        prefix, _, name = key.rpartition(".")
        if prefix != section:
            section = prefix
            lines += ["", f"[{section}]"]
        lines.append(f"{name} = {toml_value(value)}")
    return "\n".join(lines) + "\n"


def _find(name: str, beside: Path | None) -> Path:
    """The file a name or path means; a path inside a file is relative to that file."""
    if name.endswith(".toml"):
        return (beside / name) if beside is not None else Path(name)
    for folder in config_folders():
        path = folder / f"{name}.toml"
        # the name may hold a slash (paper/mae) but never leave the folder
        if path.is_file() and path.resolve().is_relative_to(folder.resolve()):
            return path
    names = config_names()
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
    nearest = f"; did you mean {close[0]!r}?" if close else ""
    raise ConfigError(
        f"no configuration is named {name!r}{nearest} (known: {', '.join(names)}; a file ends with .toml)"
    )


def _read_tree(path: Path, trail: tuple[Path, ...]) -> dict[str, Any]:
    path = path.resolve()
    if path in trail:
        raise ConfigError(f"{path.name}: {EXTENDS} goes in a circle: {' -> '.join(p.name for p in (*trail, path))}")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; a configuration is a TOML file") from None
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    try:
        tree = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None
    parent = tree.pop(EXTENDS, None)
    if parent is None:
        return tree
    if not isinstance(parent, str):
        raise ConfigError(f"{path.name}: {EXTENDS}: expected the name of a configuration, got {parent!r}")
    return _merge(_read_tree(_find(parent, beside=path.parent), (*trail, path)), tree)


def _merge(base: dict[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in extra.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def file_names(kind: str) -> list[str]:
    """Names of the files of a folder of ``configs/``, such as ``recipes``."""
    return sorted({path.stem for folder in config_folders() for path in (folder / kind).glob("*.toml")})


def read_named_file(name_or_path: str | Path, kind: str, what: str) -> tuple[Path, dict[str, Any]]:
    """A TOML file of a folder of ``configs/`` by its name, or any by its path.

    Parameters
    ----------
    name_or_path : a name in ``configs/<kind>``, or the path of a file that ends in .toml
    kind : folder, such as ``recipes``
    what : one such file, for messages

    Returns
    -------
    path, tree

    Raises
    ------
    ConfigError
        No such name, or a file that cannot be read or is no TOML.
    """
    text, names = str(name_or_path), file_names(kind)
    if text.endswith(".toml"):
        path = Path(text)
    elif text in names:
        path = next(path for folder in config_folders() if (path := folder / kind / f"{text}.toml").is_file())
    else:
        raise ConfigError(f"no {what} is named {text!r}; there are {', '.join(names)}, or a file .toml")
    try:
        return path, tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not TOML: {error}") from None


def parse_override(override: str, *, example: str) -> tuple[str, Any]:
    """Key and value of ``key=value``; the value is TOML, or a bare word that is a string."""
    key, equals, text = (part.strip() for part in override.partition("="))
    if not equals or not key:
        raise ConfigError(f"--set {override!r}: expected key=value, such as {example}")
    return key, _parse_value(text)


def _apply_override(tree: dict[str, Any], override: str) -> None:
    key, value = parse_override(override, example="mask.ratio=0.9")
    *sections, name = key.split(".")
    if key not in flatten(Config()):
        raise _unknown(key)
    node = tree
    for section in sections:
        node = node.setdefault(section, {})
        if not isinstance(node, dict):
            raise ConfigError(f"{section}: expected a section, got {toml_value(node)}")
    node[name] = value


def _parse_value(text: str) -> Any:
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return text
    return parsed["value"] if set(parsed) == {"value"} else text


def _section(name: str, value: object) -> Any:
    cls = SECTIONS[name]
    if not isinstance(value, Mapping):
        raise ConfigError(f"{name}: expected a section [{name}] with keys, got {toml_value(value)}")
    for key in value:
        if key not in typing.get_type_hints(cls):
            raise _unknown(f"{name}.{key}")
    return cls(**check_fields(cls, value, prefix=f"{name}."))


def check_fields(cls: type, values: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Parsed TOML values as the types of a dataclass's fields.

    Raises
    ------
    ConfigError
        A key that is no field (the nearest is named), or a value of another type.
    """
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.0)
            raise ConfigError(f"unknown key {prefix + key!r}; did you mean {near[0]!r}? there are {', '.join(hints)}")
    return {key: _convert(value, hints[key], f"{prefix}{key}") for key, value in values.items()}


def _top_level_keys() -> list[str]:
    return [item.name for item in dataclasses.fields(Config) if item.name not in SECTIONS]


def _unknown(key: str) -> ConfigError:
    """The error for a key that does not exist: the nearest one, and what its section allows."""
    known = list(flatten(Config()))

    def closeness(candidate: str) -> float:
        whole = difflib.SequenceMatcher(None, key, candidate).ratio()
        last = difflib.SequenceMatcher(None, key.rpartition(".")[2], candidate.rpartition(".")[2]).ratio()
        return max(whole, last if "." not in key else 0.0)

    section = key.partition(".")[0]
    if key in SECTIONS:
        keys = ", ".join(f"{key}.{item.name}" for item in dataclasses.fields(SECTIONS[key]))
        return ConfigError(f"{key!r} is a section, not a key; it has {keys}")
    nearest = max(known, key=closeness)
    if "." in key and section in SECTIONS:
        allowed = f"[{section}] has {', '.join(f.name for f in dataclasses.fields(SECTIONS[section]))}"
    else:
        allowed = f"there are {', '.join(_top_level_keys())} and the sections {', '.join(SECTIONS)}"
    return ConfigError(f"unknown key {key!r}; did you mean {nearest!r}? {allowed}")


def _convert(value: Any, hint: Any, key: str) -> Any:
    """A TOML value as the type of its field, or `ConfigError` naming key, type and allowed values."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):  # only ever X | None
        inner = next(a for a in arguments if a is not types.NoneType)
        return None if value is None or value == UNSET else _convert(value, inner, key)
    if origin is Literal:
        expected = "one of " + ", ".join(f'"{a}"' for a in arguments)
        require(isinstance(value, str) and value in arguments, key, expected, value)
        return value
    if origin is tuple:
        length = None if arguments[-1] is Ellipsis else len(arguments)
        kind = {int: "integers", str: "strings"}.get(arguments[0], "numbers")
        expected = f"a list of {length} {kind}" if length else f"a list of {kind}"
        right = isinstance(value, tuple | list) and length in (None, len(value))
        require(right, key, expected, value)
        return tuple(_convert(item, arguments[0], key) for item in value)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        require(number, key, "a finite number", value)
        return float(value)
    if hint is bool:
        require(isinstance(value, bool), key, "true or false", value)
        return value
    if hint is int:
        require(isinstance(value, int) and not isinstance(value, bool), key, "an integer", value)
        return value
    require(isinstance(value, str), key, "a string", value)
    return value
