#!/usr/bin/env bash
# Checks deploy/haproxy.cfg with the real HAProxy: three gateways in processes of their own behind it, clients that chat across them, one gateway stopped and
# one killed. Not part of `cargo test`, which asks for nothing that Cargo, pip and npm cannot bring.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v haproxy >/dev/null || { echo "haproxy is not installed; on Debian: apt install haproxy" >&2; exit 1; }
NATTER_GATEWAY_1=127.0.0.1:1 NATTER_GATEWAY_2=127.0.0.1:2 NATTER_GATEWAY_3=127.0.0.1:3 haproxy -c -q -f deploy/haproxy.cfg
cargo test -p natter --test haproxy
