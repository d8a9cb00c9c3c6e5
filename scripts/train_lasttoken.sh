#!/usr/bin/env bash
# The decoder-only retriever: fine-tune a causal language model, whose last token is the embedding. Then search a corpus
# of another domain with it, and report MRR@10 there beside the untuned encoder's.
#   scripts/train_lasttoken.sh DATA OUT OTHER [options…]
#
#   DATA     a folder with corpus.txt, train.txt, and dev.txt; without dev.txt rag train holds out a tenth of the
#            questions, by document
#   OUT      the folder to write
#   OTHER    a folder of another domain: corpus.txt, questions (test_open.txt or dev.txt) and qrels.txt
#   options  settings (--set section.key=value, --config FILE) reach every command; others are options of rag train
#
# Environment:
#   OPTIONS  more options of either kind
#   BASE     the language model; Qwen/Qwen2.5-Coder-0.5B-Instruct by default
#   INDEX    the index folder; OUT.index by default
#   MINE     options of rag mine alone
#
# Started again after a kill, the same command continues.
set -euo pipefail
usage="usage: scripts/train_lasttoken.sh DATA OUT OTHER [options…]"
data=${1:?$usage}
out=${2:?$usage}
other=${3:?$usage}
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
questions=$other/test_open.txt
[ -f "$questions" ] || questions=$other/dev.txt

# 1. The index of the untuned encoder. Negatives and dev candidates come from it.
"$rag" index "$data/corpus.txt" -o "$index" "${settings[@]}"
# 2. Nine hard negatives per question: passages that rank high and do not answer.
# shellcheck disable=SC2086
"$rag" mine "$data/train.txt" -i "$index" -o "$out.negatives.jsonl" --retriever dense --per-question 9 \
  --depth 50 --scorer none "${settings[@]}" ${MINE:-}
# 3. Train.
"$rag" train retriever "$data/train.txt" -i "$index" -o "$out" --recipe lasttoken "${dev[@]}" --no-gate \
  --base "${BASE:-Qwen/Qwen2.5-Coder-0.5B-Instruct}" --negatives "$out.negatives.jsonl" "${settings[@]}" "${rest[@]}"
# 4. Search the other domain: the tuned model, then the untuned encoder.
only=(--no-generate --set reranker.enabled=false --set retriever.kind=dense --set retriever.depth=10 \
  --set reranker.depth=10)
for model in tuned untuned; do
  chosen=("${settings[@]}")
  [ "$model" = untuned ] || chosen+=(--set "encoder.model=$out/model")
  "$rag" index "$other/corpus.txt" -o "$out/other-$model.index" "${chosen[@]}"
  "$rag" batch "$questions" -i "$out/other-$model.index" -o "$out/other-$model" "${chosen[@]}" "${only[@]}"
  "$rag" evaluate "$out/other-$model" --qrels "$other/qrels.txt" --queries "$questions" "${chosen[@]}"
done
