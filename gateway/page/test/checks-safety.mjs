// What people write is text and stays text; whichever way it is written, it does not turn its surroundings around.

import assert from "node:assert/strict";

import { until, Window } from "./window.mjs";

const HOSTILE = [
  "<img src=x onerror=\"window.pwned=1\">",
  "<script>window.pwned=1</script>",
  "<svg onload=window.pwned=1><a href=\"javascript:window.pwned=1\">x</a></svg>",
  "javascript:window.pwned=1 https://example.org/\"onmouseover=\"window.pwned=1",
  "</div></li></ol><h1>out</h1> &lt;b&gt; &amp; {{7*7}} ${7*7}",
  "https://example.org/a?b=c&d=e. And (http://example.com/x) but not ftp://example.org or https://",
];
const RTL_OVERRIDE = "\u202e";

export const checks = {
  "markup in messages and names is inert": async ({ browser, natter, out }) => {
    const mallory = await natter.user("<b>mallory</b>");
    await mallory.command("user.update", { name: "<img src=x onerror=window.pwned=1>" });
    const name = "<script>window.pwned=1</script><i>room</i>";
    const { conversation } = await mallory.command("conversation.create", { kind: "group", name, members: ["ada"] });
    for (const text of HOSTILE) await mallory.send(conversation, text);
    const ada = await Window.open(browser, natter, "ada");
    await ada.choose(conversation);
    for (const text of HOSTILE) await ada.heard(text);
    assert.equal(await ada.page.textContent("#chat-title"), name);
    assert.equal((await ada.row(conversation)).title, name);
    await ada.page.click("#details-open");
    await until("the members", async () => (await ada.page.textContent("#members")).includes("<img src=x onerror"));
    await ada.shot(out, "hostile");
    const found = await ada.page.evaluate(() => ({
      pwned: window.pwned,
      foreign: [...document.querySelectorAll("#rows, #list, #members, #chat-title")]
        .flatMap((root) => [...root.querySelectorAll("img, script, svg, h1, i, b, iframe, [onerror], [onload], [onmouseover]")].map((one) => one.outerHTML)),
      links: [...document.querySelectorAll("#rows a")].map((a) => [a.href, a.rel.includes("noopener"), a.target]),
      title: document.title,
    }));
    assert.equal(found.pwned, undefined);
    assert.deepEqual(found.foreign, []);
    assert.deepEqual(found.links, [
      ["https://example.org/", true, "_blank"],
      ["https://example.org/a?b=c&d=e", true, "_blank"],
      ["http://example.com/x", true, "_blank"],
    ]);
    assert.ok(found.title.includes(name));
    assert.deepEqual(ada.complaints, [], "no complaint, of the content security policy neither");
  },

  "directions are isolated": async ({ browser, natter, out }) => {
    const noor = await natter.user("noor");
    await noor.command("user.update", { name: `${RTL_OVERRIDE}Noor نور` });
    const { conversation } = await noor.command("conversation.create", { kind: "group", name: "كتب ו־ספרים", members: ["ada"] });
    const texts = ["مرحبا، كيف الحال؟ 12:30", "plain english", `${RTL_OVERRIDE}reversed and never closed`, "first line\nשורה שנייה\nthird line"];
    for (const text of texts) await noor.send(conversation, text);
    const ada = await Window.open(browser, natter, "ada");
    await ada.choose(conversation);
    for (const text of texts) await ada.heard(text);
    const found = await ada.page.evaluate(() => {
      const messages = [...document.querySelectorAll("#rows .message")];
      const left = (node, from = 0, to = node.length) => {
        const range = document.createRange();
        range.setStart(node, from);
        range.setEnd(node, to);
        return range.getBoundingClientRect();
      };
      const preview = document.querySelector(".row .preview");
      return {
        directions: messages.map((row) => getComputedStyle(row.querySelector(".text")).direction),
        isolates: [...document.querySelectorAll("bdi")].every((bdi) => getComputedStyle(bdi).unicodeBidi === "isolate"),
        plaintext: getComputedStyle(messages[0].querySelector(".text")).unicodeBidi,
        // The sender's unclosed override ends with the name: the colon and the words stand to the right of it.
        order: left(preview.childNodes[0].firstChild).left < left(preview.childNodes[1]).left
          && left(preview.childNodes[1]).left < left(preview.childNodes[2].firstChild).left,
        // And a message's own override ends with the message: its time reads forwards.
        time: left(messages[2].querySelector("time").firstChild, 0, 1).left < left(messages[2].querySelector("time").firstChild, 3, 4).left,
        title: document.title,
      };
    });
    assert.deepEqual(found.directions, ["rtl", "ltr", "ltr", "ltr"]);
    assert.ok(found.isolates && found.order && found.time, JSON.stringify(found));
    assert.equal(found.plaintext, "plaintext");
    assert.ok(found.title.includes("\u2068كتب ו־ספרים\u2069"));
    await ada.shot(out, "directions");
    assert.deepEqual(ada.complaints, []);
  },

  "a token that does not hold is said so, and not tried for ever": async ({ browser, natter }) => {
    const page = await (await browser.newContext()).newPage();
    await page.goto(`${natter.http}/#token=not-a-token`);
    await until("the page asks for another", async () => (await page.textContent("#welcome-error")).includes("cannot be read"));
    const [head, payload] = (await natter.token("ada")).split(".");
    await page.fill("#welcome-token", `${head}.${payload}.${"A".repeat(43)}`);
    await page.click("#welcome-form button");
    await until("the server's refusal in words", async () => (await page.textContent("#banner-text")).includes("not accepted"));
    assert.equal(await page.evaluate(() => document.body.dataset.phase), "stopped");
  },

  "a session that ends with its token says why and stays ended": async ({ browser, natter }) => {
    const ada = await Window.open(browser, natter, "ada", { options: ["--ttl", "4s"] });
    await ada.connected();
    await until("the token's end in words", async () => /expired|not accepted/.test(await ada.page.textContent("#banner-text")));
    assert.equal(await ada.phase(), "stopped");
  },
};
