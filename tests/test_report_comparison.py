"""Several runs on one page: all of them in each chart, what differs between them, and what does not compare said."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run_vpmim
from run_case import EVIL, Page, write_evaluation, write_run

from vpmim.report import write_report
from vpmim.report_comparison import MAX_RUNS
from vpmim.results import ResultsError
from vpmim.run_folder import RunError
from vpmim.run_record import distinct_names


def page_of(run: Path, *others: Path, evaluations: tuple[Path, ...] = ()) -> tuple[str, str]:
    """The page's text, and its section on other runs as HTML."""
    write_report(run, compare=others, evaluations=evaluations)
    html = (run / "report.html").read_text()
    section = html.partition('id="beside-other-runs"')[2].partition("</section>")[0]
    return Page(html).text, section


def test_every_run_has_its_line_in_each_chart_and_its_own_colour(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("a", "b", "c")]
    _, section = page_of(*runs)
    charts = re.findall(r'<figure class="chart">.*?</figure>', section)
    assert [re.search(r"<strong>(.*?)</strong>", chart)[1] for chart in charts] == [
        "Loss",
        "Reconstruction loss at 4x",
        "Reconstruction loss at 0.5x",
        "Images a second",
    ]
    for chart in charts:
        assert re.findall(r'class="line (c\d d\d)"/></svg>(\w)</span>', chart) == [
            ("c1 d0", "a"),
            ("c2 d0", "b"),
            ("c3 d0", "c"),
        ]
        assert len(re.findall(r'<polyline points="[^"]+" class="line', chart)) == 3


def test_runs_beyond_the_colours_are_dashed_and_too_many_are_refused(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"run_{number:02d}", panels=0) for number in range(MAX_RUNS + 1)]
    _, section = page_of(*runs[:MAX_RUNS])
    assert len(set(re.findall(r"c\d d\d", section))) == MAX_RUNS
    with pytest.raises(RunError, match=f"at most {MAX_RUNS} runs"):
        write_report(runs[0], compare=runs[1:])


