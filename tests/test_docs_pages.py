"""The pages in docs/ are true: every block of commands and of Python runs, in order, as it stands there.

A block whose title begins with "needs" asks for data or a machine that is not here; of its commands it is checked that
they, their options, configurations and data sets exist.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer
from cli_runner import run_gazekit, run_vpmim

from gazekit.sources import SOURCES
from vpmim.config import flatten, load_config
from vpmim.settings import Config

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
FENCE = re.compile(r"^```(python|sh)(?: title=\"(.*?)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
APPS = {"gazekit": run_gazekit, "vpmim": run_vpmim}
OTHER_PROGRAMS = {"make", "pip", "torchrun", "sbatch", "srun", "dask", "export", "["}
LANGUAGES = {"python", "sh", "toml", "text"}
SCRIPTS = {"python": "", "pytest": "tests/"}
"""Programs that are given files of the repository."""


class Block(NamedTuple):
    """A fenced block of a page."""

    line: int
    language: str
    title: str
    code: str

    @property
    def runs(self) -> bool:
        return not self.title.startswith("needs ")


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in FENCE.finditer(text):
        yield Block(text[: found.start()].count("\n") + 1, found[1], found[2] or "", found[3])


PAGES = sorted(page for page in DOCS.rglob("*.md") if any(blocks(page)))
NAMES = [str(page.relative_to(DOCS)) for page in PAGES]


@pytest.mark.parametrize("page", [p for p in PAGES if any(b.runs for b in blocks(p))], ids=lambda p: p.stem)
def test_what_a_page_shows_runs_as_it_stands(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "data").symlink_to(ROOT / "data")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        if not block.runs:
            continue
        where = f"{page.relative_to(ROOT)}, line {block.line}"
        if block.language == "python":
            # the lines keep their numbers in a traceback
            code = compile("\n" * block.line + block.code, str(page), "exec")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(code, names)
            assert "nan" not in printed.getvalue(), where
            continue
        for words in commands(block.code):
            outcome = APPS[words[0]](*words[1:])
            # 1: done, but some records were skipped, as one of the sample must be
            assert outcome.code in (0, 1), (where, words, outcome)


@pytest.mark.parametrize("page", [p for p in PAGES if not all(b.runs for b in blocks(p))], ids=lambda p: p.stem)
def test_commands_that_cannot_be_run_here_exist_as_shown(page: Path):
    for block in blocks(page):
        if block.runs:
            continue
        assert block.language == "sh", f"{page}: only commands can be checked without running"
        for words in commands(block.code):
            if words[0] in APPS:
                check_command(words)
            elif words[0] in SCRIPTS:
                files = [word for word in words[1:] if word.endswith(".py")]
                assert files, words
                assert [f for f in files if not f.startswith(SCRIPTS[words[0]]) or not (ROOT / f).exists()] == [], words
            else:
                assert words[0] in OTHER_PROGRAMS, words
                if "vpmim_cli" in words:
                    check_command(["vpmim", *words[words.index("vpmim_cli") + 1 :]])
            if words[0] == "make":
                assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=lambda p: p.stem)
def test_every_block_says_what_it_is_so_that_none_escapes_the_tests(page: Path):
    lines = page.read_text(encoding="utf-8").splitlines()
    fences = [line.strip() for line in lines if line.lstrip().startswith("```")]
    opening = fences[::2]
    assert {fence for fence in opening if fence.strip("`").partition(" ")[0] not in LANGUAGES} == set()
    shown = "".join(
        found[0] for found in re.findall(r"^```text\n(.*?)^(```)$", "\n".join(lines), re.MULTILINE | re.DOTALL)
    )
    assert not re.search(r"^\$ ", shown, re.MULTILINE), "commands are sh, not text"
    indented = [n for n, line in enumerate(lines[1:], 2) if line.startswith("    ") and not lines[n - 2].strip()]
    outside = [n for n in indented if sum(line.startswith("```") for line in lines[: n - 1]) % 2 == 0]
    assert [n for n in outside if re.match(r"    (gazekit|vpmim|make|pip|python|pytest) ", lines[n - 1])] == []


def test_a_spec_that_is_shown_is_one_that_is_read(tmp_path: Path):
    from gazekit.sources.spec import read_spec

    (shown,) = re.findall(
        r"^```toml\n(.*?)^```$", (DOCS / "tutorials" / "tracker.md").read_text(), re.MULTILINE | re.DOTALL
    )
    (tmp_path / "lab.toml").write_text(shown, encoding="utf-8")
    spec = read_spec(tmp_path / "lab.toml")
    assert spec.screen is not None
    assert spec.screen.size_px == (1920, 1080)


def test_the_figures_of_the_quick_start_are_those_of_the_readme():
    readme, page = (path.read_text(encoding="utf-8") for path in (ROOT / "README.md", DOCS / "index.md"))
    rows = [line for line in readme.splitlines() if line.startswith(("| results ", "| eval "))]
    assert len(rows) == 4
    assert [line for line in page.splitlines() if line.startswith(("| results ", "| eval "))] == rows


def test_the_figure_of_the_frames_is_what_its_script_draws():
    script = runpy.run_path(str(DOCS / "generate" / "frames_figure.py"))
    assert (DOCS / "images" / "frames.svg").read_text(encoding="utf-8") == script["figure"]()


def test_every_command_and_reason_code_is_in_the_reference():
    script = runpy.run_path(str(DOCS / "generate" / "reference_pages.py"))
    for app in APPS:
        page = (DOCS / "reference" / f"{app}_commands.md").read_text(encoding="utf-8")
        text = script["on_page_markdown"](page)
        for name, command in commands_of(app).items():
            assert f"\n## {name}\n" in text
            for option in command.params:
                assert option.param_type_name == "argument" or option.opts[0] in text
    codes = script["on_page_markdown"]((DOCS / "reference" / "gazekit.md").read_text(encoding="utf-8"))
    assert "| `empty_map` | " in codes


def test_every_setting_of_a_run_is_in_the_reference_with_its_default():
    script = runpy.run_path(str(DOCS / "generate" / "reference_pages.py"))
    text = script["on_page_markdown"]((DOCS / "reference" / "settings.md").read_text(encoding="utf-8"))
    assert [key for key in flatten(Config()) if f"`{key}`" not in text] == []
    assert "| `mask.kappa` | `0.5` | share of the relevant patches hidden" in text


def test_every_public_name_is_in_the_reference():
    import gazekit

    text = (DOCS / "reference" / "gazekit.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^::: gazekit\S*\.(\w+)$", text, re.MULTILINE))
    of_a_module = {"__version__", "adapters", "metrics", "plots", "FIXATION_COLUMNS", "gaussians"} | {
        n for n in gazekit.__all__ if "Error" in n
    }
    assert set(gazekit.__all__) - of_a_module <= documented
    of_metrics = {getattr(gazekit.metrics, n).__module__ for n in gazekit.metrics.__all__ if n != "EPS"}
    assert [n for n in of_metrics if f"::: {n}\n" not in text] == []
    charts = {n for n, f in vars(gazekit.plots).items() if getattr(f, "__module__", "") == "gazekit.plots"}
    assert {n for n in charts if not n.startswith("_")} | {"to_pymovements", "to_multimatch"} <= documented


def test_every_page_of_docs_is_in_the_contents():
    contents = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    missing = [n for page in DOCS.rglob("*.md") if (n := str(page.relative_to(DOCS))) not in contents]
    assert missing == [], "add them to nav in mkdocs.yml"


def test_each_data_card_is_a_page_and_nothing_else_is():
    cards = {path.name: f'--8<-- "data/{path.name}"\n' for path in (ROOT / "data").glob("*.md")}
    assert {path.name: path.read_text() for path in (DOCS / "data").iterdir()} == cards


def test_every_example_in_a_help_text_exists():
    for app in APPS:
        for command in commands_of(app).values():
            for example in re.findall(r"^```\n(.*?)^```", command.help, re.MULTILINE | re.DOTALL):
                for words in commands(example):
                    if words[0] in APPS:
                        check_command([w for w in words if w not in (">", "results.md")])


def commands(code: str) -> Iterator[list[str]]:
    for line in code.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield words


def commands_of(app: str) -> dict[str, Any]:
    """Every command of an app by its words, those of its groups included."""
    script = runpy.run_path(str(DOCS / "generate" / "reference_pages.py"))
    return dict(script["leaf_commands"](typer.main.get_command(importlib.import_module(f"{app}_cli.main").app)))


def check_command(words: list[str]) -> None:
    """Parse as the app would, without doing it; then the names that only the library knows."""
    if words[1].startswith("--"):
        group: Any = typer.main.get_command(importlib.import_module(f"{words[0]}_cli.main").app)
        assert words[1] in {name for p in group.params for name in p.opts}, words
        return
    known = commands_of(words[0])
    name = words[1] if words[1] in known else " ".join(words[1:3])
    given = known[name].make_context(name, words[1 + len(name.split()) :], resilient_parsing=False).params
    if words[0] == "gazekit" and "dataset" in given:
        assert given["dataset"] in SOURCES, words
    if words[:2] == ["vpmim", "train"]:
        load_config(given["config"], given["overrides"] or [])
