"""Simulated EGD-CXR and MIMIC-Eye: exact in form, and read back as what was simulated."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from egd_tree import GAZE_HEADER, SHEET_HEADER
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

from gazekit import read_egd, read_egd_calibration, read_mimic_eye, read_reflacx
from gazekit.errors import InputError
from gazekit.simulate import ReaderParameters, simulate_egd, simulate_mimic_eye
from gazekit.simulate.anatomy import default_anatomy
from gazekit.simulate.egd_files import Medium, Shown, fixation_rows, gaze_rows, shown_in_canvas
from gazekit.simulate.mimic_eye import UNIFIED_LABELS
from gazekit.simulate.reader import simulate_reading
from gazekit.sources.egd_mapping import Placement
from gazekit_cli.main import app

QUICK = ReaderParameters(duration_s=3.0, calibration_error_dva=0.0)


def small_pictures(folder: Path, count: int) -> Path:
    """Images of different sizes, odd ones among them."""
    folder.mkdir()
    for k in range(count):
        pixels = np.add.outer(np.arange(131 + 10 * k), np.arange(120 + 7 * k)) % 256
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{k:02d}.png")
    return folder


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return small_pictures(tmp_path_factory.mktemp("pictures") / "in", 3)


@pytest.fixture(scope="module")
def egd(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("egd") / "sim"
    return out, simulate_egd(out, images=pictures, seed=4, parameters=QUICK)


@pytest.fixture(scope="module")
def mimic_eye(pictures, tmp_path_factory):
    out = tmp_path_factory.mktemp("mimic") / "sim"
    return out, simulate_mimic_eye(out, images=pictures, seed=5, parameters=QUICK)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_tables_have_the_published_headers_and_line_ends(egd):
    root = egd[0] / "egd"
    headers = {"eye_gaze.csv": GAZE_HEADER, "fixations.csv": GAZE_HEADER, "master_sheet.csv": SHEET_HEADER}
    for file, header in headers.items():
        content = (root / file).read_bytes()
        assert content.split(b"\n", 1)[0].decode() == ",".join(header)
        assert b"\r" not in content
    assert len(GAZE_HEADER) == 37
    assert len(SHEET_HEADER) == 59


def test_every_reading_is_read_back_without_a_warning(egd):
    root, summary = egd
    readings = read_egd(root / "egd", images=root / "mimic-cxr")
    assert len(readings) == summary.readings == 3
    for reading in readings:
        assert reading.warnings == ()
        assert set(reading.counts) <= {"off_image", "even_rounding", "zero_duration"}
        assert len(reading.boxes) == 17
        assert (reading.samples()["time_s"].diff().dropna() > 1 / 61).all()
        classes = [reading.labels[name] for name in ("Normal", "CHF", "pneumonia")]
        assert sorted(classes) == [0, 0, 1]
    assert summary.fixations == sum(len(r.fixations) + r.counts.get("off_image", 0) for r in readings) + len(
        read_egd_calibration(root / "egd")
    )


def test_published_and_recomputed_positions_agree(egd):
    root = egd[0]
    published, recomputed = (
        read_egd(root / "egd", images=root / "mimic-cxr", mapping=mapping) for mapping in ("published", "recomputed")
    )
    for a, b in zip(published, recomputed, strict=True):
        assert np.abs(a.fixations[["x_px", "y_px"]] - b.fixations[["x_px", "y_px"]]).to_numpy().max() <= 1


def test_the_gaze_that_was_simulated_is_the_gaze_that_is_read(tmp_path):
    shape = (431, 387)
    anatomy = default_anatomy(shape)
    reading = simulate_reading(shape, anatomy, (), np.random.default_rng(3), parameters=QUICK)
    shown = shown_in_canvas(shape)
    rows = gaze_rows(Medium(1, 0, "x", shown), reading)
    where = {name: k for k, name in enumerate(GAZE_HEADER)}
    times = np.array([float(row[where["Time (in secs)"]]) for row in rows])
    best = np.array([[float(row[where[name]]) for name in ("BPOGX", "BPOGY")] for row in rows])
    seen = np.array([row[where["BPOGV"]] == "1" for row in rows])
    back = Placement(shape, shown.pads).image_points(best * (1920, 1080))
    truth = reading.samples.set_index("time_s")[["x_px", "y_px"]]
    nearest = truth.to_numpy()[np.minimum(np.searchsorted(truth.index, times), len(truth) - 1)]
    assert seen.mean() > 0.8
    np.testing.assert_allclose(back[seen], nearest[seen], atol=0.02)
    # the last row of each fixation spans it but for less than the two samples at its ends
    ends = fixation_rows(rows)
    onset = np.array([float(row[where["FPOGS"]]) for row in ends])
    lasted = np.array([float(row[where["FPOGD"]]) for row in ends])
    starts = reading.fixations["onset_s"].to_numpy()
    index = np.searchsorted(starts, onset, side="right") - 1
    full = (reading.fixations["offset_s"] - reading.fixations["onset_s"]).to_numpy()[index]
    assert ((full - lasted > -1e-4) & (full - lasted < 2.1 / 60)).mean() > 0.9


@given(height=st.integers(96, 4000), width=st.integers(96, 4000), x=st.floats(0, 1), y=st.floats(0, 1))
def test_the_writers_formula_and_the_readers_agree_without_sharing_code(height, width, x, y):
    shown = shown_in_canvas((height, width))
    assert sum(shown.pads[:2]) + int(height * (1024 / max(height, width))) == 1024
    placement = Placement((height, width), shown.pads)
    point = np.array([[x, y]]) * (1920, 1080)
    assert shown.area == placement.drawn
    written = shown.original(x, y)
    if placement.inside(point)[0]:
        assert np.abs(np.array(written) - placement.published_pixels(point)[0]).max() <= 1
    else:
        assert max(written) <= 0


@settings(max_examples=20, deadline=None)
@given(points=st.lists(st.tuples(st.floats(-500, 3000), st.floats(-500, 3000)), min_size=1, max_size=5))
def test_fractions_are_the_inverse_of_the_mapping(points):
    shown = Shown((3000, 2501), (0, 0, 533, 534))
    back = Placement((3000, 2501), shown.pads).image_points(shown.fractions(np.array(points)) * (1920, 1080))
    np.testing.assert_allclose(back, points, atol=1e-6)


def test_gaze_on_the_calibration_screens_is_about_their_target(egd):
    table = read_egd_calibration(egd[0] / "egd")
    assert len(table) > 2
    assert np.abs(table[["error_x_deg", "error_y_deg"]].mean()).max() < 0.6


def test_the_sheet_has_line_breaks_inside_a_field(tmp_path):
    images = small_pictures(tmp_path / "in", 12)
    simulate_egd(tmp_path / "sim", images=images, seed=1, parameters=ReaderParameters(duration_s=1.0), gaze_files=0)
    path = tmp_path / "sim/egd/master_sheet.csv"
    assert path.read_text().count("\n") > 13
    assert len(rows_of(path)) == 12
    assert not (tmp_path / "sim/egd/eye_gaze.csv").exists()
    assert len(read_egd(tmp_path / "sim/egd", images=tmp_path / "sim/mimic-cxr")) == 12


def test_transcripts_join_to_their_text(egd):
    for path in (egd[0] / "egd/audio_segmentation_transcripts").glob("*/transcript.json"):
        found = json.loads(path.read_text())
        assert " ".join(phrase["phrase"] for phrase in found["time_stamped_text"]) == found["full_text"]


def test_equal_seeds_give_equal_bytes_and_ids_begin_with_99(egd, pictures, tmp_path):
    again = tmp_path / "again"
    simulate_egd(again, images=pictures, seed=4, parameters=QUICK)
    files = sorted(path.relative_to(egd[0]) for path in egd[0].rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(again) for path in again.rglob("*") if path.is_file())
    assert all((egd[0] / file).read_bytes() == (again / file).read_bytes() for file in files)
    for row in rows_of(egd[0] / "egd/master_sheet.csv"):
        assert row["dicom_id"].startswith("99")
        assert row["patient_id"].startswith("99")
        assert len(row["dicom_id"]) == 44


def test_mimic_eye_is_read_back_from_both_kinds_of_tables(mimic_eye, tmp_path):
    root, summary = mimic_eye
    readings = read_mimic_eye(root / "mimic-eye")
    assert (len(readings), summary.readings, summary.reflacx, summary.eye_gaze) == (4, 4, 2, 2)
    assert len(UNIFIED_LABELS) == 21
    assert not any("label columns" in note for note in readings.notes)
    for reading in readings:
        assert reading.warnings == ()
        assert len(reading.samples()) > 100
        assert reading.dataset == "mimic-eye"
    assert sum(entry.phase == "3" for entry in readings.entries) == 2


def test_reflacx_reads_no_mimic_eye_and_says_what_it_holds(mimic_eye):
    with pytest.raises(InputError, match="it holds patient_99"):
        read_reflacx(mimic_eye[0] / "mimic-eye")


@pytest.mark.parametrize("simulate", [simulate_egd, simulate_mimic_eye])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"readers": 2}, "--readers and --discarded are not for --dataset"),
        ({"discarded": 1}, "--readers and --discarded are not for --dataset"),
        ({"readings": 0}, "--readings must be 1 to 0|--readings must be"),
        ({"seed": -1}, "--seed must be at least 0"),
        ({"lesions": "marks.csv"}, "give --images too"),
    ],
)
def test_options_that_do_not_fit_are_refused_before_anything_is_written(tmp_path, simulate, options, words):
    with pytest.raises(InputError, match=words):
        simulate(tmp_path / "out", **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("dataset", "images"), [("egd", "mimic-cxr"), ("mimic-eye", None)])
def test_simulate_and_build_from_the_command_line(tmp_path, dataset, images):
    out = tmp_path / "sim"
    run = CliRunner().invoke(app, ["simulate", str(out), "--dataset", dataset, "--readings", "2", "--duration", "2"])
    assert run.exit_code == 0, run.output
    command = ["build-heatmaps", str(out / dataset), str(tmp_path / "cache"), "--dataset", dataset, "--json"]
    command += ["--image-size", "64", "--executor", "serial", *(["--images", str(out / images)] if images else [])]
    run = CliRunner().invoke(app, command)
    assert run.exit_code == 0, run.output
    printed = json.loads(run.stdout)
    assert (printed["images"], printed["skipped"]) == (2, {})
