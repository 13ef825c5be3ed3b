# make setup | demo | test | test-browser | test-faults | lint | types | docs | bench | wheel.  Needs Python 3.11+ and make, nothing else.
PYTHON ?= python3
BIN := .venv/bin
UV_VERSION := 0.13.9

.PHONY: setup demo demo-short demo-steps test test-browser test-faults lint types docs format bench wheel requirements clean

setup: .venv/.complete

# The stamp is written last, so an interrupted set-up is taken up again.
.venv/.complete: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "gazekit needs Python 3.11 or newer; call: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet uv==$(UV_VERSION)
	VIRTUAL_ENV=.venv $(BIN)/uv pip sync --quiet --compile-bytecode requirements.txt
	VIRTUAL_ENV=.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@touch $@

test: setup
	$(BIN)/python -m pytest

# Reports in headless Chromium (Debian: apt-get install chromium, or its path in $$CHROMIUM); pictures in out/screenshots.
test-browser: setup
	$(BIN)/python -m pytest -m browser

# The long form of tests/test_faults.py: builds killed at random moments, hundreds of times; prints its seed and counts.
KILLS := 500
test-faults: setup
	$(BIN)/python tests/faults.py --kills $(KILLS)
	$(BIN)/python -m pytest --hypothesis-profile=faults tests/test_hostile_bytes.py tests/test_hostile_sources.py

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The whole path on data/sample, two to four minutes of training on two cores. What is done already is not done again.
# build-heatmaps leaves with 1 because one reading of the sample was discarded, as 20 of the real data set's were.
DEMO := out/demo
DEMO_OPTIONS :=
export OMP_WAIT_POLICY := PASSIVE

demo: setup
	@$(MAKE) --no-print-directory demo-steps

# CI runs the same steps with fewer of them in the training.
demo-short: setup
	@$(MAKE) --no-print-directory demo-steps DEMO=out/demo-short DEMO_OPTIONS="--set train.max_steps=40"

demo-steps:
	$(BIN)/gazekit build-heatmaps data/sample/reflacx $(DEMO)/cache --dataset reflacx --images data/sample/mimic-cxr \
	    || test $$? -eq 1
	$(BIN)/vpmim train $(DEMO)/cache --out $(DEMO)/run --config demo $(DEMO_OPTIONS) \
	    $(if $(wildcard $(DEMO)/run/config.toml),--resume)
	$(BIN)/vpmim linear-eval $(DEMO)/run --dataset folder --data data/sample/labelled --out $(DEMO)/eval --features mean --controls
	$(BIN)/vpmim report $(DEMO)/run $(DEMO)/report.html --cache $(DEMO)/cache --eval $(DEMO)/eval
	@echo
	@$(BIN)/vpmim table $(DEMO)/eval
	@echo
	@echo "Look at the report: $(DEMO)/report.html"

types: setup
	$(BIN)/mypy

# The pages of docs/ as a site, which needs no server: out/site/index.html. A warning is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "Look at the site: out/site/index.html"

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python benchmarks/heatmap.py

wheel: setup
	rm -rf dist
	$(BIN)/python -m hatchling build --target wheel
	$(BIN)/python .ci/check_wheel.py dist/*.whl

requirements:
	$(BIN)/uv pip compile --quiet --no-annotate --no-header --no-emit-index-url --no-emit-find-links \
	    --python-version 3.11 --extra train --extra dev pyproject.toml -o requirements.txt

clean:
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
