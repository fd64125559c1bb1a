# PYTHON may be a command, a version such as 3.11, or a path; empty means: search for it.
PYTHON ?=
export PYTHON
# Processes that share the tests, each with one thread of PyTorch's.
WORKERS ?= 2

ENV := scripts/bootstrap.sh
PYTEST := python -m pytest -n $(WORKERS)

.DEFAULT_GOAL := help
.PHONY: help demo check check-format check-lint check-types format test test-fast test-core test-slow docs docs-serve benchmark release-check clean
# Two targets must not install into the same environment at once.
.NOTPARALLEL:

test test-fast test-core test-slow: export OMP_NUM_THREADS = 1
# Tests start hundreds of interpreters, each of which would compile every module again.
test test-fast test-core test-slow: export PYTHONDONTWRITEBYTECODE =

help:
	@echo 'make demo                         run the demo: a minute, after an installation of two to six'
	@echo 'make check                        format, lint, types and the fast tests (Python 3.11 or newer, without Lava): a minute'
	@echo 'make format                       format the code and mend what the linter can'
	@echo 'make test                         run every test (Python 3.10 with Lava): minutes'
	@echo 'make test-core PYTHON=python3.11  run the tests of the core, without Lava, on a newer Python'
	@echo 'make test-slow                    of these, the ones that `make check` leaves out'
	@echo 'make docs                         build the documentation site into build/site (Python 3.11 or newer)'
	@echo 'make docs-serve                   serve that folder on http://localhost:8000'
	@echo 'make benchmark                    measure speed and memory next to other libraries (hours; ARGS=--quick: minutes)'
	@echo 'make release-check                build wheel and sdist, and use them in fresh environments (PYTHON=3.12: of one version)'
	@echo 'make clean                        remove the environments and everything else that was generated'
	@echo
	@echo 'Each target installs what it needs on the first call; the first install takes several GB (TORCH_INDEX=URL: fewer, see CONTRIBUTING.md).'
	@echo 'Tests run in two processes; more with WORKERS=8.'

demo:
	@$(ENV) lava rmp-lava demo
	@echo
	@echo 'To use rmp-lava yourself: source .venv/bin/activate; then rmp-lava --help'

check: check-format check-lint check-types test-fast

check-format:
	@$(ENV) core ruff format --check .

check-lint:
	@$(ENV) core ruff check --quiet .

check-types:
	@$(ENV) core mypy

format:
	@$(ENV) core ruff check --fix .
	@$(ENV) core ruff format .

test:
	@$(ENV) lava $(PYTEST) --dist loadgroup $(ARGS)

test-fast:
	@$(ENV) core $(PYTEST) --dist loadfile -q --hypothesis-profile=fast --durations=10 --durations-min=0.5 -m "not slow and not lava"

test-core:
	@$(ENV) core $(PYTEST) --dist loadgroup -m "not lava"

test-slow:
	@$(ENV) core $(PYTEST) --dist loadgroup -m "slow and not lava"

docs: export NO_MKDOCS_2_WARNING = 1
docs:
	@$(ENV) core python -m mkdocs build --strict --quiet

docs-serve: docs
	@$(ENV) core python -m http.server --directory build/site --bind localhost 8000

benchmark:
	@$(ENV) core python -m benchmarks.run $(ARGS)

release-check:
	@$$($(ENV) find 3.11 3.12 3.13) scripts/release.py $(if $(PYTHON),--python $(PYTHON))

clean:
	rm -rf .venv .venv-core-* .venv-peers build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +
