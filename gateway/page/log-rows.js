// The rows of the log: days, the line where the unread begin, messages, and messages on their way.

import { avatar, bdi, el, linked } from "./dom.js";
import { dayOf, dayWords, errorWords, fullTimeOf, hueOf, initials, timeOf } from "./words.js";

/** Messages of one sender within this time stand together. */
const TOGETHER_MS = 5 * 60_000;

/** The rows of a state, for `reconcile`. */
export function rowsOf(state, now) {
  const { timeline, outbox } = state;
  const rows = [];
  let before = null;
  const shown = new Set();
  for (const message of timeline.messages) {
    separators(rows, timeline, before, message, now);
    rows.push(messageRow(state, message, together(before, message) && message.seq !== timeline.unreadFrom));
    if (message.ref) shown.add(message.ref);
    before = message;
  }
  if (!timeline.following) return rows;
  for (const entry of outbox) {
    if (entry.cmd !== "message.send" || entry.scope !== timeline.conversation || shown.has(entry.ref)) continue;
    const message = { sender: state.me.user, at: entry.at };
    separators(rows, timeline, before, message, now);
    rows.push(pendingRow(state, entry, together(before, message)));
    before = message;
  }
  return rows;
}

function together(before, { sender, at }) {
  return before !== null && before.sender === sender && at - before.at < TOGETHER_MS && dayOf(before.at) === dayOf(at);
}

function separators(rows, timeline, before, message, now) {
  if (before === null || dayOf(before.at) !== dayOf(message.at)) {
    const words = dayWords(message.at, now);
    // Days of an imported history need not rise: the message's own name keeps the keys apart.
    const key = `day:${message.seq ?? "pending"}:${dayOf(message.at)}`;
    rows.push(plain(key, words, "day", () => el("span", {}, words)));
  }
  if (message.seq !== undefined && message.seq === timeline.unreadFrom) {
    rows.push(plain("unread", "", "unread-line", () => el("span", {}, "New messages")));
  }
}

function plain(key, signature, name, content) {
  return {
    key,
    signature,
    build: () => el("li", { class: name }),
    update: (node) => node.replaceChildren(content()),
  };
}

function messageRow(state, message, joined) {
  const mine = message.sender === state.me.user;
  const name = state.names[message.sender] ?? message.sender;
  const conversation = state.conversations[state.timeline.conversation];
  const seen = mine && conversation?.kind === "direct" && conversation.peerRead >= message.seq;
  const attributes = {
    "data-seq": message.seq,
    "data-state": mine ? "stored" : null,
    // The row of a message on its way becomes the row of the stored one.
    "data-ref": mine ? message.ref : null,
  };
  const note = mine ? storedNote(message.seq, seen) : null;
  return row({
    key: mine && message.ref ? `ref:${message.ref}` : `seq:${message.seq}`,
    signature: `${message.seq}|${joined}|${name}|${seen}|stored`,
    mine, joined, name, attributes, note,
    sender: message.sender,
    at: message.at,
    text: message.text,
    masked: message.masked,
    group: conversation?.kind === "group",
  });
}

function storedNote(seq, seen) {
  const words = seen ? "read" : "stored";
  return [el("span", { class: `tick ${words}`, "aria-hidden": "true" }, seen ? "✓✓" : "✓"),
    el("span", { class: "hidden" }, ` ${words} `), el("span", { class: "seq", title: `Message ${seq} of this conversation` }, `#${seq}`)];
}

function pendingRow(state, entry, joined) {
  const failed = entry.phase === "failed";
  const stored = entry.phase === "stored";
  const words = failed ? errorWords(entry.error) : entry.waits ?? (state.connection.phase === "open" ? "sending…" : "waiting for the connection…");
  const note = stored ? storedNote(entry.seq, false) : [el("span", { class: failed ? "failed" : "sending" }, words)];
  if (failed) {
    note.push(el("button", { type: "button", class: "link", "data-retry": entry.ref }, "Try again"),
      el("button", { type: "button", class: "link", "data-discard": entry.ref }, "Discard"));
  }
  return row({
    key: `ref:${entry.ref}`,
    signature: `${entry.phase}|${joined}|${words}`,
    mine: true, joined, note,
    name: state.names[state.me.user] ?? state.me.user,
    attributes: { "data-state": stored ? "stored" : failed ? "failed" : "sending", "data-ref": entry.ref, "data-seq": entry.seq },
    sender: state.me.user,
    at: entry.at,
    text: entry.fields.text,
    group: true,
  });
}

function row({ key, signature, mine, joined, name, attributes, note, sender, at, text, masked, group }) {
  return {
    key,
    signature,
    build: () => el("li"),
    update: (node) => {
      node.className = `message${mine ? " mine" : ""}${joined ? " joined" : ""}${group ? "" : " direct"}`;
      for (const [attribute, value] of Object.entries(attributes)) {
        if (value === null || value === undefined) node.removeAttribute(attribute);
        else node.setAttribute(attribute, value);
      }
      const who = mine ? el("span", { class: "who hidden" }, "You: ") : bdi(name, { class: `who hue-${hueOf(sender)}${joined || !group ? " hidden" : ""}` });
      const time = el("time", { datetime: new Date(at).toISOString(), title: fullTimeOf(at) }, timeOf(at));
      const meta = [time, masked ? el("span", { title: "Some words were masked" }, "masked") : null, ...(note ?? [])];
      node.replaceChildren(
        mine || !group ? "" : avatar(initials(name), hueOf(sender), joined ? "blank" : ""),
        el("div", { class: "bubble" }, who, el("div", { class: "text", dir: "auto" }, ...linked(text)),
          el("div", { class: "meta" }, ...meta.filter(Boolean))),
      );
    },
  };
}
