"""Bad inputs 1 to 40 for Gazepoint, Pupil Labs and BIDS, one row a case, each through the command line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from bad_input_case import exit_code
from tracker_labs import FIXATIONS, MAKERS, Fixation, Lab

from gazekit.cache import open_cache

Spoil = Callable[[Lab], object]
FIRST, LATER = FIXATIONS
EVERY = tuple(MAKERS)
GAZEPOINT, PUPIL, BIDS, CSV, NAMED = (
    ("gazepoint",),
    ("pupil",),
    ("bids",),
    ("gazepoint", "pupil"),
    ("gazepoint", "bids"),
)


@dataclass(frozen=True)
class Case:
    """`code` is the exit code, `words` what is said, `reason` that of the skipped records or a counted code."""

    item: int
    title: str
    spoil: Spoil
    code: int
    words: str
    reason: str = ""
    sources: tuple[str, ...] = EVERY

    def __str__(self) -> str:
        return f"{self.item} {self.title}"


def swap(old: bytes, new: bytes) -> Spoil:
    return lambda lab: lab.edit(lambda content: content.replace(old, new))


def add(content: bytes) -> Spoil:
    return lambda lab: lab.edit(lambda before: before + content)


def become(content: bytes) -> Spoil:
    return lambda lab: lab.edit(lambda _: content)


def fixation_cell(old: str, new: str) -> Spoil:
    return lambda lab: lab.edit_fixations(old, new)


def edit(change: Callable[[bytes], bytes]) -> Callable[[Lab], object]:
    return lambda lab: lab.edit(change)


def fixate(*fixations: Fixation) -> Callable[[Lab], object]:
    return lambda lab: lab.fixate(*fixations)


def unknown_column(lab: Lab) -> None:
    tab = b"\t" if lab.source == "bids" else b","
    lab.edit(lambda b: b.replace(b"\r", b"").replace(b"\n", tab + b"7\n").replace(tab + b"7\n", tab + b"MOOD\n", 1))


def only(spoil: Callable[[Lab], object]) -> Callable[[Lab], object]:
    """The same fault where there is no other recording."""

    def spoil_the_only_one(lab: Lab) -> None:
        for path in sorted(lab.gaze.rglob("*")):
            other = path.is_file() and path.suffix != ".json" and not path.is_relative_to(lab.file.parent)
            if other or path.name == "User 1_all_gaze.csv":
                path.unlink()
        spoil(lab)

    return spoil_the_only_one


def header_only(content: bytes) -> bytes:
    return content.partition(b"\n")[0] + b"\n"


def semicolons(content: bytes) -> bytes:
    return content.replace(b",", b";").replace(b"\t", b";")


def lost_link(lab: Lab) -> None:
    lab.file.unlink()
    lab.file.symlink_to("nowhere")


def repeated_row(lab: Lab) -> None:
    text = lab.fixations.read_text()
    lab.fixations.write_text(text + text.splitlines()[-1] + "\n")


def shares_as_pixels(lab: Lab) -> None:
    lab.fixate(*((onset, offset, 0.9 / 1000, 0.9 / 800) for onset, offset, _, _ in FIXATIONS))


def other_case(lab: Lab) -> None:
    lab.edit(lambda content: content.replace(b"99a.png", b"99B.png"))
    lab.draw("99B")


def off_screen(lab: Lab) -> None:
    lab.fixate(FIXATIONS[0], (0.3, 0.6, -0.02, 1.03))


def no_screen(lab: Lab) -> None:
    (lab.root / "screen.toml").write_text("")


def rename_image(name: str) -> Spoil:
    def spoil(lab: Lab) -> None:
        for file in lab.gaze.rglob("*"):
            if file.suffix in (".csv", ".tsv"):
                file.write_text(file.read_text().replace("99a.png", name))

    return spoil


def say(text: str) -> Spoil:
    return lambda lab: lab.say(text)


def marked(content: bytes) -> bytes:
    return b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n") + b"\r\n\r\n"


FILES: list[Case] = [
    Case(1, "a link to nothing", lost_link, 1, "no such file or directory", "unreadable"),
    Case(2, "empty", become(b""), 1, "the file is empty", "bad_table"),
    Case(2, "header only", edit(header_only), 1, "a header and no r", "no_gaze", CSV),
    Case(2, "header only", edit(header_only), 1, "no event has a stim_file", "no_gaze", BIDS),
    Case(3, "a column short", swap(b"FPOGX", b"F"), 1, "missing column 'FPOGX'; found", "bad_table", GAZEPOINT),
    Case(3, "a column short", swap(b"[ns]", b"[s]"), 1, "missing column 'timestamp [ns]'", "bad_table", PUPIL),
    Case(3, "a column short", swap(b"onset", b"start"), 1, "missing column 'onset'", "bad_table", BIDS),
    Case(4, "a column twice", swap(b"CNT", b"TIME"), 1, "'TIME' occurs more than once", "bad_table", GAZEPOINT),
    Case(4, "a column twice", swap(b"stim_file", b"onset"), 1, "'onset' occurs more than", "bad_table", BIDS),
    Case(7, "not UTF-8", add(b"\xe9\n"), 1, "not UTF-8 at byte offset", "bad_table"),
    Case(7, "a NUL byte", add(b"\0\n"), 1, "a NUL byte at offset", "bad_table"),
    Case(7, "UTF-16", edit(lambda b: b.decode().encode("utf-16")), 1, "UTF-16 text; save it as UTF-8", "bad_table"),
    Case(8, "a ragged row", add(b"1\n"), 1, "cells, found 1", "bad_table"),
    Case(8, "an open quote", add(b'"1,1\n'), 1, "a quote is opened here and never closed", "bad_table"),
    Case(9, "semicolons", edit(semicolons), 1, "separated by semicolons", "bad_table"),
    Case(9, "a decimal comma", swap(b",0.2,", b',"0,2",'), 1, "a number with a decimal point", "bad_table", CSV),
    Case(10, "gzip", edit(gzip.compress), 1, "gzip data; unpack it", "bad_table"),
    Case(11, "a huge line", add(b"x" * (2 << 20)), 1, "longer than 1,048,576 bytes", "bad_table"),
    Case(12, "git-lfs", become(b"version https://git-lfs.github.com/spec/v1\n"), 1, "git lfs pull", "bad_table"),
    Case(12, "a log-in page", become(b"<!DOCTYPE html><html>"), 1, "a web page (a log-in page?)", "bad_table"),
]
ALONE = [
    Case(case.item, f"{case.title}, alone", only(case.spoil), 2, case.words, sources=case.sources)
    for case in FILES
    if case.item in (1, 2, 3, 12)
]
CASES: list[Case] = [
    *FILES,
    *ALONE,
    Case(1, "no folder", lambda lab: lab.gaze.rename(lab.root / "other"), 2, "no such file or folder"),
    Case(1, "no file of it", only(lambda lab: lab.file.unlink()), 2, "expected files that end in"),
    Case(5, "unknown columns", unknown_column, 0, '"images": 2'),
    Case(6, "mark, CRLF", edit(marked), 0, '"images": 2'),
    Case(13, "x missing", fixation_cell(",0.6,0.5", ",,0.5"), 0, "x or y is empty", "missing_position", GAZEPOINT),
    Case(13, "onset missing", fixation_cell("\n300\t", "\nn/a\t"), 0, "", "fixations_outside_trial", BIDS),
    Case(
        14,
        "x is text",
        fixation_cell(",0.6,0.5", ",left,0.5"),
        0,
        "found 'left'; taken as missing",
        "not_a_number",
        CSV,
    ),
    Case(
        14, "onset is text", fixation_cell("\n300\t", "\nsoon\t"), 1, "number or n/a, found 'soon'", "bad_table", BIDS
    ),
    Case(15, "off the image", off_screen, 0, '"images": 2'),
    Case(17, "ends before it starts", fixate(FIRST, (0.6, 0.3, 0.6, 0.5)), 0, "", "end_before_start", CSV),
    Case(17, "ends before it starts", fixation_cell("\n300\t300", "\n300\t-99"), 0, "", "missing_position", BIDS),
    Case(18, "no duration", fixate(FIRST, (0.3, 0.3, 0.6, 0.5)), 0, "", "zero_duration"),
    Case(19, "very long", fixate(FIRST, (0.3, 12.3, 0.6, 0.5)), 0, "fixations are longer than", sources=CSV),
    Case(
        20, "overlapping", fixate(FIRST, (0.1, 0.6, 0.6, 0.5)), 0, "begin before an earlier one has ended", sources=CSV
    ),
    Case(21, "unsorted", fixate(LATER, FIRST), 0, "sorted by onset", "unsorted"),
    Case(22, "repeated", fixation_cell("\n300\t300\tfixation", 2 * "\n300\t300\tfixation"), 0, "", "duplicate", BIDS),
    Case(22, "repeated", repeated_row, 0, "an exact repetition", "duplicate", PUPIL),
    Case(23, "ms", fixate((0, 200, 0.2, 0.3), (300, 600, 0.6, 0.5)), 2, "times are in another unit", sources=GAZEPOINT),
    Case(24, "pixels", fixate((0, 0.2, 200, 300), (0.3, 0.6, 600, 500)), 2, "pixels where screen shares", sources=CSV),
    Case(24, "shares", shares_as_pixels, 2, "normalised coordinates where screen pixels are expected", sources=BIDS),
    Case(25, "no way to degrees", no_screen, 2, "degrees of visual angle need the screen's size", sources=CSV),
    Case(26, "no rectangle", say('[[stimulus]]\nname = "99a.png"\nrectangle = [9, 0, 9, 5]\n'), 2, "x0 < x1"),
    Case(28, "far off", fixate((0, 0.3, 3.0, 0.5), (0.4, 0.6, 3.0, 0.4)), 1, "no gaze inside the image", "empty_map"),
    Case(30, "no time", fixate((0, 0, 0.2, 0.3), (0.4, 0.4, 0.6, 0.5)), 1, "weights sum to zero", "zero_duration", CSV),
    Case(32, "a way out", rename_image("../99a.png"), 2, "is no safe path", sources=NAMED),
    Case(33, "a formula", rename_image("=HYPERLINK(1)"), 2, "is no safe path", sources=NAMED),
    Case(34, "no image", lambda lab: lab.image("99a").unlink(), 1, "no image file for 99a", "missing_image"),
    Case(35, "an image without gaze", lambda lab: lab.draw("99z"), 0, '"images": 2'),
    Case(40, "ids that differ in case", other_case, 2, "differ only in case", sources=NAMED),
]
ROWS = [(source, case) for case in CASES for source in case.sources]


@pytest.mark.parametrize(("source", "case"), ROWS, ids=[f"{source}: {case}" for source, case in ROWS])
def test_bad_input(source: str, case: Case, tmp_path: Path) -> None:
    lab = Lab(tmp_path, source).make()
    case.spoil(lab)
    outcome = lab.build()
    assert outcome.code == exit_code(case.code, outcome.stdout), outcome
    assert "Traceback" not in outcome.stdout + outcome.stderr
    if case.code == 2:
        [said] = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
        assert not (tmp_path / "cache").exists(), "nothing is written"
    else:
        cache = open_cache(tmp_path / "cache", verify=True)
        assert len(cache) >= 1, "the run goes on"
        said = outcome.stdout + outcome.stderr
        if case.code == 1:
            failures = json.loads(outcome.stdout)["failures"]
            assert {failure["reason"] for failure in failures} == {case.reason}, failures
            said = " ".join(failure["message"] for failure in failures)
            assert str(tmp_path) not in said
        elif case.reason:
            counted = [reading["flags"]["counts"] for record in cache for reading in record.readings]
            assert any(case.reason in counts for counts in counted), counted
    assert case.words in said, said
