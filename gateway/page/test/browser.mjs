// The page in headless Chromium against a real Natter.
//
//   npm ci && node browser.mjs --natter ../../../target/debug/natter [--out FOLDER] [--chromium /usr/bin/chromium] [--only WORD]
//
// Starts `natter up` on a data folder of its own, mints tokens with `natter token`, stops and starts it again on the
// way. Screenshots and what Natter says go to the folder. Ends with `N passed, N failed`, and not with 0 where one failed.

import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import * as chat from "./checks-chat.mjs";
import * as history from "./checks-history.mjs";
import * as looks from "./checks-looks.mjs";
import * as outage from "./checks-outage.mjs";
import * as safety from "./checks-safety.mjs";
import { Natter } from "./natter.mjs";
import { browse } from "./window.mjs";

const { values: options } = parseArgs({
  options: {
    natter: { type: "string", default: process.env.NATTER ?? "natter" },
    out: { type: "string", default: process.env.SCREENSHOTS ?? "screenshots" },
    chromium: { type: "string", default: process.env.CHROMIUM ?? "/usr/bin/chromium" },
    only: { type: "string", default: "" },
  },
});

const data = await mkdtemp(join(tmpdir(), "natter-page-"));
await mkdir(options.out, { recursive: true });
const log = join(options.out, "natter.log");
await rm(log, { force: true });
const natter = new Natter(options.natter, data, log);
let browser = null;
let passed = 0;
const failures = [];
try {
  await natter.start();
  browser = await browse(options.chromium);
  const checks = [chat, history, safety, looks, outage].flatMap(({ checks }) => Object.entries(checks));
  for (const [name, check] of checks) {
    if (!name.includes(options.only)) continue;
    const started = Date.now();
    try {
      await check({ natter, browser, out: options.out });
      passed += 1;
      console.log(`ok      ${name} (${Date.now() - started} ms)`);
    } catch (error) {
      failures.push(name);
      console.log(`FAILED  ${name}\n${error.stack}`);
      await shots(name);
    }
    await Promise.all(browser.contexts().map((context) => context.close()));
  }
} finally {
  await browser?.close();
  natter.goOn();
  await natter.stop();
  await rm(data, { recursive: true, force: true });
}
console.log(`${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 && passed > 0 ? 0 : 1;

/** What every window showed when a check failed. */
async function shots(name) {
  const pages = browser.contexts().flatMap((context) => context.pages());
  for (const [at, page] of pages.entries()) {
    const path = `${options.out}/failed-${name.replace(/\W+/g, "-").slice(0, 60)}-${at}.png`;
    await page.screenshot({ path }).catch((error) => console.log(`no screenshot: ${error.message}`));
  }
}
