// What it looks like: both themes, a phone's width, contrast; screenshots to look at.

import assert from "node:assert/strict";

import { until, Window } from "./window.mjs";

const PHONE = { width: 360, height: 740 };
const LINES = [
  ["cleo", "Morning! Anyone up for the ridge trail on Saturday?"],
  ["cleo", "Forecast says 14° and dry until four."],
  ["ben", "Yes. I can drive, three seats free."],
  ["ada", "Count me in. Shall I bring the stove?"],
  ["ben", "Please do. Same start as last time: https://example.org/trails/ridge?map=1"],
  ["cleo", "مرحبا! السبت مناسب جدا"],
  ["ada", "Great.\nI will leave at seven.\nSee you there!"],
  ["ben", `A long word: ${"Donaudampfschifffahrt".repeat(6)}`],
];

/** A few conversations to look at; the id of the main one. */
async function furnish(natter) {
  const users = Object.fromEntries(await Promise.all(["ada", "ben", "cleo"].map(async (name) => [name, await natter.user(name)])));
  await users.ben.command("user.update", { name: "Ben Okafor" });
  await users.cleo.command("user.update", { name: "Cleo Marchand" });
  for (const [name, text] of [["Kitchen table", "Is there any bread left?"], ["Release notes", "All green on both machines."], ["קבוצת קריאה", "הפרק השלישי"]]) {
    const { conversation } = await users.ben.command("conversation.create", { kind: "group", name, members: ["ada", "cleo"] });
    await users.ben.send(conversation, text);
  }
  const { conversation: direct } = await users.cleo.command("conversation.create", { kind: "direct", members: ["ada"] });
  await users.cleo.send(direct, "Lunch at one?");
  const { conversation } = await users.ada.command("conversation.create", { kind: "group", name: "Weekend hikes", members: ["ben", "cleo"] });
  for (const [user, text] of LINES) await users[user].send(conversation, text);
  return conversation;
}

/** Runs in the page: texts in sight whose contrast with what is behind them is below AA. */
function faint() {
  const channels = (color) => (color.match(/[\d.]+/g) ?? []).map(Number);
  const luminance = ([r, g, b]) => [r, g, b]
    .map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = channels(getComputedStyle(at).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const inSight = (element) => element.checkVisibility({ visibilityProperty: true }) && element.getBoundingClientRect().width > 1
    && !element.closest(".hidden, :disabled") && (!document.querySelector("dialog[open]") || element.closest("dialog"));
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !inSight(element)) continue;
    const [text, behind] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))];
    const contrast = (Math.max(text, behind) + 0.05) / (Math.min(text, behind) + 0.05);
    if (contrast < 4.5) found.push(`${element.className || element.tagName} “${walker.currentNode.data.trim().slice(0, 30)}” ${contrast.toFixed(2)}`);
  }
  return found;
}

/** Runs in the page: controls in sight that a screen reader could not name. */
function nameless() {
  const named = (control) => control.ariaLabel || control.textContent.trim() || control.labels?.length || control.getAttribute("aria-labelledby");
  return [...document.querySelectorAll("button, input, textarea, [role], dialog[open], a")]
    .filter((control) => control.checkVisibility() && control.getAttribute("role") !== "status" && !named(control))
    .map((control) => control.outerHTML.slice(0, 100));
}

async function look(window, out, name) {
  await window.shot(out, name);
  assert.deepEqual(await window.page.evaluate(faint), [], `contrast of ${name}`);
  assert.deepEqual(await window.page.evaluate(nameless), [], `controls of ${name} without a name`);
  assert.ok((await window.overflow()) <= 0, `${name} is wider than its window`);
}

/** All views in one theme. */
async function tour({ browser, natter, out }, colorScheme) {
  const conversation = await furnish(natter);
  const ada = await Window.open(browser, natter, "ada", { options: ["--name", "Ada Lovelace"], colorScheme });
  await until("the list is there", () => ada.row(conversation));
  await look(ada, out, `desktop-list-${colorScheme}`);
  await ada.choose(conversation);
  await ada.heard(LINES.at(-1)[1]);
  await look(ada, out, `desktop-chat-${colorScheme}`);
  await ada.page.click("#details-open");
  await until("members", async () => (await ada.page.textContent("#members")).includes("Cleo Marchand"));
  await look(ada, out, `desktop-details-${colorScheme}`);
  await ada.page.press("#details", "Escape");
  await ada.page.click("#new");
  await look(ada, out, `desktop-new-${colorScheme}`);
  await ada.page.press("#new-dialog", "Escape");

  await ada.page.setViewportSize(PHONE);
  await look(ada, out, `phone-chat-${colorScheme}`);
  assert.equal(await ada.page.isVisible("#list"), false, "one view at a time");
  for (const [button, dialog] of [["#details-open", "#details"]]) {
    await ada.page.click(button);
    await look(ada, out, `phone-details-${colorScheme}`);
    await ada.page.press(dialog, "Escape");
  }
  await ada.page.click("#back");
  await until("the list", () => ada.page.isVisible("#list"));
  assert.equal(await ada.page.isVisible("#composer"), false);
  await look(ada, out, `phone-list-${colorScheme}`);
  await ada.page.click("#new");
  await look(ada, out, `phone-new-${colorScheme}`);
  await ada.page.press("#new-dialog", "Escape");
  await ada.choose(conversation);
  await ada.page.goBack();
  await until("the browser's way back leads to the list", () => ada.page.isVisible("#list"));
  assert.deepEqual(ada.complaints, []);

  const page = await (await browser.newContext({ colorScheme, viewport: PHONE })).newPage();
  await page.goto(natter.http);
  await page.waitForSelector("#welcome:not([hidden])");
  assert.deepEqual(await page.evaluate(faint), []);
  await page.screenshot({ path: `${out}/phone-welcome-${colorScheme}.png` });
}

export const checks = {
  "light, at a desk and on a phone 360 px wide": (t) => tour(t, "light"),
  "dark, at a desk and on a phone 360 px wide": (t) => tour(t, "dark"),

  "nothing moves where less motion is wanted": async ({ browser, natter }) => {
    const ada = await Window.open(browser, natter, "ada", { reducedMotion: "reduce" });
    await ada.connected();
    const moving = await ada.page.evaluate(() => [...document.querySelectorAll("*")]
      .filter((element) => { const { animationName, transitionDuration } = getComputedStyle(element); return animationName !== "none" || !/^0s$|^1e-/.test(transitionDuration); })
      .map((element) => element.outerHTML.slice(0, 80)));
    assert.deepEqual(moving, []);
  },
};
