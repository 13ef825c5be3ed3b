"""The report of a cache: self-contained, escaped, paged, and never blank; what it says is what the cache holds."""

import base64
import errno
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from cli_runner import run_gazekit
from memory_source import Spec
from report_case import EVIL, KNOWN, MANY, build_case, sample_table
from synthetic import write_cache

from gazekit.cache import open_cache
from gazekit.errors import InputError
from gazekit.prior import Prior
from gazekit.report import island, write_report
from gazekit.report_data import GAZE_FIELDS, image_data, merge_neighbours


class Page(HTMLParser):
    """Elements of a page, and the content of its scripts and styles."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements, self.content = [], []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.elements and self.elements[-1][0] in ("script", "style") and data.strip():
            self.content.append((*self.elements[-1], data))

    def data(self, name):
        return next(json.loads(text) for _, attrs, text in self.content if attrs.get("id") == f"{name}-data")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return open_cache(build_case(tmp_path_factory.mktemp("report")))


@pytest.fixture(scope="module")
def page(cache, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "r.html"
    write_report(cache, out, title=EVIL)
    return Page(out)


def floats(text, columns):
    return np.frombuffer(base64.b64decode(text), "<f4").reshape(-1, columns)


def test_nothing_is_loaded_and_only_this_script_and_style_may_run(page):
    policy = next(attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv"))
    assert policy.startswith("default-src 'none'; img-src data:; ")
    for name, attrs, text in page.content:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        if attrs.get("type") != "application/json":
            assert f"{name}-src 'sha256-{digest}'" in policy
        assert "url(" not in text
        assert "innerHTML" not in text
    for name, attrs in page.elements:
        assert name not in {"link", "iframe", "object", "embed", "base", "img"}
        assert not any(key.startswith("on") or key in {"style", "src", "srcset", "action"} for key in attrs)


def test_hostile_text_stays_inside_its_island(page):
    assert [name for name, _ in page.elements].count("script") == 4
    readings = page.data("readings")
    known = next(reading for reading in readings if reading["id"] == KNOWN)
    assert known["transcript"][1][0] == EVIL
    assert known["marks"][0]["names"] == [EVIL]
    assert EVIL in known["labels"]
    assert "<" not in island({"</script>": ["<!--", EVIL]})
    assert json.loads(island([EVIL])) == [EVIL]


def test_the_page_has_every_reading_and_says_who_has_no_gaze(cache, page):
    readings = page.data("readings")
    assert [reading["id"] for reading in readings] == ["99R-a1", "99R-a2", "99R-a3", KNOWN, MANY, "99R-gone"]
    assert [reading["kind"] for reading in readings] == ["measured"] * 5 + [None]
    assert any(code == "discarded" for code, _ in readings[-1]["flags"])
    assert any(code == "few_fixations" for code, _ in readings[2]["flags"])
    about = page.data("about")
    assert about["simulated"]
    assert [failure["reason"] for failure in about["failures"]] == [f["reason"] for f in cache.failures]
    assert about["fields"] == list(GAZE_FIELDS)


def test_gaze_in_the_page_is_that_of_the_cache_with_shares_of_the_image(cache, page):
    row = cache.ids.index("99b")
    record = cache[row]
    reading = next(r for r in page.data("readings") if r["id"] == KNOWN)
    table = floats(reading["gaze"], len(GAZE_FIELDS))
    np.testing.assert_allclose(table[:, [0, 1, 2, 3]], record.gaussians[:, :4])
    np.testing.assert_allclose(table[:, 9], record.onset_s, rtol=1e-6)
    np.testing.assert_allclose(table[:, 4], record.gaussians[:, 4], rtol=1e-6)
    np.testing.assert_allclose(floats(reading["patches"]["relevance"], 8), record.relevance, atol=1e-6)


def test_readers_of_one_image_are_taken_apart_and_put_together_again(cache):
    image, readings = image_data(cache, [cache.ids.index("99a")], 0)
    record = cache[cache.ids.index("99a")]
    apart = [floats(reading["patches"]["relevance"], 8) for reading in readings]
    np.testing.assert_allclose(np.mean(apart, axis=0), record.relevance, atol=1e-6)
    np.testing.assert_allclose(floats(image["together"]["relevance"], 8), record.relevance, atol=1e-6)
    assert np.shape(image["agreement"]["cc"]) == (3, 3)
    assert image["readings"] == [0, 1, 2]


def test_merged_neighbours_keep_mass_mean_variance_and_nearly_the_heat():
    table = sample_table(900)
    table[:, 0], table[:, 1] = 45 + 30 * np.sin(2 * table[:, 9]), 35 + 20 * np.cos(3 * table[:, 9])  # gaze that drifts
    table[:, 2:4] = 5
    merged = merge_neighbours(table, 200)
    assert len(merged) <= 200
    assert merge_neighbours(table, 900) is table
    assert merged[:, 4].sum() == pytest.approx(table[:, 4].sum())
    for at, spread in ((0, 2), (1, 3)):
        means = [t[:, 4] @ t[:, at] for t in (table, merged)]
        assert means[0] == pytest.approx(means[1])
        second = [t[:, 4] @ (t[:, at] ** 2 + t[:, spread] ** 2) for t in (table, merged)]
        assert second[0] == pytest.approx(second[1])
    whole, short = (Prior(t[:, :9], (70, 90)).heatmap() for t in (table, merged))
    assert np.abs(whole - short).max() < 0.01 * whole.max()
    empty = sample_table(8)
    empty[:, 4] = 0
    assert np.isfinite(merge_neighbours(empty, 2)).all()


def test_readings_beyond_a_page_go_to_linked_pages_and_images_stay_whole(cache, tmp_path):
    written = write_report(cache, tmp_path / "r.html", readings_a_page=2)
    assert (written["pages"], written["readings"], written["images"]) == (3, 6, 4)
    names = ["r.html", "r-2.html", "r-3.html"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    pages = [Page(tmp_path / name) for name in names]
    assert [len(page.data("readings")) for page in pages] == [3, 2, 1]
    assert all(page.data("about")["pages"] == names for page in pages)
    assert [page.data("about")["page"] for page in pages] == [0, 1, 2]
    index = pages[0].data("about")["index"]
    own = [[image["id"], *(r["id"] for r in page.data("readings") if r["image"] == k)] for page in pages
           for k, image in enumerate(page.data("images"))]  # fmt: skip
    assert [ids for page in index for ids in page] == own
    write_report(cache, tmp_path / "one.html")
    assert Page(tmp_path / "one.html").data("about")["index"] is None


MACHADO = {
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
"""Linear RGB as the colour-blind see it (Machado, Oliveira & Fernandes 2009, severity 1)."""


@pytest.mark.parametrize("seen", [np.eye(3), *map(np.array, MACHADO.values())], ids=["all cones", *MACHADO])
def test_colours_of_readers_can_be_told_apart_by_colour_blind_readers(seen):
    script = (resources.files("gazekit") / "report_page" / "data.js").read_text()
    colours = re.findall("#[0-9a-f]{6}", re.search(r"READER_COLOURS = \[(.*?)\]", script)[1])
    assert len(colours) >= 5, "as many as read one image of REFLACX"
    rgb = np.array([[int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)] for colour in colours])
    linear = np.clip(np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4) @ seen.T, 0, 1)
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = np.cbrt(xyz / [0.9505, 1, 1.089])
    lab = np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[~np.eye(len(lab), dtype=bool)]
    assert apart.min() > 15, "CIE76; 2.3 is just noticeable"


def test_an_empty_cache_and_one_of_failures_have_a_page_that_says_so(tmp_path):
    empty = write_cache(tmp_path / "empty", images=0)
    assert run_gazekit("report", empty, tmp_path / "e.html").code == 0
    assert Page(tmp_path / "e.html").data("about")["rows"] == 0
    specs = [Spec("99e", "99R-bad", fault="bad_table"), Spec("99f", "99R-worse", fault="unreadable")]
    failed = build_case(tmp_path, specs)
    assert run_gazekit("report", failed, tmp_path / "f.html").code == 0
    about = Page(tmp_path / "f.html").data("about")
    assert (about["rows"], about["failed"]) == (0, 2)


def test_images_without_gaze_alone_have_a_page(tmp_path):
    from memory_source import write_images

    from gazekit.build import build_heatmaps
    from gazekit.sources.images import read_images

    images = write_images(tmp_path / "xrays", [Spec("99a", None), Spec("99b", None)])
    build_heatmaps(read_images(images), images, tmp_path / "cache", executor="serial", image_size=64, heatmap_size=0)
    assert run_gazekit("report", tmp_path / "cache", tmp_path / "r.html").code == 0
    assert [reading["kind"] for reading in Page(tmp_path / "r.html").data("readings")] == [None, None]


def test_a_reading_of_zero_length_fixations_and_a_transcript_that_is_no_utf8_are_left_out_by_name(tmp_path):
    specs = [Spec("99a", "99R-a"), Spec("99z", "99R-zero", fault="zero_duration")]
    out = tmp_path / "z.html"
    assert run_gazekit("report", build_case(tmp_path, specs), out).code == 0
    page = Page(out)
    assert [reading["id"] for reading in page.data("readings")] == ["99R-a"]
    assert [failure["reason"] for failure in page.data("about")["failures"]] == ["zero_duration"]
    sample = Path(__file__).parent.parent / "data" / "sample"
    shutil.copytree(sample / "reflacx", tmp_path / "reflacx")
    said = tmp_path / "reflacx" / "main_data" / "P300R993390" / "timestamps_transcription.csv"
    said.write_bytes(said.read_bytes().replace(b"normal", b"n\xf6rmal"))
    images = ("--images", sample / "mimic-cxr", "--image-size", 64, "--limit", 5, "--executor", "serial")
    run_gazekit("build-heatmaps", tmp_path / "reflacx", tmp_path / "c2", "--dataset", "reflacx", *images)
    assert run_gazekit("report", tmp_path / "c2", out).code == 0
    failures = {failure["id"]: failure["message"] for failure in Page(out).data("about")["failures"]}
    assert "not UTF-8" in failures["P300R993390"]


def test_a_missing_shard_is_one_line_and_leaves_the_page_that_was_there(cache, tmp_path):
    shutil.copytree(cache.path, tmp_path / "cache")
    (out := tmp_path / "r.html").write_text("before")
    for name in ("image.npy", "shard.json"):
        next((tmp_path / "cache").rglob(name)).unlink()
        done = run_gazekit("report", tmp_path / "cache", out)
        assert done.code == 2
        assert f"{name} is missing" in done.stderr
    assert [out.read_text(), sorted(p.name for p in tmp_path.iterdir())] == ["before", ["cache", "r.html"]]


def test_an_out_that_is_a_folder_lies_under_a_file_or_is_refused_by_the_system_is_one_line(
    cache, tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.html").mkdir()
    for out, told in (("folder.html", "is a folder; name the page"), ("file/r.html", "is a file, not a folder")):
        done = run_gazekit("report", cache.path, tmp_path / out)
        assert (done.code, done.stderr.count("\n")) == (2, 1)
        assert told in done.stderr

    def refuse(path, *_, **__):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    drawn = []
    with pytest.raises(PermissionError):
        write_report(cache, tmp_path / "r.html", on_image=drawn.append)
    assert drawn == [], "work was done for a page that cannot be written"
    assert run_gazekit("report", cache.path, tmp_path / "r.html").code == 4


def test_sentences_and_rows_without_reading_lines_are_shown(tmp_path):
    sentences = open_cache(build_case(tmp_path, window="sentences"))
    write_report(sentences, tmp_path / "s.html")
    readings = Page(tmp_path / "s.html").data("readings")
    assert len({reading["id"] for reading in readings}) == len(readings)
    assert any(reading["window"] for reading in readings)
    plain = open_cache(write_cache(tmp_path / "plain", images=3, without_gaze=1))
    assert write_report(plain, tmp_path / "p.html")["readings"] == 3


def test_the_same_cache_gives_the_same_page(cache, tmp_path):
    for name in ("a", "b"):
        write_report(cache, tmp_path / name / "r.html")
    assert (tmp_path / "a" / "r.html").read_bytes() == (tmp_path / "b" / "r.html").read_bytes()


def test_the_command_writes_the_page_and_refuses_what_it_cannot(cache, tmp_path):
    done = run_gazekit("report", cache.path, tmp_path / "r.html", "--readings", "3", "--id", "99b", "--json")
    assert done.code == 0
    said = json.loads(done.stdout)
    assert (said["readings"], said["out"]) == (1, str(tmp_path / "r.html"))
    assert run_gazekit("report", cache.path, tmp_path / "r.txt").code == 2
    assert run_gazekit("report", cache.path, tmp_path / "r.html", "--id", "99nobody").code == 2
    with pytest.raises(InputError, match="at least 1"):
        write_report(cache, tmp_path / "r.html", readings_a_page=0)
