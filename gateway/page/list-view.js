// The list of conversations.

import { sorted, unreadOf } from "./conversations.js";
import { attribute, avatar, bdi, byId, el, reconcile } from "./dom.js";
import { hueOf, initials, shortTimeOf, titleOf } from "./words.js";

/** Shows the list; `dispatch` is told what the user chooses. Returns a function that shows a state. */
export function listView(dispatch) {
  const list = byId("list");
  const scroller = byId("list-scroll");
  const nodes = new Map();
  let shown = [];
  let open = null;

  list.addEventListener("click", ({ target }) => {
    const row = target.closest("button[data-id]");
    if (row) dispatch("open", { id: row.dataset.id });
  });
  list.addEventListener("keydown", (event) => moveFocus(list, event));
  list.addEventListener("focusin", ({ target }) => rove(list, target.closest("button")));
  scroller.addEventListener("scroll", () => {
    if (scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < 400) dispatch("list.more");
  }, { passive: true });

  return (state, now) => {
    const inputs = [state.conversations, state.open, state.names, state.typing, state.list, state.reads.list];
    if (inputs.every((input, at) => input === shown[at])) return;
    shown = inputs;
    const focused = list.contains(document.activeElement) ? document.activeElement : null;
    const conversations = sorted(state.conversations);
    reconcile(list, nodes, conversations.map((conversation) => rowOf(conversation, state, now)));
    if (focused?.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
    if (!list.querySelector('button[tabindex="0"]')) rove(list, list.querySelector("button"));
    byId("list-empty").hidden = !state.list.loaded || conversations.length > 0;
    byId("list-more").hidden = state.list.loaded ? !state.reads.list || !state.list.cursor : false;
    // Whoever goes back to the list goes on where he was in it.
    if (open !== null && state.open === null && !document.querySelector("dialog[open]")) focusList(open);
    open = state.open;
  };
}

/** The row that stands for the open conversation, or the first. */
export function focusList(open) {
  const list = byId("list");
  const row = [...list.querySelectorAll("button")].find(({ dataset }) => dataset.id === open);
  (row ?? list.querySelector("button") ?? byId("new")).focus();
}

function rowOf(conversation, state, now) {
  const title = titleOf(conversation, state.names);
  const unread = unreadOf(conversation);
  const open = state.open === conversation.id;
  const typist = Object.keys(state.typing[conversation.id] ?? {})[0];
  const time = conversation.lastSeq > 0 || conversation.activeAt > 0 ? shortTimeOf(conversation.activeAt, now) : "";
  const { last } = conversation;
  const sender = last && (last.sender === state.me.user ? "You" : state.names[last.sender] ?? last.sender);
  return {
    key: conversation.id,
    signature: JSON.stringify([title, unread, open, typist, time, last?.seq, sender]),
    build: () => el("li", {}, el("button", { type: "button", class: "row", "data-id": conversation.id, tabindex: "-1" })),
    update: ({ firstElementChild: row }) => {
      attribute(row, "aria-current", open);
      attribute(row, "data-unread", unread > 0);
      row.replaceChildren(
        avatar(initials(title), hueOf(conversation.id), conversation.kind === "group" ? "group" : ""),
        el("span", { class: "row-main" },
          el("span", { class: "row-line" }, el("span", { class: "row-title" }, bdi(title)), el("span", { class: "row-time" }, time)),
          el("span", { class: "row-line" }, preview(conversation, typist, sender, state.names), badge(unread))),
      );
    },
  };
}

function preview(conversation, typist, sender, names) {
  if (typist) return el("span", { class: "preview is-typing" }, bdi(names[typist] ?? typist), " is typing…");
  const { last, kind } = conversation;
  if (!last) return el("span", { class: "preview" }, "No messages yet");
  const words = bdi(last.text.slice(0, 200).replace(/\s+/g, " "));
  const named = kind === "group" || sender === "You";
  return el("span", { class: "preview" }, ...(named ? [bdi(sender), ": "] : []), words);
}

function badge(unread) {
  if (unread === 0) return null;
  return el("span", { class: "badge" }, unread > 999 ? "999+" : String(unread), el("span", { class: "hidden" }, " unread"));
}

/** Only one row is in the tab order; the arrow keys move between rows. */
function rove(list, row) {
  if (!row) return;
  for (const other of list.querySelectorAll('button[tabindex="0"]')) other.tabIndex = -1;
  row.tabIndex = 0;
}

function moveFocus(list, event) {
  const rows = [...list.querySelectorAll("button")];
  const at = rows.indexOf(document.activeElement);
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  rows[Math.max(0, Math.min(rows.length - 1, to))]?.focus();
}
