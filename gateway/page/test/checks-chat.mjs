// Two people talk: live, typing, unread, all that the dialogs do, and everything by keyboard.

import assert from "node:assert/strict";

import { until, Window } from "./window.mjs";

/** Two windows that share a new group. */
async function together({ browser, natter }, name) {
  const ben = await natter.user("ben");
  const { conversation } = await ben.command("conversation.create", { kind: "group", name, members: ["ada"] });
  const windows = await Promise.all([
    Window.open(browser, natter, "ada", { options: ["--name", "Ada Lovelace"] }),
    Window.open(browser, natter, "ben"),
  ]);
  for (const window of windows) await window.choose(conversation);
  return { conversation, user: ben, windows };
}

const quiet = (...windows) => windows.forEach(({ user, complaints }) => assert.deepEqual(complaints, [], `${user}'s console`));

export const checks = {
  "the token leaves the address bar and survives a reload": async ({ browser, natter }) => {
    const ada = await Window.open(browser, natter, "ada");
    await ada.connected();
    assert.equal(await ada.page.evaluate(() => location.href.includes("token")), false);
    await ada.page.reload();
    await ada.connected();
    quiet(ada);
  },

  "two windows chat live, and own messages go from sending to stored": async (t) => {
    const { conversation, windows: [ada, ben] } = await together(t, "Live");
    await ada.page.evaluate(() => {
      window.states = [];
      const note = () => {
        const state = document.querySelector("#rows .message:last-child")?.dataset.state;
        if (state && window.states.at(-1) !== state) window.states.push(state);
      };
      new MutationObserver(note).observe(document.getElementById("rows"), { childList: true, subtree: true, attributes: true });
    });
    // Halted, the server cannot answer before the page has drawn.
    t.natter.halt();
    await ada.say("hello");
    await until("the row says that it is being sent", async () => (await ada.messages()).at(-1)?.state === "sending");
    t.natter.goOn();
    const stored = await ada.heard("hello");
    assert.equal(stored.state, "stored");
    assert.equal(stored.seq, 1);
    assert.deepEqual(await ada.page.evaluate(() => window.states), ["sending", "stored"]);
    assert.match(await ada.page.textContent("#rows .message:last-child .meta"), /#1/);
    assert.equal((await ben.heard("hello")).seq, 1);
    await ben.say("hello yourself");
    await ada.heard("hello yourself");
    for (let n = 0; n < 10; n += 1) await (n % 2 ? ada : ben).say(`quickly ${n}`);
    for (const window of [ada, ben]) {
      await until(`${window.user} has all`, async () => (await window.messages()).filter(({ seq }) => seq > 0).length === 12);
      const messages = await window.messages();
      assert.deepEqual(messages.map(({ seq }) => seq), Array.from({ length: 12 }, (_, at) => at + 1));
    }
    assert.equal((await ada.row(conversation)).unread, 0);
    quiet(ada, ben);
  },

  "typing shows, in the chat and in the list, and ends": async (t) => {
    const { conversation, windows: [ada, ben] } = await together(t, "Typing");
    await ben.page.type("#text", "let me think");
    await until("ada sees it", async () => (await ada.page.textContent("#typing")).includes("ben is typing"));
    await until("and in the list", async () => (await ada.row(conversation)).preview.includes("typing"));
    assert.equal(await ben.page.textContent("#typing"), "", "nobody sees himself typing");
    await ben.page.press("#text", "Enter");
    await ada.heard("let me think");
    await until("it ends with the message", async () => (await ada.page.textContent("#typing")) === "");
    await ben.page.type("#text", "never sent");
    await until("again", async () => (await ada.page.textContent("#typing")) !== "");
    await until("it ends by itself", async () => (await ada.page.textContent("#typing")) === "");
    quiet(ada, ben);
  },

  "unread messages are counted and the cursor is kept": async (t) => {
    const { conversation, user, windows: [ada] } = await together(t, "Unread");
    const other = (await user.command("conversation.create", { kind: "group", name: "Elsewhere", members: ["ada"] })).conversation;
    await until("the new group came by itself", () => ada.row(other));
    await ada.choose(other);
    for (let n = 1; n <= 3; n += 1) await user.send(conversation, `number ${n}`);
    await until("three are unread", async () => (await ada.row(conversation)).unread === 3);
    assert.match(await ada.page.title(), /^\(\d+\)/);
    await ada.page.reload();
    await until("after a reload as well", async () => (await ada.row(conversation))?.unread === 3);
    await ada.choose(conversation);
    assert.equal(await ada.page.locator(".unread-line").count(), 1, "a line where the unread begin");
    await until("read", async () => (await ada.row(conversation)).unread === 0);
    const cursor = async () => {
      const answer = await user.get(`v1/conversations/${conversation}/members`);
      return answer.members.find(({ user }) => user === "ada").read_seq;
    };
    await until("the server knows", async () => (await cursor()) === 3);
    await ada.page.reload();
    await until("and still after a reload", async () => (await ada.row(conversation))?.unread === 0);
    quiet(ada);
  },

  "groups are made, found, renamed, joined, left; direct chats opened; names set": async ({ browser, natter }) => {
    const [ada, cleo] = [await Window.open(browser, natter, "ada"), await Window.open(browser, natter, "cleo")];
    await ada.connected();
    const external = `lobby-${process.pid}`;
    await ada.page.click("#new");
    await ada.page.fill('#new-form [name="name"]', "The lobby");
    await ada.page.fill('#new-form [name="members"]', "ben, dora");
    await ada.page.fill('#new-form [name="external"]', external);
    await ada.page.check('#new-form [name="public"]');
    await ada.page.click("#new-submit");
    await until("it is open", async () => (await ada.page.textContent("#chat-sub")).includes("Public group · 3 members"));
    const lobby = await ada.chosen();

    await cleo.page.click("#new");
    await cleo.page.check('#new-form [name="kind"][value="join"]', { force: true });
    await cleo.page.fill('#new-form [name="address"]', "ext:there-is-no-such");
    await cleo.page.click("#new-submit");
    await until("the refusal in words", async () => (await cleo.page.textContent("#new-form [data-error]")).includes("no such conversation"));
    await cleo.page.fill('#new-form [name="address"]', `ext:${external}`);
    await cleo.page.click("#new-submit");
    await until("cleo is in", async () => (await cleo.page.textContent("#chat-sub")).includes("4 members"));
    await until("ada sees it", async () => (await ada.page.textContent("#chat-sub")).includes("4 members"));

    await ada.page.click("#details-open");
    await ada.page.fill('#rename-form [name="name"]', "The parlour");
    await ada.page.click("#rename-form button");
    await until("cleo sees the new name", async () => (await cleo.page.textContent("#chat-title")) === "The parlour");
    await ada.page.fill('#add-form [name="members"]', "eve");
    await ada.page.click("#add-form button");
    await until("eve is a member", async () => (await ada.page.textContent("#members")).includes("eve"));
    await ada.page.press("#details", "Escape");

    await cleo.page.click("#details-open");
    await cleo.page.click("#leave");
    await until("cleo left", async () => (await cleo.row(lobby)) === null && (await cleo.chosen()) === null);
    await until("ada sees it", async () => (await ada.page.textContent("#chat-sub")).includes("4 members"));

    await cleo.page.click("#you");
    await cleo.page.fill('#you-form [name="name"]', "Cleo ✦");
    await cleo.page.click("#you-form .primary");
    await until("the name is set", async () => (await cleo.page.textContent("#you")).includes("Cleo ✦"));

    await cleo.page.click("#new");
    await cleo.page.check('#new-form [name="kind"][value="direct"]', { force: true });
    await cleo.page.fill('#new-form [name="peer"]', "ada");
    await cleo.page.click("#new-submit");
    const direct = await until("the direct chat is open", () => cleo.chosen());
    await cleo.say("hello, it is me");
    await until("ada sees who", async () => (await ada.row(direct))?.unread === 1);
    await ada.choose(direct);
    await until("by name", async () => (await ada.page.textContent("#chat-title")) === "Cleo ✦");
    quiet(ada, cleo);
  },

  "everything goes by keyboard": async (t) => {
    const { conversation, windows: [ada, ben] } = await together(t, "Keys");
    const { keyboard } = ada.page;
    const focus = () => ada.page.evaluate(() => document.activeElement.id || document.activeElement.dataset.id || document.activeElement.tagName);
    await ada.page.reload();
    await ada.connected();
    await until("the writing line has the focus", async () => (await focus()) === "text");
    await keyboard.type("first line");
    await keyboard.press("Shift+Enter");
    await keyboard.type("second line");
    await keyboard.press("Enter");
    await ben.heard("first line\nsecond line");
    await keyboard.press("Escape");
    await until("Escape leads to the list", async () => (await focus()) === conversation);
    await keyboard.press("ArrowDown");
    const below = await focus();
    assert.notEqual(below, conversation);
    await keyboard.press("Enter");
    await until("Enter opens", async () => (await ada.chosen()) === below && (await focus()) === "text");
    await keyboard.press("Escape");
    await until("back in the list", async () => (await focus()) === below);
    await keyboard.press("ArrowUp");
    await keyboard.press("Enter");
    await until("and again", async () => (await ada.chosen()) === conversation && (await focus()) === "text");
    // Backwards through the whole page: everything that can be used is reached, and is seen to be.
    const reached = new Set();
    for (let presses = 0; presses < 12; presses += 1) {
      await keyboard.press("Shift+Tab");
      reached.add(await focus());
      const outlined = await ada.page.evaluate(() => document.activeElement === document.body || getComputedStyle(document.activeElement).outlineStyle !== "none");
      assert.ok(outlined, `${await focus()} has a visible focus`);
    }
    for (const id of ["log", "details-open", "new", "you"]) assert.ok(reached.has(id), `${id} among ${[...reached]}`);
    await ada.page.focus("#new");
    await keyboard.press("Enter");
    await until("the dialog is open", () => ada.page.evaluate(() => document.getElementById("new-dialog").open));
    await keyboard.press("Escape");
    await until("and closed, with the focus where it was", async () => (await focus()) === "new");
    quiet(ada, ben);
  },
};
