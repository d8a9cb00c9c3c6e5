#!/usr/bin/env bash
# Repeat nine experiments of docs/experiments/ from the data: a report for each, plain figures for the last two.
#   scripts/reproduce.sh DATA OUT [EXPERIMENT…]
#
#   DATA        a folder in the course layout, with dev.txt
#   OUT         the folder to write
#   EXPERIMENT  any of: prompts sentences reranker contexts retrievers generators oracle abstention indexes;
#               all by default
#
# Environment:
#   SAMPLE   how many questions of test_open.txt are answered, each source in its share; 1000 by default
#   TUNE=1   answer questions of dev.txt instead, to choose depth, contexts or weights
#   DEV      how many questions of dev.txt calibrate refusals and choose between our own prompts; 400 by default
#   INDEX    the index folder; OUT/index by default
#   OPTIONS  settings for every command: OPTIONS="--set reranker.precision=int8"
#
# Started again after a kill, the same command continues. What several runs share is computed once.
#
# Runs rerank fifty candidates, as the defaults do. The table of answers in docs/results.md reranks twenty and was
# calibrated on 240 questions: DEV=240 OPTIONS="--set reranker.depth=20" with the experiments prompts and generators.
# The table of retrievers there is over all test questions and reranks ten; `retrievers` is over SAMPLE questions and
# reranks fifty.
set -euo pipefail
data=${1:?usage: scripts/reproduce.sh DATA OUT [EXPERIMENT…]}
out=${2:?usage: scripts/reproduce.sh DATA OUT [EXPERIMENT…]}
shift 2
experiments=${*:-prompts sentences reranker contexts retrievers generators oracle abstention indexes}
root=$(realpath "$(dirname "$0")/..")
data=$(realpath "$data") out=$(realpath -m "$out")
rag=$root/.venv/bin/rag
for file in corpus.txt dev.txt test_open.txt qrels.txt; do
  if [ ! -f "$data/$file" ]; then
    echo "$data/$file is missing; the course layout and how to make a dev.txt: docs/train.md" >&2
    exit 1
  fi
done
index=$(realpath -m "${INDEX:-$out/index}")
sample=${SAMPLE:-1000}
if [ -n "${TUNE:-}" ]; then export QUESTIONS=$data/dev.txt out=$out/tune; fi
mkdir -p "$out"

# run NAME [options…]: answer the test questions (or those of QUESTIONS) and score them. Shares stages with `base`.
run() {
  local name=$1 reuse=() other
  shift
  for other in ${REUSE:-base answered prompt-extract-v1}; do
    if [ -f "$out/$other/predictions.jsonl" ] && [ "$other" != "$name" ]; then reuse+=(--reuse "$out/$other"); fi
  done
  # shellcheck disable=SC2086
  "$rag" batch "${QUESTIONS:-$data/test_open.txt}" -i "$index" -o "$out/$name" --sample "${N:-$sample}" \
    "${reuse[@]}" ${OPTIONS:-} "$@"
  # shellcheck disable=SC2086
  "$rag" evaluate "$out/$name" --qrels "$data/qrels.txt" --queries "${QUESTIONS:-$data/test_open.txt}" ${OPTIONS:-} \
    >/dev/null
}

# report NAME RUN…: the first run is the baseline.
report() {
  local name=$1
  shift
  (cd "$out" && "$rag" report "$@" -o "$name.html") | tail -1
}

# shellcheck disable=SC2086
"$rag" index "$data/corpus.txt" -o "$index" ${OPTIONS:-}
# shellcheck disable=SC2086
"$rag" calibrate "$data/dev.txt" -i "$index" --sample "${DEV:-400}" ${OPTIONS:-}
run base --no-generate
never=(--set abstain.rerank_threshold=-99)
whole=(--set prompt.sentence_margin=0)

