# Two commands do everything on a fresh machine with python3, pip, git and make: `make demo` and `make test`.
PYTHON ?= python3
PIPFLAGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check lint types docs clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIPFLAGS) -c constraints.txt -e '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/esd demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto $(ARGS)

# Under a minute: what to run before every commit.
check: $(STAMP) lint types
	$(BIN)/python -m pytest -m "not slow" tests/test_tiny.py tests/test_layers.py tests/test_expr.py tests/test_text.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m pytest --doctest-modules --doctest-glob='*.md' esd README.md docs

clean:
	rm -rf $(VENV) demo build *.egg-info
