"""Readers of the public data sets, on small invented tables in their exact format, and the recipes of their splits."""

from __future__ import annotations

import gzip
import math
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import train_test_split

from vpmim.datasets import SPLIT_NAMES, DatasetError, read_dataset
from vpmim.datasets.chestxray14 import CLASSES
from vpmim.datasets.labelled import Box
from vpmim.datasets.rsna import DETAILS, LABELS
from vpmim.datasets.splits import read_names, read_split_file, two_way_split

NIH_HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
FINDINGS = ("No Finding", "Hernia", "Cardiomegaly|Effusion", "Pleural_Thickening", "No Finding")


def nih(root: Path, *, patients: int = 20, header: str = NIH_HEADER, end: str = "", age: str = "{}") -> Path:
    """Two images a patient; the last four patients are test."""
    rows, train, test = [header + end], [], []
    for patient in range(1, patients + 1):
        for k in range(2):
            name = f"99{patient:06d}_{k:03d}.png"
            (test if patient > patients - 4 else train).append(name)
            finding = FINDINGS[(2 * patient + k) % len(FINDINGS)]
            years = age.format(40 + patient)
            rows.append(
                f"{name},{finding},{k},99{patient},{years},{'MF'[k]},{('PA', 'AP')[k]},2500,3000,0.143,0.143" + end
            )
    root.mkdir(parents=True, exist_ok=True)
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join(rows) + "\n")
    (root / "train_val_list.txt").write_text("\n".join(train))  # no newline at the end, as published
    (root / "test_list.txt").write_text("\n".join(test) + "\n")
    return root


def rsna(root: Path, *, positives: int = 4, negatives: int = 16, details: bool = True) -> Path:
    labels, classes = ["patientId,x,y,width,height,Target"], ["patientId,class"]
    for k in range(positives + negatives):
        patient = f"99aa{k:04d}-0000"
        positive = f"{patient},{100 + k}.0,200.0,50.0,60.0,1"
        rows = [positive] * (1 + k % 2) if k < positives else [f"{patient},,,,,0"]
        labels += rows
        kind = "Lung Opacity" if k < positives else ("Normal", "No Lung Opacity / Not Normal")[k % 2]
        classes += [f"{patient},{kind}"] * len(rows)
    root.mkdir(parents=True, exist_ok=True)
    (root / "stage_2_train_labels.csv").write_text("\n".join(labels) + "\n")
    if details:
        (root / "stage_2_detailed_class_info.csv").write_text("\n".join(classes) + "\n")
    return root


CHEXPERT_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)


def chexpert(root: Path) -> Path:
    root.mkdir(parents=True)
    rows = [CHEXPERT_HEADER]
    for k in range(1, 17):
        values = (
            f",,,{'-1.0'},,,{'-1.0'},{'-1.0'},,{'-1.0'},,{'-1.0'},,," if k == 1 else ",1.0,,0.0,,,1.0,0.0,,1.0,,0.0,,,"
        )
        path = f"CheXpert-v1.0-small/train/patient99{k:03d}/study1"
        rows.append(f"{path}/view1_frontal.jpg,Female,{50 + k},Frontal,AP" + values)
        rows.append(f"{path}/view2_lateral.jpg,Female,{50 + k},Lateral," + values)
    (root / "train.csv").write_text("\n".join(rows) + "\n")
    path = "CheXpert-v1.0-small/valid/patient99900/study1/view1_frontal.jpg"
    (root / "valid.csv").write_text(
        f"{CHEXPERT_HEADER}\n{path},Male,61,Frontal,PA,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0,1.0,0.0,0.0,0.0,0.0,0.0\n"
    )
    return root


def vindr(root: Path) -> Path:
    (root / "annotations").mkdir(parents=True)
    rows = ["image_id,rad_id,Aortic enlargement,Nodule/Mass,No finding"]
    for k in range(8):
        says = [(1, 1, 0), (1, 0, 0)][k % 2]
        rows += [f"99img{k},R{r},{says[r]},{1 - says[r]},0" for r in range(3)]
    (root / "annotations/image_labels_train.csv").write_text("\n".join(rows) + "\n")
    (root / "annotations/image_labels_test.csv").write_text(
        "image_id,Aortic enlargement,Nodule/Mass,No finding\n99test0,1,0,0\n99test1,0,0,1\n"
    )
    (root / "annotations/annotations_test.csv").write_text(
        "image_id,class_name,x_min,y_min,x_max,y_max\n"
        "99test0,Aortic enlargement,10,20,30.5,40\n99test1,No finding,,,,\n"
    )
    return root


