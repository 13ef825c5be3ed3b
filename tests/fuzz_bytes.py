"""Coverage-guided fuzzing with atheris (not part of ``make test``; Python 3.11 to 3.13, x86-64 Linux).

    pip install atheris
    python tests/fuzz_bytes.py dicom -max_total_time=120

The first argument is one of `TARGETS`; the others go to libFuzzer, which prints the number of runs at its end. Any
exception but gazekit's own ends it with the input that caused it. Seeds are made from the fixtures of the tests.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["gazekit", "pydicom", "tomllib", "json"]):
    from gazekit import codestream, dicom
    from gazekit.cache import open_cache
    from gazekit.contents import contents
    from gazekit.errors import GazekitError, RecordError
    from gazekit.sources.reflacx import read_reflacx
    from gazekit.sources.spec import read_spec
    from gazekit.sources.tables import read_numbers, read_table
    from gazekit.verify import damage

from bad_input_case import READING, Tree
from dicom_factory import SYNTAXES, encode, full_window, gradient, make_dicom
from test_hostile_bytes import SPEC

Target = tuple[Iterable[bytes], Callable[[bytes], None]]


def dicom_target(folder: Path) -> Target:
    """Headers, windows, LUTs and uncompressed pixels; the decoders of others are left out, their guards are not."""

    def refuse(stream: bytes, transfer_syntax: str, expected: codestream.StreamSize) -> None:
        read_size = dicom.CODECS[transfer_syntax].size
        if read_size is not None:
            read_size(stream)
        raise RecordError("decode_failed", "not decoded here")

    dicom.decode_frame = refuse  # type: ignore[assignment]
    path = folder / "a.dcm"
    seeds = []
    for syntax in SYNTAXES:
        make_dicom(path, gradient((12, 9), 8) if "2000" not in syntax else gradient((46, 37), 8), syntax=syntax,
                   Modality="CR", PixelPaddingValue=3, ImagerPixelSpacing=[1, 1], **full_window(8))  # fmt: skip
        seeds.append(path.read_bytes())

    def run(data: bytes) -> None:
        path.write_bytes(data)
        dicom.read_dicom(path, max_pixels=1_000_000)

    return seeds, run


def codestream_target(folder: Path) -> Target:
    """The guards before a decoder: sizes of JPEG and JPEG 2000, lossless JPEG, RLE, fragments."""
    names = [name for name in SYNTAXES if name.startswith(("jpeg", "rle"))]
    seeds = [encode(gradient((46, 37), 8), name, 8) for name in names]
    readers = (
        codestream.jpeg_size,
        codestream.jpeg2000_size,
        codestream.check_lossless_jpeg,
        lambda data: codestream.check_rle(data, 1),
        codestream.joined_fragments,
    )

    def run(data: bytes) -> None:
        for read in readers:
            with suppress(GazekitError):
                read(data)

    return seeds, run


def table_target(folder: Path) -> Target:
    """Tables as text and as numbers."""
    path = folder / "a.csv"
    seeds = [b"id,x,y\r\n1,2.5,3\r\n", b'\xef\xbb\xbfid,x,y\n"a ""b""",1e5,\n\n', b"id;x;y\n1;2,5;3\n"]

    def run(data: bytes) -> None:
        path.write_bytes(data)
        with suppress(GazekitError):
            read_table(path, required=["id"], optional=["x", "y"]).numbers("id")
        read_numbers(path, required=["x", "y"])

    return seeds, run


def reflacx_target(folder: Path) -> Target:
    """A data set, one of whose tables has other bytes: the first byte chooses which."""
    tree = Tree(folder / "tree").make()
    main = tree.reflacx / "main_data"
    files = [main / "metadata_phase_1.csv", *sorted((main / READING).glob("*.csv"))]
    right = [file.read_bytes() for file in files]

    def run(data: bytes) -> None:
        k = data[0] % len(files) if data else 0
        files[k].write_bytes(data[1:])
        try:
            readings = read_reflacx(tree.reflacx)
            for reading_id in readings.ids:
                with suppress(RecordError):
                    readings[reading_id]
        finally:
            files[k].write_bytes(right[k])

    return [bytes([k]) + content for k, content in enumerate(right)], run


def spec_target(folder: Path) -> Target:
    """The spec of a tracker."""
    path = folder / "spec.toml"

    def run(data: bytes) -> None:
        path.write_bytes(data)
        read_spec(path)

    return [SPEC.encode()], run


def cache_target(folder: Path) -> Target:
    """A cache, one of whose files has other bytes: the first byte chooses which."""
    tree = Tree(folder / "tree").make()
    assert tree.build("--heatmap-size", "8").code == 0
    shard = tree.cache / "shards" / "00000"
    files = [tree.cache / "cache.json", *(shard / name for name in ("shard.json", "readings.jsonl", "frame.npy"))]
    right = [file.read_bytes() for file in files]

    def run(data: bytes) -> None:
        k = data[0] % len(files) if data else 0
        files[k].write_bytes(data[1:])
        try:
            with suppress(GazekitError):
                damage(tree.cache)
            cache = open_cache(tree.cache)
            contents(cache)
            for record in cache:
                record.readings  # noqa: B018
        finally:
            files[k].write_bytes(right[k])

    return [bytes([k]) + content for k, content in enumerate(right)], run


TARGETS = {
    "dicom": dicom_target,
    "codestream": codestream_target,
    "table": table_target,
    "reflacx": reflacx_target,
    "spec": spec_target,
    "cache": cache_target,
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"name one of {', '.join(TARGETS)}, then options of libFuzzer")
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir="/dev/shm"))
    try:
        seeds, run = TARGETS[sys.argv[1]](folder)
        corpus = folder / "corpus"
        corpus.mkdir()
        for k, seed in enumerate(seeds):
            (corpus / str(k)).write_bytes(seed)

        def one(data: bytes) -> None:
            with suppress(GazekitError):
                run(data)

        atheris.Setup([sys.argv[0], "-rss_limit_mb=3000", "-timeout=20", *sys.argv[2:], str(corpus)], one)
        atheris.Fuzz()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
