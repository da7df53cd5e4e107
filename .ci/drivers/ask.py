"""Asks a running system's history by clickhouse-connect, and prints what it is told: see .ci/verify-drivers. Address, user, password."""

import sys

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

address, user, password = sys.argv[1:]
host, port = address.split(":")
for compress in [False, "lz4", "zstd", "gzip"]:
    say = lambda what, value: print(compress or "none", what, value, sep="\t")
    # Settings are refused by the driver itself where system.settings says that they cannot be changed.
    client = clickhouse_connect.get_client(
        host=host, port=int(port), username=user, password=password, database="natter", compress=compress,
        settings={"max_threads": 1, "session_timezone": "Asia/Kolkata"},
    )
    say("protocol", client.protocol_version)
    say("count", client.query("SELECT count() FROM messages WHERE text != {t:String}", parameters={"t": ""}).result_rows[0][0])
    last = "SELECT message, toUnixTimestamp64Milli(at), text, at FROM messages ORDER BY at DESC, message DESC LIMIT 1"
    message, ms, text, at = client.query(last).result_rows[0]
    say("last", f"{message} {ms} {text}")
    say("local", at.strftime("%Y-%m-%d %H:%M:%S.") + f"{at.microsecond // 1000:03}")
    many = "SELECT number, toString(number), toLowCardinality(toString(number % 7)) FROM numbers(300000)"
    rows = client.query(many).result_rows
    say("many", f"{sum(n for n, _, _ in rows)} {sum(s != str(n) or rest != str(n % 7) for n, s, rest in rows)}")
    say("threads", client.query("SELECT value FROM system.settings WHERE name = 'max_threads'").result_rows[0][0])
    try:
        client.query("SELECT * FROM natter_store.messages")
        say("refused", False)
    except DatabaseError as error:
        say("refused", "164" in str(error))
