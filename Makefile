# Two commands set everything up on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
# Compiling takes most of the tests' time, on one core each; files stay whole, so that what their
# tests share is compiled once, and in order: those of few but long tests would come last otherwise.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
PIP := $(BIN)/python -m pip --disable-pip-version-check
# uv takes a third of pip's time but reads none of its settings. Constraints are handed on; where pip
# is told an index of its own, and where uv fails, pip installs. Whom the system trusts, uv trusts.
define install
@settings=$$($(PIP) config list); \
constraint=$$(echo "$$settings" | sed -n "s/.*\.constraint='\(.*\)'/\1/p" | tail -n 1); \
case "$$settings" in *.index-url=*|*.no-index=*) false;; esac && \
$(PIP) install --quiet --no-compile --only-binary uv uv && \
UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --python $(BIN)/python $${constraint:+--constraint "$$constraint"} $(1) || \
$(PIP) install --quiet --no-compile $(1)
endef
# Neither compiles all to bytecode: twice the time of what is ever imported, which Python compiles
# on the way. It must be let to write that down.
unexport PYTHONDONTWRITEBYTECODE
# The other heads: shapes_solo, shapes_decoupled_solo, shapes_sparseinst, shapes_yolact; of whole
# scenes shapes_panoptic; of pixels shapes_fcn, shapes_unet, shapes_pspnet, shapes_deeplabv3plus,
# shapes_pp_liteseg.
CONFIG ?= shapes
WORKDIR ?= runs/$(CONFIG)

# The Python of a machine with an accelerator, into which nothing is installed: JAX and the packages
# of tools/bench_accelerator.py. TORCH is one that has PyTorch, where that one has none.
ACCELERATED ?= $(or $(wildcard $(BIN)/python),$(PYTHON))
TORCH ?=
RESULTS ?= runs/bench
# Of the container; jax[cuda12] for one that uses NVIDIA's GPUs.
JAX ?= jax

.PHONY: bench bench-accelerator demo test test-fast test-all test-oldest soak check site notebook image format clean
.DEFAULT_GOAL := help

help:
	@echo "make demo       draw the shapes set, train on it, score it, draw what was found;"
	@echo "                with CONFIG=shapes_solo, shapes_decoupled_solo, shapes_sparseinst or"
	@echo "                shapes_yolact by another head, with shapes_panoptic whole scenes, with"
	@echo "                shapes_fcn, _unet, _pspnet, _deeplabv3plus or _pp_liteseg their labels"
	@echo "make test       the tests of every claim"
	@echo "make test-fast  those that take seconds"
	@echo "make test-all   the long forms of some as well: more kills, whole sizes"
	@echo "make test-oldest"
	@echo "                those of make test with the oldest dependencies that are admitted"
	@echo "make bench      what this machine makes of SOLOv2-R50 and its light model, in minutes"
	@echo "make bench-accelerator"
	@echo "                all that is wanted of a rented GPU in eight minutes, as a page; with"
	@echo "                ACCELERATED=python3 by that one"
	@echo "make soak       a whole training of the shapes set, watched for leaks: for the night"
	@echo "make check      what CI checks: format, lint, types, known holes, all tests"
	@echo "make site       the documents with an API reference, as pages: build/site/site/index.html"
	@echo "make notebook   runs docs/inside_solo.ipynb anew, a training included, and stores its pictures"
	@echo "make image      a container for make demo and make test; with JAX='jax[cuda12]' for GPUs"
	@echo "make format     format the code and mend what lint can mend"
	@echo "make clean      remove .venv and what the demo drew; runs are yours to remove"

.venv/installed: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(call install,--requirement requirements.txt --editable .)
	@touch $@

.venv/installed-dev: .venv/installed
	$(call install,--editable ".[dev]")
	$(call install,--no-deps "trackers>=2.6") # its opencv-python would lie on top of the headless one
	@touch $@

demo: .venv/installed
	$(BIN)/solojax data shapes data/shapes
	$(BIN)/python train.py --config configs/$(CONFIG).py --workdir $(WORKDIR)
	$(BIN)/python eval.py --workdir $(WORKDIR)
	@echo "Look at $(WORKDIR)/pictures; training again goes on from the checkpoint in $(WORKDIR)."

bench: .venv/installed
	$(BIN)/solojax bench --config solov2_r50_fpn_1x --only predict nms --repeats 4 \
	    --set "data.canvases=((800,1344),)" --out $(RESULTS)/solov2_r50.json
	$(BIN)/solojax bench --config solov2_light_448_r18_fpn_3x --batch 2 --repeats 4 \
	    --set "data.canvases=((448,768),)" --out $(RESULTS)/solov2_light_r18.json

bench-accelerator:
	PYTHONPATH=. $(ACCELERATED) tools/bench_accelerator.py $(RESULTS) $(if $(TORCH),--torch $(TORCH))

test: .venv/installed
	$(PYTEST)

test-fast: .venv/installed
	$(PYTEST) -m "not slow"

test-all: .venv/installed
	$(PYTEST) -m "not soak"

# In an environment of their own. The newest are what `make test` finds on a fresh machine.
test-oldest: .venv/installed
	$(BIN)/uv venv --quiet --seed --clear --python $(BIN)/python .venv-oldest
	UV_SYSTEM_CERTS=1 $(BIN)/uv pip install --quiet --python .venv-oldest/bin/python \
	    --resolution lowest-direct --requirement requirements.txt --editable .
	$(MAKE) --no-print-directory --assume-old .venv/installed BIN=.venv-oldest/bin test

soak: .venv/installed
	$(BIN)/python -m pytest -m soak -rP

check: .venv/installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/hadolint Dockerfile
	$(BIN)/python tools/audit.py
	$(PYTEST)

site: .venv/installed-dev
	$(BIN)/python tools/site.py build/site

notebook: .venv/installed-dev
	$(BIN)/python tools/notebook.py

image:
	docker build --build-arg "JAX=$(JAX)" --tag solojax .

format: .venv/installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv .venv-oldest data/shapes data/records
