"""MIMIC-Eye: REFLACX and EGD-CXR by patient, from the tables of all patients or of each."""

from __future__ import annotations

import pickle
import shutil

import pandas as pd
import pytest
from egd_tree import A as EGD_IMAGE
from mimic_eye_tree import HEADER, ROWS, SHARED, SHEET, UNIFIED, write_mimic_eye
from reflacx_tree import DICOM_A, IMAGE_A, csv_text, put, write_reflacx

from gazekit import build_heatmaps, open_cache, read_mimic_eye, read_reflacx
from gazekit.errors import InputError, RecordError

REFLACX_IDS = ("P102R000111", "P102R000222", "P102R000444", "P300R000333")
EGD_IDS = (EGD_IMAGE, SHARED)


@pytest.fixture
def root(tmp_path):
    return write_mimic_eye(tmp_path / "mimic-eye")


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Not to be written to."""
    return write_mimic_eye(tmp_path_factory.mktemp("published"))


def only(root, tmp_path, **parts):
    return write_mimic_eye(tmp_path / "other", **parts)


@pytest.mark.parametrize("parts", [{}, {"spreadsheets": False}, {"patients": False}], ids=str)
def test_the_index_is_reflacx_then_egd_from_either_kind_of_tables(tmp_path, parts):
    readings = read_mimic_eye(write_mimic_eye(tmp_path / "tree", **parts))
    assert readings.ids[:4] == REFLACX_IDS
    assert sorted(readings.ids[4:]) == sorted(EGD_IDS)
    assert [entry.phase for entry in readings.entries] == ["1", "1", "1", "3", None, None]
    for entry, reading in zip(readings.entries, readings, strict=True):
        assert reading.dataset == "mimic-eye"
        assert (reading.image_id, reading.patient_id) == (entry.image_id, entry.patient_id)
    assert len(readings[EGD_IMAGE].samples()) == 4
    assert len(readings["P102R000111"].samples()) == 4


def test_the_phase_is_that_of_the_id_and_the_labels_are_the_unified_ones(published):
    readings = read_mimic_eye(published)
    assert readings["P102R000111"].labels == {
        "Atelectasis": 3, "Enlarged cardiac silhouette": 5, "Other": (), "Support devices": True,
    }  # fmt: skip
    assert readings["P102R000222"].labels["Other"] == ("scoliosis", "azygos lobe")
    assert list(readings["P300R000333"].labels) == UNIFIED[1:]  # a blank cell is no label
    assert readings["P102R000111"].ellipses["labels"].tolist() == [("Atelectasis",)]
    assert "metadata.csv: 4 label columns, where the data set's description says 21" in readings.notes


def test_the_gaze_of_a_reading_is_that_of_the_data_set_it_comes_from(published, tmp_path):
    theirs = read_reflacx(write_reflacx(tmp_path / "reflacx"))["P102R000111"]
    ours = read_mimic_eye(published)["P102R000111"]
    pd.testing.assert_frame_equal(ours.fixations, theirs.fixations)
    pd.testing.assert_frame_equal(ours.transcript, theirs.transcript)
    egd = read_mimic_eye(published)[EGD_IMAGE]
    assert egd.fixations["x_px"].tolist() == [126, 69]
    assert (egd.reader_id, dict(egd.counts), len(egd.boxes)) == ("egd", {"off_image": 1}, 2)
    assert egd.transcript["word"].tolist() == ["heart", "size", "is", "normal", "."]


def test_images_are_the_jpgs_inside_unless_others_are_named(published, tmp_path):
    (inside, *_), (also, *_) = read_mimic_eye(published).entries, read_mimic_eye(published, images=published).entries
    assert inside.image_path == also.image_path == f"patient_99000001/CXR-JPG/s99000001/{DICOM_A}.jpg"
    elsewhere = tmp_path / "mimic-cxr"
    image = published / f"patient_99000003/CXR-JPG/s99000003/{EGD_IMAGE}.jpg"
    (elsewhere / "files/p99/p99000003/s99000003").mkdir(parents=True)
    shutil.copy(image, elsewhere / "files/p99/p99000003/s99000003")
    readings = read_mimic_eye(published, images=elsewhere)
    assert readings.entries[0].image_path == IMAGE_A
    assert len(readings[EGD_IMAGE].fixations) == 2


def test_an_image_read_in_both_parts_is_one_row_of_two_readings(published, tmp_path):
    summary = build_heatmaps(
        read_mimic_eye(published), published, tmp_path / "cache", image_size=32, heatmap_size=0, executor="serial"
    )
    assert (summary.images, summary.readings, summary.skipped) == (3, 5, {"no_gaze": 1})  # one was withdrawn
    row = open_cache(tmp_path / "cache").manifest.set_index("image_id").loc[SHARED]
    assert list(row["reading_ids"]) == [SHARED, "P300R000333"]


def test_one_part_alone_is_enough_and_none_is_refused(root, tmp_path):
    shutil.rmtree(root / "spreadsheets")
    for folder in root.glob("patient_*/EyeGaze"):
        shutil.rmtree(folder)
    assert read_mimic_eye(root).ids == REFLACX_IDS
    for folder in root.glob("patient_*/REFLACX"):
        shutil.rmtree(folder)
    with pytest.raises(InputError, match=r"no REFLACX/metadata\.csv and no EyeGaze/master_sheet\.csv"):
        read_mimic_eye(root)
    with pytest.raises(InputError, match="no such folder; expected the folder that holds patient_<subject_id>/"):
        read_mimic_eye(tmp_path / "nowhere")


def test_columns_that_hold_no_labels_are_noted_and_left_out(root):
    rows = [[*row, "99000001", "text"] for row in ROWS]
    put(root / "spreadsheets/REFLACX/metadata.csv", csv_text([*HEADER, "stay_id", "comment"], rows))
    readings = read_mimic_eye(root)
    assert "metadata.csv: column 'comment' holds no labels and is ignored" in readings.notes
    assert list(readings["P102R000111"].labels) == UNIFIED


def test_an_id_without_a_phase_is_refused_by_its_place(root):
    rows = [["X" * 11, *ROWS[0][1:]], *ROWS[1:]]
    path = put(root / "spreadsheets/REFLACX/metadata.csv", csv_text(HEADER, rows))
    with pytest.raises(InputError, match=r"line 2, column 'id': 'XXXXXXXXXXX' says no phase") as caught:
        read_mimic_eye(root)
    assert str(path) in str(caught.value)


def test_a_bad_table_of_a_patient_costs_that_patients_readings(tmp_path):
    root = write_mimic_eye(tmp_path / "tree", spreadsheets=False)
    put(root / "patient_99000003/EyeGaze/fixations.csv", "<!DOCTYPE html>")
    readings = read_mimic_eye(root)
    with pytest.raises(RecordError, match=r"^fixations\.csv: .* a web page") as caught:
        readings[EGD_IMAGE]
    assert caught.value.reason == "bad_table"
    assert len(readings[SHARED].fixations) == 2


def test_a_bad_table_of_a_patients_samples_costs_them_and_names_no_folder(tmp_path):
    root = write_mimic_eye(tmp_path / "tree", spreadsheets=False)
    reading = read_mimic_eye(root)[EGD_IMAGE]
    put(root / "patient_99000003/EyeGaze/eye_gaze.csv", "<!DOCTYPE html>")
    with pytest.raises(RecordError, match=r"^eye_gaze\.csv: .* a web page") as caught:
        reading.samples()
    assert caught.value.reason == "bad_table"


def test_a_sheet_with_an_image_of_another_patient_is_refused(tmp_path):
    root = write_mimic_eye(tmp_path / "tree", spreadsheets=False)
    from egd_tree import SHEET_HEADER
    from egd_tree import csv_text as egd_text

    put(root / "patient_99000003/EyeGaze/master_sheet.csv", egd_text(SHEET_HEADER, SHEET))
    with pytest.raises(InputError, match="is in the sheet of another patient too"):
        read_mimic_eye(root)


def test_readings_cross_process_boundaries(published):
    readings = pickle.loads(pickle.dumps(read_mimic_eye(published)))
    assert len(readings[EGD_IMAGE].samples()) == 4


@pytest.mark.parametrize(
    "file",
    [
        "spreadsheets/REFLACX/metadata.csv",
        "spreadsheets/EyeGaze/fixations.csv",
        "patient_99000001/REFLACX/main_data/P102R000111/fixations.csv",
        "patient_99000001/REFLACX/gaze_data/P102R000111/gaze.csv",
        f"patient_99000003/EyeGaze/audio_segmentation_transcripts/{EGD_IMAGE}/transcript.json",
    ],
)
def test_the_digest_changes_with_every_table(root, file):
    readings = read_mimic_eye(root)
    before = readings.digest()
    path = root / file
    path.write_bytes(path.read_bytes() + b"\n")
    assert readings.digest() != before
    assert read_mimic_eye(root, only_valid=True).digest() != readings.digest()