def test_settings_that_differ_are_listed_and_no_others(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", overrides=["mask.kappa=0.25"])
    text, section = page_of(first, write_run(tmp_path / "b", overrides=["mask.kappa=0.75"]))
    assert "setting a b mask.kappa 0.25 0.75" in text
    assert "mask.ratio" not in section
    assert section.count('<td class="changed">') == 1
    assert "What the loss measures, or how hard its task is, differs (mask.kappa)" in text


def test_runs_of_the_same_settings_length_and_data_raise_no_caution(tmp_path: Path) -> None:
    facts = {"data_fingerprint": "f" * 64}
    text, section = page_of(write_run(tmp_path / "a", **facts), write_run(tmp_path / "b", **facts))
    assert "None: these runs have the same settings." in text
    assert "callout" not in section
    assert "is not yet one between two methods" in text


def test_other_lengths_unfinished_runs_other_data_and_other_machines_are_said(tmp_path: Path) -> None:
    first = write_run(tmp_path / "a", data_fingerprint="a" * 64)
    short = write_run(tmp_path / "short", steps=7, planned=20, data_fingerprint="b" * 64, threads=8)
    empty = write_run(tmp_path / "empty", steps=0, panels=0, checkpoint=False)
    text, _ = page_of(first, short, empty)
    assert "short is not finished: 7 of 20 steps." in text
    assert "empty logged no step: it has no curve." in text
    assert "planned for different numbers of steps" in text
    assert "short was trained on other data than a: 12 images, 10 with gaze, fingerprint bbbbbbbbbbbb" in text
    assert "empty and the first run may have been trained on different data" in text
    assert "in different ways (threads): their throughput does not compare" in text


def test_a_run_is_not_compared_with_itself_or_with_what_is_none(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    with pytest.raises(RunError, match="given twice"):
        write_report(run, compare=[tmp_path / "b" / ".." / "a"])
    with pytest.raises(RunError, match="holds no run"):
        write_report(run, compare=[tmp_path])
    assert not (run / "report.html").exists()


def test_runs_are_named_by_what_tells_them_apart() -> None:
    names = distinct_names([Path("/x/demo/run"), Path("/x/grid/a/seed_0/run"), Path("/x/grid/b/seed_0/run")])
    assert names == ["demo", "grid/a/seed_0", "grid/b/seed_0"]
    assert distinct_names([Path("/x/a"), Path("/y/z/b")]) == ["a", "b"]
    assert distinct_names([Path("/x/run")]) == ["run"]
    assert distinct_names([Path("/x/run"), Path("/x/y/run")]) == ["run", "y/run"]


def test_evaluations_of_the_same_test_images_stand_side_by_side_with_paired_differences(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    evaluations = (
        write_evaluation(tmp_path / "one", auc=0.7),
        write_evaluation(tmp_path / "two", auc=0.75, seed=1),
        write_evaluation(tmp_path / "elsewhere", auc=0.9, images=50),
    )
    text, _ = page_of(run, evaluations=evaluations)
    assert "Side by side" in text
    assert "0.700 (0.600 to 0.800)" in text
    assert "minus one (95 % interval)" in text
    assert re.search(r"two run cached, cls, 100% of the labels 0\.750 \(0\.650 to 0\.850\) [+-]\d\.\d{3} \([+-]", text)
    assert "other test images or labels stand apart" in text
    assert "minus elsewhere (95 % interval)" in text


def test_evaluations_of_the_same_images_with_other_label_values_stand_apart(tmp_path: Path) -> None:
    one, two, three = (
        write_evaluation(tmp_path / name, seed=seed) for seed, name in enumerate(("one", "two", "three"))
    )
    with np.load(two / "scores.npz") as found:
        arrays = dict(found)
    arrays["labels"][:2] = arrays["labels"][1::-1]
    np.savez(two / "scores.npz", **arrays)
    text, _ = page_of(write_run(tmp_path / "run"), evaluations=(one, two, three))
    assert "other test images or labels stand apart" in text
    difference = r"[+-]\d\.\d{3} \([+-]"
    assert re.search(rf"three run cached, cls, 100% of the labels 0\.700 \(0\.600 to 0\.800\) {difference}", text)
    assert not re.search(rf"two run cached, cls, 100% of the labels 0\.700 \(0\.600 to 0\.800\) {difference}", text)


@pytest.mark.parametrize(
    "wrong",
    [
        {"split": {"name": "as given", "test": {"images": 40, "sha256": "40"}}},
        {"encoder": {}},
        {"systems": {}},
        {"systems": []},
        {"label_fraction": "all"},
    ],
)
@pytest.mark.parametrize("broken", ["one", "two"])
def test_results_without_a_figure_are_named_with_the_cure(tmp_path: Path, broken: str, wrong: object) -> None:
    run = write_run(tmp_path / "run")
    evaluations = [write_evaluation(tmp_path / name) for name in ("one", "two")]
    path = tmp_path / broken / "results.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | wrong))
    with pytest.raises(ResultsError, match=rf"/{broken}/results\.json: lacks a figure .*; remove it and evaluate anew"):
        write_report(run, evaluations=evaluations)


def test_scores_without_the_encoder_are_named_with_the_cure(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    evaluations = [write_evaluation(tmp_path / name) for name in ("one", "two")]
    with np.load(evaluations[1] / "scores.npz") as found:
        arrays = dict(found)
    np.savez(evaluations[1] / "scores.npz", **{name: arrays[name] for name in arrays if name != "scores_encoder"})
    with pytest.raises(ResultsError, match=r"two/scores\.npz: cannot be read .*; remove results\.json beside it"):
        write_report(run, evaluations=evaluations)


def test_scores_that_are_gone_are_named(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    evaluations = [write_evaluation(tmp_path / name) for name in ("one", "two")]
    (evaluations[1] / "scores.npz").unlink()
    with pytest.raises(ResultsError, match=r"two/scores\.npz"):
        write_report(run, evaluations=evaluations)


def test_hostile_names_of_runs_stay_text(tmp_path: Path) -> None:
    other = write_run(tmp_path / "b</script><img src=x onerror=alert(1)>", device=EVIL)
    run = write_run(tmp_path / "a")
    text, section = page_of(run, other)
    assert "script><img src=x onerror=alert(1)>" in text
    assert "<img" not in section
    assert "<script" not in section


def test_the_command_compares_runs(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    done = run_vpmim("report", a, tmp_path / "r.html", "--compare", b, "--title", "Both")
    assert done.code == 0, done.stderr
    assert "<h1>Both</h1>" in (tmp_path / "r.html").read_text()
    refused = run_vpmim("report", a, "--compare", tmp_path / "none")
    assert refused.code == 2
    assert refused.stderr.count("\n") == 1
    assert "holds no run" in refused.stderr
