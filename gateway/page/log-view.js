// The log: the open conversation's rows, and where the reader is in them. Whatever is added or let go above or below,
// the row that the reader looks at stays where it is; at the end, the log follows.

import { byId, reconcile, text } from "./dom.js";
import { rowsOf } from "./log-rows.js";

/** Closer to the end than this is at the end. */
const END_PX = 48;

/** Shows the log; returns `{show(state, now), toEnd()}`. */
export function logView(dispatch) {
  const log = byId("log");
  const list = byId("rows");
  let nodes = new Map();
  let shown = { conversation: null, loaded: false, inputs: [] };
  let sticks = true;
  let state = null;

  const distance = () => log.scrollHeight - log.scrollTop - log.clientHeight;
  const toEnd = () => {
    sticks = true;
    log.scrollTop = log.scrollHeight;
  };

  function look() {
    if (!state?.timeline?.loaded) return;
    sticks = distance() < END_PX;
    dispatch("viewed", { visible: document.visibilityState === "visible", atEnd: sticks });
    const near = log.clientHeight * 2;
    if (log.scrollTop < near && state.timeline.moreBefore) dispatch("older");
    if (distance() < near && !state.timeline.following) dispatch("newer");
  }

  log.addEventListener("scroll", () => look(), { passive: true });
  document.addEventListener("visibilitychange", look);
  new ResizeObserver(() => {
    if (sticks) toEnd();
    look();
  }).observe(log);
  byId("newest").addEventListener("click", () => {
    toEnd();
    dispatch("newest");
  });
  list.addEventListener("click", ({ target }) => {
    const { retry, discard } = target.dataset;
    if (retry) dispatch("outbox.retry", { ref: retry });
    if (discard) dispatch("outbox.discard", { ref: discard });
  });

  function show(next, now) {
    state = next;
    const { timeline } = state;
    if (!timeline) {
      list.replaceChildren();
      nodes = new Map();
      shown = { conversation: null, loaded: false, inputs: [] };
      text(byId("log-top"), "Loading…");
      return;
    }
    const fresh = shown.conversation !== timeline.conversation || (!shown.loaded && timeline.loaded);
    if (shown.conversation !== timeline.conversation || !timeline.loaded) {
      list.replaceChildren();
      nodes = new Map();
      sticks = true;
    }
    const inputs = [timeline, state.outbox, state.names, state.connection.phase, peerRead(state)];
    if (!fresh && inputs.every((input, at) => input === shown.inputs[at])) return;
    // What comes from the history is not news.
    const older = timeline.messages[0] !== shown.inputs[0]?.messages[0];
    log.setAttribute("aria-busy", fresh || older);
    if (fresh) draw(now, () => toUnread(timeline));
    else if (sticks && timeline.following && shown.inputs[0].following) draw(now, toEnd);
    else draw(now, anchored());
    shown = { conversation: timeline.conversation, loaded: timeline.loaded, inputs };
    if (fresh || older) requestAnimationFrame(() => log.setAttribute("aria-busy", "false"));
    look();
  }

  function draw(now, place) {
    const { timeline } = state;
    text(byId("log-top"), !timeline.loaded || timeline.moreBefore ? "Loading…" : "The beginning of this conversation");
    reconcile(list, nodes, rowsOf(state, now));
    log.dataset.conversation = timeline.conversation;
    place();
  }

  /** Remembers the topmost row in sight by its lower edge, and puts it back there. */
  function anchored() {
    const top = log.getBoundingClientRect().top;
    const rows = [...list.children].map((row) => ({ row, bottom: row.getBoundingClientRect().bottom }));
    const inSight = rows.filter(({ bottom }) => bottom > top).slice(0, 60);
    return () => {
      const anchor = inSight.find(({ row }) => row.isConnected);
      if (anchor) log.scrollTop += anchor.row.getBoundingClientRect().bottom - anchor.bottom;
    };
  }

  function toUnread(timeline) {
    toEnd();
    const line = list.querySelector(".unread-line");
    if (!line || !timeline.loaded) return;
    const above = line.getBoundingClientRect().top - log.getBoundingClientRect().top;
    if (above < 0) log.scrollTop += above - 24;
  }

  return { show, toEnd };
}

function peerRead({ timeline, conversations }) {
  return conversations[timeline.conversation]?.peerRead ?? 0;
}
