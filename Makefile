# The daily commands. All of them run in .venv, which the first one makes.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
OLDEST := .venv-oldest
DEMO := demo

.PHONY: demo check docs docs-quick test test-slow test-faults test-oldest

# The main job on simulated galaxies, and real galaxies predicted with the shipped weights: 7 minutes on two cores. The same
# command continues an interrupted run.
demo: $(DEMO)/report/index.html $(DEMO)/real.html
	@echo "Open $(abspath $(DEMO)/report/index.html): arms, bars and votes of simulated galaxies, by the model that was just trained."
	@echo "Open $(abspath $(DEMO)/real.html): twelve real galaxies, by the weights that come with the package."

# Style, layers and types, in seconds.
check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy

# What continuous integration runs. The tests of one file run in one process, so that they share their fixtures.
test: check
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The documentation site, in docs/_build, with the examples of its gallery, which are run. A warning is an error. A few minutes; later
# builds run only examples that changed.
docs: $(READY)
	$(BIN)/sphinx-build -W --keep-going --quiet docs docs/_build
	@echo "Open $(abspath docs/_build/index.html)"

# The same without running the examples of the gallery, to look at a page that was changed.
docs-quick: $(READY)
	$(BIN)/sphinx-build -W --keep-going --quiet -D plot_gallery=0 docs docs/_build

# The long tests: whole training runs, kills with several workers, the installed wheel.
test-slow: $(READY)
	$(BIN)/pytest -m slow

# Each command is killed, its disk is full, its folder is read-only, or it is started twice; files are damaged. An hour.
test-faults: $(READY)
	$(BIN)/pytest -m faults

# The tests with the lowest version of each package that pyproject.toml allows.
test-oldest: $(READY)
	$(BIN)/pip install --quiet uv
	$(BIN)/uv venv --clear --quiet --python $(PYTHON) $(OLDEST)
	VIRTUAL_ENV=$(abspath $(OLDEST)) $(BIN)/uv pip install --quiet --resolution lowest-direct --editable '.[dev]'
	$(OLDEST)/bin/pytest --numprocesses 2 --dist loadfile

$(READY): pyproject.toml requirements.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint requirements.txt --editable '.[dev]'
	touch $@

$(DEMO)/galaxies/catalog.csv: | $(READY)
	$(BIN)/zoobot3d simulate --n 1200 --seed 0 --out $(@D)

$(DEMO)/unseen/catalog.csv: | $(READY)
	$(BIN)/zoobot3d simulate --n 60 --seed 1 --out $(@D)

$(DEMO)/shards/shards.json: $(DEMO)/galaxies/catalog.csv
	$(BIN)/zoobot3d shards --labelled-catalog $< --shard-dir $(@D) --schema decals --img-size 160 --eval-size 100 --resume

$(DEMO)/run/model.keras: $(DEMO)/shards/shards.json
	@echo "Training begins with the encoder of the shipped weights. Expect an overlap (IoU) of about 0.45 for arms and 0.35 for bars."
	$(BIN)/zoobot3d train --config configs/train_demo.yaml --experiment-dir $(@D) \
	  --train-dir $(<D)/train_shards --eval-dir $(<D)/eval_shards

$(DEMO)/predictions.csv: $(DEMO)/run/model.keras $(DEMO)/unseen/catalog.csv
	$(BIN)/zoobot3d predict --checkpoint-dir $(<D) --folder $(DEMO)/unseen/images --save-loc $@ \
	  --n-samples 5 --samples --masks-dir $(DEMO)/masks --overlays

$(DEMO)/report/index.html: $(DEMO)/predictions.csv
	$(BIN)/zoobot3d evaluate --predictions $< --catalog $(DEMO)/unseen/catalog.csv --schema decals --out $(@D)

$(DEMO)/real.html: | $(READY)
	$(BIN)/zoobot3d predict examples/galaxies --save-loc $(DEMO)/real.csv --n-samples 5 --masks-dir $(DEMO)/real_masks --overlays
	$(BIN)/zoobot3d predictions show $(DEMO)/real.csv --out $@
