# `make demo` and `make test` need Python 3.11 or newer and nothing else.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := results-demo
# In parallel; the tests of a file stay together and share what they have made. `make check` runs those of the layering.
TESTS := -n auto --dist loadfile --ignore tests/test_layering.py
# Slow tests in this order, those that find most first; what has not ended after SECONDS is left out.
SECONDS := 1200
SOME_SLOW := \
	tests/sweeps/running/test_engine.py \
	tests/sweeps/running/test_ray_internals.py \
	tests/sweeps/running/test_surroundings.py \
	tests/sweeps/test_campaign.py::test_a_few_faults

.PHONY: demo gpu-check test test-medium test-oldest test-slow test-some-slow check format docs clean

demo: $(VENV)/installed
	$(BIN)/python sweeps/run.py table5 --dataset digits --epochs 6 --gpus 0 --results $(DEMO)

# With the Python that has torch for the GPU; nothing is installed.
gpu-check:
	$(PYTHON) benchmarks/gpu_check.py

test: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(TESTS)

# Tests of seconds, most of whose facts a faster one proves.
test-medium: $(VENV)/installed-dev
	$(BIN)/python -m pytest $(TESTS) -m "medium and not slow"

# The fast tests with the oldest dependencies that the program takes.
test-oldest: $(VENV)-oldest/installed
	$(VENV)-oldest/bin/python -m pytest $(TESTS)

test-slow: $(VENV)/installed-dev
	$(BIN)/python -m pytest -m "slow or medium or hypothesis" --hypothesis-profile=thorough

test-some-slow: $(VENV)/installed-dev
	timeout $(SECONDS) $(BIN)/python -m pytest -v -x -m slow $(SOME_SLOW) || \
		{ status=$$?; [ $$status -eq 124 ] && echo "after $(SECONDS) s: the other slow tests were not run"; } || exit $$status

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layering.py

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf $(VENV) $(VENV)-oldest $(DEMO) build site *.egg-info

$(VENV)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/installed: $(VENV)/python pyproject.toml
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

# The pages are made from sources, not from the installed program.
$(VENV)/installed-docs: $(VENV)/python pyproject.toml
	$(BIN)/python -m pip install --quiet $$($(BIN)/python -c "import tomllib; \
		print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['docs'])")
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --editable '.[dev,docs,tensorboard]'
	touch $@

$(VENV)-oldest/installed: constraints-oldest.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint constraints-oldest.txt --editable '.[tensorboard,tests]'
	touch $@
