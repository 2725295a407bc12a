# make demo: what gateshift does, on this machine. make test: the whole test suite. Both make .venv if it is not there.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo

# On cores shared with other work, threads that spin while they wait cost minutes.
export OMP_WAIT_POLICY := PASSIVE

.PHONY: demo test check format clean

$(BIN)/gateshift: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(BIN)/gateshift
	$(BIN)/gateshift demo --out $(DEMO)

# Two processes of one thread each: most tests are too small for two threads.
test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

check: $(BIN)/gateshift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/gateshift
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf $(VENV) $(DEMO) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
