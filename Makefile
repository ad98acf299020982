# make demo   solve a scenario, export it, verify it, let the guard decide; see the result
# make test   every check: format, lint, types, tests
# make results   measure again every number that README.md states
# make peers  install the solvers that csa bench races against, into .venv-peers
# make ray    install Ray, an extra, and test the sweeps that run on it
# make experiments  run every experiment of csa experiment, and write experiments/*/report.md
# make papers  measure published results again, and write papers/*/README.md
# make docs   build the documentation, a site of files that need no network, into build/docs
# make bench  race all of them: python -m experiments.speed (one to two hours on two cores)
# make clean  remove what the other targets made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# Progress bars and wheels aside, nothing here needs the network once $(INSTALLED) exists.
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --constraint constraints.txt

# One worker runs a whole file, and makes what its tests share once; files start in their order.
TWO := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: install demo test results experiments papers ray docs peers bench clean
.DELETE_ON_ERROR:

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v <= (3, 13) else "Python 3.11 to 3.13 is needed, this is %d.%d; name another with make PYTHON=python3.12" % v)'
	@echo "installing pinned packages into $(VENV) (a few minutes, once)"
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) hatchling editables
	@$(PIP) --no-build-isolation --editable '.[dev]'
	@touch $@

demo: $(INSTALLED)
	@$(BIN)/python -m experiments.demo

test: $(INSTALLED)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	rm -rf build/test-cache
	$(BIN)/pytest -o addopts='-q --strict-markers' -m large $(TWO)
	$(BIN)/pytest $(TWO)

results: $(INSTALLED)
	$(BIN)/python -m experiments.foundation
	$(BIN)/python -m experiments.readme

experiments: $(INSTALLED)
	$(BIN)/python -m experiments

papers: $(INSTALLED)
	$(BIN)/python -m papers
	$(BIN)/python -m papers.own

ray: $(INSTALLED)
	@$(PIP) ray
	$(BIN)/pytest -W ignore::ResourceWarning -W ignore::pytest.PytestUnraisableExceptionWarning -k ray tests/test_sweeps.py  # it leaves processes

docs: $(INSTALLED)
	@$(PIP) furo myst-parser sphinx
	@$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going --fresh-env \
		-d build/docs-cache csa_games/docs build/docs
	@echo "the documentation is build/docs/index.html"

# Built from the lists of exact versions alone: see experiments/speed/peers.txt.
peers: $(INSTALLED)
	@$(PYTHON) -m venv .venv-peers
	@.venv-peers/bin/python -m pip --disable-pip-version-check install --quiet --no-deps \
		--constraint constraints.txt --requirement experiments/speed/peers.txt

bench: $(INSTALLED)
	$(BIN)/python -m experiments.speed

clean:
	rm -rf $(VENV) .venv-peers build demo runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
