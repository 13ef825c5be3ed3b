"""Bad inputs 1 to 40: tables, fixations, ids and joins, each through the command line. 41 to 66: the file beside."""

from __future__ import annotations

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import test_bad_inputs_files
from bad_input_case import HEADER_1, OTHER_READING, READING, SMALL, Case, Tree, changed, check_case
from cli_runner import run_gazekit
from dicom_factory import gradient, make_dicom
from PIL import Image
from reflacx_tree import (
    DICOM_A,
    FIXATIONS,
    FIXATIONS_HEADER,
    METADATA_1,
    csv_text,
    put,
)

from gazekit.cache import open_cache

Spoil = Callable[[Tree], object]
Change = Callable[[bytes], bytes | None]


def zipped(content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("table.csv", content)
    return buffer.getvalue()


def header_only(content: bytes) -> bytes:
    return content.partition(b"\n")[0] + b"\n"


def without_first_column(content: bytes) -> bytes:
    return b"\n".join(line.partition(b",")[2] for line in content.splitlines())


def twice_the_last_column(content: bytes) -> bytes:
    return b"\r\n".join(line + b"," + line.rpartition(b",")[2] for line in content.splitlines())


def cut_line(content: bytes) -> bytes:
    return content + b"1,2,3\r\n"


def open_quote(content: bytes) -> bytes:
    lines = content.splitlines(keepends=True)
    return b"".join([*lines[:-1], b'"', lines[-1]])


# item, title, change to the bytes of a table (None: the file goes), what is said
TABLES: list[tuple[int, str, Change, str]] = [
    (1, "missing", lambda _: None, "no such file"),
    (2, "empty", lambda _: b"", "the file is empty"),
    (2, "header only", header_only, "a header and no"),
    (3, "a column short", without_first_column, "missing column"),
    (4, "a column twice", twice_the_last_column, "occurs more than once"),
    (7, "not UTF-8", lambda b: b + b"caf\xe9,1\r\n", "not UTF-8 at byte offset"),
    (7, "a NUL byte", lambda b: b + b"\0,1\r\n", "a NUL byte at offset"),
    (7, "UTF-16", lambda b: b.decode().encode("utf-16"), "UTF-16"),
    (8, "a ragged row", cut_line, "cells, found 3"),
    (8, "an open quote", open_quote, "never closed"),
    (9, "semicolons", lambda b: b.replace(b",", b";"), "separated by semicolons"),
    (9, "tabs", lambda b: b.replace(b",", b"\t"), "separated by tabs"),
    (10, "gzip", gzip.compress, "gzip data; unpack it"),
    (10, "zip", zipped, "a zip archive"),
    (11, "a huge line", lambda b: b + b"x" * (1 << 20) + b"y\r\n", "longer than 1,048,576 bytes"),
    (11, "a huge cell", lambda b: b + b'"' + b"x" * 200_000 + b'"\r\n', "longer than 131,072 characters"),
    (12, "a git-lfs pointer", lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    (12, "a log-in page", lambda _: b"<!DOCTYPE html><html><title>Login</title>", "a web page"),
]  # fmt: skip


def change_file(which: str, change: Change) -> Spoil:
    def spoil(tree: Tree) -> None:
        path = getattr(tree, which)
        content = change(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)

    return spoil


def table_cases() -> list[Case]:
    """Each fault in the table of the data set, which ends the run, and in that of a reading, which costs it."""
    cases = []
    for item, title, change, words in TABLES:
        if title != "missing":  # one phase may be absent: see OF_THE_DATA_SET
            cases.append(Case(item, f"{title}: metadata", change_file("metadata", change), 2, (words, "phase_1.csv")))
        reason = "no_gaze" if title == "header only" else "bad_table"
        spoil = change_file("fixations", change)
        cases.append(Case(item, f"{title}: fixations", spoil, 1, (words, f"{READING}/fixations.csv"), reason))
    return cases


def nothing(tree: Tree) -> None:
    """The input is right; an option is not."""


def no_tables(tree: Tree) -> None:
    for path in (tree.reflacx / "main_data").glob("*.csv"):
        path.unlink()


def folder_for_file(which: str) -> Spoil:
    def spoil(tree: Tree) -> None:
        getattr(tree, which).unlink()
        getattr(tree, which).mkdir()

    return spoil


def link_to_nothing(tree: Tree) -> None:
    tree.metadata.unlink()
    tree.metadata.symlink_to(tree.root / "not fetched")


def unknown_column(tree: Tree) -> None:
    tree.put_fixations([[*row, "left"] for row in FIXATIONS], [*FIXATIONS_HEADER, "eye"])
    rows = [[*row, "x"] for row in METADATA_1 if row[2] == "False"]
    put(tree.metadata, csv_text([*HEADER_1, "Novel sign"], rows))


def marks_and_line_ends(tree: Tree) -> None:
    for path in (tree.metadata, tree.fixations):
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes() + b"\r\n\r\n")


def with_decimal_commas(tree: Tree) -> None:
    tree.put_fixations([[cell.replace(".", ",") for cell in row] for row in FIXATIONS])


def off_the_image(x: str, y: str) -> Spoil:
    def spoil(tree: Tree) -> None:
        for column, value in (("x_position", x), ("y_position", y)):
            tree.put_fixations(changed(FIXATIONS, 0, column, value, FIXATIONS_HEADER))

    return spoil


def all_rows(**cells: str) -> Spoil:
    """Every fixation of the reading with these cells."""

    def spoil(tree: Tree) -> None:
        rows = FIXATIONS
        for column, value in cells.items():
            for row in range(len(FIXATIONS)):
                rows = changed(rows, row, column, value, FIXATIONS_HEADER)
        tree.put_fixations(rows)

    return spoil


def cell(column: str, value: str, row: int = 1) -> Spoil:
    return lambda tree: tree.change_fixation(column, value, row)


def in_milliseconds(tree: Tree) -> None:
    tree.put_fixations([[str(1000 * float(cell)) for cell in row[:2]] + row[2:] for row in FIXATIONS])


def normalised(tree: Tree) -> None:
    tree.put_fixations([[*row[:2], "0.4", "0.6", *row[4:]] for row in FIXATIONS])


def axes_swapped(tree: Tree) -> None:
    # on image A, 160 x 120, once x and y are exchanged
    tree.put_fixations([[*row[:2], "100", "150", *row[4:]] for row in FIXATIONS])


def no_duration(tree: Tree) -> None:
    tree.put_fixations([[row[0], row[0], *row[2:]] for row in FIXATIONS])


def degenerate(tree: Tree) -> None:
    rows = changed(FIXATIONS, 1, "xmin_shown_from_image", "90", FIXATIONS_HEADER)
    tree.put_fixations(changed(rows, 1, "xmax_shown_from_image", "90", FIXATIONS_HEADER))


def metadata_cell(column: str, value: str, row: int = 0) -> Spoil:
    return lambda tree: tree.change_metadata(column, value, row)


def ids_like_numbers(tree: Tree) -> None:
    for row, (old, new) in enumerate(((READING, "1e5"), (OTHER_READING, "00012"))):
        (tree.reflacx / "main_data" / old).rename(tree.reflacx / "main_data" / new)
        rows = changed([r for r in METADATA_1 if r[2] == "False"], row, "id", new, HEADER_1)
        content = csv_text(HEADER_1, rows)
        put(tree.metadata, content if row == 0 else content.replace(READING, "1e5"))


def no_image(tree: Tree) -> None:
    tree.image.unlink()


def discarded(tree: Tree) -> None:
    for row in (0, 1):
        rows = [r for r in METADATA_1 if r[2] == "False"]
        rows = changed(rows, 0, "eye_tracking_data_discarded", "True", HEADER_1)
        put(tree.metadata, csv_text(HEADER_1, changed(rows, row, "eye_tracking_data_discarded", "True", HEADER_1)))


def another_size(tree: Tree) -> None:
    make_dicom(tree.image, gradient((121, 160), 12), bits_stored=12)


PX_PER_DEG_X = "angular_resolution_x_pixels_per_degree"
KEEP_NO_GAZE = ("--keep-no-gaze",)
OF_THE_DATA_SET = [
    Case(1, "no table at all", no_tables, 2, ("no metadata_phase_1.csv", "reflacx")),
    Case(1, "a folder: metadata", folder_for_file("metadata"), 2, ("expected a file, found a folder", "phase_1.csv")),
    Case(1, "a folder: fixations", folder_for_file("fixations"), 1, ("found a folder",), "bad_table"),
    Case(1, "a dangling link", link_to_nothing, 2, ("no such file", "metadata_phase_1.csv")),
    Case(5, "unknown columns", unknown_column, 0, ("unknown columns 'eye'", "unknown columns 'Novel sign'")),
    Case(6, "BOM, CRLF and blank lines", marks_and_line_ends, 0, ('"byte_order_mark": 1', '"blank_lines": 2')),
    Case(9, "decimal commas", with_decimal_commas, 1, ("a number with a decimal point", "line 2"), "bad_table"),
    *(
        Case(13, f"{title}: x", cell("x_position", value), 0, ('"missing_position": 1', "line 3"))
        for title, value in (("NaN", "nan"), ("infinite", "-inf"), ("empty", ""))
    ),
    Case(13, "no onset", cell("timestamp_start_fixation", ""), 0, ('"missing_time": 1',)),
    Case(14, "text", cell("y_position", "low"), 0, ('"not_a_number": 1', "line 3", "'y_position'", "found 'low'")),
    Case(15, "off the image", off_the_image("500", "200"), 0, ('"images": 2',)),
    Case(16, "negative", off_the_image("-30", "-7"), 0, ('"images": 2',)),
    Case(17, "end before start", cell("timestamp_end_fixation", "0.1"), 0, ('"end_before_start": 1', "line 3")),
    Case(18, "no duration", cell("timestamp_end_fixation", "0.45"), 0, ('"zero_duration": 1',)),
    Case(19, "12 s long", cell("timestamp_end_fixation", "12.45"), 0, ("longer than", "the longest 12 s")),
    Case(20, "overlapping", cell("timestamp_end_fixation", "1.2"), 0, ("begin before an earlier one has ended",)),
    Case(21, "unsorted", lambda t: t.put_fixations(FIXATIONS[::-1]), 0, ('"unsorted": 2', "sorted by onset")),
    Case(22, "repeated", lambda t: t.put_fixations([*FIXATIONS, FIXATIONS[-1]]), 0, ('"duplicate": 1',)),
    Case(23, "milliseconds", in_milliseconds, 2, ("milliseconds where seconds are expected", "divide")),
    Case(24, "normalised", normalised, 2, ("normalised coordinates", READING)),
    *(
        Case(25, f"px per degree {value}", cell(PX_PER_DEG_X, value), 0, ('"bad_resolution": 1',))
        for value in ("0", "-3", "nan", "1e9")
    ),
    Case(26, "shown rectangle without area", degenerate, 0, ('"bad_rectangle": 1', "line 3")),
    Case(27, "axes swapped", axes_swapped, 0, ("x and y exchanged", "axes swapped")),
    Case(28, "no usable fixation", all_rows(x_position=""), 1, ("missing_position 3",), "empty_map"),
    Case(28, "all off the image", all_rows(x_position="90000"), 1, ("image",), "empty_map"),
    *(
        Case(29, f"sigma {value}", nothing, 2, ("sigma_dva must be a positive",), "", ("--sigma-dva", value))
        for value in ("0", "-1", "nan", "inf")
    ),
    Case(30, "total duration 0", no_duration, 1, ("sum to zero",), "zero_duration"),
    Case(31, "ids like numbers", ids_like_numbers, 0, ('"readings": 3',)),
    *(
        Case(32, f"id {title}", metadata_cell(column, value), 2, (f"line 2, column '{column}'", "nothing was opened"))
        for title, column, value in (
            ("that climbs", "id", "../../etc/x"),
            ("absolute", "dicom_id", "/etc/passwd"),
            ("with a backslash", "subject_id", "..\\x"),
            ("with a drive", "id", "C:x"),
            ("too long", "id", "P" * 129),
            ("with a leading dot", "dicom_id", ".hidden"),
            ("empty", "id", ""),
        )
    ),
    Case(32, "path that climbs", metadata_cell("image", "files/../../x.dcm"), 2, ("is not a safe path",)),
    Case(32, "path absolute", metadata_cell("image", "/etc/passwd"), 2, ("is not a safe path",)),
    Case(32, "id with NUL", metadata_cell("id", "P1\0"), 2, ("a NUL byte",)),
    *(
        Case(33, title, metadata_cell("id", value), 2, ("is not an id",))
        for title, value in (("a formula", '=HYPERLINK("http://x")'), ("markup", "<script>alert(1)</script>"))
    ),
    Case(34, "no image", no_image, 1, ("no image file for physionet.org/files", f"nor {DICOM_A}.dcm"), "missing_image"),
    Case(35, "no gaze", discarded, 1, ("the gaze was discarded", "--keep-no-gaze"), "no_gaze"),
    Case(35, "no gaze, kept", discarded, 0, ('"images": 2', '"readings": 1'), "", KEEP_NO_GAZE),
    Case(38, "another size", another_size, 1, ("160 x 120", "160 x 121"), "size_mismatch"),
    Case(39, "a patient in two splits", metadata_cell("split", "test", 1), 2, ("in split", "leak", "99000001")),
    Case(40, "ids that differ in case", metadata_cell("id", READING.lower(), 1), 2, ("differ only in case",)),
]  # fmt: skip
CASES = [*table_cases(), *OF_THE_DATA_SET]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_input_is_answered_as_the_list_says(case: Case, tmp_path: Path) -> None:
    check_case(case, tmp_path)


def test_the_data_set_that_is_spoiled_is_right(tmp_path: Path) -> None:
    outcome = Tree(tmp_path).make().build()
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["failures"], said["warnings"], said["dropped_or_replaced"]) == (0, [], [], {})


