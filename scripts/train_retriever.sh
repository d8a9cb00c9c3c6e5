#!/usr/bin/env bash
# Mine negatives, fine-tune the bi-encoder, and let it meet its base on dev.
#   scripts/train_retriever.sh DATA OUT [rag train options…]
# DATA holds corpus.txt, train.txt and dev.txt (course layout); OUT is the folder to write. Killed at any moment, the same
# command goes on. RECIPE and MINE (options of rag mine) can be set in the environment.
set -euo pipefail
data=${1:?usage: scripts/train_retriever.sh DATA OUT [rag train options…]}
out=${2:?usage: scripts/train_retriever.sh DATA OUT [rag train options…]}
shift 2
rag=$(dirname "$0")/../.venv/bin/rag
index=${INDEX:-$out.index}

# 1. The untuned index: candidates come from it, and the tuned model has to beat it.
"$rag" index "$data/corpus.txt" -o "$index"
# 2. Passages that rank high and do not answer.
# shellcheck disable=SC2086
"$rag" mine "$data/train.txt" -i "$index" -o "$out.negatives.jsonl" ${MINE:---retriever dense --retriever bm25}
# 3. Train, encode the corpus with the result, compare on dev.
"$rag" train retriever "$data/train.txt" -i "$index" -o "$out" --recipe "${RECIPE:-mined}" --dev "$data/dev.txt" \
  --negatives "$out.negatives.jsonl" "$@"
echo "to serve it: $rag promote $out, then index again"
