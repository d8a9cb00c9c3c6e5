#!/usr/bin/env bash
# What makes a fine-tuned reranker worse than its base? The reference report's first run, then one factor changed at a
# time; the result is a table with one row for each run. Three factors are defects on purpose: half of the labels wrong,
# all labels wrong (gold labelled 0, the other evidences 1), and a new, untrained classification head.
#   scripts/repair_study.sh DATA INDEX OUT [options…]
#
#   DATA     a folder with train.txt and dev.txt
#   INDEX    the index whose candidates are reranked
#   OUT      the folder to write
#   options  settings (--set section.key=value, --config FILE) reach every command; others are options of rag train
#
# Environment:
#   OPTIONS  more options of either kind
#   SAMPLE   number of training questions, each source in its share; 2,000 by default
#   MINE     options of rag mine alone
#   RUNS     names of the runs to make, report-1 among them; all by default
#
# Started again after a kill, the same command continues.
set -euo pipefail
usage="usage: scripts/repair_study.sh DATA INDEX OUT [options…]"
data=${1:?$usage}
index=${2:?$usage}
out=${3:?$usage}
shift 3
here=$(dirname "$0")
bin=$here/../.venv/bin
# shellcheck source=scripts/settings.sh
. "$here/settings.sh"
# shellcheck disable=SC2086
split_options ${OPTIONS:-} "$@"
for file in train.txt dev.txt; do
  if [ ! -f "$data/$file" ]; then
    echo "$data/$file is missing; the course layout and how to make a dev.txt: docs/train.md" >&2
    exit 1
  fi
done
runs=()
mkdir -p "$out"
# shellcheck disable=SC2086
"$bin/rag" mine "$data/train.txt" -i "$index" -o "$out/negatives.jsonl" --retriever hybrid --per-question 20 \
  --depth 20 --scorer none --sample "${SAMPLE:-2000}" "${settings[@]}" ${MINE:-}

train=$data/train.txt
run() { # NAME RECIPE [settings…]: train on $train
  local name=$1 recipe=$2 reuse=()
  shift 2
  case " ${RUNS:-$name} " in *" $name "*) ;; *) return ;; esac
  [ ${#runs[@]} -eq 0 ] || [ "$name" = head-fresh ] || reuse=(--reuse "${runs[0]}")
  "$bin/rag" train reranker "$train" -i "$index" -o "$out/$name" --recipe "$recipe" --dev "$data/dev.txt" \
    --negatives "$out/negatives.jsonl" --sample "${SAMPLE:-2000}" "${reuse[@]}" \
    $(printf -- '--set %s ' "$@") "${settings[@]}" "${rest[@]}"
  runs+=("$out/$name")
}

# wrong SHARE: train on a file that has gold labelled 0 and the other evidences 1, in that share of its rows.
wrong() {
  "$bin/python" - "$data/train.txt" "$out/train-wrong-$1.txt" "$1" <<'PYTHON'
import json, random, sys
source, target, share = sys.argv[1], sys.argv[2], float(sys.argv[3])
draw = random.Random(0)
with open(source, encoding="utf-8") as rows, open(target, "w", encoding="utf-8") as out:
    for line in rows:
        row = json.loads(line)
        if 1 in row["retrieval_labels"] and draw.random() < share:
            row["retrieval_labels"] = [1 - label for label in row["retrieval_labels"]]
        print(json.dumps(row), file=out)
PYTHON
  train=$out/train-wrong-$1.txt
}

run report-1 report-1 training.reranker.seed=0
wrong 1
run labels-wrong report-1 training.reranker.seed=0
wrong 0.5
run labels-half-wrong report-1 training.reranker.seed=0
train=$data/train.txt
run negatives-mined report-1 training.reranker.negatives_from=mined
run loss-listnet report-1 training.reranker.loss=listnet training.reranker.batch_size=4
run rate-tenth report-1 training.reranker.learning_rate=2e-6
run negatives-random report-1 training.reranker.negatives_from=random
run labels-soft report-1 training.reranker.soft_share=0.5
run weight-4 report-1 training.reranker.positive_weight=4
run select-loss report-1 training.reranker.select=loss
run all-flipped report-1 training.reranker.negatives_from=mined training.reranker.loss=listnet \
  training.reranker.batch_size=4 training.reranker.learning_rate=2e-6
[ -d "$out/fresh" ] || "$bin/python" - "$out/fresh" <<'PYTHON'
import sys
from rag.config import load_settings
from rag.models.resolve import resolve
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder = resolve(load_settings().reranker.model).folder
model = AutoModelForSequenceClassification.from_pretrained(folder)
model.classifier.reset_parameters()
model.save_pretrained(sys.argv[1])
AutoTokenizer.from_pretrained(folder).save_pretrained(sys.argv[1])
PYTHON
run head-fresh report-1 "reranker.model=$out/fresh"
"$bin/rag" train table "${runs[@]}"
