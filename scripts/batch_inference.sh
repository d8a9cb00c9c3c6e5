#!/usr/bin/env bash
# Answer every question of a file and score the answers.
#   scripts/batch_inference.sh DATA RUN [rag options…]
# DATA holds corpus.txt, dev.txt, test_open.txt and qrels.txt (course layout); RUN is the folder to write.
# Killed at any moment, the same command finishes the rest.
set -euo pipefail
data=${1:?usage: scripts/batch_inference.sh DATA RUN [rag options…]}
run=${2:?usage: scripts/batch_inference.sh DATA RUN [rag options…]}
shift 2
rag=$(dirname "$0")/../.venv/bin/rag
index=${INDEX:-$run.index}

# 1. Encode the passages (once; an index that is already right is left as it is).
"$rag" index "$data/corpus.txt" -o "$index"
# 2. Choose on dev the rerank score below which a question is refused (goes on where it was; skipped without a dev file).
#    CALIBRATE holds options of its own, such as CALIBRATE="--set reranker.depth=20".
if [ -f "$data/dev.txt" ]; then
  # shellcheck disable=SC2086
  "$rag" calibrate "$data/dev.txt" -i "$index" --sample "${CALIBRATION_SAMPLE:-400}" ${CALIBRATE:-}
fi
# 3. Retrieve, rerank and answer, stage by stage.
"$rag" batch "$data/test_open.txt" -i "$index" -o "$run" ${LIMIT:+--limit "$LIMIT"} ${SAMPLE:+--sample "$SAMPLE"} "$@"
# 4. Recall@10, MRR@10, CosSim and the rest.
"$rag" evaluate "$run" --qrels "$data/qrels.txt" --queries "$data/test_open.txt"
