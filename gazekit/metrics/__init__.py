"""Metrics of saliency maps, scanpaths, agreement between readers, and gaze on lesions.

One rule for what has no value, everywhere here: it raises (`EmptyGazeError` without a fixation, `InputError`
otherwise) and is never returned as NaN. A constant map has an AUC of 0.5 and raises in NSS and CC. A fixation off the
map raises; `on_map` drops such fixations and says how many they were. A fixation belongs to the pixel i that covers
[i - 0.5, i + 0.5).
"""

from __future__ import annotations

from gazekit.metrics.agreement import Agreement, agreement_map, reader_agreement
from gazekit.metrics.lesions import LesionGaze, lesion_gaze, lesion_mask, lesion_ncc
from gazekit.metrics.maps import EPS, MapScores, cc, kl, map_scores, sim
from gazekit.metrics.points import on_map
from gazekit.metrics.saliency import auc_borji, auc_judd, ig, nss, sauc
from gazekit.metrics.scanpath import MultiMatch, dtw, fixation_path, multimatch, scanmatch
from gazekit.metrics.transport import emd

__all__ = [
    "EPS",
    "Agreement",
    "LesionGaze",
    "MapScores",
    "MultiMatch",
    "agreement_map",
    "auc_borji",
    "auc_judd",
    "cc",
    "dtw",
    "emd",
    "fixation_path",
    "ig",
    "kl",
    "lesion_gaze",
    "lesion_mask",
    "lesion_ncc",
    "map_scores",
    "multimatch",
    "nss",
    "on_map",
    "reader_agreement",
    "sauc",
    "scanmatch",
    "sim",
]