def mimic(root: Path) -> Path:
    from vpmim.datasets.mimic_cxr import CLASSES as FINDINGS_14

    splits, metadata = ["dicom_id,study_id,subject_id,split"], ["dicom_id,subject_id,study_id,ViewPosition,Rows"]
    reports = ["subject_id,study_id," + ",".join(FINDINGS_14)]
    for k in range(10):
        part = ("train", "validate", "test")[0 if k < 6 else 1 + k % 2]
        for view in ("PA", "LATERAL"):
            splits.append(f"99{k}-{view},995{k},9900{k},{part}")
            metadata.append(f"99{k}-{view},9900{k},995{k},{view},3056")
        if k:
            reports.append(f"9900{k},995{k}," + ",".join(["1.0", "-1.0", "0.0", *[""] * 11]))
    for kind, rows in (("split", splits), ("metadata", metadata), ("chexpert", reports)):
        (root / f"mimic-cxr-2.0.0-{kind}.csv.gz").write_bytes(gzip.compress(("\n".join(rows) + "\n").encode()))
    return root


# ChestX-ray14


def test_no_finding_is_all_zeros_and_findings_stand_in_the_published_order(tmp_path):
    data = read_dataset("chestxray14", nih(tmp_path))
    by_id = dict(zip(data.ids, data.labels, strict=True))
    assert data.classes == CLASSES
    assert CLASSES[-1] == "Hernia"
    # patient 1, image 0 is FINDINGS[2], image 1 FINDINGS[3]
    assert np.flatnonzero(by_id["99000001_000.png"]).tolist() == [
        CLASSES.index("Cardiomegaly"),
        CLASSES.index("Effusion"),
    ]
    assert np.flatnonzero(by_id["99000001_001.png"]).tolist() == [CLASSES.index("Pleural_Thickening")]
    assert by_id["99000002_000.png"].sum() == 0


def test_the_official_test_list_is_the_test_part_and_validation_is_cut_from_the_rest_by_patient(tmp_path):
    data = read_dataset("chestxray14", nih(tmp_path))
    assert sorted(data.ids[row] for row in data.rows("test")) == read_names(tmp_path / "test_list.txt")
    patients = {part: {data.patients[row] for row in data.rows(part)} for part in ("train", "val", "test")}
    assert not patients["train"] & patients["val"]
    assert "own patient-wise val" in data.split
    assert any("not the whole data set" in note for note in data.notes)


def test_the_first_release_with_its_trailing_comma_and_its_ages_reads_the_same(tmp_path):
    now = read_dataset("chestxray14", nih(tmp_path / "now"))
    first = nih(tmp_path / "first", end=",", age="0{}Y")
    (first / "Data_Entry_2017_v2020.csv").rename(first / "Data_Entry_2017.csv")
    then = read_dataset("chestxray14", first)
    assert then.ids == now.ids
    assert then.attributes == now.attributes
    assert then.attributes["age"][0] == "41"
    np.testing.assert_array_equal(then.labels, now.labels)


@pytest.mark.parametrize(("cell", "years"), [("413", ""), ("030M", "2"), ("011D", "0"), ("", "")])
def test_absurd_ages_are_unknown_and_months_are_years(tmp_path, cell, years):
    assert read_dataset("chestxray14", nih(tmp_path, age=cell)).attributes["age"][0] == years


@pytest.mark.parametrize("folder", ["images", "images_003/images", "images_012", "."])
def test_images_are_found_in_every_published_layout(tmp_path, folder):
    nih(tmp_path)
    file = tmp_path / folder / "99000003_001.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    data = read_dataset("chestxray14", tmp_path)
    assert data.paths[data.ids.index("99000003_001.png")].samefile(file)


def test_boxes_are_edges_in_pixels_whatever_the_odd_header(tmp_path):
    nih(tmp_path)
    (tmp_path / "BBox_List_2017.csv").write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n99000001_000.png,Infiltrate,10.0,20.5,30.0,40.0,,,\n"
    )
    boxes = read_dataset("chestxray14", tmp_path).boxes
    assert boxes == {"99000001_000.png": (Box("Infiltration", 9.5, 20.0, 39.5, 60.0),)}


