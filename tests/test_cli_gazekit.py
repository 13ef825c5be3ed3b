import errno
import json
import shutil
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from dicom_factory import gradient, make_dicom
from memory_source import make_specs, write_images
from PIL import Image
from reflacx_tree import DICOM_A, DICOM_B, IMAGE_A, IMAGE_B, write_reflacx

from gazekit.cache import open_cache
from gazekit.verify import damage
from gazekit_cli.main import main

GAZEKIT = Path(sys.executable).with_name("gazekit")
SMALL = ["--image-size", "32", "--grid", "4x6", "--heatmap-size", "16", "--shard-size", "4", "--executor", "serial"]
SECRET = "Doe^Jane"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """The console sets process-wide handlers; put them back."""
    before, terminate = warnings.showwarning, signal.getsignal(signal.SIGTERM)
    yield
    warnings.showwarning = before
    signal.signal(signal.SIGTERM, terminate)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Run ``gazekit ARGS`` in this process: (exit code, stdout, stderr)."""

    def run(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["gazekit", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main()
        printed = capsys.readouterr()
        assert "Traceback" not in printed.err
        return int(leaving.value.code or 0), printed.out, printed.err

    return run


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A REFLACX tree (4 readings of 2 images, one discarded) and its images in MIMIC layout, one DICOM, one PNG."""
    base = tmp_path_factory.mktemp("published")
    write_reflacx(base / "reflacx")
    dicom, png = base / "mimic" / IMAGE_A, (base / "mimic" / IMAGE_B).with_suffix(".png")
    for path in (dicom, png):
        path.parent.mkdir(parents=True)
    make_dicom(
        dicom, gradient((120, 160), 12), bits_stored=12, PatientName=SECRET, PatientBirthDate="19500101",
        InstitutionName="St Nowhere", ViewPosition="PA",
    )  # fmt: skip
    Image.fromarray(gradient((250, 201), 8).astype(np.uint8)).save(png)
    return base


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine PNG files."""
    return write_images(tmp_path_factory.mktemp("pictures"), make_specs(9))


@pytest.fixture(scope="module")
def cache(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished cache of the nine, built by the installed console script with worker processes."""
    out = tmp_path_factory.mktemp("cache") / "cache"
    command = [GAZEKIT, "build-heatmaps", pictures, out, "--dataset", "images", *SMALL[:-2], "--workers", "1", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["images"], said["readings"], said["skipped"], said["complete"]) == (9, 0, {}, True)
    assert "building: 9/9 rows" in done.stderr
    return out


