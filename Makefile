# mixlab: `make` lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
.PHONY: help install demo test style lint check docs pictures app bench clean

help:  ## List the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

install: $(STAMP)  ## Make .venv and install mixlab with pinned versions

$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(STAMP)

demo: install  ## The whole journey on real text: which mix is best, and how sure are we?
	$(BIN)/mixlab demo

test: install  ## The whole test suite, and how much of mixlab/ it runs, line by line (subprocesses too)
	@mkdir -p build && $(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -n 3 --dist loadfile --no-loadscope-reorder
	@$(BIN)/python -m coverage combine -q
	$(BIN)/python -m coverage report --skip-covered --fail-under=90

style: install  ## Format and lint, in a second
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

lint: style  ## Format, lint, and types, which take a minute
	$(BIN)/pyright

check: lint  ## Format, lint, types, fast tests
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m 'not slow and not browser'

docs: install  ## Make docs/reference/ from the code, and docs/rules.md
	$(BIN)/python -m tests.reference
	$(BIN)/python -m mixlab.data.rulebook > docs/rules.md

pictures: install  ## Take the README's pictures of the app, on what the demo made
	MIXLAB_SCREENSHOTS=docs $(BIN)/python -m pytest -q -rs tests/app/test_pictures.py

app: install  ## Open the app on what the demo made
	$(BIN)/mixlab app

BENCH := .venv-bench
$(BENCH)/.installed: pyproject.toml tests/bench/requirements.txt
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(BENCH)/bin/python -m pip install --quiet torch==2.13.0 -e . -r tests/bench/requirements.txt
	@touch $@

TEXT_DEDUP := .venv-bench-text-dedup
$(TEXT_DEDUP)/.installed: tests/bench/requirements-text-dedup.txt
	@test -x $(TEXT_DEDUP)/bin/python || $(PYTHON) -m venv $(TEXT_DEDUP)
	$(TEXT_DEDUP)/bin/python -m pip install --quiet -r tests/bench/requirements-text-dedup.txt
	@touch $@

bench: $(BENCH)/.installed $(TEXT_DEDUP)/.installed  ## Measure against peers and renew BENCHMARKS.md (TOPIC=name for one)
	$(BENCH)/bin/python -m tests.bench $(TOPIC)

clean:  ## Delete the environment and caches; the lab stays
	rm -rf $(VENV) $(BENCH) $(TEXT_DEDUP) build dist *.egg-info .ruff_cache .hypothesis
