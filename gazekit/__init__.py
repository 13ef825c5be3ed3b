"""Radiologist gaze to fixations, heatmaps aligned with the DICOM, and patch relevance for vision transformers.

Everything is loaded when first used, so ``import gazekit`` is quick and never imports torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "heatmap": "prior",
    "patch_relevance": "prior",
    "gaussians": "prior",
    "Prior": "prior",
    "partition": "relevance",
    "filter_fixations": "fixations",
    "filter_reflacx": "fixations",
    "Window": "windows",
    "spoken_windows": "windows",
    "time_slices": "windows",
    "window_weights": "windows",
    "sample_weights": "samples",
    "samples_as_fixations": "samples",
    "detect_fixations": "events",
    "detect_blinks": "events",
    "reading_quality": "quality",
    "dataset_quality": "quality_report",
    "Screen": "geometry",
    "ImageFrame": "geometry",
    "PatchGrid": "geometry",
    "Reading": "reading",
    "Readings": "reading",
    "FIXATION_COLUMNS": "reading",
    "read_reflacx": "sources.reflacx",
    "read_bids": "sources.bids",
    "read_gazepoint": "sources.gazepoint",
    "read_pupil": "sources.pupil",
    "read_tobii": "sources.tobii",
    "read_eyelink": "sources.eyelink",
    "read_images": "sources.images",
    "read_egd": "sources.egd",
    "read_egd_calibration": "sources.egd",
    "read_mimic_eye": "sources.mimic_eye",
    "read_table": "sources.gaze_table",
    "write_bids": "bids",
    "read_image": "image",
    "read_dicom": "dicom",
    "open_cache": "cache",
    "PriorCache": "cache",
    "build_heatmaps": "build",
    "GazekitError": "errors",
    "InputError": "errors",
    "RecordError": "errors",
    "EmptyGazeError": "errors",
    "CacheError": "errors",
}

_MODULES = ("adapters", "metrics", "plots")

__all__ = ["__version__", *_EXPORTS, *_MODULES]

if TYPE_CHECKING:
    from gazekit import adapters, metrics, plots
    from gazekit.bids import write_bids
    from gazekit.build import build_heatmaps
    from gazekit.cache import PriorCache, open_cache
    from gazekit.dicom import read_dicom
    from gazekit.errors import CacheError, EmptyGazeError, GazekitError, InputError, RecordError
    from gazekit.events import detect_blinks, detect_fixations
    from gazekit.fixations import filter_fixations, filter_reflacx
    from gazekit.geometry import ImageFrame, PatchGrid, Screen
    from gazekit.image import read_image
    from gazekit.prior import Prior, gaussians, heatmap, patch_relevance
    from gazekit.quality import reading_quality
    from gazekit.quality_report import dataset_quality
    from gazekit.reading import FIXATION_COLUMNS, Reading, Readings
    from gazekit.relevance import partition
    from gazekit.samples import sample_weights, samples_as_fixations
    from gazekit.sources.bids import read_bids
    from gazekit.sources.egd import read_egd, read_egd_calibration
    from gazekit.sources.eyelink import read_eyelink
    from gazekit.sources.gaze_table import read_table
    from gazekit.sources.gazepoint import read_gazepoint
    from gazekit.sources.images import read_images
    from gazekit.sources.mimic_eye import read_mimic_eye
    from gazekit.sources.pupil import read_pupil
    from gazekit.sources.reflacx import read_reflacx
    from gazekit.sources.tobii import read_tobii
    from gazekit.windows import Window, spoken_windows, time_slices, window_weights


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"gazekit.{name}")  # which also binds it here
    if name not in _EXPORTS:
        raise AttributeError(f"module 'gazekit' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"gazekit.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
