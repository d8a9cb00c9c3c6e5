#!/usr/bin/env bash
# The decoder-only retriever: fine-tune a causal language model, whose last token is the embedding. Then search a corpus
# of another domain with it, and report MRR@10 there beside the untuned encoder's.
#   scripts/train_lasttoken.sh DATA OUT OTHER [options…]
#
#   DATA     a folder in one of two layouts; without dev questions rag train holds out a tenth, by document:
#              course  corpus.txt, train.txt, and dev.txt
#              BEIR    corpus.jsonl, queries.jsonl, qrels/train.tsv, and qrels/dev.tsv
#   OUT      the folder to write
#   OTHER    a folder of another domain: corpus.txt, questions (test_open.txt or dev.txt) and qrels.txt; or in the
#            layout of BEIR, with qrels/test.tsv or qrels/dev.tsv
#   options  settings (--set section.key=value, --config FILE) reach every command; others are options of rag train
#
# Environment:
#   OPTIONS  more options of either kind
#   BASE     the language model; Qwen/Qwen2.5-Coder-0.5B-Instruct by default
#   INDEX    the index folder; OUT.index by default
#   MINE     options of rag mine alone
#
# Files may be packed by gzip (.gz). What is missing, empty or does not match is told before anything is done.
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
python=$here/../.venv/bin/python
[ -x "$python" ] || python=python3

is_there() { [ -f "$1" ] || [ -f "$1.gz" ]; }
is_beir() { is_there "$1/corpus.jsonl" || is_there "$1/queries.jsonl" || [ -d "$1/qrels" ]; }
need() { is_there "$1" || { echo "$1 is missing; the layouts and how to make a dev set: docs/train.md" >&2 && exit 1; }; }

# 0. Look at the files, and check those of BEIR in full.
if is_beir "$data"; then
  corpus=$data/corpus.jsonl train=$data dev=()
  "$python" "$here/check_beir.py" "$data" train 'dev?'
  ! is_there "$data/qrels/dev.tsv" || dev=(--dev "$data")
else
  corpus=$data/corpus.txt train=$data/train.txt dev=()
  need "$corpus" && need "$train"
  ! is_there "$data/dev.txt" || dev=(--dev "$data/dev.txt")
fi
if is_beir "$other"; then
  other_corpus=$other/corpus.jsonl questions=$out.other.jsonl split=test
  is_there "$other/qrels/test.tsv" || split=dev
  mkdir -p "$(dirname "$out")"
  "$python" "$here/check_beir.py" "$other" "$split=$questions"
  qrels=$other/qrels/$split.tsv
else
  other_corpus=$other/corpus.txt questions=$other/test_open.txt qrels=$other/qrels.txt
  is_there "$questions" || questions=$other/dev.txt
  need "$other_corpus" && need "$questions" && need "$qrels"
fi

# 1. The index of the untuned encoder. Negatives and dev candidates come from it.
"$rag" index "$corpus" -o "$index" "${settings[@]}"
# 2. Nine hard negatives per question: passages that rank high and do not answer.
# shellcheck disable=SC2086
"$rag" mine "$train" -i "$index" -o "$out.negatives.jsonl" --retriever dense --per-question 9 \
  --depth 50 --scorer none "${settings[@]}" ${MINE:-}
# 3. Train.
"$rag" train retriever "$train" -i "$index" -o "$out" --recipe lasttoken "${dev[@]}" --no-gate \
  --base "${BASE:-Qwen/Qwen2.5-Coder-0.5B-Instruct}" --negatives "$out.negatives.jsonl" "${settings[@]}" "${rest[@]}"
# 4. Search the other domain: the tuned model, then the untuned encoder.
only=(--no-generate --set reranker.enabled=false --set retriever.kind=dense --set retriever.depth=10 \
  --set reranker.depth=10)
for model in tuned untuned; do
  chosen=("${settings[@]}")
  [ "$model" = untuned ] || chosen+=(--set "encoder.model=$out/model")
  "$rag" index "$other_corpus" -o "$out/other-$model.index" "${chosen[@]}"
  "$rag" batch "$questions" -i "$out/other-$model.index" -o "$out/other-$model" "${chosen[@]}" "${only[@]}"
  "$rag" evaluate "$out/other-$model" --qrels "$qrels" --queries "$questions" "${chosen[@]}"
done