def test_15_a_position_off_the_image_is_kept_where_it_is(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    off_the_image("60", "200")(tree)
    assert tree.build("--per", "reading").code == 0
    cache = open_cache(tree.cache)
    record = cache[cache.ids.index(READING)]
    assert record.gaussians[0, :2].tolist() == [60, 200]
    assert record.info["off_image_share"] > cache[cache.ids.index(OTHER_READING)].info["off_image_share"]


def test_36_two_readers_of_one_image_are_the_mean_of_their_maps(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    tree.put_fixations([[*row[:2], "20", "20", *row[4:]] for row in FIXATIONS])
    assert tree.build().code == 0
    together = open_cache(tree.cache)
    assert together.rows[0]["reading_ids"] == [READING, OTHER_READING]
    of_both = together.relevance[0]
    shutil.rmtree(tree.cache)
    assert tree.build("--per", "reading").code == 0
    apart = open_cache(tree.cache)
    mean = (apart.relevance[apart.ids.index(READING)] + apart.relevance[apart.ids.index(OTHER_READING)]) / 2
    np.testing.assert_allclose(of_both, mean, atol=1e-6)


def test_37_one_id_with_two_different_files_is_refused(tmp_path: Path) -> None:
    for name, seed in (("99a.png", 0), ("99a.jpg", 1)):
        Image.fromarray(gradient((40, 30), 8, seed=seed)).save(tmp_path / name)
    outcome = run_gazekit("build-heatmaps", tmp_path, tmp_path / "cache", "--dataset", "images", *SMALL)
    assert outcome.code == 2
    assert "99a.jpg and 99a.png have the same id 99a and different content" in outcome.stderr
    assert not (tmp_path / "cache").exists()


ALONE = (15, 36, 37)
"""Items with a test of their own above."""


def test_every_item_of_the_list_is_here_or_in_the_file_beside() -> None:
    here = {case.item for case in CASES} | set(ALONE)
    assert here == set(range(1, 41))
    assert set(range(41, 67)) == test_bad_inputs_files.ITEMS


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (cell("x_position", "NaN"), "missing_position"),
        (cell("x_position", "left"), "not_a_number"),
        (cell("timestamp_end_fixation", "0"), "end_before_start"),
        (cell("angular_resolution_x_pixels_per_degree", "0"), "bad_resolution"),
        (cell("xmax_shown_from_image", "0"), "bad_rectangle"),
    ],
    ids=["13", "14", "17", "25", "26"],
)
def test_a_row_that_is_skipped_makes_the_exit_code_1_and_its_reading_is_kept(spoil, reason, tmp_path: Path):
    tree = Tree(tmp_path).make()
    spoil(tree)
    outcome = tree.build()
    said = json.loads(outcome.stdout)
    assert (outcome.code, said["failures"], said["dropped_or_replaced"]) == (1, [], {reason: 1})
