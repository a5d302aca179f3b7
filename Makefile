# The daily acts. Everything runs in .venv, which the first of them makes.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
DEMO := demo

.PHONY: demo test test-slow check

# The main job on simulated galaxies, at most 8 minutes on two cores; an interrupted one goes on where it was.
demo: $(DEMO)/report.html
	@echo "Open $(abspath $<)"

# What continuous integration runs.
test: $(READY)
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest

# The long checks: ten kills of each stage, whole training runs.
test-slow: $(READY)
	$(BIN)/pytest -m slow

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
	$(BIN)/python create_shards.py --labelled-catalog $< --shard-dir $(@D) --schema decals --img-size 160 \
	  --eval-size 100 --resume

$(DEMO)/run/model.keras: $(DEMO)/shards/shards.json
	$(BIN)/python train_model.py --experiment-dir $(@D) --train-dir $(<D)/train_shards --eval-dir $(<D)/eval_shards \
	  --crop-size 84 --resize-size 96 --epochs 9 --batch-size 16 --encoder EfficientNetV2B0 --color \
	  --mask-loss cross-entropy

$(DEMO)/predictions.csv: $(DEMO)/run/model.keras $(DEMO)/unseen/catalog.csv
	$(BIN)/python make_predictions.py --checkpoint-dir $(<D) --folder $(DEMO)/unseen/images --save-loc $@ \
	  --n-samples 5 --masks-dir $(DEMO)/masks --overlays

$(DEMO)/report.html: $(DEMO)/predictions.csv
	$(BIN)/zoobot3d report --predictions $< --catalog $(DEMO)/unseen/catalog.csv --schema decals --out $@
