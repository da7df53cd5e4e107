// The server stops and comes back, the network goes and comes back: nothing missing, nothing twice.

import assert from "node:assert/strict";

import { until, Window } from "./window.mjs";

/** A group with `ada` at its window and `ben` behind HTTP. */
async function pair({ browser, natter }, name) {
  const ben = await natter.user("ben");
  const { conversation } = await ben.command("conversation.create", { kind: "group", name, members: ["ada"] });
  await ben.send(conversation, "before");
  const ada = await Window.open(browser, natter, "ada");
  await ada.choose(conversation);
  await ada.heard("before");
  return { ada, ben, conversation };
}

/** When nothing is on its way any more, the page shows exactly the server's history, and each of `texts` is in it once. */
async function agree(ada, ben, conversation, texts) {
  await until("everything is stored and shown", async () => {
    const rows = await ada.messages();
    return rows.every(({ seq }) => seq > 0) && texts.every((text) => rows.some((row) => row.text === text));
  });
  await until("the history has everything too", async () => (await ben.history(conversation)).length >= (await ada.messages()).length);
  const history = await ben.history(conversation);
  for (const text of texts) assert.equal(history.filter((message) => message.text === text).length, 1, `${text} is stored once`);
  const wanted = history.map(({ seq, text }) => `${seq} ${text}`);
  const shown = async () => (await ada.messages()).map(({ seq, text }) => `${seq} ${text}`);
  await until(`the page shows all ${wanted.length}`, async () => (await shown()).length >= wanted.length);
  assert.deepEqual(await shown(), wanted);
}

const numbered = (name, count) => Array.from({ length: count }, (_, n) => `${name} ${n}`);

export const checks = {
  "after a restart, with messages sent meanwhile from both sides, nothing is missing and nothing twice": async (t) => {
    const { natter, out } = t;
    const { ada, ben, conversation } = await pair(t, "Restart");
    const own = numbered("written while away", 3);
    const others = numbered("sent meanwhile", 40);
    await natter.stop();
    await until("the page says that it is not connected", async () => (await ada.page.isVisible("#banner")) && (await ada.phase()) !== "open");
    for (const text of own) await ada.say(text);
    await until("they wait", async () => (await ada.messages()).filter(({ state }) => state === "sending").length === own.length);
    await ada.shot(out, "reconnecting");
    // Out of reach until the others have written, so that it is sure to have missed them.
    await ada.context.setOffline(true);
    await natter.start();
    for (const text of others) await ben.send(conversation, text);
    await ada.context.setOffline(false);
    await ada.connected();
    await agree(ada, ben, conversation, [...own, ...others]);
    assert.deepEqual((await ada.messages()).filter(({ text }) => own.includes(text)).map(({ text }) => text), own, "in the order in which they were written");
    assert.equal(await ada.page.isVisible("#banner"), false);
    await ada.say("and on");
    await ada.heard("and on");
    await agree(ada, ben, conversation, ["and on"]);
  },

  "a message whose answer was lost is sent again and stored once": async (t) => {
    const { ada, ben, conversation } = await pair(t, "Lost answers");
    t.natter.halt();
    await ada.say("did you get this?");
    await until("on its way", async () => (await ada.messages()).at(-1)?.state === "sending");
    // The frame lies in the halted server's socket. The page goes, and comes back without having heard an answer.
    await ada.page.goto("about:blank");
    t.natter.goOn();
    await ada.page.goto(`${t.natter.http}/#c=${conversation}`);
    await ada.connected();
    await ada.heard("did you get this?");
    await agree(ada, ben, conversation, ["did you get this?"]);
  },

  "a restart and a kill while both sides write": async (t) => {
    const { ada, ben, conversation } = await pair(t, "Stormy");
    const [own, others] = [numbered("from the page", 24), numbered("from elsewhere", 24)];
    const writing = (async () => {
      for (const text of own) {
        await ada.say(text);
        await ada.page.waitForTimeout(60);
      }
    })();
    const elsewhere = (async () => {
      for (const text of others) await ben.send(conversation, text);
    })();
    for (const signal of ["SIGTERM", "SIGKILL"]) {
      await until("there is something to lose", async () => (await ada.messages()).length > 3);
      await t.natter.stop(signal);
      await t.natter.start();
    }
    await Promise.all([writing, elsewhere]);
    await ada.connected();
    await agree(ada, ben, conversation, [...own, ...others]);
    const history = await ben.history(conversation);
    assert.deepEqual(history.filter(({ text }) => own.includes(text)).map(({ text }) => text), own, "in the page's order");
  },

  "more than a page of messages during an outage leads to where the unread begin": async (t) => {
    const { ada, ben, conversation } = await pair(t, "Long absence");
    await ada.context.setOffline(true);
    // A socket that is open already does not always notice: the server's restart ends it.
    await t.natter.stop();
    await t.natter.start();
    for (const text of numbered("missed", 260)) await ben.send(conversation, text);
    await ada.context.setOffline(false);
    await ada.connected();
    await until("the first missed message is in sight", async () => (await ada.messages()).some(({ text }) => text === "missed 0"));
    await until("and the line above it", () => ada.page.isVisible(".unread-line"));
    assert.ok((await ada.row(conversation)).unread > 0, "they count as unread until they were scrolled through");
    await ada.page.click("#newest");
    await ada.heard("missed 259");
    await until("read", async () => (await ada.row(conversation)).unread === 0);
  },
};
