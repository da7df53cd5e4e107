// A long history: scrolled back to its beginning and forward to its end, nothing missing, nothing twice, no jump.

import assert from "node:assert/strict";

import { until, Window } from "./window.mjs";

const MESSAGES = 1100;
/** Rows that the page may hold at once (600, and a page that is on its way out). */
const ROWS_MAX = 720;
const WRITERS = ["ben", "cleo", "dora", "eve"];

/** A group with a long history by four writers, `ada` among the readers. */
async function longRoom(natter) {
  const writers = await Promise.all(WRITERS.map((name) => natter.user(name)));
  const fields = { kind: "group", name: "A long story", members: ["ada", ...WRITERS.slice(1)] };
  const { conversation } = await writers[0].command("conversation.create", fields);
  const write = async (writer, at) => {
    for (let n = at; n < MESSAGES; n += WRITERS.length) {
      const more = n % 7 === 0 ? `\n${"and on it goes, line after line, ".repeat(1 + (n % 5))}` : "";
      await writer.send(conversation, `part ${n}${more}`);
    }
  };
  await Promise.all(writers.map(write));
  return { conversation, writer: writers[0] };
}

/** Runs in the page: notes every seq that was ever shown, whether any drawing moved what the reader looks at, and most rows. */
function watch() {
  const log = document.getElementById("log");
  const record = { seen: new Set(), disorder: [], jumps: [], rowsMax: 0 };
  window.record = record;
  let before = null;
  const look = () => {
    const rows = [...document.querySelectorAll("#rows .message")];
    record.rowsMax = Math.max(record.rowsMax, rows.length);
    const seqs = rows.map((row) => Number(row.dataset.seq));
    seqs.forEach((seq, at) => {
      record.seen.add(seq);
      if (at > 0 && seq !== seqs[at - 1] + 1) record.disorder.push([seqs[at - 1], seq]);
    });
    // Whatever the reader did not scroll himself must not move: a row keeps its place on the screen from one frame to
    // the next, but for what `scrollBy` below moved it.
    if (before?.row.isConnected) {
      const moved = before.row.getBoundingClientRect().bottom - before.bottom + window.scrolled;
      if (Math.abs(moved) > 1.5) record.jumps.push({ seq: before.row.dataset.seq, moved });
    }
    window.scrolled = 0;
    const box = log.getBoundingClientRect();
    const row = rows.find((one) => one.getBoundingClientRect().bottom > box.top + box.height / 2);
    before = row && { row, bottom: row.getBoundingClientRect().bottom };
    requestAnimationFrame(look);
  };
  window.scrolled = 0;
  requestAnimationFrame(look);
}

/** Runs in the page: scrolls like a wheel, and notes how far it really went. */
function scroll(by) {
  const log = document.getElementById("log");
  const before = log.scrollTop;
  log.scrollTop += by;
  window.scrolled += log.scrollTop - before;
  const last = Number([...document.querySelectorAll("#rows .message")].at(-1)?.dataset.seq);
  return { top: log.scrollTop, below: log.scrollHeight - log.clientHeight - log.scrollTop, last };
}

export const checks = {
  "scrolling back through 1,100 messages and forward again misses none, repeats none and never jumps": async ({ browser, natter, out }) => {
    const { conversation, writer } = await longRoom(natter);
    const ada = await Window.open(browser, natter, "ada");
    await ada.choose(conversation);
    // So many are unread that it opens where they begin: at the first message.
    await until("it opens at the first unread", async () => (await ada.messages())[0]?.seq === 1);
    await ada.page.click("#newest");
    await until("the end", async () => (await ada.messages()).at(-1)?.seq === MESSAGES);
    await until("all is read", async () => (await ada.row(conversation)).unread === 0);

    await ada.page.evaluate(watch);
    const walk = async (by, arrived) => {
      await until(`scrolled ${by < 0 ? "back" : "forward"}`, async () => {
        for (let frame = 0; frame < 40; frame += 1) {
          const place = await ada.page.evaluate(scroll, by);
          await ada.page.evaluate(() => new Promise(requestAnimationFrame));
          if (await arrived(place)) return true;
        }
        return false;
      });
    };
    await walk(-900, async ({ top }) => top === 0 && (await ada.page.textContent("#log-top")).includes("beginning"));
    const back = await ada.page.evaluate(() => ({ ...window.record, seen: [...window.record.seen] }));
    assert.deepEqual(back.seen.sort((a, b) => a - b), Array.from({ length: MESSAGES }, (_, at) => at + 1), "each seq was shown");
    assert.deepEqual(back.disorder, [], "always in order, without a hole");
    assert.deepEqual(back.jumps, [], "nothing moved by itself");
    assert.ok(back.rowsMax <= ROWS_MAX, `at most ${back.rowsMax} rows`);
    assert.equal((await ada.messages())[0].text.startsWith("part"), true);
    await ada.shot(out, "history-beginning");

    // Meanwhile others go on writing; the reader's place is not theirs to move.
    const place = await ada.page.evaluate(() => document.getElementById("log").scrollTop);
    for (let n = 0; n < 5; n += 1) await writer.send(conversation, `meanwhile ${n}`);
    await until("five are unread", async () => (await ada.row(conversation)).unread === 5);
    assert.equal(await ada.page.evaluate(() => document.getElementById("log").scrollTop), place);

    await ada.page.evaluate(() => Object.assign(window.record, { seen: new Set(), disorder: [], jumps: [] }));
    const end = MESSAGES + 5;
    await walk(900, async ({ below, last }) => below < 2 && last === end);
    const forth = await ada.page.evaluate(() => ({ ...window.record, seen: [...window.record.seen] }));
    assert.equal(forth.seen.length, end, "each seq was shown on the way forward");
    assert.deepEqual(forth.disorder, []);
    assert.deepEqual(forth.jumps, []);
    assert.ok(forth.rowsMax <= ROWS_MAX, `at most ${forth.rowsMax} rows`);
    await until("all is read", async () => (await ada.row(conversation)).unread === 0);

    // At the end the log follows again.
    await writer.send(conversation, "the last word");
    await ada.heard("the last word");
    await until("in sight", async () => (await ada.page.evaluate(scroll, 0)).below < 2);
    assert.deepEqual(ada.complaints, []);
  },
};
