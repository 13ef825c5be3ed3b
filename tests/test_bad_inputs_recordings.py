"""Bad inputs 1 to 40 of EyeLink and Tobii files, each through the command line: one right file and a spoiled one."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bad_input_case import exit_code
from cli_runner import run_gazekit
from PIL import Image

SMALL = ("--image-size", "32", "--grid", "4", "--heatmap-size", "0", "--executor", "serial", "--json")
SCREEN = ("--screen-px", "400x300", "--screen-mm", "400x300", "--distance-mm", "600")
OFFSCREEN = 5000

EYELINK = "\n".join(
    [
        "MSG\t90 DISPLAY_COORDS 0 0 399 299",
        "MSG\t98 TRIALID 007",
        "MSG\t99 !V IMGLOAD TOP_LEFT x/chest.png 100 50 200 200",
        "START\t100 \tLEFT\tSAMPLES\tEVENTS",
        "EVENTS\tGAZE\tLEFT\tRATE\t1000.00",
        "SAMPLES\tGAZE\tLEFT\tRATE\t1000.00",
        *(f"{100 + k}\t {190 + 0.01 * k:.2f}\t  140.0\t 1103.0\t..." for k in range(200)),
        "EFIX L   100\t180\t81\t  190.0\t  140.0\t   1100",
        "EFIX L   200\t290\t91\t  150.0\t  100.0\t   1100",
        "END\t300 \tSAMPLES\tEVENTS\tRES\t  12.00\t  12.00",
        "MSG\t301 TRIAL_RESULT 0",
        "",
    ]
)
HEADER = (
    "Recording timestamp [ms]\tGaze point X [DACS px]\tGaze point Y [DACS px]\tPresented Media name\t"
    "Presented Media position X [DACS px]\tPresented Media position Y [DACS px]\tPresented Media width [px]\t"
    "Presented Media height [px]\tEye movement type\tEye movement type index"
)
TOBII = "\n".join(
    [
        HEADER,
        *(
            f"{4 * k}\t{190 + k % 3}\t{140 + k // 30}\tchest.png\t100\t50\t200\t200\tFixation\t{1 + k // 30}"
            for k in range(60)
        ),
        "",
    ]
)
GOOD = {"eyelink": ("asc", EYELINK), "tobii": ("tsv", TOBII)}


@dataclass(frozen=True)
class Case:
    """`spoil` makes the bytes of the second file of the right ones; `code`, `reason` and `words` as in `Outcome`."""

    item: int
    title: str
    dataset: str
    spoil: Callable[[bytes], bytes]
    code: int
    words: tuple[str, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.item} {self.dataset}: {self.title}"


def put(old: str, new: str, count: int = -1) -> Callable[[bytes], bytes]:
    def spoil(content: bytes) -> bytes:
        assert old.encode() in content
        return content.replace(old.encode(), new.encode(), count)

    return spoil


def instead(content: bytes) -> Callable[[bytes], bytes]:
    return lambda _: content


def add(line: str) -> Callable[[bytes], bytes]:
    return lambda content: content + line.encode()


def cells(column: int, change: Callable[[bytes], bytes], last: int | None = None) -> Callable[[bytes], bytes]:
    """Every cell of some columns of an export."""

    def spoil(content: bytes) -> bytes:
        header, *lines = content.rstrip().split(b"\n")
        rows = [line.split(b"\t") for line in lines]
        for row in rows:
            for k in range(column, (column if last is None else last) + 1):
                row[k] = change(row[k])
        return b"\n".join([header, *(b"\t".join(row) for row in rows), b""])

    return spoil


def fixation(cells: str) -> Callable[[bytes], bytes]:
    """The first EFIX line, rewritten."""
    return put("EFIX L   100\t180\t81\t  190.0\t  140.0\t   1100", f"EFIX L   {cells}")


def both_fixations(first: str, second: str) -> Callable[[bytes], bytes]:
    return lambda content: put("EFIX L   200\t290\t91\t  150.0\t  100.0\t   1100", f"EFIX L   {second}")(
        fixation(first)(content)
    )


def events_only(*lines: str) -> Callable[[bytes], bytes]:
    """A file without samples, with other fixations."""

    def spoil(content: bytes) -> bytes:
        kept = [
            line for line in content.decode().splitlines() if not line[:1].isdigit() and not line.startswith("EFIX")
        ]
        end = next(k for k, line in enumerate(kept) if line.startswith("END"))
        return "\n".join([*kept[:end], *lines, *kept[end:], ""]).encode()

    return spoil


BAD, KEPT, STOP = 1, 0, 2
CASES = (
    Case(2, "empty", "eyelink", instead(b""), BAD, ("bad.asc: no START line",), "bad_table"),
    Case(2, "empty", "tobii", instead(b""), BAD, ("bad.tsv: the file is empty",), "bad_table"),
    Case(2, "a header only", "tobii", instead(HEADER.encode() + b"\n"), BAD, ("a header and no row",), "no_gaze"),
    Case(
        3,
        "no column of gaze",
        "tobii",
        put("Gaze point X", "Gaze dot X"),
        BAD,
        ("expected a column of", "found"),
        "bad_table",
    ),
    Case(
        3, "other data than gaze", "eyelink", put("SAMPLES\tGAZE", "SAMPLES\tHREF"), BAD, ("edf2asc -sg",), "bad_table"
    ),
    Case(
        4,
        "a column twice",
        "tobii",
        put("Eye movement type index", "Eye movement type"),
        BAD,
        ("Eye movement type",),
        "bad_table",
    ),
    Case(5, "unknown lines", "eyelink", add("NEWWORD 1 2\n"), KEPT, ("unknown_line",)),
    Case(
        6,
        "byte order mark, CRLF, blank lines",
        "tobii",
        lambda c: b"\xef\xbb\xbf" + c.replace(b"\n", b"\r\n") + b"\r\n\r\n",
        KEPT,
    ),
    Case(6, "CRLF, blank lines", "eyelink", lambda c: c.replace(b"\n", b"\r\n") + b"\r\n\r\n", KEPT),
    Case(7, "NUL", "eyelink", add("\0\n"), BAD, ("a NUL byte at offset",), "bad_table"),
    Case(7, "NUL", "tobii", add("\0\n"), BAD, ("line 62: a NUL byte at offset",), "bad_table"),
    Case(
        7,
        "not UTF-8",
        "tobii",
        lambda c: c.replace(b"chest", b"ch\xe9st", 1),
        BAD,
        ("line 2: not UTF-8 at byte offset",),
        "bad_table",
    ),
    Case(8, "a short row", "tobii", add("240\t1\n"), BAD, ("line 62: expected 10 cells, found 2",), "bad_table"),
    Case(8, "a short line", "eyelink", put("101\t 190.01\t  140.0\t", "101\t 190.01\t"), KEPT, ("bad_sample_line",)),
    Case(8, "cut off", "eyelink", lambda c: c[:-3], KEPT, ("cut_line",)),
    Case(9, "semicolons", "tobii", put("\t", ";"), BAD, ("separated by semicolons; expected tabs",), "bad_table"),
    Case(9, "commas", "tobii", put("\t", ","), BAD, ("separated by commas; expected tabs",), "bad_table"),
    Case(10, "gzip", "eyelink", gzip.compress, BAD, ("expected an EyeLink ASC file, found gzip data",), "bad_table"),
    Case(10, "gzip", "tobii", gzip.compress, BAD, ("expected a tab-separated table, found gzip data",), "bad_table"),
    Case(
        10,
        "the tracker's own file",
        "eyelink",
        instead(b"SR_RESEARCH_COMBINED_FILE_FORMAT"),
        BAD,
        ("edf2asc",),
        "bad_table",
    ),
    Case(
        11,
        "a long line",
        "eyelink",
        add("MSG\t1 " + "x" * (1 << 20) + "\n"),
        BAD,
        ("longer than 1,048,576 bytes",),
        "bad_table",
    ),
    Case(11, "a long line", "tobii", add("x" * (1 << 20) + "\n"), BAD, ("line 62: longer than",), "bad_table"),
    Case(
        12,
        "git-lfs pointer",
        "eyelink",
        instead(b"version https://git-lfs.github.com/spec/v1\n"),
        BAD,
        ("git lfs pull",),
        "bad_table",
    ),
    Case(12, "log-in page", "tobii", instead(b"<!DOCTYPE html>"), BAD, ("a web page",), "bad_table"),
    Case(13, "a lost position", "eyelink", fixation("100\t180\t81\t   .\t   .\t   1100"), KEPT, ("missing_position",)),
    Case(
        14,
        "text for a position",
        "eyelink",
        fixation("100\t180\t81\t  far\t  140.0\t   1100"),
        KEPT,
        ("missing_position",),
    ),
    Case(
        14,
        "text for a position",
        "tobii",
        put("\t190\t", "\tfar\t", 1),
        BAD,
        ("line 2, column 'Gaze point X [DACS px]'", "'far'"),
        "bad_table",
    ),
    Case(15, "off the image", "eyelink", fixation("100\t180\t81\t  390.0\t  140.0\t   1100"), KEPT),
    Case(16, "negative", "eyelink", fixation("100\t180\t81\t  -20.0\t  140.0\t   1100"), KEPT),
    Case(
        17,
        "the end before the start",
        "eyelink",
        fixation("180\t120\t81\t  190.0\t  140.0\t   1100"),
        KEPT,
        ("end_before_start",),
    ),
    Case(18, "no duration", "eyelink", fixation("100\t100\t1\t  190.0\t  140.0\t   1100"), KEPT, ("zero_duration",)),
    Case(
        19,
        "very long",
        "eyelink",
        events_only(
            "EFIX L   100\t12200\t1\t  190.0\t  140.0\t   1100", "EFIX L   12300\t12500\t1\t  150.0\t  140.0\t   1100"
        ),
        KEPT,
        ("longer than",),
    ),
    Case(
        20,
        "overlapping",
        "eyelink",
        fixation("100\t220\t81\t  190.0\t  140.0\t   1100"),
        KEPT,
        ("before an earlier one has ended",),
    ),
    Case(21, "out of order", "eyelink", put("110\t 190.10", "150\t 190.10"), KEPT, ("unsorted",)),
    Case(21, "out of order", "tobii", put("\n40\t", "\n44\t"), KEPT),
    Case(21, "backwards", "tobii", put("\n40\t", "\n80\t"), KEPT, ("unsorted",)),
    Case(
        22, "twice", "eyelink", both_fixations(*2 * ("100\t180\t81\t  190.0\t  140.0\t   1100",)), KEPT, ("duplicate",)
    ),
    Case(
        23,
        "microseconds called milliseconds",
        "tobii",
        cells(0, lambda cell: cell + b"000"),
        STOP,
        ("the median sampling step lasts 4 s",),
    ),
    Case(24, "shares called pixels", "tobii", cells(1, lambda _: b"0.5", 2), STOP, ("normalised coordinates",)),
    Case(25, "no resolution", "eyelink", put("RES\t  12.00\t  12.00", "RES\t  0.00\t  0.00"), STOP, ("--screen-mm",)),
    Case(
        26,
        "drawn without an area",
        "eyelink",
        put("100 50 200 200", "100 50 0 200"),
        BAD,
        ("drawn without an area",),
        "bad_table",
    ),
    Case(
        26,
        "drawn without an area",
        "tobii",
        put("\t200\t200\t", "\t200\t0\t"),
        BAD,
        ("drawn without an area, 200 x 0",),
        "bad_table",
    ),
    Case(
        28,
        "no usable fixation",
        "eyelink",
        both_fixations("100\t180\t81\t . \t . \t 1", "200\t290\t91\t . \t . \t 1"),
        BAD,
        ("none of its 2 rows",),
        "empty_map",
    ),
    Case(
        28,
        "no gaze on the image",
        "eyelink",
        both_fixations(f"100\t180\t81\t{OFFSCREEN}\t{OFFSCREEN}\t 1", f"200\t290\t91\t{OFFSCREEN}\t{OFFSCREEN}\t 1"),
        BAD,
        (),
        "empty_map",
    ),
    Case(
        30,
        "no duration at all",
        "eyelink",
        both_fixations("100\t100\t1\t 190.0\t 140.0\t 1", "200\t200\t1\t 150.0\t 100.0\t 1"),
        BAD,
        (),
        "zero_duration",
    ),
    Case(
        32,
        "a path out of the folder",
        "tobii",
        put("chest.png", "../../etc/passwd"),
        STOP,
        ("is no safe path of an image",),
    ),
    Case(
        32,
        "a path out of the folder",
        "eyelink",
        put("x/chest.png", "../../etc/passwd"),
        BAD,
        ("no image file for passwd",),
        "missing_image",
    ),
    Case(33, "a formula", "tobii", put("chest.png", "=HYPERLINK(1)"), STOP, ("is no safe path of an image",)),
    Case(33, "a script", "eyelink", put("x/chest.png", "<script>"), STOP, ("is no safe path of an image",)),
    Case(
        34,
        "no such image",
        "eyelink",
        put("chest.png", "other.png"),
        BAD,
        ("no image file for other.png",),
        "missing_image",
    ),
    Case(
        34,
        "no such image",
        "tobii",
        put("chest.png", "other.png"),
        BAD,
        ("no image file for other.png",),
        "missing_image",
    ),
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Images and an empty folder for recordings."""
    for folder in ("images", "recordings"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.tile(np.arange(100, dtype=np.uint8), (100, 1))).save(tmp_path / "images" / "chest.png")
    return tmp_path


