"""The spec of a tracker's data set: what it says is what was written, and what is wrong is named with its cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gazekit import InputError, Screen
from gazekit.sources.spec import ScreenSpec, Spec, merged_screen, parse_spec, read_spec

WHOLE = """
[screen]
size_px = [1920, 1080]
size_mm = [530, 300.5]
distance_mm = 650

[columns]
time = "t"
x = "gaze x"
y = "gaze y"
stimulus = "picture"

[units]
time = "ms"
position = "screen_share"

[lost]
positions = [-1, 0.0, "NA"]
validity = [0, "BLINK"]

[events]
source = "detect"
algorithm = "ivt"
velocity_threshold = 30
max_gap = 0.05

[stimuli]
placement = "stretch"
ignore = ["blank*"]

[[stimulus]]
name = "picture 7.png"
image = "files/p99/s1.dcm"
rectangle = [420, 0, 1500, 1080]
patient_id = "99001"

[[stimulus]]
name = "8"
image_id = "99chest8"

[readers]
"recording 1" = "99A"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "lab.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_spec_says_what_was_written(tmp_path: Path):
    spec = read_spec(write(tmp_path, WHOLE))
    assert spec.screen == ScreenSpec((1920, 1080), (530, 300.5), 650)
    assert dict(spec.columns) == {"time": "t", "x": "gaze x", "y": "gaze y", "stimulus": "picture"}
    assert (spec.units.time, spec.units.position) == ("ms", "screen_share")
    assert spec.lost.positions == (-1, 0.0, "NA")
    assert spec.lost.validity == ("0", "BLINK")
    assert (spec.events.source, spec.events.algorithm) == ("detect", "ivt")
    assert spec.events.thresholds == {"velocity_threshold": 30, "max_gap": 0.05}
    assert spec.stimuli.placement == "stretch"
    assert spec.stimuli.ignores("blank 3")
    assert not spec.stimuli.ignores("picture 7.png")
    seven, eight = spec.stimulus["picture 7.png"], spec.stimulus["8"]
    assert (seven.image, seven.image_id, seven.rectangle) == ("files/p99/s1.dcm", "s1", (420, 0, 1500, 1080))
    assert (seven.patient_id, seven.split, seven.view) == ("99001", None, None)
    assert (eight.image, eight.image_id, eight.rectangle) == ("99chest8", "99chest8", None)
    assert dict(spec.readers) == {"recording 1": "99A"}


def test_no_spec_says_nothing_and_a_spec_is_taken_as_it_is():
    assert read_spec(None) == Spec()
    spec = parse_spec({"units": {"time": "us"}})
    assert read_spec(spec) is spec


