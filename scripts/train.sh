#!/usr/bin/env bash
# Mine negatives, fine-tune one of the two models, and let it meet its base on dev.
#   scripts/train.sh retriever|reranker DATA OUT [options…]
# DATA holds corpus.txt and train.txt (course layout), and dev.txt, without which rag train holds out a tenth of the
# questions by document; OUT is the folder to write. Settings (--set section.key=value, --config FILE) reach every
# command; other options, such as --recipe mined or --no-gate, are those of rag train. In the environment OPTIONS holds
# more of either, INDEX names the index (else OUT.index), and MINE holds options of rag mine alone.
# Killed at any moment, the same command goes on.
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
part_options ${OPTIONS:-} "$@"
dev=()
[ ! -f "$data/dev.txt" ] || dev=(--dev "$data/dev.txt")

# 1. The untuned index: candidates come from it, and a tuned retriever has to beat it.
"$rag" index "$data/corpus.txt" -o "$index" "${settings[@]}"
# 2. Passages that rank high and do not answer.
# shellcheck disable=SC2086
"$rag" mine "$data/train.txt" -i "$index" -o "$out.negatives.jsonl" "${settings[@]}" \
  ${MINE:---retriever dense --retriever bm25}
# 3. Train; compare on dev: a retriever over the whole corpus, a reranker on the same retrieved candidates.
"$rag" train "$model" "$data/train.txt" -i "$index" -o "$out" "${dev[@]}" --negatives "$out.negatives.jsonl" \
  "${settings[@]}" "${rest[@]}"
# 4. Only what the gate lets through can be promoted.
if grep -qs '"verdict": "PROMOTE"' "$out/gate.json"; then
  echo "to serve it: $rag promote $out"
fi