def build(root: Path, dataset: str, *options: object) -> tuple[int, str, dict[str, object]]:
    """Exit code, all that was said, and the summary."""
    screen = SCREEN if dataset == "tobii" else ()
    arguments = (root / "recordings", root / "cache", "--dataset", dataset, "--images", root / "images")
    outcome = run_gazekit("build-heatmaps", *arguments, *SMALL, *screen, *options)
    assert "Traceback" not in outcome.stderr + outcome.stdout
    return outcome.code, outcome.stderr + outcome.stdout, json.loads(outcome.stdout) if outcome.code != STOP else {}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_spoiled_recording_costs_itself_and_is_named(root: Path, case: Case) -> None:
    suffix, good = GOOD[case.dataset]
    (root / "recordings" / f"good.{suffix}").write_text(good)
    (root / "recordings" / f"bad.{suffix}").write_bytes(case.spoil(good.encode()))
    code, said, summary = build(root, case.dataset)
    assert code == (exit_code(case.code, json.dumps(summary)) if case.code == KEPT else case.code), said
    code = case.code
    if code == STOP:
        assert not (root / "cache").exists(), "nothing is written"
    elif code == BAD:
        failures = summary["failures"]
        assert isinstance(failures, list)
        assert [failure["reason"] for failure in failures] == [case.reason], said
        assert str(root) not in failures[0]["message"]
        said = failures[0]["message"]
    for words in case.words:
        assert words in said, said


