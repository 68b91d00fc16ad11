# Two commands: `make demo` and `make test`. Each sets itself up the first time, on a machine with Python ≥ 3.11 and pip.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
TESTS ?= tests
SAMPLE ?= 0
SEED ?= 0

.PHONY: gemma install demo test slow real mutants processors referee lint clean

install: $(VENV)/.installed

demo: $(VENV)/.installed
	$(BIN)/fledge demo

test: lint
	$(BIN)/pytest -n 2 --dist worksteal $(TESTS)

slow: $(VENV)/.installed-dev
	$(BIN)/pytest -n 2 -m slow $(TESTS)

# Real models for the tests marked `real`, 98 and 83 MB, once; without them they are skipped.
real: $(VENV)/.installed
	$(BIN)/python -m tests.real.smollm2
	$(BIN)/python -m tests.real.minilm

# Another, for `make slow`, 253 MB, under the Gemma Terms of Use.
gemma: $(VENV)/.installed
	$(BIN)/python -m tests.real.gemma3

# Faults planted one at a time, hours for all of them; `make mutants SAMPLE=200` takes part of an hour.
mutants: $(VENV)/.installed-dev
	$(BIN)/python -m tests.mutants --sample $(SAMPLE) --seed $(SEED)

# The tests on the arithmetic of other processors: sums are taken in another order, products in other instructions.
processors: $(VENV)/.installed-dev
	@for isa in default:SSE41 avx2:AVX2 :; do for threads in 1 2; do \
		aten=$${isa%%:*} onednn=$${isa#*:}; \
		echo "== ATen $${aten:-as the machine}, oneDNN $${onednn:-as the machine}, $$threads threads"; \
		env $${aten:+ATEN_CPU_CAPABILITY=$$aten} $${onednn:+ONEDNN_MAX_CPU_ISA=$$onednn} \
			OMP_NUM_THREADS=$$threads FLEDGE_TEST_THREADS=$$threads $(BIN)/pytest -n 2 $(TESTS) || failed=1; \
	done; done; [ -z "$$failed" ]

# Other people's trainers on our bench: docs/referee.md and docs/referee.json anew, a few minutes.
referee: $(VENV)/.installed-dev
	$(PIP) -e '.[referee]'
	$(BIN)/python -m benchmarks.referee

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/basedpyright
	$(BIN)/lint-imports

# The stamp of an older python in the same folder would be believed: the folder is made anew with the stamp.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "fledge needs Python 3.11 or newer; $(PYTHON) is older. Give another: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (a minute or two the first time) …"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e '.[dev,compat]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
