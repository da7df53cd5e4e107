// One user's window on the page, and waiting for what it shows.

import { chromium } from "playwright-core";

const FLAGS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
];
const WAIT_MS = 20_000;
const POLL_MS = 40;

/** Headless Chromium with an empty profile. */
export function browse(executablePath) {
  return chromium.launch({ executablePath, headless: true, args: FLAGS });
}

/** Waits until `condition` gives something true, and gives it; else fails with `what` and what there was last. */
export async function until(what, condition) {
  const end = Date.now() + WAIT_MS;
  let last;
  while (Date.now() < end) {
    last = await condition();
    if (last) return last;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  throw new Error(`never came: ${what}`);
}

export class Window {
  /** Opens the page for a user, in a profile of its own. */
  static async open(browser, natter, user, { options = [], ...context } = {}) {
    const own = await browser.newContext({ viewport: { width: 1180, height: 760 }, ...context });
    const page = await own.newPage();
    const window = Object.assign(new Window(), { user, context: own, page, complaints: [] });
    page.on("pageerror", (error) => window.complaints.push(String(error.stack)));
    page.on("console", (message) => message.type() === "error" && window.complaints.push(message.text()));
    page.on("dialog", (dialog) => {
      window.complaints.push(`a dialog of the browser: ${dialog.message()}`);
      dialog.dismiss();
    });
    await page.goto(`${natter.http}/#token=${await natter.token(user, ...options)}`);
    await page.waitForSelector("#app:not([hidden])");
    return window;
  }

  close() {
    return this.context.close();
  }

  /** Whether the session is open. */
  phase() {
    return this.page.evaluate(() => document.body.dataset.phase);
  }

  connected() {
    return until(`${this.user}'s session is open`, async () => (await this.phase()) === "open");
  }

  /** Opens a conversation by its id, out of the list. */
  async choose(id) {
    await this.page.click(`.row[data-id="${id}"]`);
    await until(`${this.user}'s messages of ${id} are there`, () => this.page.evaluate(
      // Not what is still there of the one before.
      (id) => document.getElementById("log").dataset.conversation === id
        && (!document.getElementById("log-top").textContent.includes("Loading") || document.querySelector("#rows .message") !== null),
      id,
    ));
  }

  /** Writes and sends by keyboard. */
  async say(text) {
    await this.page.fill("#text", text);
    await this.page.press("#text", "Enter");
  }

  /** The messages on the page, from top to bottom: `{seq, state, text}`. */
  messages() {
    return this.page.$$eval("#rows .message", (rows) => rows.map((row) => ({
      seq: Number(row.dataset.seq ?? 0), state: row.dataset.state ?? "", text: row.querySelector(".text").textContent,
    })));
  }

  /** Waits for a message with this text that is stored; its row. */
  heard(text) {
    return until(`${this.user} sees “${text}”`, async () =>
      (await this.messages()).find((message) => message.text === text && message.seq > 0));
  }

  /** A row of the list: `{title, preview, unread}`, or `null`. */
  row(id) {
    return this.page.evaluate((id) => {
      const row = document.querySelector(`.row[data-id="${id}"]`);
      const text = (name) => row.querySelector(name)?.firstChild?.textContent ?? "";
      return row && { title: text(".row-title"), preview: row.querySelector(".preview").textContent, unread: Number(text(".badge")) };
    }, id);
  }

  /** How far the page is wider than its window, in pixels. */
  overflow() {
    return this.page.evaluate(() => Math.max(
      ...["html", "body", ".app", "#log", "#list-scroll", "dialog[open]"]
        .map((name) => document.querySelector(name))
        .filter(Boolean)
        .map((element) => element.scrollWidth - element.clientWidth),
      document.documentElement.scrollWidth - innerWidth,
    ));
  }

  /** The id of the open conversation. */
  chosen() {
    return this.page.evaluate(() => new URLSearchParams(location.hash.slice(1)).get("c"));
  }

  async shot(folder, name) {
    // Transitions of a tenth of a second, were they caught half-way, would look like faults.
    await this.page.evaluate(() => document.getAnimations()
      .filter((animation) => animation.effect.getTiming().iterations === 1)
      .forEach((animation) => animation.finish()));
    await this.page.screenshot({ path: `${folder}/${name}.png` });
  }
}