@pytest.mark.parametrize("dataset", GOOD)
def test_an_import_without_any_valid_recording_is_an_error(root: Path, dataset: str) -> None:
    suffix, _ = GOOD[dataset]
    for name in ("a", "b"):
        (root / "recordings" / f"{name}.{suffix}").write_text("nothing\n")
    code, said, _ = build(root, dataset)
    assert code == STOP
    assert "none of 2 files can be read; the first: a." in said
    assert not (root / "cache").exists()


@pytest.mark.parametrize("dataset", GOOD)
def test_a_folder_without_recordings_is_an_error_that_says_what_it_holds(root: Path, dataset: str) -> None:
    (root / "recordings" / "r.edf").write_text("x")
    code, said, _ = build(root, dataset)
    assert code == STOP
    assert f"expected files that end in .{GOOD[dataset][0]}; it holds 1 of .edf" in said


@pytest.mark.parametrize("dataset", GOOD)
def test_a_root_that_is_not_there_is_an_error(root: Path, dataset: str) -> None:
    (root / "recordings").rmdir()
    code, said, _ = build(root, dataset)
    assert code == STOP
    assert "recordings: no such file or folder" in said


@pytest.mark.parametrize(
    ("first", "second", "words"), [("a", "A", "differ only in case"), ("x/a", "x.a", "the same id x.a")]
)
def test_files_whose_readings_would_have_one_id_are_an_error(root: Path, first: str, second: str, words: str) -> None:
    for name in (first, second):
        path = root / "recordings" / f"{name}.asc"
        path.parent.mkdir(exist_ok=True)
        path.write_text(EYELINK)
    code, said, _ = build(root, "eyelink")
    assert code == STOP
    assert words in said


def test_two_recordings_of_one_image_are_one_row_of_two_readings(root: Path) -> None:
    for name in ("a", "b"):
        (root / "recordings" / f"{name}.asc").write_text(EYELINK)
    code, said, summary = build(root, "eyelink")
    assert (code, summary["readings"], summary["rows_built"]) == (KEPT, 2, 1), said


def test_a_number_of_a_trial_stays_text(root: Path) -> None:
    from gazekit import read_eyelink

    second = EYELINK.replace("TRIALID 007", "TRIALID 1e5")
    (root / "recordings" / "r.asc").write_text(EYELINK + second)
    assert read_eyelink(root / "recordings", images=root / "images").ids == ("r.007", "r.1e5")


def test_a_screen_that_contradicts_the_file_is_an_error(root: Path) -> None:
    (root / "recordings" / "r.asc").write_text(EYELINK)
    code, said, _ = build(root, "eyelink", "--screen-px", "500x300", *SCREEN[2:])
    assert code == STOP
    assert "its screen has 400 x 300 pixels" in said
