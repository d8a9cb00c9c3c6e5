# Every target sets up what it needs; a second run does no set-up work again.
#   make chat    ask questions of Python's own language reference at http://127.0.0.1:7860
#   make test    run the tests, several at a time; make test TESTS=tests/retrieve runs those of one room
#   make chat DOCS=path/to/folder          the same over your own documents, and again after they have changed
#   make chat CORPUS=path/to/corpus.txt    the same over a file of passages
# Beside these: INDEX=my.index names the index folder (else one below ~/.cache/rag, which is printed), PORT=7861 the
# port, and OPTIONS="--set reranker.depth=20" settings for every rag command of make chat.

CACHE    := $(patsubst ~/%,$(HOME)/%,$(or $(RAG_HOME),$(HOME)/.cache/rag))
CORPUS   ?= embedded
# One index per corpus: two files of the same name in different folders do not share one.
OF       := $(or $(DOCS),$(CORPUS))
INDEX    ?= $(CACHE)/indexes/$(if $(filter embedded,$(OF)),embedded,$(shell realpath "$(OF)" | cksum | cut -d' ' -f1))
PORT     ?= 7860
OPTIONS  ?=
RUNS     ?= $(wildcard runs/*)
BIN      := .venv/bin

# Where Python is told to write no bytecode, each program that a test starts would compile its libraries anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup chat test lint format bench report clean
.DEFAULT_GOAL := setup

setup: .venv/.ready

.venv/.ready: pyproject.toml constraints.txt constraints-gpu.txt scripts/setup.py
	python3 scripts/setup.py
	touch $@

chat: setup
	$(BIN)/rag models --fetch $(OPTIONS) >/dev/null
ifdef DOCS
	$(BIN)/rag ingest "$(DOCS)" -i "$(INDEX)" $(OPTIONS) || test $$? -eq 3
else
	$(BIN)/rag index "$(CORPUS)" -o "$(INDEX)" $(OPTIONS)
endif
	$(BIN)/rag chat -i "$(INDEX)" --port $(PORT) $(OPTIONS)

test: setup
	$(BIN)/pytest -n auto $(TESTS)

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup
	$(BIN)/python -m benchmarks

report: setup
	@test -n "$(RUNS)" || { echo "no runs yet: make one with rag batch QUERIES -i INDEX -o runs/NAME"; exit 1; }
	$(BIN)/rag report $(RUNS) -o report.html

clean:
	rm -rf .venv .tools
