// The connection's state, short notices, and the window's title.

import { sorted, unreadOf } from "./conversations.js";
import { byId, el, reconcile, text } from "./dom.js";
import { isolated, titleOf } from "./words.js";

/** Sets the banner up; returns a function that shows a state. */
export function statusView(dispatch) {
  byId("banner-button").addEventListener("click", () => dispatch("reconnect"));
  byId("notices").addEventListener("click", ({ target }) => {
    const shown = target.closest("button[data-id]");
    if (shown) dispatch("notice.dismiss", { id: Number(shown.dataset.id) });
  });
  const nodes = new Map();

  return (state, now) => {
    document.body.dataset.phase = state.connection.phase;
    const words = bannerWords(state.connection, now);
    byId("banner").hidden = words === null;
    if (words !== null) text(byId("banner-text"), words);
    byId("banner-button").hidden = !["waiting", "stopped"].includes(state.connection.phase);
    reconcile(byId("notices"), nodes, state.notices.map((notice) => ({
      key: notice.id,
      signature: notice.text,
      build: () => el("p", { class: "notice" }),
      update: (node) => node.replaceChildren(
        el("span", {}, notice.text),
        el("button", { type: "button", class: "link", "data-id": notice.id }, "Dismiss"),
      ),
    })));
    const title = titleWords(state);
    if (document.title !== title) document.title = title;
  };
}

function bannerWords({ phase, why, retryAt, opened, attempt }, now) {
  const offline = navigator.onLine === false ? "You are offline. " : "";
  if (phase === "waiting") {
    const seconds = Math.max(1, Math.ceil((retryAt - now) / 1000));
    return `${offline}${why} Reconnecting in ${seconds} s…`;
  }
  if (phase === "connecting" && (opened || attempt > 0)) return `${offline}${why ? `${why} ` : ""}Reconnecting…`;
  return phase === "stopped" ? why : null;
}

function titleWords({ conversations, open, names }) {
  const unread = sorted(conversations).reduce((sum, conversation) => sum + unreadOf(conversation), 0);
  const count = unread > 0 ? `(${unread}) ` : "";
  const conversation = conversations[open];
  return conversation ? `${count}${isolated(titleOf(conversation, names))} · Natter` : `${count}Natter`;
}
