#!/usr/bin/env bash
# Every recipe beside the others, and what tuning does to kinds of questions that it has not met: a table for each.
#   scripts/recipes.sh DATA OUT [TABLE…]      all of: retriever temperature reranker published, and unseen where
#   UNSEEN is set
# DATA is in the course layout, dev.txt among it. A part of it is worked with (scripts/subset.py): TRAIN training
# questions (2,000), DEV dev questions (400), PASSAGES passages (8,000). Each recipe keeps its own settings but for what
# OPTIONS sets for all: OPTIONS="--set training.epochs=1 --set training.dropout=0". Settings in it reach rag index and
# rag mine, too; other options in it are those of rag train. `unseen` trains without the sources that UNSEEN names:
# UNSEEN="policyqa medquad".
# `published` trains the reference report's rerankers on the candidates of its retriever.
# `report` warms up for WARMUP steps (95): its thousand are a third of its run over all of a large training file.
# Killed at any moment, the same command goes on.
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
part_options ${OPTIONS:-}
mkdir -p "$out"
[ -f "$out/data/corpus.txt" ] || "$bin/python" "$here/subset.py" "$data" "$out/data" \
  --train "${TRAIN:-2000}" --dev "${DEV:-400}" --passages "${PASSAGES:-8000}"
"$bin/rag" index "$out/data/corpus.txt" -o "$out/index" "${settings[@]}"
"$bin/rag" mine "$out/data/train.txt" -i "$out/index" -o "$out/negatives.jsonl" --retriever hybrid --per-question 9 \
  --depth 12 --scorer reranker --margin 0 "${settings[@]}"

report=(--set "training.warmup_steps=${WARMUP:-95}")

# run NAME MODEL RECIPE [options…] over $index; the first reranker's gate scores the base for all.
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
  temperature) # `mined` itself has .02; and in batches of 16, as `distill`
    run retriever-mined retriever mined
    for t in 0.01 0.03 0.05; do run "temperature-$t" retriever mined --set "training.temperature=$t"; done
    run mined-of-16 retriever mined --set training.batch_size=16
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
