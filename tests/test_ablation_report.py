"""The page of an ablation: every arm with its figures, links that lead to each run's report, honest about gaps."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from urllib.parse import unquote

import pytest
from cli_runner import run_vpmim
from run_case import EVIL, Page, write_ablation, write_evaluation, write_run

from vpmim.report_ablation import write_ablation_report
from vpmim.results import ResultsError

ARMS = {"VP-MIM": (), "random masks": ("mask.kind=random",), EVIL: ("loss.gaze_weighting=none",)}


def links(page: Path) -> list[str]:
    found = [attrs["href"] for name, attrs in Page(page.read_text()).elements if name == "a"]
    return [unquote(href) for href in found if not href.startswith("#")]


def change(path: Path, **values: object) -> None:
    """Write other values into a JSON object."""
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_each_arm_has_its_figures_and_links_to_a_report_of_every_run(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path / "grid", ARMS, panels=0)
    done = write_ablation_report(folder)
    page = folder / "report.html"
    assert done["report"] == str(page)
    assert done["sections"] == ["Arms", "What the arms differ in", "Training", "Runs"]
    text = Page(page.read_text()).text
    assert "random masks 2 0.720 (0.600 to 0.800) 0.0120 +0.020 (-0.030 to +0.070) 0.31 seed 0 seed 1" in text
    assert 'mask.kind "regions" "random" "regions"' in text
    assert set(links(page)) == {
        f"{arm}/seed_{seed}/run/report.html"
        for arm in ("vp_mim", "random_masks", "script_alert_1_script_img_src_evil_example_x_onerror_alert_1")
        for seed in (0, 1)
    }
    own = {"vp_mim": "0.700 (0.600 to 0.800)", "random_masks": "0.720 (0.620 to 0.820)"}
    for link in links(page):
        report = folder / link
        assert own.get(link.partition("/")[0], "0.740 (0.640 to 0.840)") in Page(report.read_text()).text
        assert (report.parent / links(report)[0]).resolve() == page.resolve(), "and back"


def test_names_of_arms_stay_text(tmp_path: Path) -> None:
    write_ablation_report(write_ablation(tmp_path / "grid", ARMS, panels=0))
    page = Page((tmp_path / "grid" / "report.html").read_text())
    assert page.text.count(EVIL) >= 4
    assert {name for name, _ in page.elements}.isdisjoint({"script", "img"})


def test_a_page_elsewhere_links_to_the_same_reports(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path / "my grid #1", {"a": (), "b": ("mask.kappa=0.25",)}, panels=0)
    page = tmp_path / "pages" / "p.html"
    write_ablation_report(folder, page, title="Mine")
    assert links(page)
    for link in links(page):
        assert (page.parent / link).exists()


def test_reports_are_made_where_they_are_missing_or_older_than_the_evaluation(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path / "grid", {"a": (), "b": ()}, panels=0)
    write_ablation_report(folder)
    kept, missing, stale = (folder / f"{cell}/run/report.html" for cell in ("a/seed_0", "a/seed_1", "b/seed_0"))
    kept.write_text("kept")
    missing.unlink()
    stale.write_text("stale")
    os.utime(stale, (time.time() - 3600,) * 2)
    write_ablation_report(folder)
    assert kept.read_text() == "kept"
    assert missing.exists()
    assert stale.read_text() != "stale"


def test_unfinished_ablations_and_other_data_are_said(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path / "grid", {"a": (), "b": ()}, panels=0, data_fingerprint="a" * 64)
    write_run(folder / "a" / "seed_2" / "run", panels=0, data_fingerprint="b" * 64)
    rows = json.loads((folder / "table.json").read_text())
    rows[0]["seeds"] = 3
    (folder / "table.json").write_text(json.dumps(rows))
    write_ablation_report(folder)
    text = Page((folder / "report.html").read_text()).text
    assert "different numbers of evaluated runs" in text
    assert "compared with it over the seeds that both have" in text
    assert "1 run was begun and is not evaluated yet" in text
    assert "Not all runs were trained on the same data" in text
    assert "not evaluated" in text[text.index("a, seed 2") :]


def test_a_run_that_cannot_be_shown_is_named_and_costs_no_other(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path / "grid", {"a": (), "b": ()})
    damaged = folder / "b" / "seed_1" / "run" / "panels" / "step_00000040.npz"
    damaged.write_bytes(b"PK\x03\x04 truncated")
    write_ablation_report(folder)
    text = Page((folder / "report.html").read_text()).text
    assert "seed 1: none" in text
    assert "step_00000040.npz: cannot be read" in text
    assert len(set(links(folder / "report.html"))) == 3


def test_the_arms_of_a_finished_ablation_need_no_word_on_shared_seeds(tmp_path: Path) -> None:
    write_ablation_report(write_ablation(tmp_path, {"a": (), "b": ()}, panels=0))
    assert "over the seeds that both have" not in Page((tmp_path / "report.html").read_text()).text


@pytest.mark.parametrize("simulated", [True, False])
def test_simulated_gaze_is_said(tmp_path: Path, simulated: bool) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, seeds=(0,), panels=0)
    data = [{"images": 12, "with_gaze": 10, "simulated": simulated}]
    change(folder / "b" / "seed_0" / "run" / "environment.json", data=data)
    write_ablation_report(folder)
    assert ("The gaze is simulated" in Page((folder / "report.html").read_text()).text) is simulated


@pytest.mark.parametrize(
    ("fingerprints", "says"),
    [
        ((None, None), "Whether they were trained on the same data is not recorded."),
        (("a", None), "Whether they were trained on the same data is not recorded."),
        (("a", "a"), "They were trained on the same data."),
        (("a", "b"), "They were not trained on the same data."),
    ],
)
def test_the_same_data_is_claimed_only_where_every_run_recorded_it(
    tmp_path: Path, fingerprints: tuple[str | None, str | None], says: str
) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, seeds=(0,), panels=0)
    for arm, fingerprint in zip("ab", fingerprints, strict=True):
        if fingerprint is not None:
            change(folder / arm / "seed_0" / "run" / "environment.json", data_fingerprint=fingerprint)
    write_ablation_report(folder)
    text = Page((folder / "report.html").read_text()).text
    assert f"Settings of each arm's first run. {says}" in text
    assert ("Whether all runs were trained on the same data is not recorded" in text) == (None in fingerprints)
    assert ("Not all runs were trained on the same data" in text) == (fingerprints == ("a", "b"))


@pytest.mark.parametrize("data", ["x", [1], [{"images": 4, "with_gaze": None}], {"images": 4}])
def test_a_run_with_a_damaged_record_of_its_data_is_named_and_costs_no_other(tmp_path: Path, data: object) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, panels=0)
    change(folder / "b" / "seed_1" / "run" / "environment.json", data=data)
    write_ablation_report(folder)
    text = Page((folder / "report.html").read_text()).text
    assert "environment.json: data is not a list of caches and folders" in text
    assert len(set(links(folder / "report.html"))) == 3


@pytest.mark.parametrize(
    "wrong",
    [
        *(
            {"systems": systems}
            for systems in ({}, [], {"encoder": {}}, {"encoder": {"mean": {"auc": {"value": "x"}}}})
        ),
        {"split": {"name": "own"}},
        {"bootstrap": {"draws": "many"}},
    ],
)
@pytest.mark.parametrize("shown_before", [False, True])
def test_results_without_a_figure_are_refused_by_name_with_the_cure(
    tmp_path: Path, wrong: dict[str, object], shown_before: bool
) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, panels=0)
    if shown_before:  # the report of the run is there, and only its line on the page needs the figure
        write_ablation_report(folder)
    change(folder / "b" / "seed_1" / "eval" / "results.json", **wrong)
    with pytest.raises(ResultsError, match=r"b/seed_1/eval/results\.json: lacks a figure.*remove .*b/seed_1/eval,"):
        write_ablation_report(folder)


def test_a_run_that_has_logged_nothing_yet_has_its_report(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, panels=0)
    begun = write_run(folder / "b" / "seed_2" / "run", panels=0, steps=0, checkpoint=False)
    (begun / "metrics.jsonl").unlink()
    write_ablation_report(folder)
    assert "b/seed_2/run/report.html" in links(folder / "report.html")
    assert "No step was logged" in Page((begun / "report.html").read_text()).text


@pytest.mark.parametrize(
    "wrong",
    [{name: None} for name in ("auc", "p", "difference_low")]
    + [{name: "x"} for name in ("auc", "low", "sd_over_seeds", "difference", "p", "auc pneumonia")]
    + [{"arm": 1}, {"seeds": "2"}],
)
def test_a_table_with_a_figure_that_is_none_is_refused_by_name(tmp_path: Path, wrong: dict[str, object]) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, seeds=(0,), panels=0)
    first, second = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps([first, second | wrong]))
    with pytest.raises(ResultsError, match=r"table\.json: not the table of an ablation"):
        write_ablation_report(folder)


@pytest.mark.parametrize("name", ["low", "high", "difference_low", "difference_high", "sd_over_seeds", "p"])
def test_a_table_without_a_column_is_refused_by_name(tmp_path: Path, name: str) -> None:
    folder = write_ablation(tmp_path, {"a": (), "b": ()}, seeds=(0,), panels=0)
    rows = json.loads((folder / "table.json").read_text())
    (folder / "table.json").write_text(json.dumps([{k: v for k, v in row.items() if k != name} for row in rows]))
    with pytest.raises(ResultsError, match=r"table\.json: not the table of an ablation"):
        write_ablation_report(folder)


@pytest.mark.parametrize("table", ["[]", "{", '[{"arm": "a"}]', '{"arm": 1}', "[1]"])
def test_what_is_no_table_of_an_ablation_is_refused(tmp_path: Path, table: str) -> None:
    (tmp_path / "table.json").write_text(table)
    with pytest.raises(ResultsError, match=r"table\.json"):
        write_ablation_report(tmp_path)
    outcome = run_vpmim("report", tmp_path)
    assert (outcome.code, outcome.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "report.html").exists()


def test_the_command_takes_the_folder_of_an_ablation_but_no_option_of_a_run(tmp_path: Path) -> None:
    folder = write_ablation(tmp_path / "grid", {"a": (), "b": ()}, panels=0)
    done = run_vpmim("report", folder, "--json")
    assert done.code == 0, done.stderr
    assert json.loads(done.stdout)["out"] == str(folder / "report.html")
    refused = run_vpmim("report", folder, "--eval", write_evaluation(tmp_path / "eval"))
    assert refused.code == 2
    assert "name one of its runs" in refused.stderr
