# serve · test · train · evaluate · story · bench · check · lock

PYTHON ?= python3
VENV   ?= .venv
PORT   ?= 8000
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint requirements.lock

.PHONY: serve test train evaluate story bench check lock

serve: $(VENV)/.serve            ## install the serving set and serve on PORT
	$(BIN)/jianwei serve --port $(PORT)

test: check                      ## everything: style, types, contracts, tests
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

check: $(VENV)/.dev              ## style, types and import contracts alone
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

RECIPE ?= experiments/consumer.yaml
train: $(VENV)/.dev              ## train RECIPE
	$(BIN)/jianwei train $(RECIPE)

evaluate: $(VENV)/.dev           ## measure the champion on RECIPE's test part
	$(BIN)/jianwei evaluate $(RECIPE)

story: $(VENV)/.dev              ## the review loop, the queue's order against chance: var/story
	$(BIN)/python experiments/story.py --seeds 2 --among 2

bench: $(VENV)/.dev              ## speed on this machine, ten minutes; TEXTS=file takes texts of your own
	$(BIN)/python -m benchmarks $(if $(TEXTS),--texts $(TEXTS))

lock: $(VENV)/.dev               ## write the versions that are installed to requirements.lock
	$(BIN)/python -m pip freeze --exclude-editable --exclude jianwei | sed 's/+cpu$$//' > requirements.lock

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "jianwei needs Python 3.11 or newer; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.serve: $(BIN)/python pyproject.toml requirements.lock
	$(PIP) --editable '.[pages]'
	@touch $@

$(VENV)/.dev: $(BIN)/python pyproject.toml requirements.lock
	$(PIP) --editable '.[dev]'
	@touch $@ $(VENV)/.serve
