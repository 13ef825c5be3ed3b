"""Simulated files as others see them: DICOM, the REFLACX reader, tables of marks, the command line."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from typer.testing import CliRunner

import gazekit
from gazekit.errors import InputError
from gazekit.simulate import ReaderParameters, simulate_reading, simulate_reflacx
from gazekit.simulate.anatomy import default_anatomy, random_lesions
from gazekit.simulate.assignment import assign
from gazekit.simulate.dataset import write_reflacx
from gazekit.simulate.dicom_out import MIXED, TRANSFERS, Encoding, Identity, encode_dicom, stored_values, window_of
from gazekit.simulate.phantom import chest_phantom
from gazekit.simulate.pictures import folder_makers, phantom_makers, read_marks
from gazekit.simulate.reflacx import fixations_csv, gaze_csv
from gazekit_cli.main import app

IDENTITY = Identity("99000001", "99000002", "99000003-11111111-22222222-33333333-44444444")
ENCODINGS = (*MIXED, Encoding("jpeg2000", 16), Encoding("jpeg2000", 12, loss=20), Encoding("rle", 16, monochrome1=True))
QUICK = ReaderParameters(duration_s=2.0)


def ramp(shape: tuple[int, int] = (97, 131)) -> np.ndarray:
    """Air dark on the left, with a bright square, so that polarity and orientation show."""
    pixels = np.tile(np.linspace(0.05, 0.7, shape[1], dtype=np.float32), (shape[0], 1))
    pixels[10:40, 20:50] = 1.0
    return pixels


def images(folder: Path, *names: str, shape: tuple[int, int] = (130, 120)) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((255 * ramp(shape)).astype(np.uint8)).save(folder / name)
    return folder


# ----------------------------------------------------------------------------------------------------------- DICOM


@pytest.mark.parametrize("encoding", ENCODINGS, ids=str)
def test_each_encoding_reads_back_in_displayed_polarity(tmp_path: Path, encoding: Encoding) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(encode_dicom(ramp(), IDENTITY, encoding=encoding, derivation="A ramp."))
    for windowing in ("dicom", "reflacx"):
        read = gazekit.read_dicom(path, windowing=windowing).pixels
        np.testing.assert_allclose(read, ramp(), atol=0.12 if encoding.lossy else 1.5 / 255)
        assert abs(float((read - ramp()).mean())) < 0.005


@pytest.mark.parametrize("encoding", [e for e in ENCODINGS if not e.lossy], ids=str)
def test_lossless_encodings_store_the_values_exactly(encoding: Encoding) -> None:
    dataset = pydicom.dcmread(io.BytesIO(encode_dicom(ramp(), IDENTITY, encoding=encoding, derivation="A ramp.")))
    np.testing.assert_array_equal(dataset.pixel_array, stored_values(ramp(), encoding))
    assert dataset.LossyImageCompression == "00"


def test_mixed_encodings_cover_every_transfer_syntax_and_both_polarities() -> None:
    assert {e.transfer for e in MIXED} == set(TRANSFERS)
    assert {e.monochrome1 for e in MIXED} == {True, False}
    assert {e.bits for e in MIXED} == {8, 12, 16}


def test_the_header_says_simulated_and_names_nobody() -> None:
    encoding = Encoding("jpeg", 8, loss=70)
    dataset = pydicom.dcmread(io.BytesIO(encode_dicom(ramp(), IDENTITY, encoding=encoding, derivation="A ramp.")))
    assert "SIMULATED" in dataset.ImageType
    assert dataset.DerivationDescription == "SIMULATED record, all ids invented. A ramp."
    assert (dataset.PatientID, dataset.StudyID) == ("99000001", "99000002")
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionMethod) == ("01", "ISO_10918_1")
    for keyword in ("PatientName", "PatientBirthDate", "StudyDate", "StudyTime", "ReferringPhysicianName"):
        assert not dataset[keyword].value


@pytest.mark.parametrize(
    "bad",
    [
        {"transfer": "png"},
        {"bits": 10},
        {"transfer": "jpeg", "bits": 12},
        {"loss": 10},
        {"transfer": "jpeg2000", "loss": 0},
    ],
)
def test_an_impossible_encoding_is_refused(bad: dict[str, object]) -> None:
    with pytest.raises(InputError):
        Encoding(**bad)


def test_the_window_of_a_reading_is_the_one_in_the_file() -> None:
    assert window_of(Encoding("explicit", 8)) == (256 / 255, 128 / 255)
    assert window_of(Encoding("explicit", 12, monochrome1=True)) == (4096 / 4095, 1 - 2048 / 4095)


def test_a_phantom_has_dark_lungs_a_bright_heart_and_brighter_lesions() -> None:
    shape = (420, 380)
    clear = chest_phantom(shape, np.random.default_rng(2), lesions=())
    assert clear.pixels.shape == shape
    assert (clear.pixels.min(), clear.pixels.max() <= 1) == (0, True)

    def mean(u: float, v: float) -> float:
        x, y = clear.anatomy.point(u, v)
        return float(clear.pixels[int(y) - 8 : int(y) + 9, int(x) - 8 : int(x) + 9].mean())

    for lung in ((0.22, 0.45), (0.78, 0.40)):
        assert mean(*lung) < 0.7 * mean(0.56, 0.7)
        assert mean(*lung) < 0.7 * mean(0.5, 1.15)
    rng = np.random.default_rng(5)
    lesion = next(f for f in iter(lambda: random_lesions(clear.anatomy, rng), None) if f)[0]
    marked = chest_phantom(shape, np.random.default_rng(2), lesions=(lesion,))
    x, y = (round(v) for v in lesion.centre)
    assert marked.pixels[y, x] > clear.pixels[y, x] + 0.04


# ------------------------------------------------------------------------------------------------------ round trip


@given(seed=st.integers(0, 2**31), height=st.integers(100, 3000), width=st.integers(100, 3000))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_was_simulated_is_what_the_reflacx_reader_returns(
    tmp_path_factory: pytest.TempPathFactory, seed: int, height: int, width: int
) -> None:
    shape = (height, width)
    anatomy = default_anatomy(shape)
    rng = np.random.default_rng(seed)
    reading = simulate_reading(shape, anatomy, random_lesions(anatomy, rng), rng, parameters=QUICK)
    root = tmp_path_factory.mktemp("round") / "reflacx"
    write_reading(root, reading, shape)
    found = gazekit.read_reflacx(root)["P300R990001"]
    assert found.image_shape == shape
    assert not found.counts
    assert not found.warnings
    tolerance = {"onset_s": 5.01e-4, "offset_s": 5.01e-4, "pupil_area_norm": 5.01e-4, "window_width": 5.01e-6}
    for name, values in found.fixations.items():
        expected = reading.fixations[name].to_numpy()
        np.testing.assert_allclose(values, expected, rtol=0, atol=tolerance.get(name, 0.5), err_msg=name)
    samples = found.samples()
    assert len(samples) == len(reading.samples)
    for name in ("time_s", "x_px", "y_px", "px_per_deg_x", "shown_xmin_px", "screen_ymax_px"):
        np.testing.assert_allclose(samples[name], reading.samples[name], rtol=0, atol=0.5, err_msg=name)
        np.testing.assert_array_equal(samples[name].isna(), reading.samples[name].isna())
    assert list(found.transcript["word"]) == list(reading.dictation.words)
    np.testing.assert_allclose(found.transcript["onset_s"], reading.dictation.onset_s, atol=1e-9)
    boxes = [tuple(row) for row in found.ellipses[["xmin_px", "ymin_px", "xmax_px", "ymax_px"]].to_numpy()]
    assert boxes == [report.box for report in reading.reports]
    assert list(found.ellipses["certainty"]) == [report.certainty for report in reading.reports]


def write_reading(root: Path, reading, shape: tuple[int, int]) -> None:
    """One reading's files as the data set has them, without an image."""
    from gazekit.simulate import reflacx

    row = reflacx.MetadataRow("P300R990001", "train", False, IDENTITY, shape, reflacx.label_cells(reading.reports, 3))
    files = {
        "main_data/metadata_phase_3.csv": reflacx.metadata_csv([row], 3),
        "main_data/P300R990001/fixations.csv": fixations_csv(reading.fixations),
        "main_data/P300R990001/timestamps_transcription.csv": reflacx.transcript_csv(reading.dictation),
        "main_data/P300R990001/anomaly_location_ellipses.csv": reflacx.ellipses_csv(reading.reports, 3),
        "main_data/P300R990001/chest_bounding_box.csv": reflacx.chest_box_csv(reading.chest_box),
        "gaze_data/P300R990001/gaze.csv": gaze_csv(reading.samples),
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(text.encode())


def test_a_whole_data_set_reads_back_without_a_complaint(tmp_path: Path) -> None:
    plan = assign(7, 2)
    makers = phantom_makers(len(plan), (150, 140))
    write_reflacx(tmp_path / "set", makers, plan, np.random.default_rng(0), discarded=1, parameters=QUICK)
    readings = gazekit.read_reflacx(tmp_path / "set/reflacx")
    assert len(readings) == 7
    assert not readings.notes
    assert {r.phase for r in readings} == {"1", "2", "3"}
    for reading in readings:
        relative = reading.image_path.removeprefix("physionet.org/files/mimic-cxr/2.0.0/")
        pixels, frame = gazekit.read_image(tmp_path / "set/mimic-cxr" / relative)
        assert pixels.shape == reading.image_shape == (frame.height, frame.width)
        assert not reading.warnings
        assert set(reading.counts) <= {"no_gaze"}
        if len(reading.fixations):
            assert gazekit.heatmap(reading.fixations, image_shape=reading.image_shape).sum() == pytest.approx(
                1, abs=1e-4
            )
    assert [len(r.fixations) for r in readings].count(0) == 1


# ------------------------------------------------------------------------------------------------- images and marks


def test_each_image_of_a_folder_is_read_once_by_default(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", "b.png", "a/c.jpg", "d.png")
    (folder / "notes.txt").write_text("not an image")
    summary = simulate_reflacx(tmp_path / "out", images=folder, parameters=QUICK, gaze_files=0)
    assert (summary.images, summary.readings, summary.phase_1, summary.phase_2, summary.phase_3) == (3, 11, 5, 5, 1)


def test_marks_decide_where_the_lesions_and_the_chest_are(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", "a.png", "b.png")
    marks = tmp_path / "marks.csv"
    marks.write_text("image,finding,xmin,ymin,xmax,ymax\na.png,chest box,10,12,110,100\na.png,Nodule,20,30,40,60\n")
    first, second = (maker(np.random.default_rng(0)) for maker in folder_makers(folder, read_marks(marks)))
    assert first.anatomy.chest == (10, 12, 110, 100)
    assert [(x.finding, x.box) for x in first.lesions] == [("Nodule", (20, 30, 40, 60))]
    assert second.lesions == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,finding,xmin\n", "missing column ymin, xmax, ymax"),
        ("image,finding,xmin,ymin,xmax,ymax\na.png,Nodule,1,2,x,4\n", "line 2, column xmax: expected a number"),
        ("image,finding,xmin,ymin,xmax,ymax\na.png,Nodule,1,2,nan,4\n", "column xmax"),
        ("image,finding,xmin,ymin,xmax,ymax\na.png,Nodule,5,2,3,4\n", "line 2: expected xmin < xmax"),
        ("image,finding,xmin,ymin,xmax,ymax\na.png,Nodul,1,2,3,4\n", "line 2: unknown finding 'Nodul'"),
        ("image,finding,xmin,ymin,xmax,ymax\na.png,Nodule,1,2,3\n", "line 2: expected 6 cells"),
        ('image,finding,xmin,ymin,xmax,ymax\n"a.png,Nodule,1,2,3,4\n', "after line 1: not a CSV row"),
        ("image,finding,xmin,ymin,xmax,ymax\nz.png,Nodule,1,2,3,4\n", "not under .*: z.png"),
        ("image,finding,xmin,ymin,xmax,ymax\na.png,Nodule,1,2,999,4\n", "outside the 120 x 130 image"),
    ],
)
def test_a_bad_table_of_marks_is_refused_by_line_and_column(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "marks.csv").write_text(text)
    folder = images(tmp_path / "in", "a.png")
    with pytest.raises(InputError, match=message):
        simulate_reflacx(tmp_path / "out", images=folder, lesions=tmp_path / "marks.csv", parameters=QUICK)
    assert not (tmp_path / "out").exists()
    assert {p.name for p in tmp_path.iterdir()} == {"in", "marks.csv"}


def test_images_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image folder"):
        simulate_reflacx(tmp_path / "out", images=tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \.png"):
        simulate_reflacx(tmp_path / "out", images=tmp_path / "empty")
    with pytest.raises(InputError, match=r"small\.png: .*too small"):
        simulate_reflacx(tmp_path / "out", images=images(tmp_path / "small", "small.png", shape=(60, 200)))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    with pytest.raises(InputError, match=r"broken\.png"):
        simulate_reflacx(tmp_path / "out", images=tmp_path / "bad")
    with pytest.raises(InputError, match="--seed must be"):
        simulate_reflacx(tmp_path / "out", seed=-1)
    with pytest.raises(InputError, match="give --images too"):
        simulate_reflacx(tmp_path / "out", lesions=tmp_path / "marks.csv")
    assert not (tmp_path / "out").exists()


# ----------------------------------------------------------------------------------------------------- command line


def test_the_command_prints_one_json_object_and_writes_the_set(tmp_path: Path) -> None:
    folder = images(tmp_path / "in", "a.png", "b.png")
    arguments = ["simulate", str(tmp_path / "out"), "--images", str(folder), "--readings", "3", "--seed", "5"]
    result = CliRunner().invoke(app, [*arguments, "--duration", "3", "--no-samples", "--json"])
    assert result.exit_code == 0
    printed = json.loads(result.stdout)
    assert (printed["readings"], printed["images"], printed["gaze_files"]) == (3, 2, 0)
    assert printed["out"] == str(tmp_path / "out")
    assert (tmp_path / "out/SIMULATED.txt").is_file()
    assert not (tmp_path / "out/reflacx/gaze_data").exists()


def test_a_wrong_option_is_one_line_and_exit_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gazekit_cli", "simulate", str(tmp_path / "out"), "--dataset", "x"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 2
    assert run.stderr.startswith("error: --dataset must be one of reflacx, ")
    assert run.stderr.endswith(", got 'x'\n")
    assert run.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
