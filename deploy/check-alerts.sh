#!/usr/bin/env bash
# Checks deploy/alerts.yml with Prometheus' own tool.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v promtool >/dev/null || { echo "promtool is not installed; on Debian: apt install prometheus" >&2; exit 1; }
promtool check rules deploy/alerts.yml
