"""What the tables of bad inputs are made of: a data set that is right, one change to it, and what must be said."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli_runner import Outcome, run_gazekit
from dicom_factory import full_window, gradient, make_dicom
from reflacx_tree import (
    FIXATIONS,
    FIXATIONS_HEADER,
    IMAGE_A,
    IMAGE_B,
    LABELS_1,
    LABELS_3,
    METADATA_1,
    METADATA_3,
    METADATA_HEADER,
    csv_text,
    put,
    write_metadata,
    write_reading,
)
from typer.testing import CliRunner

from gazekit.cache import open_cache
from gazekit.errors import InputError
from gazekit_cli.main import app

Break = Callable[[Path], object]
"""What spoils a data set under its root."""

READING, OTHER_READING = "P102R000111", "P102R000444"
SMALL = ("--image-size", "32", "--grid", "4", "--heatmap-size", "0", "--executor", "serial")
HEADER_1 = [*METADATA_HEADER, *LABELS_1]


@dataclass(frozen=True)
class Tree:
    """A REFLACX data set of three readings of two images, all of them right, to be spoiled."""

    root: Path

    @property
    def reflacx(self) -> Path:
        return self.root / "reflacx"

    @property
    def images(self) -> Path:
        return self.root / "mimic"

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def metadata(self) -> Path:
        return self.reflacx / "main_data" / "metadata_phase_1.csv"

    @property
    def fixations(self) -> Path:
        return self.reflacx / "main_data" / READING / "fixations.csv"

    @property
    def image(self) -> Path:
        return self.images / IMAGE_A

    def make(self) -> Tree:
        write_metadata(self.reflacx, 1, [row for row in METADATA_1 if row[2] == "False"])
        write_metadata(self.reflacx, 3, METADATA_3)
        for reading, labels in ((READING, LABELS_1), (OTHER_READING, LABELS_1), ("P300R000333", LABELS_3)):
            write_reading(self.reflacx, reading, labels)
        for path, shape in ((self.image, (120, 160)), (self.images / IMAGE_B, (250, 201))):
            path.parent.mkdir(parents=True)
            make_dicom(path, gradient(shape, 12), bits_stored=12, **full_window(12))
        return self

    def put_fixations(self, rows: Iterable[Sequence[Any]], header: Sequence[str] = FIXATIONS_HEADER) -> None:
        """The fixations of `READING`, written anew."""
        put(self.fixations, csv_text(header, rows))

    def change_fixation(self, column: str, value: str, row: int = 1) -> None:
        """One cell of the fixations of `READING`."""
        self.put_fixations(changed(FIXATIONS, row, column, value, FIXATIONS_HEADER))

    def change_metadata(self, column: str, value: str, row: int = 0) -> None:
        """One cell of the first phase's table."""
        rows = [row for row in METADATA_1 if row[2] == "False"]
        put(self.metadata, csv_text(HEADER_1, changed(rows, row, column, value, HEADER_1)))

    def build(self, *options: object) -> Outcome:
        """``gazekit build-heatmaps`` on it."""
        arguments = ("--dataset", "reflacx", "--images", self.images, *SMALL, "--json", *options)
        return run_gazekit("build-heatmaps", self.reflacx, self.cache, *arguments)


def changed(rows: Sequence[Sequence[str]], row: int, column: str, value: str, header: Sequence[str]) -> list[list[str]]:
    """`rows` with one cell replaced."""
    out = [list(cells) for cells in rows]
    out[row][list(header).index(column)] = value
    return out


@dataclass(frozen=True)
class Case:
    """One bad input.

    `code` is the exit code; `reason` that of the one skipped record (exit 1); `words` stand in the error line (exit
    2, 4), in the record's message (exit 1), or in what is reported of a record that is kept (0; 1 if it lost rows).
    """

    item: int
    title: str
    spoil: Callable[[Tree], object]
    code: int
    words: tuple[str, ...]
    reason: str = ""
    options: tuple[object, ...] = field(default=())

    def __str__(self) -> str:
        return f"{self.item} {self.title}"


SKIPPED_ROWS = {
    "not_a_number",
    "missing_time",
    "missing_position",
    "end_before_start",
    "bad_resolution",
    "bad_rectangle",
}
"""Why one row of a table of fixations is skipped and its reading kept: items 13, 14, 17, 25, 26, exit code 1."""


def exit_code(code: int, stdout: str) -> int:
    """That of a case whose reading is kept (0): 1 where the reading was kept without some of its rows."""
    lost = code == 0 and SKIPPED_ROWS & set(json.loads(stdout)["dropped_or_replaced"])
    return 1 if lost else code


def check_case(case: Case, root: Path) -> None:
    """Spoil a data set, build it, and hold what is said against the case."""
    tree = Tree(root).make()
    case.spoil(tree)
    outcome = tree.build(*case.options)
    assert outcome.code == exit_code(case.code, outcome.stdout), outcome
    for text in outcome[1:]:
        assert "Traceback" not in text
    if case.code in (2, 4):
        [said] = [line for line in outcome.stderr.splitlines() if line.startswith("error: ")]
        assert not tree.cache.exists(), "nothing is written"
    elif case.code == 1:
        failures = json.loads(outcome.stdout)["failures"]
        assert {failure["reason"] for failure in failures} == {case.reason}, failures
        said = " ".join(failure["message"] for failure in failures)
        assert len(open_cache(tree.cache, verify=True)) >= 1, "the run goes on"
        assert str(root) not in said
    else:
        said = outcome.stderr + outcome.stdout
        assert len(open_cache(tree.cache, verify=True)) == 2
    for words in case.words:
        assert words in said, said


def built(root: Path, dataset: str, *more: str) -> tuple[int, dict, str]:
    """Exit code, summary and messages of the command line."""
    command = ["build-heatmaps", str(root), str(root.parent / "cache"), "--dataset", dataset, "--json", *more]
    command += ["--images", str(root.parent / "images")] if dataset == "egd" else []
    run = CliRunner().invoke(app, [*command, "--executor", "serial", "--image-size", "32", "--heatmap-size", "0"])
    if isinstance(run.exception, ValueError):  # what main() turns into one line and exit code 2
        assert isinstance(run.exception, InputError)
        return 2, {}, str(run.exception)
    return run.exit_code, json.loads(run.stdout), run.stderr
