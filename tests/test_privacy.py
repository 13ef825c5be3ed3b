"""What a DICOM file holds beside its pixels and the allow-listed facts stays there, whatever becomes of the file."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_input_case import READING, SMALL, Tree
from cli_runner import run_gazekit
from dicom_factory import encode, gradient
from PIL import Image, PngImagePlugin
from planted_dicom import DIGITS, NEEDLES, SECRET, every_other_element, lut_with_texts, planted_dicom
from pydicom.datadict import DicomDictionary
from reflacx_tree import FIXATIONS, FIXATIONS_HEADER, put

from gazekit.cache import open_cache
from gazekit.export import FORMATS

SHAPE = (120, 160)
PIXELS = gradient(SHAPE, 12)
PIXELS_8 = gradient(SHAPE, 8)
SECRET_BYTES = SECRET.encode()


def commented_jpeg() -> bytes:
    """A JPEG frame with a comment segment and an EXIF-like one."""
    frame = encode(PIXELS_8, "jpeg-baseline", 8)
    segments = b"".join(
        b"\xff" + marker + (len(SECRET) + 2).to_bytes(2, "big") + SECRET_BYTES for marker in (b"\xfe", b"\xe1")
    )
    return frame[:2] + segments + frame[2:]


# what is done to the planted file -> the reason that it is refused for, "" where it is used
FILES: dict[str, tuple[dict[str, Any], str]] = {
    "right": ({}, ""),
    "implicit in name only": ({"syntax": "1.2.840.10008.1.2"}, "any"),
    "big-endian in name only": ({"syntax": "1.2.840.10008.1.2.2"}, "any"),
    "without transfer syntax": ({"syntax": None}, ""),
    "deflated": ({"syntax": "deflated"}, ""),
    "jpeg with comments": ({"pixels": PIXELS_8, "syntax": "jpeg-baseline", "frame": commented_jpeg()}, ""),
    "jpeg 2000": ({"pixels": PIXELS_8, "syntax": "jpeg-2000"}, ""),
    "LUTs with texts": ({"VOILUTSequence": [lut_with_texts()], "ModalityLUTSequence": [lut_with_texts()]}, ""),
    "coded texts that are none": (
        {"raw": {"BodyPartExamined": ("CS", SECRET_BYTES.lower()), "ViewPosition": ("CS", b"Doe, " + SECRET_BYTES)}},
        "",
    ),
    "window a text": ({"raw": {"WindowCenter": ("DS", SECRET_BYTES), "WindowWidth": ("DS", SECRET_BYTES)}}, ""),
    "VOI function a text": ({"raw": {"VOILUTFunction": ("CS", SECRET_BYTES)}, "WindowCenter": 9, "WindowWidth": 9}, ""),
    "padding a text": ({"raw": {"PixelPaddingValue": ("LO", SECRET_BYTES)}}, ""),
    "spacing a text": ({"raw": {"ImagerPixelSpacing": ("DS", SECRET_BYTES)}}, ""),
    "burned-in text": ({"raw": {"BurnedInAnnotation": ("CS", SECRET_BYTES)}}, ""),
    "rows a text": ({"raw": {"Rows": ("LO", SECRET_BYTES)}}, "bad_header"),
    "bits a text": ({"raw": {"BitsStored": ("LO", SECRET_BYTES)}}, "bad_header"),
    "frames a text": ({"raw": {"NumberOfFrames": ("IS", SECRET_BYTES)}}, "bad_header"),
    "photometric a text": ({"raw": {"PhotometricInterpretation": ("CS", SECRET_BYTES)}}, "not_grey"),
    "slope a text": ({"raw": {"RescaleSlope": ("DS", SECRET_BYTES)}}, "bad_header"),
    "rows 0": ({"Rows": 0}, "bad_header"),
    "bits above allocated": ({"BitsStored": 20, "HighBit": 19}, "bad_header"),
    "too many frames": ({"NumberOfFrames": 42424242}, "too_large"),
    "two frames": ({"NumberOfFrames": 2}, "multi_frame"),
    "transfer syntax of somebody": ({"syntax": f"1.2.99.{DIGITS}"}, "decode_failed"),
    "pixels of text": ({"pixel_data": SECRET_BYTES * 7}, "truncated"),
    "no pixels": ({"without": ("PixelData",)}, "any"),
    "a frame of text": ({"pixels": PIXELS_8, "syntax": "jpeg-2000", "frame": SECRET_BYTES * 40}, "any"),
    "a JPEG of text": (
        {"pixels": PIXELS_8, "syntax": "jpeg-baseline", "frame": b"\xff\xd8" + SECRET_BYTES * 40},
        "any",
    ),
    "nested deep": (
        {"extra": (b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff") * 400},
        "any",
    ),
    "flat": ({"pixels": np.full(SHAPE, 7, np.uint16)}, "flat_image"),
}  # fmt: skip


def leaks(*places: Path | str) -> list[str]:
    """Where a planted text was found: in texts, and in the names and bytes of all files below a folder."""
    found = []
    for place in places:
        if isinstance(place, str):
            contents = {"text": place.encode()}
        else:
            contents = {str(file): file.read_bytes() for file in place.rglob("*") if file.is_file()}
            contents["names"] = "\n".join(map(str, place.rglob("*"))).encode()
        found += [f"{name}: {needle!r}" for name, data in contents.items() for needle in NEEDLES if needle in data]
    return found


def planted(root: Path, **options: Any) -> Tree:
    """A data set whose one image is planted."""
    tree = Tree(root).make()
    planted_dicom(tree.image, options.pop("pixels", PIXELS), **options)
    return tree


def test_the_planted_file_holds_a_secret_in_every_other_element(tmp_path: Path) -> None:
    elements = every_other_element()
    assert len(elements) > 4500, "nearly all of the standard's"
    assert len(elements) > 0.9 * sum(tag >> 16 > 2 for tag in DicomDictionary)
    data = planted_dicom(tmp_path / "a.dcm", PIXELS).read_bytes()
    for needle in (SECRET.encode(), b"19420424", DIGITS.encode()):
        assert data.count(needle) > 100


@pytest.mark.parametrize("name", FILES)
def test_no_planted_text_leaves_a_file_that_is_read_or_refused(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    options, reason = FILES[name]
    tree = planted(tmp_path, **options)
    outcome = tree.build()
    assert outcome.code == (1 if reason and reason != "any" else outcome.code), outcome
    assert outcome.code in (0, 1)
    if reason not in ("", "any"):
        assert f'"reason": "{reason}"' in outcome.stdout
    if not reason:
        assert outcome.code == 0, outcome
    assert leaks(outcome.stdout, outcome.stderr, *capfd.readouterr(), tree.cache) == []


def test_no_planted_text_leaves_a_worker_process(tmp_path: Path) -> None:
    tree = planted(tmp_path, raw={"WindowCenter": ("DS", SECRET_BYTES)}, NumberOfFrames=1)
    command = [Path(sys.executable).with_name("gazekit"), "build-heatmaps", tree.reflacx, tree.cache]
    options = ["--dataset", "reflacx", "--images", tree.images, *SMALL[:-2], "--workers", "1"]
    environment = os.environ | {"PYTHONWARNINGS": "always"}
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True, env=environment)
    assert leaks(done.stdout, done.stderr, tree.cache) == []


def test_no_planted_text_leaves_by_an_export_a_picture_or_a_report(tmp_path: Path) -> None:
    tree = planted(tmp_path)
    assert tree.build("--heatmap-size", "16").code == 0
    outcomes = [
        run_gazekit("inspect", tree.cache),
        run_gazekit("verify", tree.cache),
        run_gazekit("render", tree.cache, tmp_path / "render"),
        run_gazekit("render", tree.cache, tmp_path / "render", "--format", "svg"),
        run_gazekit("report", tree.cache, tmp_path / "render" / "report.html"),
        *(run_gazekit("export", tree.cache, tmp_path / "export" / to, "--to", to) for to in FORMATS),
    ]
    assert [outcome.code for outcome in outcomes] == [0] * len(outcomes)
    said = [text for outcome in outcomes for text in outcome[1:]]
    assert leaks(*said, tmp_path / "render", tmp_path / "export", tree.cache) == []


def with_text(image: Image.Image, suffix: str) -> bytes:
    """A picture whose metadata are planted."""
    buffer = io.BytesIO()
    if suffix == ".png":
        info = PngImagePlugin.PngInfo()
        info.add_text("PatientName", SECRET)
        info.add_itxt("Comment", SECRET)
        image.save(buffer, "PNG", pnginfo=info)
    else:
        exif = Image.Exif()
        exif[0x010E] = SECRET
        image.save(buffer, "JPEG", exif=exif, comment=SECRET_BYTES)
    return buffer.getvalue()


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_metadata_of_a_picture_stay_in_it(tmp_path: Path, suffix: str) -> None:
    for name, share in (("99a", 1.0), ("99b", 0.4)):
        data = with_text(Image.fromarray(PIXELS_8), suffix)
        put(tmp_path / "in" / f"{name}{suffix}", data[: int(share * len(data))])
    outcome = run_gazekit("build-heatmaps", tmp_path / "in", tmp_path / "cache", "--dataset", "images", *SMALL)
    assert outcome.code == 1
    assert leaks(outcome.stdout, outcome.stderr, tmp_path / "cache") == []


def plant_unknown_columns(tree: Tree) -> None:
    rows = [",".join([*row, SECRET]) for row in FIXATIONS]
    path = tree.fixations
    put(path, "\r\n".join([",".join([*FIXATIONS_HEADER, "remark"]), *rows, ""]))
    lines = tree.metadata.read_text().splitlines()
    put(tree.metadata, "\r\n".join([f"{lines[0]},remark", *(f"{line},{SECRET}" for line in lines[1:]), ""]))


def plant_report(tree: Tree) -> None:
    put(tree.reflacx / "main_data" / READING / "transcription.txt", f"Mr {SECRET}, born 19420424.")


def plant_other_files(tree: Tree) -> None:
    put(tree.reflacx / "main_data" / "notes.txt", SECRET)
    put(tree.images / f"{SECRET}.txt", SECRET)
    put(tree.image.with_name("other.dcm"), SECRET)


@pytest.mark.parametrize("plant", [plant_unknown_columns, plant_report, plant_other_files])
def test_texts_of_the_tables_that_nobody_asked_for_stay_there(tmp_path: Path, plant: Callable[[Tree], None]) -> None:
    tree = Tree(tmp_path).make()
    plant(tree)
    outcome = tree.build()
    assert outcome.code == 0
    assert leaks(outcome.stdout, outcome.stderr, tree.cache) == []


@pytest.mark.parametrize("spoil", ["nothing", "image", "table"])
def test_no_path_of_the_users_machine_is_in_the_cache(tmp_path: Path, spoil: str) -> None:
    tree = Tree(tmp_path / SECRET).make()
    if spoil == "image":
        tree.image.write_bytes(b"no image")
    elif spoil == "table":
        tree.fixations.unlink()
        tree.fixations.mkdir()
    assert tree.build().code == (spoil != "nothing")
    assert len(open_cache(tree.cache)) >= 1
    assert [leak for leak in leaks(tree.cache) if "names" not in leak] == []