def test_the_digest_is_of_what_is_said_not_of_how(tmp_path: Path):
    digest = read_spec(write(tmp_path, WHOLE)).digest()
    sections = WHOLE.split("\n\n")
    assert read_spec(write(tmp_path, "# a comment\n" + "\n\n".join(sections[::-1]))).digest() != Spec().digest()
    tables_first = "\n\n".join([s for s in sections if "[[" not in s][::-1] + [s for s in sections if "[[" in s])
    assert read_spec(write(tmp_path, "# a comment\n" + tables_first)).digest() == digest
    for old, new in (("650", "651"), ('"ms"', '"s"'), ("[420", "[421"), ('"99A"', '"99B"'), ("blank*", "blanc*")):
        assert read_spec(write(tmp_path, WHOLE.replace(old, new))).digest() != digest


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[screne]", "unknown section 'screne'; did you mean 'screen'?; known are screen, columns"),
        ("[screen]\nsize = [1, 2]", "[screen]: unknown key 'size'; did you mean 'size_px'?"),
        ("[screen]\nsize_px = [1920]", "[screen]: size_px must be two numbers above zero, [width, height]"),
        ("[screen]\nsize_px = [1920.5, 1080]", "[screen]: size_px must be whole pixels"),
        ("[screen]\nsize_mm = [0, 300]", "[screen]: size_mm must be two numbers above zero"),
        ("[screen]\nsize_mm = [nan, 300]", "[screen]: size_mm must be two numbers above zero"),
        ("[screen]\ndistance_mm = true", "[screen]: distance_mm must be a number above zero, got True"),
        ("screen = 3", "[screen]: expected a section with keys, got 3"),
        ("[columns]\ntimes = 't'", "[columns]: unknown key 'times'; did you mean 'time'?"),
        ("[columns]\ntime = 3", "[columns]: time must be text in quotes, got 3"),
        ("[units]\ntime = 'sec'", "[units]: time must be one of s, ms, us, ns, got 'sec'"),
        ("[units]\nposition = 'pixels'", "[units]: position must be one of screen_px, screen_share, image_px"),
        ("[lost]\npositions = -1", "[lost]: positions must be a list of numbers, or of texts in quotes, got -1"),
        ("[lost]\npositions = [true]", "[lost]: positions must be a list"),
        ("[lost]\nvalidity = 0", "[lost]: validity must be a list of codes"),
        ("[events]\nsource = 'trackers'", "[events]: source must be one of tracker, detect, got 'trackers'; did you"),
        ("[events]\nalgorithm = 'itv'", "[events]: algorithm must be one of adaptive, ivt"),
        ("[events]\nalgorithm = 'ivt'\ntreshold = 3", "[events]: ivt has no threshold 'treshold'"),
        ("[events]\nalgorithm = 'ivt'\nvelocity_threshold = '3'", "velocity_threshold must be a number, got '3'"),
        ("[stimuli]\nplacement = 'center'", "[stimuli]: placement must be one of fit, centre, stretch"),
        ("[stimuli]\nignore = 'blank'", "[stimuli]: ignore must be a list of names"),
        ("[stimulus]\nname = 'a'", "stimulus: expected [[stimulus]] sections, with two brackets"),
        ("[[stimulus]]\nimage = 'a'", "[[stimulus]] number 1: name is missing"),
        (
            "[[stimulus]]\nname = 'a'\nimage = '../../etc/x'",
            "[[stimulus]] number 1: image: '../../etc/x' is not a safe",
        ),
        ("[[stimulus]]\nname = 'a'\nimage_id = 'a/b'", "[[stimulus]] number 1: image_id: 'a/b' is not an id"),
        ("[[stimulus]]\nname = 'a'\npatient_id = '=1'", "patient_id: '=1' is not an id"),
        ("[[stimulus]]\nname = 'a'\npatient_id = 990", "patient_id must be text in quotes, got 990"),
        ("[[stimulus]]\nname = 'a'\nrectangle = [0, 0, 5]", "rectangle must be four numbers, [x0, y0, x1, y1]"),
        ("[[stimulus]]\nname = 'a'\nrectangle = [9, 0, 5, 5]", "rectangle must have x0 < x1 and y0 < y1"),
        ("[[stimulus]]\nname = 'a'\n[[stimulus]]\nname = 'a'", "[[stimulus]] number 2: 'a' occurs twice; keep one"),
        ("[readers]\na = 'Dr. Who?'", "[readers], a: 'Dr. Who?' is not an id"),
        ("[screen", "not a TOML file"),
    ],
)
def test_what_is_wrong_is_named_with_file_and_key(tmp_path: Path, text: str, words: str):
    with pytest.raises(InputError) as refused:
        read_spec(write(tmp_path, text))
    assert str(refused.value).startswith(f"{tmp_path / 'lab.toml'}")
    assert words in str(refused.value)


def test_a_spec_that_cannot_be_opened_is_one_clear_line(tmp_path: Path):
    with pytest.raises(InputError, match="no such file; --spec names a TOML file"):
        read_spec(tmp_path / "nothing.toml")
    with pytest.raises(InputError, match="is a directory; --spec names a TOML file"):
        read_spec(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"[screen]\n# \xe9\n")
    with pytest.raises(InputError, match="not a TOML file"):
        read_spec(tmp_path / "latin.toml")


@pytest.mark.parametrize("content", [{}, {"screen": {"size_px": [4, 3], "size_mm": [400, 300], "distance_mm": 5}}])
def test_a_given_screen_counts_in_place_of_the_specs(content: dict[str, Any]):
    given = Screen(size_px=(1920, 1080), size_mm=(530.0, 300.0), distance_mm=650.0)
    spec = parse_spec(content)
    assert merged_screen(spec.screen, given) == ScreenSpec((1920, 1080), (530.0, 300.0), 650.0)
    assert merged_screen(spec.screen, None) is spec.screen
