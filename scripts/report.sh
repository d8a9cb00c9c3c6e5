#!/usr/bin/env bash
# One HTML file, with Markdown and JSON beside it, from one or several evaluated runs; the first is the one compared
# against.
#   scripts/report.sh REPORT.html RUN…
set -euo pipefail
output=${1:?usage: scripts/report.sh REPORT.html RUN…}
shift
exec "$(dirname "$0")/../.venv/bin/rag" report "$@" -o "$output"
