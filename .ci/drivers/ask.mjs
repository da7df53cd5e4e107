// Asks a running system's history by @clickhouse/client, and prints what it is told: see .ci/verify-drivers. Address, user, password.
import { createClient } from "@clickhouse/client";

const [, , address, username, password] = process.argv;
for (const compressed of [false, true]) {
    const say = (what, value) => console.log(`${compressed ? "gzip" : "none"}\t${what}\t${value}`);
    const client = createClient({
        url: `http://${address}`,
        username,
        password,
        database: "natter",
        compression: { response: compressed },
        clickhouse_settings: { session_timezone: "Asia/Kolkata" },
    });
    const rows = async (query, format = "JSONEachRow", more = {}) => (await client.query({ query, format, ...more })).json();
    say("ping", (await client.ping()).success);
    const query_params = { nothing: "" };
    const [[count]] = await rows("SELECT toUInt32(count()) FROM messages WHERE text != {nothing:String}", "JSONCompactEachRow", { query_params });
    say("count", count);
    const last = "SELECT message, toUnixTimestamp64Milli(at) AS ms, at, text FROM messages ORDER BY at DESC, message DESC LIMIT 1";
    // As every caller gets it: an id is a text, because a number of JavaScript could not hold it.
    const [found] = await rows(last);
    say("last", `${found.message} ${found.ms} ${found.text}`);
    say("local", found.at);
    say("id", typeof found.message);
    const { data } = await rows(last, "JSON");
    say("whole", data[0].message === found.message);
    const unquoted = { clickhouse_settings: { output_format_json_quote_64bit_integers: 0 } };
    say("unquoted", typeof (await rows("SELECT toUInt64(1) AS n", "JSONEachRow", unquoted))[0].n);
    let [sum, wrong] = [0, 0];
    const many = await client.query({ query: "SELECT toUInt32(number) AS n, toString(number) AS s FROM numbers(300000)", format: "JSONEachRow" });
    for await (const some of many.stream()) {
        for (const row of some) {
            const { n, s } = row.json();
            wrong += s !== String(n);
            sum += n;
        }
    }
    say("many", `${sum} ${wrong}`);
    const refused = await rows("SELECT * FROM natter_store.messages").then(() => false, (error) => error.code === "164");
    say("refused", refused);
    await client.close();
}
