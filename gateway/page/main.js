// The page's life: token, core, shell, views.

import { chatView } from "./chat-view.js";
import { composer } from "./composer.js";
import { initial, step } from "./core.js";
import { dialogs } from "./dialogs.js";
import { byId } from "./dom.js";
import { focusList, listView } from "./list-view.js";
import { logView } from "./log-view.js";
import { shell } from "./shell.js";
import { statusView } from "./status-view.js";
import { holderOf, keepToken, takeToken } from "./token.js";

const TICK_MS = 250;

const token = takeToken();
const me = token ? holderOf(token) : null;
if (me) run(me);
else welcome(token !== null);

addEventListener("hashchange", () => {
  if (new URLSearchParams(location.hash.slice(1)).has("token")) location.reload();
});

/** Asks for a token. */
function welcome(unreadable) {
  byId("welcome").hidden = false;
  const say = (words) => {
    byId("welcome-error").textContent = words;
    byId("welcome-error").hidden = false;
  };
  if (unreadable) say("The token in this page's address cannot be read.");
  byId("welcome-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const given = byId("welcome-token").value.trim();
    if (!holderOf(given)) return say("That is not a token: it has three parts with dots between them.");
    keepToken(given);
    location.reload();
  });
}

function run(me) {
  const unsentKey = `natter.unsent:${me.tenant}:${me.user}`;
  let state = initial({ me, unsent: stored(unsentKey) });
  let scheduled = false;

  function dispatch(type, fields = {}) {
    const before = state;
    const next = step(state, { type, now: Date.now(), random: Math.random(), ...fields });
    state = next.state;
    if (state.outbox !== before.outbox) keep(unsentKey, state.outbox);
    if (state.open !== before.open) route(state.open, type === "open" && before.open === null);
    for (const action of next.actions) outside[action.do](action);
    if (state !== before || state.connection.phase === "waiting") schedule();
  }

  /** Sends a command; returns its `ref`. */
  function perform(cmd, fields) {
    const ref = newRef();
    dispatch("command", { cmd, fields, ref });
    return ref;
  }

  const outside = shell({ base: document.baseURI, token, hear: dispatch });
  const log = logView((type, fields) => dispatch(type, type === "outbox.retry" ? { ...fields, newRef: newRef() } : fields));
  const views = [
    statusView(dispatch), listView(dispatch), chatView(dispatch), composer(dispatch, perform, log.toEnd), log.show,
    dialogs(dispatch, perform),
  ];

  /** Draws once for all that happens before the next frame; a page out of sight has no frames. */
  function schedule() {
    if (scheduled) return;
    scheduled = true;
    const draw = () => {
      scheduled = false;
      for (const view of views) view(state, Date.now());
    };
    if (document.visibilityState === "visible") requestAnimationFrame(draw);
    else setTimeout(draw, TICK_MS);
  }

  byId("app").hidden = false;
  listen(dispatch, () => state);
  dispatch("start");
  const opened = routed();
  if (opened) dispatch("open", { id: opened });
  setInterval(() => dispatch("tick"), TICK_MS);
}

function listen(dispatch, current) {
  addEventListener("online", () => dispatch("wake"));
  addEventListener("offline", () => dispatch("tick"));
  document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && dispatch("wake"));
  addEventListener("popstate", () => {
    const id = routed();
    if (id) dispatch("open", { id });
    else dispatch("close");
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.isComposing || document.querySelector("dialog[open]")) return;
    const { open } = current();
    if (open === null) return;
    event.preventDefault();
    if (matchMedia("(max-width: 720px)").matches) dispatch("close");
    requestAnimationFrame(() => focusList(open));
  });
}

/** The open conversation in the address: a reload opens it again, and the way back leads to the list. */
function routed() {
  return new URLSearchParams(location.hash.slice(1)).get("c");
}

function route(open, forward) {
  if (open === routed()) return;
  const url = location.pathname + location.search + (open ? `#c=${open}` : "");
  if (forward) history.pushState(null, "", url);
  else history.replaceState(null, "", url);
}

function newRef() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function stored(key) {
  try {
    return JSON.parse(sessionStorage.getItem(key)) ?? [];
  } catch {
    return [];
  }
}

function keep(key, outbox) {
  try {
    sessionStorage.setItem(key, JSON.stringify(outbox.filter(({ cmd }) => cmd === "message.send")));
  } catch {
    // Storage is full or forbidden: then a reload forgets what was not stored yet, which the page shows anyway.
  }
}