for experiment in $experiments; do
  case $experiment in
  prompts) # the published prompts on test; our own on dev, to choose one and then read it on test by hand
    for prompt in course-v1 course-v2 course-v3 extract-v1; do # whole passages, as published
      REUSE="base prompt-course-v2" run "prompt-$prompt" --set "prompt.name=$prompt" "${whole[@]}" "${never[@]}"
    done
    run prompt-calibrated
    report prompts prompt-calibrated prompt-course-v1 prompt-course-v2 prompt-course-v3 prompt-extract-v1
    (
      export QUESTIONS=$data/dev.txt N=${DEV:-400} REUSE=dev-base
      run dev-base --no-generate
      for prompt in extract-v1 fewshot-v1 fewshot-refuse-v1 decide-v1 cited-v1; do
        run "dev-$prompt" --set "prompt.name=$prompt" "${never[@]}"
      done
      report prompts-dev dev-extract-v1 dev-fewshot-v1 dev-fewshot-refuse-v1 dev-decide-v1 dev-cited-v1
    )
    ;;
  sentences) # sentences near the question, against whole passages
    run answered "${never[@]}"
    run prompt-extract-v1 --set prompt.name=extract-v1 "${whole[@]}" "${never[@]}"
    report sentences prompt-extract-v1 answered
    ;;
  reranker) # whole passages: without a reranker no sentences can be chosen
    REUSE="base rerank-100" run rerank-none --set reranker.enabled=false "${whole[@]}" "${never[@]}"
    for depth in 100 50 20 10; do # the deepest first: it knows the scores of the others
      REUSE="base rerank-100" run "rerank-$depth" --set "retriever.depth=$((depth > 50 ? depth : 50))" \
        --set "reranker.depth=$depth" "${whole[@]}" "${never[@]}"
    done
    report reranker rerank-none rerank-10 rerank-20 rerank-50 rerank-100
    ;;
  contexts)
    for n in 1 2 3 5 8 10; do run "contexts-$n" --set "prompt.contexts=$n" "${never[@]}"; done
    for order in best-last best-at-both-ends; do
      run "contexts-5-$order" --set prompt.contexts=5 --set "prompt.order=$order" "${never[@]}"
    done
    report contexts contexts-3 contexts-1 contexts-2 contexts-5 contexts-8 contexts-10 \
      contexts-5-best-last contexts-5-best-at-both-ends
    ;;
  retrievers)
    for kind in bm25 dense; do run "retriever-$kind" --no-generate --set "retriever.kind=$kind"; done
    # BM25's weight; base has the default
    for weight in 1.0 2.0; do run "retriever-bm25-$weight" --no-generate --set "retriever.bm25_weight=$weight"; done
    report retrievers base retriever-bm25 retriever-dense retriever-bm25-1.0 retriever-bm25-2.0
    ;;
  generators)
    for model in Qwen/Qwen2.5-Coder-0.5B-Instruct Qwen/Qwen2.5-Coder-1.5B-Instruct; do
      run "generator-${model#*Coder-}" --set "generator.model=$model"
    done
    report generators generator-0.5B-Instruct generator-1.5B-Instruct
    ;;
  oracle) # what the generator makes of perfect retrieval
    run answered "${never[@]}"
    run oracle --oracle "$data/qrels.txt" "${never[@]}"
    report oracle answered oracle
    ;;
  abstention) # every score that could decide a refusal: fitted on dev, read on test
    run answered "${never[@]}"
    (
      export QUESTIONS=$data/dev.txt N=${DEV:-400} REUSE=dev-base
      run dev-answered "${never[@]}"
    )
    (cd "$root" && .venv/bin/python -m benchmarks.abstention "$out/dev-answered" "$data/dev.txt" \
      "$out/answered" "$data/test_open.txt" -i "$index") | tee "$out/abstention.jsonl"
    ;;
  indexes) (cd "$root" && .venv/bin/python -m benchmarks.indexes "$index" "$data/test_open.txt") |
    tee "$out/indexes.jsonl" ;;
  *) echo "unknown experiment $experiment" >&2 && exit 1 ;;
  esac
done
