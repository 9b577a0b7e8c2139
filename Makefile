# Two commands do everything on a fresh machine with python3, pip, git and make: `make demo` and `make test`.
PYTHON ?= python3
PIPFLAGS ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check lint types docs bench fuzz faults clean

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIPFLAGS) -c constraints.txt -e '.[test]'
	touch $@

demo: $(STAMP)
	$(BIN)/esd demo $(ARGS)

test: $(STAMP)
	$(BIN)/python -m pytest -n auto --dist loadfile $(ARGS)

# Under a minute: what to run before every commit.
check: $(STAMP) lint types
	$(BIN)/python -m pytest tests/test_tiny.py tests/test_layers.py tests/test_expr.py tests/test_text.py

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

docs: $(STAMP)
	if [ -n "$$ESD_OPERATORS_CSV" ]; then $(BIN)/python docs/operators_status.py "$$ESD_OPERATORS_CSV"; fi
	$(BIN)/python docs/reference.py --check
	$(BIN)/python docs/stubs.py --check
	$(BIN)/python -m pytest --doctest-modules --doctest-glob='*.md' esd README.md docs

# One JSON line each: ratios to C++, to xarray with dask, and of table folding. Takes minutes, best on an idle machine.
bench: $(STAMP)
	$(BIN)/python -m pip install -q --disable-pip-version-check $(PIPFLAGS) -c constraints.txt -e '.[dask,vector]'
	cd benchmarks && for run in graph.py codec.py codes.py "stack.py --codec lz4" "stack.py --codec zstd" batch.py regions.py; do ../$(BIN)/python bench_$$run || exit 1; done

# Random graphs through both tiers, compared to the bit; ESD_FUZZ_SEED chooses others. Half an hour on an idle core.
fuzz: $(STAMP)
	ESD_FUZZ_GRAPHS=100000 $(BIN)/python -m pytest -s tests/test_compiled.py -k random_graphs $(ARGS)

# Every fault 50 times at random moments, and 500 malformed inputs; prints the seed. As root the full disk is a real one.
faults: $(STAMP)
	ESD_FAULTS=50 ESD_MUTATIONS=500 $(BIN)/python -m pytest -s tests/test_ingest_faults.py tests/test_ingest_s3_faults.py tests/test_ingest_workers.py tests/test_ingest_malformed.py $(ARGS)

clean:
	rm -rf $(VENV) demo build *.egg-info
