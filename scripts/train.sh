#!/usr/bin/env bash
# Mine negatives, fine-tune one of the two models, and let it meet its base on dev.
#   scripts/train.sh retriever|reranker DATA OUT [rag train options…]
# DATA holds corpus.txt, train.txt and dev.txt (course layout); OUT is the folder to write. Killed at any moment, the same
# command goes on. INDEX (else OUT.index) and MINE (options of rag mine) can be set in the environment.
set -euo pipefail
usage="usage: scripts/train.sh retriever|reranker DATA OUT [rag train options…]"
model=${1:?$usage}
data=${2:?$usage}
out=${3:?$usage}
shift 3
rag=$(dirname "$0")/../.venv/bin/rag
index=${INDEX:-$out.index}

# 1. The untuned index: candidates come from it, and a tuned retriever has to beat it.
"$rag" index "$data/corpus.txt" -o "$index"
# 2. Passages that rank high and do not answer.
# shellcheck disable=SC2086
"$rag" mine "$data/train.txt" -i "$index" -o "$out.negatives.jsonl" ${MINE:---retriever dense --retriever bm25}
# 3. Train; compare on dev: a retriever over the whole corpus, a reranker on the same retrieved candidates.
"$rag" train "$model" "$data/train.txt" -i "$index" -o "$out" --dev "$data/dev.txt" \
  --negatives "$out.negatives.jsonl" "$@"
echo "to serve it: $rag promote $out"
