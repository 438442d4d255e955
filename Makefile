# Every target installs what it needs into .venv; nothing outside this folder is changed.
VENV ?= .venv
PYTHON ?= python3
RUN := $(VENV)/bin/python
export XMODAL_TEST_DATA ?= $(abspath ../shared/data)
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: install demo test slow check bench chaos clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-compile "torch>=2.11,<2.14"
	$(RUN) -m pip install --quiet --disable-pip-version-check --no-compile -e ".[embedded,pretrained,serve,fast,dev,bench]"
	$(RUN) -m compileall -qq -j 0 $(VENV)/lib || true # what pip does on one core; a file for a newer Python is passed over, as there
	touch $@

demo: install            ## the main job on an embedded S3 server, Ray and MLflow; ends by telling what to open
	$(RUN) -m pipelines.demo

test: install            ## the test suite (under 15 minutes on 2 cores)
	$(RUN) -m pytest -m "not slow and not chaos" -n 2 --dist loadfile

slow: install            ## the longest tests
	$(RUN) -m pytest -m "slow and not chaos" --timeout 1200 -n 2 --dist loadfile

check: install           ## linters and types
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m pyright

bench: install           ## speed ratios against plain references, interleaved
	$(RUN) -m tests.bench

WHOLE := $(addprefix tests/pipelines/test_,train_resume.py train_saves.py tune_sweep.py)

chaos: install           ## kills at every durable operation: KILLS=n of them drawn by SEED=s, within MINUTES=m, LEAST=l of them; goes on where it was cut
	$(RUN) -m pytest tests/chaos $(WHOLE) -m chaos $(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(LEAST),--least $(LEAST))

clean:                   ## everything that make made
	rm -rf $(VENV) .xmodal build *.egg-info .pytest_cache .ruff_cache .hypothesis
