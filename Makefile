# make demo   an environment, the embedded study, the explorer
# make test   an environment, lint, types, the whole test suite in two processes of one thread each
# make campaigns   what people really have, compared with truth, and what strangers and power cuts do to runs
# make docs   the documentation site, strictly and without a network, into build/docs
# make screenshots   every page of the demo's runs, into build/screenshots

PYTHON ?= python3
ENV    := .venv
BIN    := $(ENV)/bin
READY  := $(ENV)/ready

# Where an image says that no bytecode is to be written, every process would compile torch and all else once more: seconds each.
unexport PYTHONDONTWRITEBYTECODE

# What the site shows, each at its place in the repository.
PAGES := README.md CONTRIBUTING.md CHANGELOG.md LICENSE docs/*.md docs/*/*.md influence/CONTRACT.md data/*/LICENCE* \
         examples/*.py assets/*.png assets/logo.svg

.PHONY: demo test lint campaigns docs screenshots clean

demo: $(READY)
	$(BIN)/upstream demo $(ARGS)

test: $(READY) lint
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder --durations 25 $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

campaigns: $(READY)
	$(BIN)/python tests/campaigns/setups.py $(ARGS)
	$(BIN)/python tests/campaigns/runs/attacks.py $(ARGS)

docs: $(READY)
	rm -rf build/docs build/pages
	mkdir -p build/pages
	tar -cf - $(PAGES) | tar -xf - -C build/pages
	PYTHONPATH=docs $(BIN)/zensical build --clean --strict

screenshots: $(READY)
	$(BIN)/python assets/screenshots.py --all build/screenshots

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv $(ENV)
	$(BIN)/python -m pip install --quiet uv --constraint constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python --editable '.[dev,docs]' --constraint constraints.txt
	touch $@

clean:
	rm -rf $(ENV) .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis build/docs build/pages
