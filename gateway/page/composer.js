// Where messages are written. Drafts are kept for each conversation.

import { attribute, byId, text } from "./dom.js";
import { scalars } from "./words.js";

/** The count is shown when so few characters are left. */
const COUNT_FROM = 200;

/** As the server takes it: no control characters but tab and newline, no half characters. */
function wellFormed(text) {
  const plain = text.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f]/g, "");
  return plain.toWellFormed?.() ?? plain;
}

/** Shows the composer; returns a function that shows a state. */
export function composer(dispatch, perform, sent) {
  const input = byId("text");
  const drafts = new Map();
  let open = null;
  let limit = 4096;

  const fit = () => {
    input.style.height = "auto";
    input.style.height = `${Math.min(input.scrollHeight, 180)}px`;
  };
  const check = () => {
    const left = limit - scalars(input.value);
    text(byId("count"), left <= COUNT_FROM ? (left < 0 ? `${-left} too many` : `${left} left`) : "");
    attribute(byId("count"), "data-over", left < 0);
    byId("send").disabled = left < 0 || input.value.trim() === "";
    return !byId("send").disabled;
  };
  const send = () => {
    if (!check() || open === null) return;
    const words = wellFormed(input.value).replace(/^\n+|\s+$/gu, "");
    if (words === "") return;
    perform("message.send", { conversation: open, text: words });
    input.value = "";
    drafts.delete(open);
    fit();
    check();
    sent();
  };

  input.addEventListener("input", () => {
    fit();
    check();
    if (input.value.trim() !== "") dispatch("typed", { conversation: open });
  });
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    send();
  });
  byId("composer").addEventListener("submit", (event) => {
    event.preventDefault();
    send();
    input.focus();
  });

  return (state) => {
    limit = state.limits.text_scalars;
    if (open === state.open) return;
    if (open !== null) drafts.set(open, input.value);
    open = state.open;
    input.value = drafts.get(open) ?? "";
    fit();
    check();
    // On a phone the keyboard would cover what one came to read.
    if (open !== null && !matchMedia("(pointer: coarse)").matches) input.focus();
  };
}
