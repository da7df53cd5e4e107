// A running Natter for the page's test: started by its binary, stopped by signals, asked over HTTP.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { createInterface } from "node:readline";
import { promisify } from "node:util";

import { minimumOfAll, see } from "../positions.js";

const TENANT = "demo";
/** The first start on a bare machine fetches the backends. */
const START_MS = 600_000;
const STOP_MS = 15_000;

export class Natter {
  /** @param {string} binary `natter`; @param {string} data its data folder; @param {string} log where what it says goes */
  constructor(binary, data, log) {
    Object.assign(this, { binary, data, log, port: 0, child: null, http: null });
  }

  /** Starts it (the second time on the same port) and waits until it says that it is ready. */
  async start() {
    const options = ["up", "--json", "--data", this.data, "--port", String(this.port)];
    const log = openSync(this.log, "a");
    this.child = spawn(this.binary, options, { stdio: ["ignore", "pipe", log] });
    closeSync(log);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), START_MS);
    let ready = null;
    for await (const line of createInterface(this.child.stdout)) {
      if (line.startsWith("{") && (ready = JSON.parse(line)).ready) break;
    }
    clearTimeout(timer);
    if (!ready?.ready) throw new Error(`${this.binary} ${options.join(" ")} ended before it was ready: see ${this.log}`);
    this.child.stdout.resume();
    this.http = new URL(ready.http).origin;
    this.port = Number(new URL(ready.http).port);
  }

  /** Asks it to stop (or ends it, by `SIGKILL`) and waits until it did. */
  async stop(signal = "SIGTERM") {
    if (!this.child || this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = once(this.child, "exit");
    this.child.kill(signal);
    const timer = setTimeout(() => this.child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
  }

  /** Halts the process where it is: everything that is sent to it waits. */
  halt() {
    this.child.kill("SIGSTOP");
  }

  /** Lets it go on. */
  goOn() {
    this.child.kill("SIGCONT");
  }

  /** A token for a user, by `natter token`. */
  async token(user, ...more) {
    const options = ["token", "--data", this.data, "--tenant", TENANT, "--user", user, ...more];
    const { stdout } = await promisify(execFile)(this.binary, options);
    return stdout.trim();
  }

  /** A user who talks over HTTP. */
  async user(name) {
    return new User(this, await this.token(name));
  }
}

const TRIES_MAX = 200;
let refs = 0;

/** Between stop and start there is nobody to talk to. */
const away = (error) => ({ error: { code: "network", message: String(error.cause ?? error), retry_after_ms: 100 } });

class User {
  constructor(natter, token) {
    Object.assign(this, { natter, token, seen: {} });
  }

  /** A command; its answer. While it is refused for the moment, or there is nobody to talk to, it is sent again. */
  async command(cmd, fields) {
    const ref = `test-${process.pid}-${(refs += 1)}`;
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const body = JSON.stringify({ id: "1", cmd, ref, ...(tries > 0 ? { resend: true } : {}), ...fields });
      const reply = await this.#fetch("v1/commands", { method: "POST", body }).catch(away);
      if (reply.ok) {
        this.seen = see(this.seen, reply.ok.position);
        return reply.ok;
      }
      if (!reply.error?.retry_after_ms) throw new Error(`${cmd}: ${JSON.stringify(reply)}`);
      await new Promise((resolve) => setTimeout(resolve, reply.error.retry_after_ms));
    }
    throw new Error(`${cmd}: refused for too long`);
  }

  send(conversation, text) {
    return this.command("message.send", { conversation, text });
  }

  /** All messages of a conversation, page by page from the first. */
  async history(conversation) {
    const messages = [];
    for (let more = true; more;) {
      const after = messages.at(-1)?.seq ?? 0;
      const page = await this.get(`v1/conversations/${conversation}/messages?after=${after}&limit=200`);
      messages.push(...page.messages);
      more = page.more_after;
    }
    return messages;
  }

  /** A read that shows at least what this user's commands did; asked again while the view has not come so far. */
  async get(path) {
    const minimum = minimumOfAll(this.seen);
    const wish = minimum ? `${path.includes("?") ? "&" : "?"}min_position=${minimum}` : "";
    for (let tries = 0; tries < TRIES_MAX; tries += 1) {
      const answer = await this.#fetch(path + wish);
      if (!answer.error) return answer;
      if (!answer.error.retry_after_ms) throw new Error(`${path}: ${JSON.stringify(answer)}`);
      await new Promise((resolve) => setTimeout(resolve, answer.error.retry_after_ms));
    }
    throw new Error(`${path}: refused for too long`);
  }

  async #fetch(path, options = {}) {
    const headers = { authorization: `Bearer ${this.token}`, "content-type": "application/json" };
    const response = await fetch(`${this.natter.http}/${path}`, { ...options, headers });
    return response.json();
  }
}
