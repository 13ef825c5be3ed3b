"""Bad inputs 1 to 40 for ``--dataset table``, one row a case, each through the command line."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bad_input_case import exit_code
from cli_runner import Outcome, run_gazekit
from PIL import Image

from gazekit.cache import open_cache

SPEC = """
[screen]
size_px = [1000, 800]
size_mm = [400, 320]
distance_mm = 600
[columns]
onset = "on"
offset = "off"
x = "gx"
y = "gy"
stimulus = "pic"
[units]
time = "ms"
"""
HEADER = "pic,on,off,gx,gy"
ROWS = ["99a.png,0,250,200,300", "99a.png,300,500,600,500", "99b.png,0,300,400,400", "99b.png,350,600,500,300"]
SAMPLES = SPEC.replace('onset = "on"\noffset = "off"', 'time = "on"')


@dataclass(frozen=True)
class Lab:
    """A folder of two tables of two readings each, right as they are, with their images and spec."""

    root: Path

    @property
    def table(self) -> Path:
        return self.root / "gaze" / "one.csv"

    @property
    def spec(self) -> Path:
        return self.root / "lab.toml"

    def make(self) -> Lab:
        (self.root / "gaze").mkdir()
        (self.root / "images").mkdir()
        for name in ("one", "two"):
            (self.root / "gaze" / f"{name}.csv").write_text("\n".join([HEADER, *ROWS, ""]))
        self.spec.write_text(SPEC)
        for name in ("99a", "99b"):
            self.draw(name)
        return self

    def draw(self, name: str, shape: tuple[int, int] = (80, 100)) -> None:
        pixels = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 251
        Image.fromarray(pixels.astype(np.uint8)).save(self.root / "images" / f"{name}.png")

    def write(self, *rows: str, header: str = HEADER) -> None:
        """The first table, written anew."""
        self.table.write_text("\n".join([header, *rows, ""]))

    def change(self, line: int, row: str) -> None:
        """One row of the first table."""
        self.write(*ROWS[: line - 2], row, *ROWS[line - 1 :])

    def only(self) -> None:
        """No second table."""
        (self.root / "gaze" / "two.csv").unlink()

    def say(self, text: str) -> None:
        """More in the spec."""
        self.spec.write_text(self.spec.read_text() + text)

    def build(self, *options: object) -> Outcome:
        arguments = ("--dataset", "table", "--images", self.root / "images", "--spec", self.spec)
        small = ("--image-size", "32", "--grid", "4", "--heatmap-size", "0", "--executor", "serial", "--json")
        return run_gazekit("build-heatmaps", self.root / "gaze", self.root / "cache", *arguments, *small, *options)


@dataclass(frozen=True)
class Case:
    """`code` is the exit code, `words` what is said, `reason` that of the skipped records or a counted code."""

    item: int
    title: str
    spoil: Callable[[Lab], object]
    code: int
    words: str
    reason: str = ""
    options: tuple[object, ...] = ()

    def __str__(self) -> str:
        return f"{self.item} {self.title}"


def nothing(lab: Lab) -> None:
    """The input is right; an option is not."""


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[Lab], object]:
    return lambda lab: lab.table.write_bytes(change(lab.table.read_bytes()))


def in_samples(*rows: str) -> Callable[[Lab], object]:
    def spoil(lab: Lab) -> None:
        lab.only()
        lab.spec.write_text(SAMPLES)
        lab.write(*rows, header="pic,on,gx,gy")

    return spoil


def rest(x: float, y: float, *, step: float = 4.0, begin: int = 0, count: int = 100) -> list[str]:
    return [f"99a.png,{(begin + k) * step},{x},{y}" for k in range(count)]


FILES: list[Case] = [
    Case(2, "empty", rewrite(lambda _: b""), 1, "one.csv: the file is empty", "bad_table"),
    Case(2, "header only", lambda lab: lab.write(), 1, "one.csv: a header and no rows", "bad_table"),
    Case(3, "a column short", lambda lab: lab.write("1", header="on,off,gx"), 1, "missing column 'gy'", "bad_table"),
    Case(4, "a column twice", lambda lab: lab.write("1", header=HEADER + ",gx"), 1, "occurs more than", "bad_table"),
    Case(5, "a column more", rewrite(lambda b: b.replace(b"\n", b",7\n").replace(b"gy,7", b"gy,z")), 0, '"images": 2'),
    Case(6, "mark, CRLF", rewrite(lambda b: b"\xef\xbb\xbf" + b.replace(b"\n", b"\r\n") + b"\r\n"), 0, '"images": 2'),
    Case(7, "not UTF-8", rewrite(lambda b: b + b"\xe9,1,2,3,4\n"), 1, "not UTF-8 at byte offset 109", "bad_table"),
    Case(7, "a NUL byte", rewrite(lambda b: b + b"99a.png,\0,2,3,4\n"), 1, "a NUL byte at offset 117", "bad_table"),
    Case(7, "UTF-16", rewrite(lambda b: b.decode().encode("utf-16")), 1, "UTF-16 text; save it as UTF-8", "bad_table"),
    Case(8, "a ragged row", rewrite(lambda b: b + b"1,2\n"), 1, "line 6: expected 5 cells, found 2", "bad_table"),
    Case(8, "an open quote", rewrite(lambda b: b + b'"99a.png,1,2,3,4\n'), 1, "line 6: a quote is opened", "bad_table"),
    Case(9, "semicolons", rewrite(lambda b: b.replace(b",", b";")), 1, "separated by semicolons", "bad_table"),
    Case(9, "tabs", rewrite(lambda b: b.replace(b",", b"\t")), 1, "separated by tabs", "bad_table"),
    Case(9, "a decimal comma", lambda lab: lab.change(2, '99a.png,0,1,"2,5",3'), 1, "a decimal point", "bad_table"),
    Case(10, "gzip", rewrite(gzip.compress), 1, "gzip data; unpack it", "bad_table"),
    Case(11, "a huge line", rewrite(lambda b: b + b"x" * (2 << 20)), 1, "line 6: longer than 1,048,576", "bad_table"),
    Case(12, "a pointer", rewrite(lambda _: b"version https://git-lfs.github.com/spec/v1\n"), 1, "lfs", "bad_table"),
    Case(12, "a log-in page", rewrite(lambda _: b"<!DOCTYPE html><html>"), 1, "a web page (a log-in", "bad_table"),
]  # fmt: skip


def alone(case: Case) -> Case:
    """The same fault where there is no other table: nothing is left, which is an error."""

    def spoil(lab: Lab) -> None:
        lab.only()
        case.spoil(lab)

    return Case(case.item, f"{case.title}, alone", spoil, 2, case.words)


def to_folder(lab: Lab) -> None:
    lab.table.unlink()
    lab.only()


def twins(lab: Lab) -> None:
    (lab.root / "images" / "sub").mkdir()
    lab.write(*ROWS[:2])
    (lab.root / "gaze" / "two.csv").write_text("\n".join([HEADER, *ROWS[2:], ""]))
    for name, image in (("99a.png", "sub/99x.png"), ("99b.png", "99x.png")):
        lab.say(f'[[stimulus]]\nname = "{name}"\nimage = "{image}"\n')
    for name, shape in (("99x", (80, 100)), ("sub/99x", (60, 70))):
        lab.draw(name, shape)


CASES: list[Case] = [
    *FILES,
    *(alone(case) for case in FILES if case.code == 1),
    Case(1, "no table", to_folder, 2, "expected files that end in .csv, .tsv, .parquet; it holds no file"),
    Case(1, "no spec", lambda lab: lab.spec.unlink(), 2, "no such file; --spec names a TOML file"),
    Case(3, "no such columns, no spec", lambda lab: lab.spec.write_text(SPEC.partition("[columns]")[0]), 2,
         "expected time and x, y (or x_left, y_left, x_right, y_right) for samples"),
    Case(13, "x missing, y NaN", lambda lab: lab.write(*ROWS, "99a.png,700,800,,5", "99b.png,700,800,5,nan"),
         0, "x or y is empty or not finite", "missing_position"),
    Case(14, "x is text", lambda lab: lab.change(3, "99a.png,300,500,left,500"), 0,
         "dropped 1 of 2 rows, the first at line 3: text where a number belongs", "not_a_number"),
    Case(15, "off the image", lambda lab: lab.change(3, "99a.png,300,500,1010,810"), 0, "kept"),
    Case(16, "negative", lambda lab: lab.change(3, "99a.png,300,500,-20,-30"), 0, "kept"),
    Case(17, "ends before it starts", lambda lab: lab.change(3, "99a.png,500,300,600,500"), 0,
         "the end is before the start", "end_before_start"),
    Case(18, "no duration", lambda lab: lab.change(3, "99a.png,300,300,600,500"), 0, "", "zero_duration"),
    Case(19, "very long", lambda lab: lab.change(3, "99a.png,300,15300,600,500"), 0, "fixations are longer than"),
    Case(20, "overlapping", lambda lab: lab.change(3, "99a.png,200,500,600,500"), 0, "begin before an earlier one has"),
    Case(21, "unsorted", lambda lab: lab.write(*ROWS[1::-1], *ROWS[2:]), 0, "sorted by onset", "unsorted"),
    Case(21, "unsorted samples", in_samples(*rest(600, 500, begin=100), *rest(200, 300)), 0, "time_s runs backwards 1"),
    Case(22, "repeated", lambda lab: lab.write(ROWS[0], *ROWS), 0, "an exact repetition", "duplicate"),
    Case(22, "repeated samples", in_samples(*rest(200, 300), rest(200, 300)[-1]), 0, "1 samples repeat a time"),
    Case(23, "in us", lambda lab: lab.change(2, "99a.png,0,250000000,1,300"), 2, "the times are in another unit"),
    Case(23, "s called ms", lambda lab: lab.write("99a.png,0,0.25,200,300", "99a.png,0.3,0.5,600,500"), 2,
         "the median fixation lasts 0.000225 s"),
    Case(23, "samples in s", in_samples(*rest(200, 300, step=0.004)), 2, "the median sampling step lasts 4e-06 s"),
    Case(23, "samples in us", in_samples(*rest(200, 300, step=4000)), 2, "the median sampling step lasts 4 s"),
    Case(24, "shares called pixels", lambda lab: lab.write("99a.png,0,250,0.2,0.3", "99a.png,300,500,0.6,0.5"), 2,
         "every x and y is within 1: normalised coordinates where screen pixels are expected"),
    Case(24, "pixels called shares", lambda lab: lab.say('position = "screen_share"\n'), 2,
         "pixels where screen shares from 0 to 1 are expected"),
    Case(25, "px per degree not positive", lambda lab: (
        lab.spec.write_text(SPEC.replace("[units]", 'px_per_deg_x = "rx"\npx_per_deg_y = "ry"\n[units]')), lab.only(),
        lab.write(ROWS[0] + ",30,30", ROWS[1] + ",0,30", header=HEADER + ",rx,ry")), 0, "pixels per degree",
        "bad_resolution"),
    Case(26, "an empty rectangle", lambda lab: lab.say('[[stimulus]]\nname = "a"\nrectangle = [9, 9, 9, 20]\n'), 2,
         "rectangle must have x0 < x1 and y0 < y1"),
    Case(27, "axes exchanged", lambda lab: (lab.draw("99a", (40, 100)), lab.write(
        "99a.png,0,250,205,625", "99a.png,300,500,305,635", *ROWS[2:])), 0, "are the axes swapped"),
    Case(28, "no usable fixation", lambda lab: (lab.only(), lab.write("99a.png,0,250,,", *ROWS[2:])), 1,
         "none of its 1 rows is a usable fixation", "empty_map"),
    Case(28, "all gaze lost", in_samples("99b.png,0,,", "99b.png,4,,", *rest(200, 300)), 1,
         "none of 2 samples has a position", "no_gaze"),
    Case(28, "far off the image", lambda lab: (lab.only(), lab.write("99a.png,0,250,90000,90000", *ROWS[2:])), 1,
         "", "empty_map"),
    Case(29, "sigma 0", nothing, 2, "sigma_dva must be a positive number", options=("--sigma-dva", "0")),
    Case(30, "no time at all", lambda lab: (lab.only(), lab.write("99a.png,5,5,200,300", *ROWS[2:])), 1, "",
         "zero_duration"),
    Case(31, "ids like numbers", lambda lab: (lab.draw("007"), lab.draw("1e5"), lab.only(), lab.write(
        "007.png,0,250,200,300", "1e5,0,300,400,400")), 0, '"images": 2'),
    Case(32, "a path that leads out", lambda lab: lab.change(3, "../../etc/x,300,500,600,500"), 2,
         "one.csv, line 3, stimulus: '../../etc/x' is not a safe path"),
    Case(32, "an absolute path", lambda lab: lab.change(3, "/etc/passwd,300,500,600,500"), 2, "is not a safe path"),
    Case(32, "a drive letter", lambda lab: lab.change(3, "C:\\a.png,300,500,600,500"), 2, "is not a safe path"),
    Case(32, "a long name", lambda lab: lab.change(3, "x" * 129 + ",300,500,600,500"), 2, "is not a safe path"),
    Case(33, "a formula", lambda lab: lab.change(3, "=HYPERLINK(1),300,500,600,500"), 2, "is not a safe path"),
    Case(33, "a script", lambda lab: lab.change(3, "<script>,300,500,600,500"), 2, "is not a safe path"),
    Case(34, "no image", lambda lab: (lab.root / "images" / "99a.png").unlink(), 1, "no image file for 99a.png",
         "missing_image"),
    Case(36, "two readers", nothing, 0, '"readings": 4'),
    Case(37, "one id, two files", twins, 2, "image 99x is given by 2 files of different content"),
    Case(39, "a patient in two splits", lambda lab: lab.say("".join(
        f'[[stimulus]]\nname = "{name}.png"\npatient_id = "99001"\nsplit = "{split}"\n'
        for name, split in (("99a", "train"), ("99b", "test")))), 2, "split 'train' (one.99a) and in 'test'"),
    Case(40, "ids that differ in case", lambda lab: (lab.draw("99A"), lab.change(3, "99A.png,300,500,600,500")), 2,
         "differ only in case"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_table_is_answered_as_the_list_of_bad_inputs_says(case: Case, tmp_path: Path):
    lab = Lab(tmp_path).make()
    case.spoil(lab)
    outcome = lab.build(*case.options)
    assert outcome.code == exit_code(case.code, outcome.stdout), outcome
    assert "Traceback" not in outcome.stdout + outcome.stderr
    cache = lab.root / "cache"
    if case.code == 2:
        [said] = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
        assert case.words in said
        assert not cache.exists(), "nothing is written"
        return
    summary = json.loads(outcome.stdout)
    built = open_cache(cache, verify=True)
    if case.code == 1:
        assert {failure["reason"] for failure in summary["failures"]} == {case.reason}
        assert any(case.words in failure["message"] for failure in summary["failures"])
        assert len(built) >= 1, "the run goes on"
        assert str(tmp_path) not in json.dumps(summary["failures"])
    elif case.reason:
        assert summary["dropped_or_replaced"][case.reason] >= 1
        assert case.words in outcome.stderr
    elif case.words == "kept":
        assert summary["dropped_or_replaced"] == {}
        assert max(built.manifest["off_image_share"]) > 0.2
    else:
        assert case.words in outcome.stdout + outcome.stderr


def test_every_item_of_the_list_that_a_table_can_show_has_a_case():
    # 35: a table without gaze of an image names no such image; 38: a table says nothing of an image's size
    assert {case.item for case in CASES} == set(range(1, 41)) - {35, 38}