def test_reflacx_is_built_from_the_published_layout(call, published: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    code, stdout, stderr = call(
        "build-heatmaps", published / "reflacx", out, "--dataset", "reflacx", "--images", published / "mimic", *SMALL,
    )  # fmt: skip
    assert code == 1, "the discarded reading is listed"
    assert "no_gaze" in stdout
    assert "P102R000222" in stdout
    cache = open_cache(out, verify=True)
    assert cache.ids == [DICOM_A, DICOM_B]
    assert cache.grid == (4, 6)
    assert [row["reading_ids"] for row in cache.rows] == [["P102R000111", "P102R000444"], ["P300R000333"]]
    assert [row["split"] for row in cache.rows] == ["train", "validate"]
    assert cache[0].frame.width == 160
    np.testing.assert_allclose(cache.relevance.sum(axis=(1, 2)), 1, atol=1e-6)
    for file in out.rglob("*"):
        if file.is_file():
            for needle in (SECRET, "19500101", "St Nowhere", str(published)):
                assert needle.encode() not in file.read_bytes()
    for needle in (SECRET, "19500101", "St Nowhere"):
        assert needle not in stdout + stderr


def test_keep_no_gaze_and_per_reading_are_options(call, published: Path, tmp_path: Path) -> None:
    code, stdout, _ = call(
        "build-heatmaps", published / "reflacx", tmp_path / "cache", "--dataset", "reflacx", "--images",
        published / "mimic", *SMALL, "--per", "reading", "--keep-no-gaze", "--json",
    )  # fmt: skip
    assert code == 0
    assert json.loads(stdout)["readings"] == 3
    assert open_cache(tmp_path / "cache").ids == ["P102R000111", "P102R000222", "P102R000444", "P300R000333"]


def test_a_missing_image_is_listed_and_the_rest_is_built(call, published: Path, tmp_path: Path) -> None:
    images = shutil.copytree(published / "mimic", tmp_path / "mimic")
    (images / IMAGE_A).unlink()
    arguments = ["build-heatmaps", published / "reflacx", tmp_path / "c", "--dataset", "reflacx", "--images", images]
    code, stdout, _ = call(*arguments, *SMALL, "--json")
    assert code == 1
    said = json.loads(stdout)
    assert said["skipped"] == {"missing_image": 1}
    assert said["failures"][0]["image_id"] == DICOM_A
    code, _, stderr = call(*arguments, *SMALL, "--strict")
    assert code == 2
    assert "missing_image" in stderr


def test_a_skipped_record_is_one_whole_line_in_a_pipe(call, published: Path, tmp_path: Path) -> None:
    (tmp_path / "mimic").mkdir()
    arguments = ["build-heatmaps", published / "reflacx", tmp_path / "c", "--dataset", "reflacx"]
    code, stdout, _ = call(*arguments, "--images", tmp_path / "mimic", *SMALL)
    assert code == 1
    [line] = [line for line in stdout.splitlines() if line.startswith(DICOM_B)]
    assert line.endswith(f"no image file for {IMAGE_B} under the image root, nor {DICOM_B}.dcm, .jpg, .jpeg or .png")
    assert all(line == line.rstrip() for line in stdout.splitlines())


def test_a_build_again_says_the_same_and_other_parameters_are_refused(call, pictures: Path, cache: Path) -> None:
    before = {f: f.read_bytes() for f in cache.rglob("*") if f.is_file()}
    code, stdout, _ = call("build-heatmaps", pictures, cache, "--dataset", "images", *SMALL, "--json")
    assert code == 0
    assert json.loads(stdout)["rows_built"] == 0
    code, _, stderr = call("build-heatmaps", pictures, cache, "--dataset", "images", *SMALL, "--image-size", "40")
    assert code == 2
    assert "image_size 32 there, 40 asked for" in stderr
    assert {f: f.read_bytes() for f in cache.rglob("*") if f.is_file()} == before


def test_tasks_are_joined_by_finalize(call, pictures: Path, cache: Path, tmp_path: Path) -> None:
    arguments = ["build-heatmaps", pictures, tmp_path / "c", "--dataset", "images", *SMALL, "--task-count", 2]
    assert call(*arguments, "--task-index", 1)[0] == 0
    code, _, stderr = call("finalize", tmp_path / "c")
    assert code == 1
    assert "missing: shard 00000" in stderr
    assert "missing: shard 00002" in stderr
    assert "00001" not in stderr
    assert call(*arguments, "--task-index", 0)[0] == 0
    code, stdout, _ = call("finalize", tmp_path / "c", "--json")
    assert code == 0
    assert json.loads(stdout)["complete"]
    for file in cache.rglob("*"):
        if file.is_file():
            assert (tmp_path / "c" / file.relative_to(cache)).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent", "OUT", "--dataset", "images"], "absent"),
        (["ROOT", "OUT", "--dataset", "pictures"], "--dataset must be one of reflacx, "),
        (["ROOT", "OUT", "--dataset", "reflacx"], "needs --images DIR"),
        (["ROOT", "OUT", "--dataset", "reflacx", "--images", "ROOT"], "metadata"),
        (["ROOT", "OUT", "--dataset", "images", "--images", "absent"], "image root absent is not a directory"),
        (["ROOT", "OUT", "--dataset", "images", "--sigma-dva", "0"], "sigma_dva must be a positive number"),
        (["ROOT", "OUT", "--dataset", "images", "--sigma-dva", "nan"], "sigma_dva must be a positive number"),
        (["ROOT", "OUT", "--dataset", "images", "--sigma-dva", "wide"], "--sigma-dva"),
        (["ROOT", "OUT", "--dataset", "images", "--grid", "14x"], "--grid must be N or ROWSxCOLS"),
        (["ROOT", "OUT", "--dataset", "images", "--windowing", "nice"], "windowing must be one of"),
        (["ROOT", "OUT", "--dataset", "images", "--task-index", "1"], "task_count"),
        (["ROOT", "OUT", "--dataset", "images", "--no-such-option"], "No such option"),
        (["ROOT", "OUT"], "dataset"),
        (["ROOT", "ROOT", "--dataset", "images"], "neither empty nor a cache"),
    ],
)
def test_wrong_input_is_one_line_and_exit_2(
    call, pictures: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    places = {"ROOT": str(pictures), "OUT": str(tmp_path / "out")}
    code, stdout, stderr = call("build-heatmaps", *(places.get(a, a) for a in arguments))
    assert code == 2
    assert message in stderr
    assert stderr.count("\n") == 1
    assert stdout == ""
    assert not (tmp_path / "out").exists()


def test_verify_says_intact_or_names_each_damaged_file(call, cache: Path, tmp_path: Path) -> None:
    assert call("verify", cache)[0] == 0
    copy = shutil.copytree(cache, tmp_path / "copy")
    for name in ("shards/00001/image.npy", "failures.csv"):
        content = bytearray((copy / name).read_bytes())
        content[-3] ^= 4
        (copy / name).write_bytes(content)
    code, stdout, _ = call("verify", copy)
    assert code == 1
    assert "shards/00001/image.npy: differs from its checksum" in stdout
    assert "failures.csv: differs from its checksum" in stdout
    code, stdout, _ = call("verify", copy, "--json")
    assert code == 1
    assert len(json.loads(stdout)["damaged"]) == 2
    assert call("verify", tmp_path / "absent")[0] == 2


@pytest.mark.parametrize("spoilt", ["shards/00001/image.npy", "shards/00001/shard.json", "cache.json"])
def test_what_verify_says_to_do_brings_back_the_same_bytes(call, pictures, cache, tmp_path, spoilt: str) -> None:
    copy = shutil.copytree(cache, tmp_path / "copy")
    content = bytearray((copy / spoilt).read_bytes())
    content[-3] ^= 4
    (copy / spoilt).write_bytes(content)
    code, _, stderr = call("verify", copy)
    assert code == 1
    assert "remove the folder of each damaged shard" in stderr
    assert "for a damaged cache.json remove it, manifest.parquet and failures.csv" in stderr
    if spoilt == "cache.json":
        for name in ("cache.json", "manifest.parquet", "failures.csv"):
            (copy / name).unlink()
    else:
        shutil.rmtree(copy / "shards" / "00001")
    assert call("build-heatmaps", pictures, copy, "--dataset", "images", *SMALL)[0] == 0
    files = {f.relative_to(cache): f.read_bytes() for f in cache.rglob("*") if f.is_file()}
    assert {f.relative_to(copy): f.read_bytes() for f in copy.rglob("*") if f.is_file()} == files


def test_inspect_says_what_is_there(call, cache: Path) -> None:
    code, stdout, _ = call("inspect", cache, "--json")
    assert code == 0
    said = json.loads(stdout)
    assert (said["images"], said["readings"], said["fixations"], said["rows_with_gaze"]) == (9, 0, 0, 0)
    assert said["decoder"] == {"pillow": 9}
    assert said["original_size"] == {"from": "90 x 70", "to": "90 x 70"}
    assert said["rows"] == 9
    assert said["splits"] == [
        {"split": "none", "rows": 9, "patients": 0, "readings": 0, "fixations": 0, "dwell_s": 0}
    ]  # fmt: skip
    code, stdout, _ = call("inspect", cache)
    assert code == 0
    assert "fingerprint" in stdout


def test_render_draws_a_picture_a_row(call, published: Path, cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "cache"
    call("build-heatmaps", published / "reflacx", out, "--dataset", "reflacx", "--images", published / "mimic", *SMALL)
    code, stdout, _ = call("render", out, tmp_path / "drawn", "--size", "96", "--json")
    assert code == 0
    assert json.loads(stdout) == {"pictures": 2, "out": str(tmp_path / "drawn")}
    with Image.open(tmp_path / "drawn" / f"{DICOM_A}.png") as picture:
        assert picture.width > 3 * 96
        assert picture.height > 96
    assert call("render", cache, tmp_path / "plain", "--limit", "1", "--size", "64")[0] == 0
    assert len(list((tmp_path / "plain").iterdir())) == 1
    code, _, stderr = call("render", out, tmp_path / "drawn", "--id", "99nobody")
    assert code == 2
    assert "99nobody" in stderr


@pytest.mark.parametrize("command", ["build-heatmaps", "finalize", "inspect", "verify", "gc", "render", "report"])
def test_help_shows_an_example(call, command: str) -> None:
    code, stdout, _ = call(command, "--help")
    assert code == 0
    assert f"gazekit {command} " in stdout.replace("Usage: gazekit", "")


def test_sigterm_ends_with_exit_3_and_the_next_run_goes_on(call, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", make_specs(120))
    arguments = ["build-heatmaps", images, tmp_path / "c", "--dataset", "images", *SMALL]
    process = subprocess.Popen([GAZEKIT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    process.stderr.readline()
    process.stderr.readline()  # a tenth of the rows, so some shards are whole
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 3, stderr
    assert "Traceback" not in stderr
    assert "run the same command again" in stderr
    assert not list((tmp_path / "c").rglob(".*"))
    code, stdout, _ = call(*arguments, "--json")
    assert code == 0
    assert 0 < json.loads(stdout)["rows_built"] < 120
    assert damage(tmp_path / "c") == []


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
sys.argv[0] = "gazekit"
from gazekit_cli.main import main
main()
"""


def test_a_full_disk_ends_with_exit_4_and_the_next_run_goes_on(
    call, pictures: Path, cache: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands for the full disk: the kernel refuses the same write."""
    arguments = ["build-heatmaps", pictures, tmp_path / "c", "--dataset", "images", *SMALL]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 4, done.stderr
    assert "Traceback" not in done.stderr
    assert f"the system refused: File too large: {tmp_path / 'c'}" in done.stderr, "which disk"
    assert not list((tmp_path / "c").rglob("*.tmp"))
    assert call(*arguments)[0] == 0
    for file in cache.rglob("*"):
        if file.is_file():
            assert (tmp_path / "c" / file.relative_to(cache)).read_bytes() == file.read_bytes()


def test_a_directory_that_may_not_be_written_ends_with_exit_4(call, pictures, tmp_path, monkeypatch) -> None:
    def refuse(path: Path, *_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    code, _, stderr = call("build-heatmaps", pictures, tmp_path / "c", "--dataset", "images", *SMALL)
    assert code == 4
    assert "Permission denied" in stderr


@pytest.mark.parametrize("error", [MemoryError(), OSError(errno.ENOMEM, "Cannot allocate memory")])
def test_want_of_memory_ends_with_exit_4(call, pictures, tmp_path, monkeypatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("gazekit.build.plan_cache", refuse)
    code, _, stderr = call("build-heatmaps", pictures, tmp_path / "c", "--dataset", "images", *SMALL)
    assert code == 4
    assert "memory" in stderr
