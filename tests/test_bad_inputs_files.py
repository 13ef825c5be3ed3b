"""Bad inputs 41 to 66: DICOM files and the system, each through the command line. 1 to 40: `test_bad_inputs`."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bad_input_case import SMALL, Case, Tree, check_case
from cli_runner import run_gazekit, run_vpmim
from dicom_factory import SYNTAXES, broken_lut, encode, full_window, gradient, make_dicom
from PIL import Image

from gazekit.cache import open_cache
from gazekit.errors import CacheError
from gazekit.locks import hold

SHAPE = (120, 160)
Spoil = Callable[[Tree], object]


def image(**options: Any) -> Spoil:
    """The image of two of the three readings, made with these options of `make_dicom`."""
    pixels = options.pop("pixels", None)

    def spoil(tree: Tree) -> None:
        make_dicom(tree.image, gradient(SHAPE, 12) if pixels is None else pixels, **options)

    return spoil


def content(data: bytes) -> Spoil:
    return lambda tree: tree.image.write_bytes(data)


def cut(share: float, **options: Any) -> Spoil:
    def spoil(tree: Tree) -> None:
        image(**options)(tree)
        whole = tree.image.read_bytes()
        tree.image.write_bytes(whole[: int(share * len(whole))])

    return spoil


def colour(**options: Any) -> Spoil:
    channels = np.stack([gradient(SHAPE, 8, seed=k) for k in range(3)], axis=-1)
    return image(pixels=channels, **options)


def deflate_bomb(tree: Tree) -> None:
    # zeros behind the pixel data, 200 MB of them, in a file of 200 KB
    import zlib

    plain = make_dicom(tree.root / "plain.dcm", gradient(SHAPE, 8), syntax="explicit")
    body = plain.read_bytes()[132:]
    meta = make_dicom(tree.image, gradient(SHAPE, 8), syntax="deflated").read_bytes()
    start = meta.index(SYNTAXES["deflated"].encode()) + len(SYNTAXES["deflated"])
    start += start % 2
    begin = body.index(b"\x28\x00\x02\x00")
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    deflated = engine.compress(body[begin:]) + engine.compress(b"\0" * 200_000_000) + engine.flush()
    assert len(deflated) < 1_000_000
    tree.image.write_bytes(meta[:start] + deflated)


def nested(levels: int) -> bytes:
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    return start * levels + end * levels


def other_frame(syntax: str) -> Spoil:
    return image(pixels=WHOLE_8, syntax=syntax, frame=encode(gradient((64, 64), 8), syntax, 8))


WHOLE_8 = gradient(SHAPE, 8)
GREY_RGB = np.stack([WHOLE_8] * 3, axis=-1)

CASES = [
    Case(41, "empty", content(b""), 1, ("not a DICOM file",), "not_dicom"),
    Case(41, "text", content(b"not found\n"), 1, ("not a DICOM file",), "not_dicom"),
    Case(41, "zeros", content(b"\0" * 4000), 1, ("DICM is missing",), "not_dicom"),
    Case(42, "pixels cut short", cut(0.7), 1, ("shorter than Rows and Columns need",), "truncated"),
    *(
        Case(43, f"{syntax} cut short", cut(0.6, pixels=WHOLE_8, syntax=syntax), 1, (".dcm: ",), "truncated")
        for syntax in ("jpeg-baseline", "jpeg-ls", "jpeg-2000", "rle", "jpeg-lossless")
    ),
    Case(43, "no pixel data", image(without=("PixelData",)), 1, ("ends before its pixel data",), "truncated"),
    Case(44, "Rows 0", image(Rows=0), 1, ("Rows",), "bad_header"),
    Case(44, "Columns missing", image(without=("Columns",)), 1, ("Columns is missing",), "bad_header"),
    Case(44, "Bits Stored above allocated", image(BitsStored=20, HighBit=19), 1, ("Bits Stored",), "bad_header"),
    Case(45, "65535 x 65535", image(Rows=65535, Columns=65535), 1, ("the header announces more than",), "too_large"),
    Case(45, "2,000,000 frames", image(NumberOfFrames=2_000_000), 1, ("the header announces more than",), "too_large"),
    Case(46, "two frames", image(NumberOfFrames=2), 1, ("one frame",), "multi_frame"),
    Case(46, "RGB", colour(), 1, ("channels",), "not_grey"),
    Case(46, "YBR", colour(photometric="YBR_FULL"), 1, ("channels",), "not_grey"),
    Case(46, "three equal channels", image(pixels=GREY_RGB), 0, ('"grey_rgb": 1',)),
    *(
        Case(47, f"{syntax} of another size", other_frame(syntax), 1, ("own size differs",), "codec_mismatch")
        for syntax in ("jpeg-baseline", "jpeg-ls", "jpeg-2000", "jpeg-lossless")
    ),
    Case(48, "deflate bomb", deflate_bomb, 1, ("expands beyond",), "too_large"),
    Case(49, "nested 400 deep", image(extra=nested(400)), 1, ("nested too deeply",), "bad_header"),
    *(
        Case(50, f"Window Width {width}", image(WindowCenter=100, WindowWidth=width), 0, ('"bad_window": 1',))
        for width in (0, -5)
    ),
    Case(51, "Window Center NaN", image(raw={"WindowCenter": ("DS", b"NaN "), "WindowWidth": ("DS", b"50")}), 0,
         ('"bad_window": 1',)),
    Case(52, "several windows", image(WindowCenter=[2000, 100], WindowWidth=[3000, 20]), 0, ('"several_windows": 1',)),
    Case(53, "no window", image(), 0, ('"no_window": 1',)),
    Case(54, "all padding", image(PixelPaddingValue=0, PixelPaddingRangeLimit=60000), 1, ("padding",), "padding"),
    Case(55, "constant", image(pixels=np.full(SHAPE, 9, np.uint16)), 1, ("same value",), "flat_image"),
    Case(57, "no transfer syntax", image(syntax=None, **full_window(12)), 0, ('"no_transfer_syntax": 1',)),
    Case(57, "big endian", image(syntax="big-endian", **full_window(12)), 0, ('"images": 2',)),
    Case(57, "unknown transfer syntax", image(syntax="1.2.3.4.5"), 1, ("transfer syntax",), "decode_failed"),
    Case(60, "burned-in annotation", image(BurnedInAnnotation="YES"), 0, ('"burned_in_annotation": 1',)),
    Case(50, "a broken VOI LUT", image(VOILUTSequence=[broken_lut()]), 0, ('"bad_voi_lut": 1',)),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_file_is_answered_as_the_list_says(case: Case, tmp_path: Path) -> None:
    check_case(case, tmp_path)


def test_52_of_several_windows_the_first_is_used_and_recorded(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    image(WindowCenter=[2000, 100], WindowWidth=[3000, 20])(tree)
    tree.build()
    facts = open_cache(tree.cache).rows[0]["image"]
    assert (facts["WindowCenter"], facts["WindowWidth"], facts["voi"]) == (2000, 3000, "window")
    said = run_gazekit("inspect", tree.cache, "--json").stdout
    assert json.loads(said)["image_flags"] == {"several_windows": 1}


def test_56_monochrome1_is_inverted_once(tmp_path: Path) -> None:
    images = []
    for photometric in ("MONOCHROME2", "MONOCHROME1"):
        tree = Tree(tmp_path / photometric).make()
        image(photometric=photometric, **full_window(16))(tree)
        assert tree.build().code == 0
        cache = open_cache(tree.cache)
        images.append((cache.rows[0]["image"]["inverted"], cache[0].image[8:24].astype(int)))
    assert [inverted for inverted, _ in images] == [False, True]
    np.testing.assert_allclose(images[1][1], 255 - images[0][1], atol=1)


def test_58_a_missing_decoder_ends_the_run_with_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = Tree(tmp_path).make()
    image(syntax="jpeg-2000")(tree)
    monkeypatch.setitem(sys.modules, "openjpeg", None)
    outcome = tree.build()
    assert outcome.code == 2
    assert "pip install pylibjpeg-openjpeg" in outcome.stderr
    assert not tree.cache.exists()


@pytest.mark.parametrize("mark", [b"MZ", b"\x7fELF"])
def test_59_an_executable_preamble_is_ignored_and_never_copied(tmp_path: Path, mark: bytes) -> None:
    tree = Tree(tmp_path).make()
    preamble = (mark + b"EVILPREAMBLE").ljust(128, b"\1")
    image(preamble=preamble, **full_window(12))(tree)
    assert tree.build().code == 0
    assert not [file for file in tree.cache.rglob("*") if file.is_file() and b"EVILPREAMBLE" in file.read_bytes()]


def files(cache: Path) -> dict[str, bytes]:
    """Everything under ``shards/``."""
    return {str(file.relative_to(cache)): file.read_bytes() for file in (cache / "shards").rglob("*") if file.is_file()}


@pytest.mark.parametrize("code", ["ENOSPC", "EDQUOT", "EROFS", "EACCES", "EIO"])
def test_61_what_the_system_refuses_is_exit_4_and_goes_on_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    number = getattr(errno, code)
    clean, tree = Tree(tmp_path / "clean").make(), Tree(tmp_path / "full").make()
    assert clean.build("--shard-size", "1").code == 0
    calls = []

    def refuse(path: Path) -> None:
        calls.append(path)
        if len(calls) > 4:
            raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr("gazekit.shards.fsync_directory", refuse)
    outcome = tree.build("--shard-size", "1")
    assert outcome.code == 4
    assert f"the system refused: {os.strerror(number)}" in outcome.stderr
    assert not list(tree.cache.rglob("*.tmp"))
    monkeypatch.undo()
    assert tree.build("--shard-size", "1").code == 0
    assert files(tree.cache) == files(clean.cache)


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM"])
def test_62_a_run_that_is_killed_in_a_shard_goes_on_to_the_same_bytes(tmp_path: Path, how: str) -> None:
    clean, tree = Tree(tmp_path / "clean").make(), Tree(tmp_path / "killed").make()
    assert clean.build("--shard-size", "1").code == 0
    code = (
        "import os, signal, sys, gazekit.shards\n"
        "kept = gazekit.shards.sha256_file\n"
        "def die(path):\n"
        f"    if '.00001.tmp' in str(path): os.kill(os.getpid(), signal.{how})\n"
        "    return kept(path)\n"
        "gazekit.shards.sha256_file = die\n"
        "from gazekit_cli.main import main\n"
        "main()\n"
    )
    arguments = ["build-heatmaps", tree.reflacx, tree.cache, "--dataset", "reflacx", "--images", tree.images, *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments, "--shard-size", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == (3 if how == "SIGTERM" else -signal.SIGKILL), done.stderr
    assert "Traceback" not in done.stderr
    assert tree.build("--shard-size", "1").code == 0
    assert files(tree.cache) == files(clean.cache)


def test_63_a_second_run_on_one_cache_names_the_first(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    tree.cache.mkdir()
    with hold(tree.cache / ".lock", "the cache"):
        outcome = tree.build()
    assert outcome.code == 2
    assert f"host {socket.gethostname()}, process {os.getpid()}" in outcome.stderr
    assert tree.build().code == 0


def test_64_a_cache_of_other_parameters_or_version_is_never_mixed(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    assert tree.build().code == 0
    before = files(tree.cache)
    outcome = tree.build("--sigma-dva", "2")
    assert outcome.code == 2
    assert "sigma_dva 1.0 there, 2.0 asked for" in outcome.stderr
    header = json.loads((tree.cache / "cache.json").read_text())
    (tree.cache / "cache.json").write_text(json.dumps(header | {"format_version": 99}))
    for outcome in (tree.build(), run_gazekit("inspect", tree.cache)):
        assert outcome.code == 2
        assert "format version 99" in outcome.stderr
    assert files(tree.cache) == before


def test_65_a_flipped_bit_is_found_by_verify_and_refused_by_a_reader_that_verifies(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    assert tree.build().code == 0
    assert run_gazekit("verify", tree.cache).code == 0
    path = tree.cache / "shards" / "00000" / "image.npy"
    data = bytearray(path.read_bytes())
    data[-100] ^= 4
    path.write_bytes(data)
    outcome = run_gazekit("verify", tree.cache, "--json")
    assert outcome.code == 1
    assert json.loads(outcome.stdout)["damaged"] == ["shards/00000/image.npy: differs from its checksum"]
    with pytest.raises(CacheError, match=r"image\.npy: differs"):
        open_cache(tree.cache, verify=True)
    outcome = run_gazekit("export", tree.cache, tmp_path / "out", "--to", "npy", "--verify")
    assert outcome.code == 2
    assert "shards/00000/image.npy: differs" in outcome.stderr
    assert not (tmp_path / "out").exists()


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.flag),)


def evil_pth(path: Path, flag: Path) -> None:
    path.write_bytes(pickle.dumps({"model": Evil(flag)}, protocol=2))


def evil_torch(path: Path, flag: Path) -> None:
    import torch

    torch.save({"model": Evil(flag)}, path)


def evil_npz(path: Path, flag: Path) -> None:
    array = np.empty(1, object)
    array[0] = Evil(flag)
    np.savez(path.with_suffix(".npz"), features=array)
    path.with_suffix(".npz").rename(path)


@pytest.mark.parametrize(
    ("name", "make"), [("a.pth", evil_pth), ("b.pth", evil_torch), ("c.npz", evil_npz), ("d.safetensors", evil_pth)]
)
def test_66_a_pickle_is_never_run_by_the_trainer(tmp_path: Path, name: str, make: Callable[[Path, Path], None]) -> None:
    weights, flag = tmp_path / name, tmp_path / "owned"
    make(weights, flag)
    Image.fromarray(gradient((64, 64), 8)).save(tmp_path / "99a.png")
    outcome = run_vpmim("features", weights, tmp_path / "99a.png", "--out", tmp_path / "f.npz")
    assert outcome.code == 2, outcome
    assert outcome.stderr.startswith("error: ")
    assert name in outcome.stderr
    assert not flag.exists()


@pytest.mark.parametrize("array", ["image", "offsets", "fixations"])
def test_66_a_pickle_in_a_cache_is_never_run(tmp_path: Path, array: str) -> None:
    tree = Tree(tmp_path).make()
    assert tree.build().code == 0
    objects = np.empty(2, object)
    objects[:] = [Evil(tmp_path / "owned")] * 2
    np.save(tree.cache / "shards" / "00000" / f"{array}.npy", objects, allow_pickle=True)
    for arguments in (
        ("export", tree.cache, tmp_path / "out", "--to", "npy"),
        ("render", tree.cache, tmp_path / "png"),
    ):
        outcome = run_gazekit(*arguments)
        assert outcome.code == 2
        assert f"{array}.npy is damaged" in outcome.stderr
    assert not (tmp_path / "owned").exists()


def test_66_a_zip_in_place_of_an_array_is_refused(tmp_path: Path) -> None:
    tree = Tree(tmp_path).make()
    assert tree.build().code == 0
    with zipfile.ZipFile(tree.cache / "shards" / "00000" / "image.npy", "w") as archive:
        archive.writestr("image.npy", b"\0" * 100)
    outcome = run_gazekit("export", tree.cache, tmp_path / "out", "--to", "npy")
    assert outcome.code == 2
    assert "image.npy is damaged" in outcome.stderr


ALONE = (56, 58, 59, 61, 62, 63, 64, 65, 66)
"""Items with a test of their own above."""

ITEMS = {case.item for case in CASES} | set(ALONE)
