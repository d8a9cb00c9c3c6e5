#!/usr/bin/env bash
# Answer every question of a file and score the answers.
#   scripts/batch_inference.sh DATA RUN [options…]
#
#   DATA     a folder in the course layout: corpus.txt, test_open.txt, qrels.txt, and dev.txt to calibrate refusals
#   RUN      the folder to write
#   options  settings (--set section.key=value, --config FILE) reach every command;
#            others, such as --no-generate or --reuse RUN, are options of rag batch
#
# Environment:
#   OPTIONS              more options of either kind
#   INDEX                the index folder; RUN.index by default
#   LIMIT, SAMPLE        how many questions are answered; all by default
#   CALIBRATION_SAMPLE   how many questions calibrate; 400 by default
#   CALIBRATE            options of rag calibrate alone, such as CALIBRATE="--min-precision .75"
#
# Started again after a kill, the same command continues.
set -euo pipefail
usage="usage: scripts/batch_inference.sh DATA RUN [options…]"
data=${1:?$usage}
run=${2:?$usage}
shift 2
here=$(dirname "$0")
rag=$here/../.venv/bin/rag
index=${INDEX:-$run.index}
# shellcheck source=scripts/settings.sh
. "$here/settings.sh"
# shellcheck disable=SC2086
split_options ${OPTIONS:-} "$@"

# 1. Encode the passages. An index that is already right is left as it is.
"$rag" index "$data/corpus.txt" -o "$index" "${settings[@]}"
# 2. Choose on dev questions the rerank score below which a question is refused.
if [ -f "$data/dev.txt" ]; then
  # shellcheck disable=SC2086
  "$rag" calibrate "$data/dev.txt" -i "$index" --sample "${CALIBRATION_SAMPLE:-400}" "${settings[@]}" ${CALIBRATE:-}
else
  echo "no $data/dev.txt: refusals are not calibrated here; an index calibrated before keeps its threshold" >&2
fi
# 3. Retrieve, rerank and answer, one stage after the other.
"$rag" batch "$data/test_open.txt" -i "$index" -o "$run" ${LIMIT:+--limit "$LIMIT"} ${SAMPLE:+--sample "$SAMPLE"} \
  "${settings[@]}" "${rest[@]}"
# 4. Recall@10, MRR@10, CosSim and the rest.
"$rag" evaluate "$run" --qrels "$data/qrels.txt" --queries "$data/test_open.txt" "${settings[@]}"
