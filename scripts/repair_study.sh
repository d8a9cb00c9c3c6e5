#!/usr/bin/env bash
# What makes a fine-tuned reranker worse than its base? The reference report's first run, then one factor changed at a
# time, then all of them: a row each of `rag train table`.
#   scripts/repair_study.sh DATA INDEX OUT [rag train options…]
# DATA holds train.txt and dev.txt; INDEX is the index whose candidates are reranked. SAMPLE training questions (else
# 2,000), each source in its share; MINE holds options of rag mine. Killed at any moment, the same command goes on.
set -euo pipefail
usage="usage: scripts/repair_study.sh DATA INDEX OUT [rag train options…]"
data=${1:?$usage}
index=${2:?$usage}
out=${3:?$usage}
shift 3
rag=$(dirname "$0")/../.venv/bin/rag
options=("$@")
runs=()
mkdir -p "$out"
# shellcheck disable=SC2086
"$rag" mine "$data/train.txt" -i "$index" -o "$out/negatives.jsonl" --retriever hybrid --per-question 20 --depth 20 \
  --scorer none --sample "${SAMPLE:-2000}" ${MINE:-}

run() { # NAME RECIPE [settings…]
  local name=$1 recipe=$2 reuse=()
  shift 2
  [ ${#runs[@]} -eq 0 ] || reuse=(--reuse "${runs[0]}")
  "$rag" train reranker "$data/train.txt" -i "$index" -o "$out/$name" --recipe "$recipe" --dev "$data/dev.txt" \
    --negatives "$out/negatives.jsonl" --sample "${SAMPLE:-2000}" ${reuse[@]+"${reuse[@]}"} \
    $(printf -- '--set %s ' "$@") ${options[@]+"${options[@]}"}
  runs+=("$out/$name")
}

run report-1 report-1 training.seed=0
run negatives-mined report-1 training.negatives_from=mined
run negatives-random report-1 training.negatives_from=random
run loss-listnet report-1 training.loss=listnet training.batch_size=4
run labels-soft report-1 training.soft_share=0.5
run rate-tenth report-1 training.learning_rate=2e-6
run weight-4 report-1 training.positive_weight=4
run select-loss report-1 training.select=loss
run all-flipped report-1 training.negatives_from=mined training.loss=listnet training.batch_size=4 \
  training.learning_rate=2e-6
"$rag" train table "${runs[@]}"
