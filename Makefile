# make demo: what gateshift does, on this machine. make test: the whole test suite. Both make .venv if it is not there.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
DEMO   ?= demo

# On cores shared with other work, threads that spin while they wait cost minutes.
export OMP_WAIT_POLICY := PASSIVE

# What some tests need and pip cannot give: a browser, and a server of camera streams. They are skipped without.
SYSTEM_PACKAGES := chromium gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-good

.PHONY: demo test check format docs clean system

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

clean:
	rm -rf $(VENV) $(DEMO) site build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
