# make demo: photos to a measured int8 model. make test: everything the project promises. Both set themselves up.
PYTHON ?= python3
VENV := .venv
DEVICE := .venv-device
TFLITE := .venv-tflite
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
TWO := --numprocesses 2 --dist loadfile
# Two processes on two cores: threads of libraries would only wait for each other.
ONE := TF_NUM_INTRAOP_THREADS=1 TF_NUM_INTEROP_THREADS=1 OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1

.PHONY: demo docs test coverage test-e2e test-slow test-faults test-readme fuzz mutants test-arm64 test-containers matrix lint types test-device test-tflite lock locked clean

demo: $(STAMP)
	$(BIN)/edgetl demo

# The documentation as a site, in site/: nothing in it is loaded from elsewhere. A warning fails it.
docs: $(STAMP)
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "site/index.html; with search: $(BIN)/mkdocs serve"

# The main suite comes last, so that its summary is the last thing to be seen.
test: lint types test-device test-tflite
	$(ONE) $(BIN)/python -m pytest --ignore=tests/device --ignore=tests/e2e $(TWO) --durations=15 $(COV) $(BOUNDS)

# The same, measured, which takes a quarter longer: what it must cover is in tests/branches.py.
coverage: COV := --cov --cov-report=
coverage: BOUNDS := --cov-append --coverage-bounds
coverage: test

# The whole way on real photos, where they lie beside the checkout.
test-e2e: $(STAMP)
	$(BIN)/python -m pytest tests/e2e

# What takes minutes and changes rarely: every backbone, the large ones too, trained for a step and converted; every option of
# training; pages in both colour schemes; all of the device package with the oldest runtimes.
test-slow: $(STAMP)
	$(BIN)/python -m pytest -m slow --durations=15
	$(MAKE) --no-print-directory test-tflite TFLITE_TESTS=tests/device

# Processes that are killed at many random moments.
test-faults: $(STAMP)
	$(BIN)/python -m pytest -m faults --durations=15

# The README's blocks, word for word, in new environments; the packages come from the index.
test-readme: $(STAMP)
	$(BIN)/python -m pytest -m readme

# The code broken on purpose, in one place at a time: each time the tests that are named must fail. An hour; one of them:
# make mutants MUTANTS="--only EXIF".
MUTANTS ?= --jobs 2
mutants: $(STAMP)
	$(ONE) $(BIN)/python tests/mutants/run.py $(MUTANTS)

# Coverage-guided fuzzing of every reader of untrusted bytes; hours. One target: make fuzz FUZZ="bundles --seconds 60".
FUZZ ?= --runs 1000000 --seconds 1200
fuzz: $(VENV)/.fuzz
	$(BIN)/python tests/fuzz/run.py $(FUZZ)

$(VENV)/.fuzz: $(STAMP)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	touch $@

# The device package's own tests where there is no TensorFlow, as on a board with every extra. pytest itself and not
# python -m pytest: the latter would put edgetl on the path too.
test-device: $(DEVICE)/.installed
	$(DEVICE)/bin/pytest tests/device $(TWO) $(COV)

# And what depends on runtimes with the oldest: LiteRT's predecessor, which boards with 32-bit Arm run, and the lowest ONNX Runtime.
# The former's last wheels are for Python 3.11 on Linux. All of it: make test-tflite TFLITE_TESTS=tests/device.
TFLITE_TESTS ?= tests/device/adapt tests/device/bench tests/device/delegates tests/device/runtime $(wildcard tests/device/test_*.py)
test-tflite:
	@if $(PYTHON) -c 'import sys; sys.exit(sys.platform != "linux" or sys.version_info[:2] > (3, 11))'; then \
	  $(MAKE) --no-print-directory $(TFLITE)/.installed && $(TFLITE)/bin/pytest $(TFLITE_TESTS) $(TWO); \
	else \
	  echo "not run: tests/device with tflite-runtime 2.14, which has no wheel for $$($(PYTHON) --version) here"; \
	fi

# On 64-bit Arm, emulated: as root, with debootstrap and qemu-user-static. Minutes, the first time more.
test-arm64: $(STAMP)
	PYTHON=$(CURDIR)/$(BIN)/python tests/arm64/run.sh

# The Dockerfiles' steps in Debian roots of their own, on x86 and 64-bit Arm: as root, with debootstrap and qemu-user-static.
test-containers: $(STAMP)
	$(BIN)/python -m pytest -m containers --durations=3

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

$(STAMP): pyproject.toml device/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e ./device -e '.[dev,heif]'
	touch $@

# Installed in place: the tests see the code as it is now.
$(DEVICE)/.installed: device/pyproject.toml
	$(PYTHON) -m venv $(DEVICE)
	$(DEVICE)/bin/pip install --quiet --disable-pip-version-check -e './device[dev,heif]'
	touch $@

$(TFLITE)/.installed: device/pyproject.toml
	$(PYTHON) -m venv $(TFLITE)
	$(TFLITE)/bin/pip install --quiet --disable-pip-version-check tflite-runtime==2.14.0 'onnxruntime==1.18.*' 'numpy<2' pillow \
	  'pytest>=8' 'pytest-xdist>=3.6'
	$(TFLITE)/bin/pip install --quiet --disable-pip-version-check --no-deps -e ./device
	touch $@

# The lowest versions that pyproject.toml allows, as constraints for pip: PIP_CONSTRAINT=lowest.txt make test. Needs uv.
lowest.txt: pyproject.toml device/pyproject.toml tests/matrix.py
	$(PYTHON) -c 'import sys; sys.path.insert(0, "tests"); import matrix; print(end=matrix.constraints("$(PYTHON)", "lowest-direct"))' > $@

# The suite on each Python from 3.10 to 3.13 that is here, with the lowest and the newest dependencies: hours. Needs uv.
# Less: make matrix MATRIX="--python 3.10 -- tests/device".
MATRIX ?=
matrix:
	$(PYTHON) tests/matrix.py $(MATRIX)

# Every package that the demo, the tests and a release need, with hashes: on 64-bit x86 Linux with Python 3.12. Needs uv.
LOCK := uv pip compile --quiet --upgrade --generate-hashes --no-annotate --no-header --python-version 3.12 \
  --python-platform x86_64-manylinux_2_28
BOTH := - pyproject.toml device/pyproject.toml
lock:
	echo '-e ./device' | $(LOCK) --extra train $(BOTH) | grep -v '^-e' > requirements/demo.txt
	echo '-e ./device' | $(LOCK) --extra dev --extra camera --extra heif $(BOTH) | grep -v '^-e' > requirements/ci.txt
	$(LOCK) requirements/tools.in > requirements/tools.txt

# .venv with these, for make demo and make test.
locked:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/ci.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps -e ./device -e .
	touch $(STAMP)

clean:
	rm -rf $(VENV) $(DEVICE) $(TFLITE) build dist site lowest.txt .matrix .coverage .pytest_cache .mypy_cache .ruff_cache