def test_a_published_split_is_taken_only_with_its_published_counts(tmp_path):
    nih(tmp_path)
    lists = tmp_path / "lists"
    lists.mkdir()
    for part, name in (
        ("train", "99000001_000.png 0 1"),
        ("val", "99000002_000.png 0 1"),
        ("test", "99000003_000.png 1"),
    ):
        (lists / f"{part}_official.txt").write_text(name + "\n")
    with pytest.raises(
        DatasetError, match=r"1 / 1 / 1 images, .* has 75,312 / 11,212 / 25,596; give its lists, or use --split file"
    ):
        read_dataset("chestxray14", tmp_path, split="official-lists", split_file=lists)
    data = read_dataset("chestxray14", tmp_path, split="file", split_file=lists)
    assert dict(zip(data.parts, data.ids, strict=True))["val"] == "99000002_000.png"
    assert any("37 images of the table are in no list" in note for note in data.notes)
    with pytest.raises(DatasetError, match="exists as lists only; give them by --split-file"):
        read_dataset("chestxray14", tmp_path, split="mrm")


def test_lists_that_tear_a_patient_apart_are_a_leak(tmp_path):
    nih(tmp_path)
    file = tmp_path / "split.csv"
    file.write_text("image,split\n99000001_000.png,train\n99000001_001.png,test\n99000002_000.png,val\n")
    with pytest.raises(DatasetError, match=r"leak, 1 patients .* 991 \(train and test\)"):
        read_dataset("chestxray14", tmp_path, split="file", split_file=file)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Hernia", "Fracture", r"line 6, column 'Finding Labels': 'Fracture' is none of the 14"),
        ("Hernia", "No Finding|Hernia", r"'No Finding' is none of the 14"),
        ("99000002_000.png", "99000001_000.png", r"line 4, .*: 99000001_000.png is given twice, first on line 2"),
        ("99000002_000.png", "../99000002_000.png", r"line 4, column 'Image Index': expected 1 to 128 of"),
        ("Patient ID", "PatientID", r"columns Patient ID are missing"),
        ("Image Index", "<html>", "an HTML page"),
    ],
)
def test_a_bad_table_of_chestxray14_is_an_error_that_names_the_place(tmp_path, old, new, words):
    nih(tmp_path)
    table = tmp_path / "Data_Entry_2017_v2020.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(DatasetError, match=words):
        read_dataset("chestxray14", tmp_path)


def test_a_list_that_names_an_image_the_table_lacks_is_an_error(tmp_path):
    nih(tmp_path)
    (tmp_path / "test_list.txt").write_text("99000020_000.png\n99999999_000.png\n")
    with pytest.raises(DatasetError, match=r"test_list.txt: 1 of 2 images are not in the table: 99999999_000.png"):
        read_dataset("chestxray14", tmp_path)


# RSNA


@pytest.mark.parametrize("count", [20, 101, 26_684])
def test_the_two_way_split_is_scikit_learns(count):
    for share, seed in ((0.3, 0), (0.5, 0), (0.3, 7)):
        train, test = train_test_split(np.arange(count), test_size=share, random_state=seed)
        ours = two_way_split(count, share, seed=seed)
        np.testing.assert_array_equal(ours[0], train)
        np.testing.assert_array_equal(ours[1], test)


def test_the_recipe_of_mgca_on_the_sorted_ids_gives_the_published_sizes():
    from vpmim.datasets.rsna import PATIENTS, mgca_parts

    parts = mgca_parts(PATIENTS)
    assert [parts.count(part) for part in ("train", "val", "test")] == [18_678, 4_003, 4_003]


def test_the_recipe_of_mgca_takes_the_first_half_as_test(tmp_path):
    data = read_dataset("rsna", rsna(tmp_path))
    ids = sorted(data.ids)
    _, rest = train_test_split(ids, test_size=0.3, random_state=0)
    test, val = train_test_split(rest, test_size=0.5, random_state=0)
    assert sorted(data.ids[row] for row in data.rows("test")) == sorted(test)
    assert sorted(data.ids[row] for row in data.rows("val")) == sorted(val)


