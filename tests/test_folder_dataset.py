"""Labelled image folders: class folders and labels.csv, our own split, and everything that must be refused."""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vpmim.datasets import DatasetError, read_dataset
from vpmim.datasets.labelled import OWN_SHARES, LabelledImages, split_patients

TABLE = """path,patient_id,effusion,Lung Opacity,split
a/1.png,991,0,1,train
a/2.png,991,1,,train
b/3.png,992,0,0,val
b/4.jpg,993,1,1,test
"""


def write_table(root: Path, text: str | bytes = TABLE) -> Path:
    content = text.encode() if isinstance(text, str) else text
    (root / "labels.csv").write_bytes(content)
    return root


def touch(*paths: Path) -> None:
    """Empty files: a data set is read without opening an image."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_a_table_gives_paths_patients_labels_and_the_split(tmp_path):
    data = read_dataset("folder", write_table(tmp_path))
    assert data.ids == ("a/1.png", "a/2.png", "b/3.png", "b/4.jpg")
    assert data.paths[0] == tmp_path / "a/1.png"
    assert data.patients == ("991", "991", "992", "993")
    assert data.classes == ("effusion", "Lung Opacity")
    np.testing.assert_array_equal(data.labels, [[0, 1], [1, math.nan], [0, 0], [1, 1]])
    assert data.parts == ("train", "train", "val", "test")
    assert data.split == "as given"
    assert data.rows("train").tolist() == [0, 1]


def test_the_hash_of_a_part_is_of_its_sorted_ids(tmp_path):
    header, *rows = TABLE.splitlines(keepends=True)
    data = read_dataset("folder", write_table(tmp_path))
    turned = read_dataset("folder", write_table(tmp_path, header + "".join(reversed(rows))))
    assert data.part_hash("train") == hashlib.sha256(b"a/1.png\na/2.png\n").hexdigest()
    assert turned.part_hash("train") == data.part_hash("train") != data.part_hash("test")


def test_byte_order_mark_crlf_and_trailing_blank_lines_change_nothing(tmp_path):
    plain = read_dataset("folder", write_table(tmp_path))
    odd = read_dataset(
        "folder", write_table(tmp_path, b"\xef\xbb\xbf" + TABLE.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    )
    assert odd.ids == plain.ids
    np.testing.assert_array_equal(odd.labels, plain.labels)


def test_without_a_split_ours_is_patient_wise_and_named_so(tmp_path):
    rows = "".join(f"{k}.png,99{k // 3},{k % 2}\n" for k in range(300))
    data = read_dataset("folder", write_table(tmp_path, "path,patient_id,x\n" + rows))
    assert data.split == "own patient-wise 70/10/20, seed 0"
    sizes = [len(data.rows(part)) for part in ("train", "val", "test")]
    assert sum(sizes) == 300
    np.testing.assert_allclose(sizes, [210, 30, 60], atol=3)


def test_without_validation_images_ours_are_cut_from_train_alone(tmp_path):
    rows = "".join(f"{k}.png,99{k},{k % 2},{'train' if k < 80 else 'test'}\n" for k in range(100))
    data = read_dataset("folder", write_table(tmp_path, "path,patient_id,x,split\n" + rows))
    assert data.parts[80:] == ("test",) * 20
    assert len(data.rows("val")) == 10
    assert data.split == "train and test as given; own patient-wise val, 12.5% of train, seed 0"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "empty"),
        ("path,patient_id,x\n", "no row"),
        ("path,x\n1.png,0\n", "columns patient_id are missing; found path, x"),
        ("path,patient_id,x,x\n1.png,991,0,0\n", "given twice: x"),
        ("path,patient_id\n1.png,991\n", "no label column"),
        ("path,patient_id,\n1.png,991,0\n", "no name"),
        ("path;patient_id;x\n1.png;991;0\n", "semicolons"),
        ("path\tpatient_id\tx\n1.png\t991\t0\n", "tabs"),
        ("path,patient_id,x\n1.png,991\n", "line 2: 2 fields where the header has 3"),
        ('path,patient_id,x\n"1.png,991,0\n', "line 2"),
        ("path,patient_id,x\n1.png,991,0\n\n2.png,992,1\n", "line 3: 0 fields"),
        (b"path,patient_id,x\n1.png,99\xe9,0\n", "not UTF-8 at byte 26"),
        (b"path,patient_id,x\n1.png,99\0,0\n", "NUL at byte 26"),
        ("path,patient_id,x\n" + "a" * 1_100_000 + ",991,0\n", "line 2"),
        ("<!DOCTYPE html>\n<html><body>Please log in</body></html>", "HTML page.*login"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git-lfs"),
        (gzip.compress(TABLE.encode()), "compressed"),
        (TABLE.replace("991,0,1", "991,2,1"), "line 2, column 'effusion'.*got '2'"),
        (TABLE.replace("991,0,1", "991,-1,1"), "expected 0, 1 or blank"),
        (TABLE.replace("991,0,1", "991,yes,1"), "got 'yes'"),
        (TABLE.replace("b/3.png", "a/1.png"), "line 4.*a/1.png is given twice, first on line 2"),
        (TABLE.replace("b/3.png", "./a//1.png"), "given twice"),
        (TABLE.replace("992", "991"), "leak, 1 patients are in more than one part: 991"),
        (TABLE.replace("992", ""), "line 4, column 'patient_id'"),
        (TABLE.replace("992", "=HYPERLINK(0)"), "line 4, column 'patient_id'"),
        (TABLE.replace("val", "dev"), "line 4, column 'split'.*got 'dev'"),
        (TABLE.replace("val", ""), "line 4: split is blank here"),
        (TABLE.replace("test", "train").replace("993", "994"), "no image in test"),
        (TABLE.replace("b/3.png", "../3.png"), "line 4, column 'path'"),
        (TABLE.replace("b/3.png", "/etc/3.png"), "relative"),
        (TABLE.replace("b/3.png", "C:/3.png"), "drive"),
        (TABLE.replace("b/3.png", "b\\3.png"), "backslash"),
        (TABLE.replace("b/3.png", ""), "expected a path"),
    ],
)
def test_a_bad_table_is_an_error_that_names_the_place(tmp_path, text, says):
    with pytest.raises(DatasetError, match=says):
        read_dataset("folder", write_table(tmp_path, text))


def test_a_path_may_not_lead_out_of_the_folder_through_a_link(tmp_path):
    touch(tmp_path / "secret/3.png")
    root = tmp_path / "data"
    root.mkdir()
    (root / "b").symlink_to(tmp_path / "secret")
    with pytest.raises(DatasetError, match="leads out"):
        read_dataset("folder", write_table(root))
    (root / "b").unlink()
    touch(root / "b/4.jpg")
    (root / "b/3.png").symlink_to(tmp_path / "secret/3.png")
    with pytest.raises(DatasetError, match=r"line 4.*leads out"):
        read_dataset("folder", write_table(root))


def test_one_file_under_two_spellings_is_refused(tmp_path):
    touch(tmp_path / "a/1.png")
    (tmp_path / "A").symlink_to(tmp_path / "a")
    with pytest.raises(DatasetError, match="one file"):
        read_dataset("folder", write_table(tmp_path, TABLE.replace("a/2.png", "A/1.png")))


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.touch()])
def test_a_folder_that_is_none_is_refused(tmp_path, make):
    make(tmp_path / "nothing")
    with pytest.raises(DatasetError, match="no folder"):
        read_dataset("folder", tmp_path / "nothing")


def test_a_table_that_is_a_directory_is_refused(tmp_path):
    (tmp_path / "labels.csv").mkdir()
    with pytest.raises(DatasetError, match="a directory"):
        read_dataset("folder", tmp_path)


def test_an_unknown_data_set_names_those_there_are(tmp_path):
    with pytest.raises(DatasetError, match=r"'chest'; there are chestxray14, .*, folder"):
        read_dataset("chest", tmp_path)


def test_two_class_folders_are_one_label_and_the_normal_one_is_negative(tmp_path):
    touch(*(tmp_path / name / f"{k}.png" for name in ("NORMAL", "Effusion") for k in range(20)))
    data = read_dataset("folder", tmp_path)
    assert data.classes == ("Effusion",)
    assert [id_ for id_, label in zip(data.ids, data.labels[:, 0], strict=True) if label] == sorted(
        f"Effusion/{k}.png" for k in range(20)
    )
    assert data.split == "own image-wise 70/10/20, seed 0"
    assert data.patients == data.ids
    assert any("patients are unknown" in note for note in data.notes)
    assert any("'Effusion' is positive, 'NORMAL' negative" in note for note in data.notes)


def test_several_class_folders_are_one_label_each(tmp_path):
    touch(*(tmp_path / name / f"{k}.JPG" for name in "abc" for k in range(5)))
    data = read_dataset("folder", tmp_path)
    assert data.classes == ("a", "b", "c")
    assert (data.labels.sum(axis=1) == 1).all()
    assert data.labels.sum(axis=0).tolist() == [5, 5, 5]


def test_part_folders_give_the_split(tmp_path):
    touch(*(tmp_path / part / name / "1.jpeg" for part in ("train", "valid", "TEST") for name in "ab"))
    data = read_dataset("folder", tmp_path)
    assert data.split == "as given"
    assert dict(zip(data.ids, data.parts, strict=True))["valid/a/1.jpeg"] == "val"
    assert [len(data.rows(part)) for part in ("train", "val", "test")] == [2, 2, 2]


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (["a/1.png"], "at least two folders"),
        (["readme.txt"], "at least two folders"),
        (["a/1.png", "b/1.png", "loose.png"], "1 images belong to no class folder: loose.png"),
        (["a/1.png", "b/1.txt"], "without PNG or JPEG"),
        (["a/1.png", "b/deeper/1.png"], "below a class folder"),
        (["a/1.png", "b/1.dcm"], "1 DICOM files"),
        (["train/a/1.png", "test/b/1.png", "c/1.png"], "name parts of a split, c do not"),
        (["train/a/1.png", "train/b/1.png", "val/a/1.png"], "needs train and test"),
    ],
)
def test_a_tree_that_would_lose_images_or_classes_is_refused(tmp_path, names, says):
    touch(*(tmp_path / name for name in names))
    with pytest.raises(DatasetError, match=says):
        read_dataset("folder", tmp_path)


def test_hidden_files_and_folders_are_not_part_of_the_data(tmp_path):
    names = ["a/1.png", "a/2.png", "b/1.png", "b/.DS_Store", ".git/x.png", "__MACOSX/1.png", "b/2.png"]
    touch(*(tmp_path / name for name in names))
    assert len(read_dataset("folder", tmp_path).ids) == 4


patient_lists = st.lists(st.integers(0, 30).map(lambda k: f"99{k}"), min_size=40, max_size=200).filter(
    lambda names: len(set(names)) >= 3
)


@given(patient_lists, st.integers(0, 5), st.randoms(use_true_random=False))
def test_our_split_depends_on_the_patients_alone_and_parts_no_patient(patients, seed, random):
    parts = split_patients(patients, OWN_SHARES, seed=seed)
    of = dict(zip(patients, parts, strict=True))
    assert [of[patient] for patient in patients] == list(parts)
    assert set(parts) == set(OWN_SHARES)
    shuffled = random.sample(patients, len(patients))
    assert [of[patient] for patient in shuffled] == list(split_patients(shuffled, OWN_SHARES, seed=seed))


def test_our_split_never_changes():
    patients = [f"99{k:02d}" for k in range(12)]
    assert "".join(part[1] for part in split_patients(patients, OWN_SHARES, seed=0)) == "arrrrarrerer"


def test_fewer_patients_than_parts_cannot_be_split():
    with pytest.raises(DatasetError, match="2 patients"):
        split_patients(["991", "992", "991"], OWN_SHARES)


def made(**changes):
    values = {
        "dataset": "made",
        "split": "as given",
        "paths": tuple(Path(f"{k}.png") for k in range(3)),
        "ids": ("1", "2", "3"),
        "patients": ("991", "992", "993"),
        "labels": np.array([[0.0], [1.0], [math.nan]]),
        "classes": ("x",),
        "parts": ("train", "val", "test"),
    }
    return LabelledImages(**values | changes)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"ids": ("1", "2", "1")}, "image ids given twice: 1"),
        ({"labels": np.array([[0.0], [0.5], [1.0]])}, "labels must be 0 or 1"),
        ({"labels": np.zeros((3, 2))}, "not of one length"),
        ({"parts": ("train", "val", "dev")}, "got dev"),
        ({"parts": ("train", "train", "test")}, "no image in val"),
        ({"patients": ("991", "992", "991")}, r"leak.*991 \(train and test\)"),
    ],
)
def test_no_data_set_can_be_made_that_breaks_the_rules(changes, says):
    assert made().classes == ("x",)
    with pytest.raises(DatasetError, match=says):
        made(**changes)
