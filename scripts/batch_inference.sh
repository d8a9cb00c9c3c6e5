#!/usr/bin/env bash
# Answer every question of a file and score the answers.
#   scripts/batch_inference.sh DATA RUN [options…]
# DATA holds corpus.txt, test_open.txt and qrels.txt, and dev.txt where refusals are to be calibrated (course layout);
# RUN is the folder to write. Settings (--set section.key=value, --config FILE) reach every command; other options, such
# as --no-generate or --reuse RUN, are those of rag batch. In the environment OPTIONS holds more of either, INDEX names
# the index (else RUN.index), LIMIT or SAMPLE says how many questions are answered, CALIBRATION_SAMPLE how many calibrate
# (400), and CALIBRATE holds options of rag calibrate alone, such as CALIBRATE="--min-precision .75".
# Killed at any moment, the same command finishes the rest.
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
part_options ${OPTIONS:-} "$@"

# 1. Encode the passages (once; an index that is already right is left as it is).
"$rag" index "$data/corpus.txt" -o "$index" "${settings[@]}"
# 2. Choose on dev the rerank score below which a question is refused (goes on where it was).
if [ -f "$data/dev.txt" ]; then
  # shellcheck disable=SC2086
  "$rag" calibrate "$data/dev.txt" -i "$index" --sample "${CALIBRATION_SAMPLE:-400}" "${settings[@]}" ${CALIBRATE:-}
else
  echo "no $data/dev.txt: refusals are not calibrated here; an index calibrated before keeps its threshold" >&2
fi
# 3. Retrieve, rerank and answer, stage by stage.
"$rag" batch "$data/test_open.txt" -i "$index" -o "$run" ${LIMIT:+--limit "$LIMIT"} ${SAMPLE:+--sample "$SAMPLE"} \
  "${settings[@]}" "${rest[@]}"
# 4. Recall@10, MRR@10, CosSim and the rest.
"$rag" evaluate "$run" --qrels "$data/qrels.txt" --queries "$data/test_open.txt" "${settings[@]}"
