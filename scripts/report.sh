#!/usr/bin/env bash
# Report evaluated runs in one HTML file, with Markdown and JSON beside it. The first run is the baseline.
#   scripts/report.sh REPORT.html RUN…
set -euo pipefail
output=${1:?usage: scripts/report.sh REPORT.html RUN…}
shift
exec "$(dirname "$0")/../.venv/bin/rag" report "$@" -o "$output"
