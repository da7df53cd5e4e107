#!/usr/bin/env bash
# Checks compose.yaml without a Docker engine: with compose's own parser, and that every secret it asks for is named in
# .env.example and the other way round. Needs Go (for the parser) or the `docker compose` plugin.
set -euo pipefail
cd "$(dirname "$0")/.."

asked=$(grep -oE '\$\{[A-Z0-9_]+:\?' compose.yaml | tr -d '${:?' | sort -u)
named=$(grep -oE '^[A-Z0-9_]+=' .env.example | tr -d = | sort -u)
diff <(echo "$asked") <(echo "$named") || { echo "compose.yaml and .env.example name different secrets" >&2; exit 1; }

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r deploy nats Dockerfile "$scratch"
sed -E 's/\$\{([A-Z0-9_]+):\?[^}]*\}/secret-\1/g' compose.yaml > "$scratch/compose.yaml"
cd "$scratch"
if docker compose version >/dev/null 2>&1; then
    docker compose config > parsed.yaml
else
    go run github.com/compose-spec/compose-go/v2/cmd@v2.16.2 compose.yaml > parsed.yaml
fi
for service in nats redis clickhouse s3 setup gateway processor projector; do
    grep -qE "^ +$service:\$" parsed.yaml || { echo "compose.yaml has no service $service" >&2; exit 1; }
done
echo "compose.yaml is sound"