def test_a_patient_is_positive_where_it_has_a_box_and_keeps_each_box(tmp_path):
    data = read_dataset("rsna", rsna(tmp_path))
    assert len(data.ids) == 20
    assert data.labels.sum() == 4
    assert len(data.boxes["99aa0001-0000"]) == 2
    assert data.boxes["99aa0000-0000"] == (Box("Lung Opacity", 99.5, 199.5, 149.5, 259.5),)
    assert data.attributes["class"][0] == "Lung Opacity"
    assert data.paths[0] == tmp_path / "stage_2_train_images" / "99aa0000-0000.dcm"


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        (LABELS, "99aa0001-0000,101.0,200.0,50.0,60.0,1\n", "99aa0001-0000,,,,,0\n", "has Target 0 in one row"),
        (LABELS, ",100.0,", ",,", "line 2: Target 1 needs a box"),
        (LABELS, ",,,,,0", ",,,,,2", "expected 0 or 1, got '2'"),
        (LABELS, "99aa0019-0000,,,,,0\n", "", "not of one data set: 0 patients .* 1 of the second"),
        (DETAILS, "99aa0004-0000,Normal", "99aa0004-0000,Lung Opacity", "contradict each other: 99aa0004-0000"),
        (DETAILS, "99aa0001-0000,Lung Opacity\n", "99aa0001-0000,Normal\n", "has two classes"),
    ],
)
def test_rsna_tables_that_contradict_are_refused(tmp_path, file, old, new, words):
    rsna(tmp_path)
    text = (tmp_path / file).read_text()
    assert old in text
    (tmp_path / file).write_text(text.replace(old, new, 1))
    with pytest.raises(DatasetError, match=words):
        read_dataset("rsna", tmp_path)


def test_test_images_of_stage_two_take_their_labels_from_the_split_file(tmp_path):
    rsna(tmp_path, details=False)
    (tmp_path / "stage_2_test_images").mkdir()
    (tmp_path / "stage_2_test_images/99bb.dcm").touch()
    file = tmp_path / "mine.csv"
    file.write_text("image,split,Target\n99aa0000-0000.dcm,train,1\n99aa0005-0000.dcm,val,0\n99bb.dcm,test,1\n")
    data = read_dataset("rsna", tmp_path, split="file", split_file=file)
    assert data.ids == ("99aa0000-0000", "99aa0005-0000", "99bb")
    assert data.labels.ravel().tolist() == [1, 0, 1]
    assert data.paths[2] == tmp_path / "stage_2_test_images/99bb.dcm"


# CheXpert, SIIM, VinDr, MIMIC


def test_uncertain_labels_of_chexpert_follow_the_policy_and_lateral_images_stay_out(tmp_path):
    root = chexpert(tmp_path / "CheXpert-v1.0-small")
    row = {
        policy: read_dataset("chexpert", root, uncertain=policy).labels[0].tolist()
        for policy in ("mgca", "ones", "zeros")
    }
    # Atelectasis, Cardiomegaly, Consolidation, Edema, Pleural Effusion: all of them uncertain but the second
    assert row["mgca"] == [1, 0, 0, 1, 1]
    assert row["zeros"] == [0, 0, 0, 0, 0]
    data = read_dataset("chexpert", root, uncertain="unknown")
    assert math.isnan(data.labels[0, 0])
    assert len(data.ids) == 17
    assert data.ids[-1] == "valid/patient99900/study1/view1_frontal.jpg"
    assert data.parts[-1] == "test"
    assert data.paths[-1] == root / data.ids[-1]


def test_a_path_of_chexpert_that_leads_elsewhere_is_refused(tmp_path):
    root = chexpert(tmp_path / "c")
    table = (root / "train.csv").read_text()
    (root / "train.csv").write_text(table.replace("patient99001/study1", "../../etc", 1))
    with pytest.raises(DatasetError, match=r"train.csv, line 2, column 'Path': expected"):
        read_dataset("chexpert", root)


def test_a_mask_makes_an_image_of_siim_positive_in_either_spelling_of_none(tmp_path):
    rows = ["ImageId, EncodedPixels", *[f"99.1.{k}, -1" for k in range(5)], *[f"99.2.{k},-1" for k in range(5)]]
    rows += ["99.3.0,387620 23 996 33", "99.3.0,100 5", "99.3.1, 1 2"]
    (tmp_path / "train-rle.csv").write_text("\n".join(rows) + "\n")
    file = tmp_path / "dicom-images-train/a/b/99.3.0.dcm"
    file.parent.mkdir(parents=True)
    file.touch()
    data = read_dataset("siim", tmp_path)
    assert len(data.ids) == 12
    assert {image for image, label in zip(data.ids, data.labels, strict=True) if label} == {"99.3.0", "99.3.1"}
    assert data.paths[data.ids.index("99.3.0")] == file
    (tmp_path / "train-rle.csv").write_text("\n".join([*rows, "99.3.1,-1"]) + "\n")
    with pytest.raises(DatasetError, match=r"line 15: 99.3.1 has a mask in one row and -1 in another"):
        read_dataset("siim", tmp_path)


