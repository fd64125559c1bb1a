# PYTHON may be a command, a version such as 3.11, or a path; empty means: search for it.
PYTHON ?=
export PYTHON

ENV := scripts/bootstrap.sh

.DEFAULT_GOAL := help
.PHONY: help demo test test-core benchmark lint clean
# Two targets must not install into the same environment at once.
.NOTPARALLEL:

help:
	@echo 'make demo                         run the demo'
	@echo 'make test                         run every test (Python 3.10 with Lava)'
	@echo 'make test-core PYTHON=python3.11  run the tests of the core, without Lava, on a newer Python'
	@echo 'make benchmark                    measure speed and memory beside other libraries (hours; ARGS=--quick: minutes)'
	@echo 'make lint                         check the code with ruff'
	@echo 'make clean                        remove the environments and everything else that was generated'
	@echo
	@echo 'Each target installs what it needs on the first call; the first install takes several GB.'

demo:
	@$(ENV) lava rmp-lava demo

test:
	@$(ENV) lava python -m pytest

test-core:
	@$(ENV) core python -m pytest -m "not lava"

benchmark:
	@$(ENV) core python -m benchmarks.run $(ARGS)

lint:
	@$(ENV) lava ruff check .

clean:
	rm -rf .venv .venv-core-* .venv-peers build dist .pytest_cache .ruff_cache .hypothesis
	find . -type d -name __pycache__ -prune -exec rm -rf {} +
