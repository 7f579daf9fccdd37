# make train | make test: both set up everything they need in .venv
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
SOURCES := src tests train.py eval.py
export NO_ALBUMENTATIONS_UPDATE := 1

.PHONY: install train test test-runs test-machines test-slow test-slurm fuzz lint format constraints clean

install: $(VENV)/.installed
dev: $(VENV)/.installed-dev
.PHONY: dev

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v >= (3, 10) else "facegraph needs Python >= 3.10, found %d.%d: make PYTHON=python3.12 ..." % v)'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[dev]'
	@touch $@

train: install
	$(BIN)/python train.py

test: dev
	$(BIN)/python -m pytest -n 2 -m "not slow and not slurm and not runs"

# every option trained, sweeps, kills, several processes: minutes
test-runs: dev
	$(BIN)/python -m pytest -n 2 -m "runs and not slow"

# kinds of processor, random orders, a busy machine: about an hour on two cores; MACHINES=--short: minutes
test-machines: dev
	$(BIN)/python tests/machines.py $(MACHINES)

# damaged files for every reader: 2,000 each take minutes; FUZZ="--cases 100000 --seed 1 --only csv": others
fuzz: dev
	$(BIN)/python tests/fuzz.py $(FUZZ)

# a real Slurm on this machine; without root and apt it skips and says why
test-slurm: $(VENV)/.installed-slurm
	$(BIN)/python -m pytest -m slurm -rs tests/launch

$(VENV)/.installed-slurm: $(VENV)/.installed-dev
	$(BIN)/python -m pip install --disable-pip-version-check -q -c constraints.txt -e '.[slurm]'
	@touch $@

test-slow: dev
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m pytest -m fuzz --hypothesis-profile=thorough

lint: dev
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_house.py

format: dev
	$(BIN)/ruff format $(SOURCES)
	$(BIN)/ruff check --fix $(SOURCES)

constraints:
	$(PYTHON) -m venv $(VENV)-pins && $(VENV)-pins/bin/pip install -q uv
	$(VENV)-pins/bin/uv pip compile --universal --python-version 3.10 --extra dev --extra tensorboard --extra slurm \
	  --no-header --no-annotate --no-emit-index-url -c constraints.in pyproject.toml -o constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-pins .mypy_cache .pytest_cache .ruff_cache
