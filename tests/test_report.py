"""The report: complete, self-contained, escaped, and honest about runs that show little."""

import base64
import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from cli_runner import run_vpmim
from run_case import EVIL, Page, panel_arrays, write_evaluation, write_run
from synthetic import write_cache

from gazekit.cache import open_cache
from vpmim.markup import Html, join, tag
from vpmim.report import write_report
from vpmim.report_gaze import readings_gallery
from vpmim.report_panels import training_cards
from vpmim.results import ResultsError
from vpmim.run_folder import RunError

SECTIONS = ["What a step sees and makes", "Training", "Evaluation", "Configuration", "Environment"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A report of everything at once."""
    root = tmp_path_factory.mktemp("report")
    cache = write_cache(root / "cache", images=8, without_gaze=2)
    run = write_run(
        root / "run", panels=3, data=[{"images": 8, "with_gaze": 6, "fingerprint": open_cache(cache).fingerprint}]
    )
    evaluation = write_evaluation(root / "eval", classes=("pneumonia", "effusion"))
    done = write_report(run, root / "out" / "report.html", cache=cache, evaluations=[evaluation])
    text = (root / "out" / "report.html").read_text(encoding="utf-8")
    return SimpleNamespace(done=done, text=text, page=Page(text))


def test_every_section_is_there_and_linked(whole):
    assert whole.done["sections"] == ["Gaze on the images", *SECTIONS]
    headings = [tag for tag, _ in whole.page.elements if tag == "h2"]
    assert len(headings) == 6
    anchors = {attrs["id"] for tag, attrs in whole.page.elements if tag == "section"}
    assert {attrs["href"].removeprefix("#") for tag, attrs in whole.page.elements if tag == "a"} == anchors
    for words in ("mean AUC", "chance", "pneumonia", "Learning rate", "mask.kappa", "device", "weight of each cell"):
        assert words in whole.page.text


def test_nothing_is_loaded_from_anywhere_and_one_script_runs_which_the_policy_names(whole):
    assert [attrs for name, attrs in whole.page.elements if name == "script"] == [{}]
    for name, attrs in whole.page.elements:
        assert name not in {"link", "iframe", "object", "embed", "base", "form", "img"}
        for key, value in attrs.items():
            assert not key.startswith("on")
            assert key not in {"style", "src", "srcset"}
            if key == "href":
                assert value.startswith("data:image/" if name == "image" else "#")
    assert "url(" not in whole.page.style
    assert "@import" not in whole.page.style


def test_the_content_policy_allows_this_style_this_script_and_embedded_pictures_alone(whole):
    policy = next(attrs["content"] for name, attrs in whole.page.elements if attrs.get("http-equiv"))
    style, script = (
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (whole.page.style, whole.page.script)
    )
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'; "
        "base-uri 'none'; form-action 'none'"
    )


def test_both_colour_schemes_and_narrow_screens_are_provided_for(whole):
    assert "prefers-color-scheme: dark" in whole.page.style
    assert "max-width: 640px" in whole.page.style
    assert any(attrs.get("name") == "viewport" for _, attrs in whole.page.elements)


def test_pictures_are_whole(whole):
    import io

    from PIL import Image

    pictures = [attrs["href"] for name, attrs in whole.page.elements if name == "image"]
    assert len(pictures) > 20
    for uri in pictures:
        Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).load()


def test_simulated_gaze_and_a_small_run_are_said_first(whole):
    first = whole.page.text[:1500]
    assert "The gaze is simulated." in first
    assert "no evidence for or against the method" in first


@pytest.mark.parametrize("simulated", [True, False])
def test_a_page_without_the_cache_says_too_that_its_gaze_is_simulated(tmp_path, simulated):
    parts = [{"images": 8, "with_gaze": 6, "simulated": simulated}, {"images": 9, "with_gaze": 0, "simulated": False}]
    run = write_run(tmp_path / "run", data=parts)
    write_report(run, tmp_path / "report.html")
    assert ("The gaze is simulated." in (tmp_path / "report.html").read_text(encoding="utf-8")) is simulated


@pytest.mark.parametrize(("difference", "shown"), [((-0.1, 0.2), True), ((0.01, 0.09), False)])
def test_a_difference_is_claimed_only_where_its_interval_leaves_zero_out(tmp_path, difference, shown):
    run = write_run(tmp_path / "run")
    evaluation = write_evaluation(tmp_path / "eval", difference=difference)
    write_report(run, evaluations=[evaluation])
    text = Page((run / "report.html").read_text()).text
    assert ("no difference is shown" in text) == shown
    assert "encoder minus raw pixels: +0.050" in text


def test_a_run_that_never_reached_a_checkpoint_has_a_page_that_says_so(tmp_path):
    run = write_run(tmp_path / "run", steps=0, panels=0, checkpoint=False)
    (run / "metrics.jsonl").unlink()
    assert write_report(run)["sections"] == SECTIONS
    text = Page((run / "report.html").read_text()).text
    assert "has not reached a checkpoint" in text
    assert "no step was logged" in text
    assert "No panels were saved" in text
    assert "No evaluation was given" in text


def test_an_unfinished_run_says_how_far_it_came(tmp_path):
    run = write_run(tmp_path / "run", steps=7, planned=40)
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "lo')
    write_report(run)
    assert "not finished: 7 of 40 steps" in Page((run / "report.html").read_text()).text


def test_hostile_names_notes_and_values_stay_text(tmp_path):
    run = write_run(tmp_path / "run<img src=x>", git={"commit": EVIL}, device=EVIL, command=[EVIL])
    evaluation = write_evaluation(tmp_path / "eval", classes=(EVIL, "b"))
    write_report(run, tmp_path / "report.html", evaluations=[evaluation], notes=[EVIL])
    page = Page((tmp_path / "report.html").read_text())
    assert [name for name, _ in page.elements if name in ("script", "img")] == ["script"]  # the slider's
    assert page.text.count(EVIL) >= 4
    assert "run<img src=x>" in page.text


def test_hostile_ids_of_a_cache_stay_text(tmp_path):
    from dataclasses import replace

    cache = open_cache(write_cache(tmp_path / "cache", images=4))
    record = replace(cache[0], id=EVIL)

    class Stub:
        offsets, grid = np.array([0, len(record.gaussians)]), cache.grid

        def __getitem__(self, row):
            return record

    (card,) = readings_gallery(Stub())
    page = Page(card)
    assert {name for name, _ in page.elements}.isdisjoint({"script", "img"})
    assert EVIL in page.text


def test_a_cache_that_the_run_did_not_see_is_called_out(tmp_path):
    run = write_run(tmp_path / "run")
    write_report(run, cache=write_cache(tmp_path / "cache", images=4))
    assert "not among those the run was trained on" in Page((run / "report.html").read_text()).text


def test_pixel_runs_are_shown_as_pixels(tmp_path):
    run = write_run(tmp_path / "run", config="mae")
    write_report(run)
    text = Page((run / "report.html").read_text()).text
    assert "own mean and contrast" in text
    assert "Glyphs" not in text


def test_an_image_without_gaze_is_shown_as_such():
    (card,) = training_cards([panel_arrays(1, gaze=False)], pixels=False, count=4)
    assert "No gaze went into" in card
    assert "recalibrated" not in card


def frames(page):
    """Steps, of those on the slider, at which each version of a picture or caption is shown, and whether it is now."""
    return [
        (int(attrs["data-first"]), int(attrs["data-last"]), "now" in attrs["class"])
        for _, attrs in page.elements
        if "data-first" in attrs
    ]


def test_what_is_the_same_at_all_steps_is_embedded_once_and_the_rest_once_a_version():
    first, third = panel_arrays(1), panel_arrays(1)
    third["prediction_4x"] = 1 - third["prediction_4x"]
    (card,) = training_cards([first, first, third], pixels=False, count=4)
    assert frames(Page(card)) == [(0, 1, False), (2, 2, True)]
    (card,) = training_cards([first, first], pixels=False, count=4)
    assert frames(Page(card)) == []


def test_weights_of_all_steps_have_one_scale():
    first, second = panel_arrays(1, pixels=True), panel_arrays(1, pixels=True)
    second["weights_1x"] = np.full_like(second["weights_1x"], 5)
    (card,) = training_cards([first, second], pixels=True, count=1)
    assert "weight of each cell's error, 0 to 5" in Page(card).text


def test_a_mask_that_changes_from_step_to_step_is_shown_with_its_own_counts():
    first, second = panel_arrays(1, gaze=False), panel_arrays(1, gaze=False)
    second["mask"] = np.zeros_like(second["mask"])
    (card,) = training_cards([first, second], pixels=False, count=1)
    assert "hidden: 0 of 25" in Page(card).text
    assert f"hidden: {first['mask'].sum()} of 25" in Page(card).text


def test_the_slider_has_the_saved_steps_with_their_losses_and_at_most_twelve(tmp_path):
    run = write_run(tmp_path / "run", overrides=["target.kind=pixel", "decoder.scales=[1]", "decoder.taps=[0]"])
    for step in range(1, 40):
        np.savez(run / "panels" / f"step_{step:08d}.npz", **panel_arrays(1, pixels=True))
    write_report(run)
    page = Page((run / "report.html").read_text())
    said = [attrs["label"] for name, attrs in page.elements if name == "option"]
    assert len(said) == 12
    assert (said[0], said[-1]) == ("step 0 of 40: before training", "step 40 of 40: loss 0.100")
    assert "12 of 41 saved steps: 0, 4, 7," in page.text


def test_one_saved_step_has_no_slider_and_no_script(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "panels" / "step_00000000.npz").unlink()
    write_report(run)
    page = Page((run / "report.html").read_text())
    assert "All 1 saved steps" not in page.text
    assert {name for name, _ in page.elements}.isdisjoint({"script", "input"})


def test_a_figure_without_an_interval_is_shown_without_one(tmp_path):
    run = write_run(tmp_path / "run")
    evaluation = write_evaluation(tmp_path / "eval")
    record = json.loads((evaluation / "results.json").read_text())
    for figure in (record["systems"]["encoder"]["mean"]["auc"], record["differences"]["raw pixels"]["mean"]["auc"]):
        figure |= {"low": None, "high": None}
    (evaluation / "results.json").write_text(json.dumps(record))
    write_report(run, evaluations=[evaluation])
    text = Page((run / "report.html").read_text()).text
    assert "encoder 0.700 0.700 (" in text
    assert "raw pixels: +0.050; no interval could be drawn" in text


def test_settings_that_differ_from_the_defaults_stand_first(tmp_path):
    run = write_run(tmp_path / "run", overrides=["mask.kappa=0.125"])
    write_report(run)
    page = Page((run / "report.html").read_text())
    assert "2 of " in page.text  # model.init too
    first, rest = page.text[page.text.index("settings differ") :].split("The other", 1)
    assert "mask.kappa 0.125 0.5" in first
    assert "mask.kappa " not in rest


def test_what_is_no_run_no_evaluation_or_no_panel_is_refused_by_name(tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        write_report(tmp_path)
    run = write_run(tmp_path / "run")
    evaluation = write_evaluation(tmp_path / "eval")
    (evaluation / "results.json").write_text('{"format": 1, "systems": {"encoder": {}}}')
    with pytest.raises((ResultsError, RunError), match="eval"):
        write_report(run, evaluations=[evaluation])
    (run / "panels" / "step_00000040.npz").write_bytes(b"PK\x03\x04 truncated")
    with pytest.raises(RunError, match="step_00000040"):
        write_report(run)
    assert not (run / "report.html").exists()


@pytest.mark.parametrize("data", ["x", [1], [{"images": 4, "with_gaze": None}]])
def test_a_damaged_record_of_the_data_is_refused_by_name(tmp_path, data):
    run = write_run(tmp_path / "run", data=data)
    with pytest.raises(RunError, match=r"environment\.json: data is not a list"):
        write_report(run)


def test_the_command_refuses_what_it_cannot_show_in_one_line(tmp_path):
    run, other = write_run(tmp_path / "run"), write_run(tmp_path / "other")
    (run / "panels" / "step_00000040.npz").write_bytes(b"PK\x03\x04 truncated")
    (tmp_path / "no_eval").mkdir()
    for arguments, names in (
        ((run,), "step_00000040.npz"),
        ((other, "--eval", tmp_path / "no_eval"), "no_eval: no results.json"),
        ((other, "--cache", tmp_path / "no_cache"), "no_cache"),
        ((tmp_path,), "holds no run"),
    ):
        outcome = run_vpmim("report", *arguments)
        assert (outcome.code, outcome.stdout, outcome.stderr.count("\n")) == (2, "", 1), arguments
        assert names in outcome.stderr
    assert not list(tmp_path.rglob("*.html"))


def test_a_damaged_line_of_metrics_is_refused_unless_it_is_the_last(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2}\n{"step": 2, "lo\n{"step": 3, "loss": 1}\n')
    with pytest.raises(RunError, match="line 2"):
        write_report(run)


def test_the_same_run_gives_the_same_page(tmp_path):
    run = write_run(tmp_path / "run")
    write_report(run, tmp_path / "a.html")
    write_report(run, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_markup_escapes_text_and_attributes_but_not_itself():
    inner = tag("b", "<&>", title='"quoted"', class_="x")
    assert inner == '<b title="&quot;quoted&quot;" class="x">&lt;&amp;&gt;</b>'
    assert join("a<", inner, None, [1, 0.5]) == Html(f"a&lt;{inner}10.5")
    assert tag("line", x1=1.23456789, stroke_width=2) == '<line x1="1.23457" stroke-width="2"/>'
