# Needs python3 (3.11 or 3.12) and git, nothing else: everything is installed into .venv.
.DEFAULT_GOAL := help
.PHONY: help sync params repro flow study report reported play blind bench bundle test quick check prove clean
.DELETE_ON_ERROR:

UV := uv==0.13.9
PYTHON ?= $(firstword $(foreach p,python3 python3.12 python3.11,$(if \
	$(shell $(p) -c 'import sys; print((3, 11) <= sys.version_info < (3, 13) or "")' 2>/dev/null),$(p))))
SYNCED := .venv/.synced
CHECKED := .venv/.params-checked

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export UV_PYTHON_DOWNLOADS := never
export DO_NOT_TRACK := 1

help:
	@echo 'make repro   run the whole pipeline; what is up to date is skipped'
	@echo 'make flow    the same under Prefect'
	@echo 'make study   NAME=context: a table of the paper at this scale; studies.yaml has them all'
	@echo 'make params  is params.yaml right? (the others ask it first)'
	@echo 'make report  where the last evaluation is shown'
	@echo 'make play    a page on which you play: what make repro made, else the weights that ship'
	@echo 'make blind   what blind tests on that page have shown'
	@echo 'make bench   how fast this machine plays the model (alone on it: minutes)'
	@echo 'make bundle  one folder for a machine without network: packages, code, numbers, a script'
	@echo 'make test    run the tests'
	@echo 'make quick   run those tests that take seconds'
	@echo 'make prove   kills, full disks, damaged files, hostile players: 40 minutes'
	@echo 'make check   format, lint, types, import contracts'
	@echo 'make sync    install everything into .venv (the others do it when needed)'
	@echo 'make clean   forget checkpoints of unfinished stages, logs and tool caches'

sync: $(SYNCED)

$(SYNCED): uv.lock pyproject.toml
	@test -n '$(PYTHON)' || { echo 'error: needs Python 3.11 or 3.12 (torch_xla has no later wheels); \
	found: '"$$(python3 --version 2>&1)"'; install one, or name it: make PYTHON=/path/to/python3.12' >&2; exit 2; }
	@echo 'setting up .venv: some minutes, once'
	.venv/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check $(UV)
	.venv/bin/uv sync --locked --inexact --extra openvino --compile-bytecode
	@touch $@

# Before anything long: a slip in the last stage's section is found now, not hours later.
params: $(SYNCED)
	@python -m flows.check
	@touch $(CHECKED)

$(CHECKED): $(SYNCED) params.yaml dvc.yaml $(wildcard flows/*.py stages/*.py gamengen/*.py gamengen/*/*.py gamengen/*/*/*.py)
	@python -m flows.check
	@touch $@

# Not while a flow runs here, nor the other way round.
repro: $(CHECKED)
	python -m flows.lock dvc repro

flow: $(CHECKED)
	python -m flows.pipeline

# Runs that exist are not run again; the page is in docs/studies.
study: $(CHECKED)
	@python -m flows.study $(NAME)

report: reported $(SYNCED)
	@python -c 'import json; from gamengen.evaluation.summary import in_words; print(in_words(json.load(open("metrics.json"))))'
	@echo 'file://$(CURDIR)/report/index.html'

# Before a set-up that would be for nothing.
reported:
	@test -f report/index.html || { echo 'error: no report yet: make repro' >&2; exit 2; }

play: $(SYNCED)
	python -m gamengen.play $(PLAY)

blind: $(SYNCED)
	python -m gamengen.play.blind

# More of it: make bench BENCH='--seconds 60 --backends eager openvino'
bench: $(SYNCED)
	python -m gamengen.bench $(BENCH)

# Another folder, numbers or Python: make bundle BUNDLE='/tmp/b --deployment day --python 3.11'
BUNDLE ?= bundle
bundle: $(CHECKED)
	python -m flows.bundle $(BUNDLE)

# Two processes share the tests; one thread each, so that they do not share their cores twice.
test: $(SYNCED)
	OMP_NUM_THREADS=1 pytest -n 2 --dist loadgroup

# While one edits: no launches, no browser, no XLA, not the real game.
quick: $(SYNCED)
	OMP_NUM_THREADS=1 pytest -m 'not slow'

check: $(SYNCED)
	ruff format --check
	ruff check
	mypy
	lint-imports

prove: $(SYNCED)
	python -m tests.corrupt --cases 200
	python -m tests.chaos
	python -m tests.play.soak --hostile 4 --seconds 150

clean:
	rm -rf data/.resume data/.partial-* data/tensorboard .resume .partial-* tensorboard
	rm -rf .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .cache
