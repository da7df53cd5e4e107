#!/usr/bin/env bash
# Checks compose.yaml, alone and with deploy/compose.analysts.yaml, without a Docker engine: with compose's own parser; that every secret it asks for is
# named in .env.example and the other way round; that the files which it mounts are there; and that ClickHouse's files are XML and get every variable
# that they name. Needs Python, and Go (for the parser) or the `docker compose` plugin.
set -euo pipefail
cd "$(dirname "$0")/.."

# `$$` is a dollar sign for the container's own shell; a variable without `:?` would be empty and nobody would hear of it.
variables=$(sed 's/\$\$//g' compose.yaml deploy/compose.analysts.yaml | grep -oE '\$\{?[A-Za-z0-9_]+[^}]*' | sort -u)
silent=$(grep -vE '^\$\{[A-Z0-9_]+:\?' <<<"$variables" || true)
[[ -z $silent ]] || { echo "compose.yaml does not insist on: $silent" >&2; exit 1; }
asked=$(grep -oE '[A-Z0-9_]+:' <<<"$variables" | tr -d : | sort -u)
named=$(grep -oE '^[A-Z0-9_]+=' .env.example | tr -d = | sort -u)
diff <(echo "$asked") <(echo "$named") || { echo "compose.yaml and .env.example name different secrets" >&2; exit 1; }

for file in $(grep -oE '\./(deploy|nats)/[A-Za-z0-9./_-]+' compose.yaml | sort -u); do
    [[ -e $file ]] || { echo "compose.yaml mounts $file, which is not there" >&2; exit 1; }
done
for file in deploy/clickhouse-config.xml deploy/clickhouse-users.xml; do
    python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$file"
    for name in $(grep -oE 'from_env="[A-Z0-9_]+"' "$file" | cut -d'"' -f2); do
        sed -n '/^  clickhouse:/,/^  s3:/p' compose.yaml | grep -q "^ *$name: " || { echo "ClickHouse is not told $name, which $file names" >&2; exit 1; }
    done
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cp -r deploy nats Dockerfile "$scratch"
for file in compose.yaml deploy/compose.analysts.yaml; do
    sed -E 's/\$\{([A-Z0-9_]+):\?[^}]*\}/secret-\1/g' "$file" > "$scratch/$file"
done
cd "$scratch"
parsed() {
    if docker compose version >/dev/null 2>&1; then
        docker compose $(printf -- '--file %s ' "$@") config
    else
        go run github.com/compose-spec/compose-go/v2/cmd@v2.16.2 "$@"
    fi
}
parsed compose.yaml > parsed.yaml
for service in nats redis clickhouse s3 setup gateway processor projector; do
    grep -qE "^ +$service:\$" parsed.yaml || { echo "compose.yaml has no service $service" >&2; exit 1; }
done
# Nothing but the gateway is published, unless somebody wants ClickHouse's port for analysts.
published() { grep -oE 'published: "?[0-9]+' "$1" | grep -oE '[0-9]+' | sort | xargs; }
[[ $(published parsed.yaml) == 8080 ]] || { echo "compose.yaml publishes $(published parsed.yaml)" >&2; exit 1; }
parsed compose.yaml deploy/compose.analysts.yaml > analysts.yaml
[[ $(published analysts.yaml) == "8080 8123" ]] || { echo "deploy/compose.analysts.yaml publishes $(published analysts.yaml)" >&2; exit 1; }
echo "compose.yaml is sound"
