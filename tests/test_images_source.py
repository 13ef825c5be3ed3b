"""X-rays without gaze."""

from __future__ import annotations

import pickle

import pytest
from reflacx_tree import put

import gazekit
from gazekit.errors import InputError, RecordError
from gazekit.sources import SOURCES
from gazekit.sources.images import list_images, read_images
from gazekit.sources.paths import find_image


def test_every_image_at_any_depth_is_an_entry_without_a_reading(tmp_path):
    for name in ("b.png", "a.DCM", "sub/deep/c.jpeg", "sub/d.jpg"):
        put(tmp_path / name, name)
    for name in (".hidden.png", ".git/e.png", "sub/.x/f.png", "notes.txt", "noext"):
        put(tmp_path / name, name)
    readings = read_images(tmp_path)
    assert [(e.image_id, e.image_path) for e in readings.entries] == [
        ("a", "a.DCM"),
        ("b", "b.png"),
        ("sub.d", "sub/d.jpg"),
        ("sub.deep.c", "sub/deep/c.jpeg"),
    ]
    assert {(e.reading_id, e.patient_id, e.image_shape) for e in readings.entries} == {(None, None, None)}
    assert len(readings) == 0
    assert list(readings) == []
    assert len(readings.notes) == 1
    assert "1 .txt" in readings.notes[0]
    assert "1 without a suffix" in readings.notes[0]
    for entry in readings.entries:
        assert find_image(tmp_path, entry.image_path, entry.image_id) == tmp_path / entry.image_path


def test_loading_an_image_that_nobody_read_is_no_gaze(tmp_path):
    put(tmp_path / "a.png", "")
    readings = pickle.loads(pickle.dumps(read_images(str(tmp_path))))
    with pytest.raises(RecordError) as caught:
        readings.load(readings.entries[0])
    assert caught.value.reason == "no_gaze"


def test_listed_images_keep_the_ids_they_are_given():
    readings = list_images({"99b": "study/1.dcm", "99a": "study/2.dicom"})
    assert [(e.image_id, e.image_path, e.reading_id) for e in readings.entries] == [
        ("99a", "study/2.dicom", None),
        ("99b", "study/1.dcm", None),
    ]
    with pytest.raises(InputError):
        list_images({"99a": "../../etc/x.dcm"})
    with pytest.raises(InputError):
        list_images({"../99a": "x.dcm"})
    with pytest.raises(InputError, match="differ only in case"):
        list_images({"a9": "x.dcm", "A9": "y.dcm"})


def test_the_digest_follows_the_names(tmp_path):
    put(tmp_path / "x" / "a.png", "")
    put(tmp_path / "y" / "a.png", "")
    assert read_images(tmp_path / "x").digest() == read_images(tmp_path / "y").digest()
    put(tmp_path / "y" / "b.png", "")
    assert read_images(tmp_path / "x").digest() != read_images(tmp_path / "y").digest()


def test_a_root_without_images_is_an_error_that_says_what_it_holds(tmp_path):
    with pytest.raises(InputError, match="found nothing"):
        read_images(tmp_path / "nowhere")
    with pytest.raises(InputError, match="found a file"):
        read_images(put(tmp_path / "file.png", ""))
    put(tmp_path / "folder" / "a.tif", "")
    with pytest.raises(InputError, match=r"no \.dcm, .*, \.dicom file at any depth; it holds 1 \.tif"):
        read_images(tmp_path / "folder")


@pytest.mark.parametrize("name", ["a b.png", "<script>.png", "é.png", "x" * 65 + "/" + "y" * 64 + ".png"])
def test_a_name_that_cannot_be_an_id_is_refused(tmp_path, name):
    put(tmp_path / "good.png", "")
    put(tmp_path / name, "")
    with pytest.raises(InputError, match=r"1 of 2 names cannot be ids, first .* rename them"):
        read_images(tmp_path)


def test_one_id_from_two_files_is_refused_unless_they_are_the_same(tmp_path):
    put(tmp_path / "a.png", "one")
    put(tmp_path / "a.jpg", "one")
    readings = read_images(tmp_path)
    assert [e.image_path for e in readings.entries] == ["a.jpg"]
    assert readings.notes == ("a.png is a.jpg again and is left out",)
    put(tmp_path / "a.png", "two")
    with pytest.raises(InputError, match=r"a\.jpg and a\.png have the same id a and different content"):
        read_images(tmp_path)


def test_ids_that_differ_only_in_case_are_refused(tmp_path):
    put(tmp_path / "a.png", "one")
    put(tmp_path / "A.jpg", "two")
    with pytest.raises(InputError, match="differ only in case"):
        read_images(tmp_path)


def test_every_source_is_reached_by_its_name():
    assert SOURCES["images"] is gazekit.read_images is read_images
    assert SOURCES["reflacx"] is gazekit.read_reflacx
