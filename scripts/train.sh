#!/usr/bin/env bash
# Mine negatives, fine-tune one of the two models, and compare it with its base on dev questions.
#   scripts/train.sh retriever|reranker DATA OUT [options…]
#
#   DATA     a folder in the course layout: corpus.txt, train.txt, and dev.txt; without dev.txt rag train holds out a
#            tenth of the questions, by document
#   OUT      the folder to write
#   options  settings (--set section.key=value, --config FILE) reach every command;
#            others, such as --recipe mined or --no-gate, are options of rag train
#
# Environment:
#   OPTIONS  more options of either kind
#   INDEX    the index folder; OUT.index by default
#   MINE     options of rag mine alone
#
# Started again after a kill, the same command continues.
set -euo pipefail
usage="usage: scripts/train.sh retriever|reranker DATA OUT [options…]"
model=${1:?$usage}
data=${2:?$usage}
out=${3:?$usage}
shift 3
here=$(dirname "$0")
rag=$here/../.venv/bin/rag
index=${INDEX:-$out.index}
# shellcheck source=scripts/settings.sh
. "$here/settings.sh"
# shellcheck disable=SC2086
split_options ${OPTIONS:-} "$@"
dev=()
[ ! -f "$data/dev.txt" ] || dev=(--dev "$data/dev.txt")

# 1. The index of the untuned model. Candidates come from it, and a tuned retriever has to beat it.
"$rag" index "$data/corpus.txt" -o "$index" "${settings[@]}"
# 2. Hard negatives: passages that rank high and do not answer.
# shellcheck disable=SC2086
"$rag" mine "$data/train.txt" -i "$index" -o "$out.negatives.jsonl" "${settings[@]}" \
  ${MINE:---retriever dense --retriever bm25}
# 3. Train, then compare on dev: a retriever over the whole corpus, a reranker on the same retrieved candidates.
"$rag" train "$model" "$data/train.txt" -i "$index" -o "$out" "${dev[@]}" --negatives "$out.negatives.jsonl" \
  "${settings[@]}" "${rest[@]}"
# 4. Only a model that won the comparison (the gate) can be promoted.
if grep -qs '"verdict": "PROMOTE"' "$out/gate.json"; then
  echo "to serve it: $rag promote $out"
fi
