// The open conversation's head, and what stands below its log.

import { unreadOf } from "./conversations.js";
import { avatar, bdi, byId, el, text } from "./dom.js";
import { hueOf, initials, membersWords, titleOf } from "./words.js";

/** Shows the open conversation; returns a function that shows a state. */
export function chatView(dispatch) {
  byId("back").addEventListener("click", () => dispatch("close"));
  let head = "";

  return (state) => {
    const conversation = state.conversations[state.open];
    byId("chat-empty").hidden = state.open !== null;
    byId("chat").hidden = state.open === null;
    document.body.dataset.view = state.open === null ? "list" : "chat";
    if (state.open === null) return;
    const title = conversation ? titleOf(conversation, state.names) : "…";
    const sub = conversation ? subOf(conversation) : "";
    if (head !== JSON.stringify([state.open, title, sub])) {
      head = JSON.stringify([state.open, title, sub]);
      byId("chat-title").replaceChildren(bdi(title));
      text(byId("chat-sub"), sub);
      byId("chat-avatar").replaceChildren(avatar(initials(title), hueOf(state.open), conversation?.kind === "group" ? "group" : ""));
    }
    const stranger = conversation !== undefined && !conversation.member;
    byId("composer").hidden = stranger;
    byId("join-bar").hidden = !stranger;
    byId("join-bar").dataset.id = state.open;
    showTyping(state);
    showNewest(state, conversation);
  };
}

function subOf({ kind, visibility, memberCount, peer, name }) {
  if (kind === "direct") return name === peer ? "Direct" : `Direct · ${peer}`;
  return `${visibility === "public" ? "Public" : "Private"} group · ${membersWords(memberCount)}`;
}

function showTyping({ typing, open, names }) {
  const typists = Object.keys(typing[open] ?? {}).map((user) => names[user] ?? user);
  const line = byId("typing");
  const signature = JSON.stringify(typists);
  if (line.dataset.shown === signature) return;
  line.dataset.shown = signature;
  if (typists.length === 0) {
    line.replaceChildren();
    return;
  }
  const some = typists.slice(0, 2).flatMap((name, at) => (at === 0 ? [bdi(name)] : [" and ", bdi(name)]));
  const words = typists.length > 2 ? [bdi(typists[0]), ` and ${typists.length - 1} others`] : some;
  const dots = el("span", { class: "dots", "aria-hidden": "true" }, el("i"), el("i"), el("i"));
  line.replaceChildren(dots, ...words, typists.length === 1 ? " is typing" : " are typing");
}

function showNewest({ timeline, view }, conversation) {
  const away = Boolean(timeline?.loaded) && timeline.messages.length > 0 && (!timeline.following || !view.atEnd);
  const unread = conversation ? unreadOf(conversation) : 0;
  byId("newest").hidden = !away;
  text(byId("newest-text"), unread > 0 ? `${unread.toLocaleString()} new` : "Newest");
}
