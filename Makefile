# make demo: what gateshift does, on this machine. make test: the whole test suite. Both make .venv if it is not there.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo

# On cores shared with other work, threads that spin while they wait cost minutes.
export OMP_WAIT_POLICY := PASSIVE

# What some tests need and pip cannot give: the ffmpeg program, a browser, and a server of camera streams. They are skipped without.
SYSTEM_PACKAGES := ffmpeg chromium gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good

.PHONY: demo test quick coverage check format docs architecture notebook accuracy accuracy-quick clean system

$(BIN)/gateshift: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(BIN)/gateshift
	$(BIN)/gateshift demo --out $(DEMO)

# Two processes of one thread each: most tests are too small for two threads. Each takes tests that follow each other,
# which share what they have made.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test: check quick
	$(PYTEST) -m slow

# The tests that take less than half a second, two thirds of them.
quick: $(BIN)/gateshift
	$(PYTEST) -m 'not slow'

# Which lines the tests run: the total, and the files with the least. Counting takes about a third more time.
coverage: $(BIN)/gateshift
	$(PYTEST) --cov --cov-report=
	$(BIN)/coverage report | sed -n 1,22p
	$(BIN)/coverage report --format=total

# As root, on Debian or Ubuntu.
system:
	apt-get update -qq
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SYSTEM_PACKAGES)

check: $(BIN)/gateshift
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(BIN)/gateshift
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Into site/; a warning is an error. The variable keeps the theme from advertising its successor.
docs: $(BIN)/gateshift
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The picture and the map of docs/architecture.md, from the sources as they are.
architecture: $(BIN)/gateshift
	$(BIN)/python docs/draw_architecture.py

# docs/python.md as a notebook.
notebook: $(BIN)/gateshift
	$(BIN)/python docs/write_notebook.py

# A table of benchmarks/accuracy: make accuracy TABLE=pairs, with PATHS and CLIPS for those that need them; see its README.
TABLE ?= pairs
PATHS ?= PATHS
CLIPS ?= CLIPS
accuracy: $(BIN)/gateshift
	$(BIN)/python benchmarks/accuracy/run.py $(TABLE) --jobs 2 --paths $(PATHS) --clips $(CLIPS)
	$(BIN)/python benchmarks/accuracy/summary.py

# One seed of its smallest table, anew, compared with the committed figures.
accuracy-quick: $(BIN)/gateshift
	rm -rf runs/accuracy/quick
	$(BIN)/python benchmarks/accuracy/run.py pairs-quick --seeds 0 --jobs 2 --out runs/accuracy/quick --results runs/accuracy/quick
	$(BIN)/python benchmarks/accuracy/compare.py runs/accuracy/quick/pairs-quick.csv benchmarks/accuracy/results/pairs-quick.csv

clean:
	rm -rf $(VENV) $(DEMO) site build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
