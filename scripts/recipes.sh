#!/usr/bin/env bash
# Train with every recipe and compare them: one table for each kind.
#   scripts/recipes.sh DATA OUT [TABLE…]
#
#   DATA   a folder in the course layout, with dev.txt; only a part of it is used (scripts/subset.py)
#   OUT    the folder to write
#   TABLE  any of these; all by default (unseen only where UNSEEN is set):
#            retriever    the retriever's recipes
#            temperature  `mined` at several temperatures, and in smaller batches
#            unseen       training without the sources that UNSEEN names: what tuning does to other kinds of questions
#            reranker     the reranker's recipes
#            published    the reference report's rerankers, on the candidates of its retriever
#
# Environment:
#   TRAIN, DEV, PASSAGES   size of the part: training questions (2,000), dev questions (400), passages (8,000)
#   UNSEEN                 sources to leave out of training: UNSEEN="policyqa medquad"
#   WARMUP                 warm-up steps of the recipe `report` (95); its own 1,000 suit a large training file
#   OPTIONS                for all recipes, which otherwise keep their own settings:
#                          OPTIONS="--set training.retriever.epochs=1 --set training.reranker.epochs=1"
#                          settings also reach rag index and rag mine; other options are those of rag train
#
# Started again after a kill, the same command continues.
set -euo pipefail
usage="usage: scripts/recipes.sh DATA OUT [TABLE…]"
data=${1:?$usage}
out=${2:?$usage}
shift 2
tables=${*:-retriever temperature ${UNSEEN:+unseen} reranker published}
here=$(dirname "$0")
bin=$here/../.venv/bin
# shellcheck source=scripts/settings.sh
. "$here/settings.sh"
# shellcheck disable=SC2086
split_options ${OPTIONS:-}
mkdir -p "$out"
[ -f "$out/data/corpus.txt" ] || "$bin/python" "$here/subset.py" "$data" "$out/data" \
  --train "${TRAIN:-2000}" --dev "${DEV:-400}" --passages "${PASSAGES:-8000}"
"$bin/rag" index "$out/data/corpus.txt" -o "$out/index" "${settings[@]}"
"$bin/rag" mine "$out/data/train.txt" -i "$out/index" -o "$out/negatives.jsonl" --retriever hybrid --per-question 9 \
  --depth 12 --scorer reranker --margin 0 "${settings[@]}"

report=(--set "training.retriever.warmup_steps=${WARMUP:-95}")

# run NAME MODEL RECIPE [options…]: train over $index. The first reranker's gate scores the base model for all others.
runs=()
index=$out/index
run() {
  local name=$1 model=$2 recipe=$3 reuse=()
  shift 3
  [ "$model" = retriever ] || [ ${#runs[@]} -eq 0 ] || reuse=(--reuse "${runs[0]}")
  "$bin/rag" train "$model" "$out/data/train.txt" -i "$index" -o "$out/$name" --recipe "$recipe" \
    --dev "$out/data/dev.txt" --negatives "$out/negatives.jsonl" "${reuse[@]}" "${settings[@]}" "${rest[@]}" "$@"
  runs+=("$out/$name")
}

for table in $tables; do
  runs=()
  case $table in
  retriever)
    run retriever-report retriever report "${report[@]}"
    for recipe in mined distill margin; do run "retriever-$recipe" retriever "$recipe"; done
    ;;
  temperature) # `mined` itself has .02; batches of 16 are those of `distill`
    run retriever-mined retriever mined
    for t in 0.01 0.03 0.05; do run "temperature-$t" retriever mined --set "training.retriever.temperature=$t"; done
    run mined-of-16 retriever mined --set training.retriever.batch_size=16
    ;;
  unseen)
    without=()
    for source in ${UNSEEN:?names the sources to train without}; do without+=(--without "$source"); done
    run unseen-report retriever report "${report[@]}" "${without[@]}"
    run unseen-distill retriever distill "${without[@]}"
    ;;
  reranker)
    for recipe in lambda listnet ranknet hybrid distill report-1 report-2; do
      run "reranker-$recipe" reranker "$recipe"
    done
    ;;
  published)
    run retriever-report retriever report "${report[@]}"
    runs=() index=$out/retriever-report/index
    for recipe in report-1 report-2; do
      run "published-$recipe" reranker "$recipe" --set "encoder.model=$out/retriever-report/model"
    done
    index=$out/index
    ;;
  *) echo "unknown table $table" >&2 && exit 1 ;;
  esac
  "$bin/rag" train table "${runs[@]}" | tee "$out/$table.md"
done