def test_most_radiologists_of_vindr_decide_a_training_label(tmp_path):
    data = read_dataset("vindr", vindr(tmp_path))
    assert data.classes == ("Aortic enlargement", "Nodule/Mass")
    assert data.labels[:2].tolist() == [[1, 0], [0, 1]]
    assert data.paths[0] == tmp_path / "train" / "99img0.dicom"
    assert data.boxes == {"99test0": (Box("Aortic enlargement", 9.5, 19.5, 30.0, 39.5),)}


def test_frontal_images_of_mimic_take_the_labels_of_their_study(tmp_path):
    data = read_dataset("mimic", mimic(tmp_path))
    assert len(data.ids) == 9  # ten frontal, one of a study without labels
    assert any(note.startswith("1 frontal images of studies without labels") for note in data.notes)
    assert data.labels[0, 0] == 1
    assert math.isnan(data.labels[0, 1])
    assert data.labels[0, 2:].sum() == 0
    assert data.paths[0] == tmp_path / "files/p99/p99001/s9951/991-PA.jpg"
    assert set(data.parts) == {"train", "val", "test"}


# options, splits and files


def test_every_option_that_a_data_set_lacks_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="rsna has no option --uncertain"):
        read_dataset("rsna", rsna(tmp_path), uncertain="ones")
    with pytest.raises(DatasetError, match="rsna has no split 'official'; there are mgca, mrm, own, file"):
        read_dataset("rsna", tmp_path, split="official")
    with pytest.raises(DatasetError, match="--split-file goes with --split file or mrm"):
        read_dataset("rsna", tmp_path, split_file=tmp_path / "x.csv")


def test_each_data_set_names_its_default_split_first():
    assert SPLIT_NAMES["chestxray14"][0] == "official"
    assert SPLIT_NAMES["rsna"][0] == "mgca"
    assert SPLIT_NAMES["folder"] == ()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("image,split\na.png,train\na.png,test\n", "a.png is listed twice"),
        ("image,split\na.png,training\n", "line 2, column 'split': expected train, val, test"),
        ("split\ntrain\n", "expected a column with the images' names"),
        ("image,part\na.png,train\n", "columns split are missing"),
    ],
)
def test_a_bad_split_file_is_refused(tmp_path, content, words):
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(DatasetError, match=words):
        read_split_file(tmp_path / "split.csv")


def test_images_that_no_list_names_are_left_out_and_counted_in_every_data_set(tmp_path):
    root = vindr(tmp_path / "vindr")
    file = tmp_path / "mine.csv"
    file.write_text("image,split\n99img0,train\n99img1,val\n99test0,test\n")
    data = read_dataset("vindr", root, split="file", split_file=file)
    assert data.ids == ("99img0", "99img1", "99test0")
    assert data.labels.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert list(data.boxes) == ["99test0"]
    assert "7 images of the table are in no list and are left out" in data.notes


def test_a_folder_of_lists_needs_one_list_a_part(tmp_path):
    (tmp_path / "train_list.txt").write_text("a.png\n")
    (tmp_path / "train_val_list.txt").write_text("a.png\nb.png\n")
    with pytest.raises(DatasetError, match=r"none for val and test"):
        read_split_file(tmp_path)
    (tmp_path / "val_list.txt").write_text("images/b.png 0 1 0\n")
    (tmp_path / "test.txt").write_text("c.png\n")
    assert read_split_file(tmp_path) == {"a.png": "train", "b.png": "val", "c.png": "test"}
    (tmp_path / "valid.txt").write_text("d.png\n")
    with pytest.raises(DatasetError, match=r"both val_list.txt and valid.txt list the part val"):
        read_split_file(tmp_path)


def test_a_damaged_or_endless_gzip_table_is_refused(tmp_path, monkeypatch):
    mimic(tmp_path)
    table = tmp_path / "mimic-cxr-2.0.0-split.csv.gz"
    whole = table.read_bytes()
    table.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match="a damaged gzip file"):
        read_dataset("mimic", tmp_path)
    table.write_bytes(whole)
    monkeypatch.setattr("vpmim.datasets.label_table._LARGEST_TABLE", 100)
    with pytest.raises(DatasetError, match="unpacks to more than"):
        read_dataset("mimic", tmp_path)
