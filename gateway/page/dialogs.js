// The dialogs. A form sends one command and waits for its outcome: it closes when that is accepted, and says why when not.

import { attribute, avatar, bdi, byId, el, reconcile, text } from "./dom.js";
import { dropToken } from "./token.js";
import { errorWords, hueOf, initials, membersWords } from "./words.js";

/** Sets the dialogs up; returns a function that shows a state. */
export function dialogs(dispatch, perform) {
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  }
  const forms = [newDialog(perform), ...details(dispatch, perform), you(perform)];
  let current = null;
  byId("new").addEventListener("click", () => openFresh(byId("new-dialog")));
  byId("list-new").addEventListener("click", () => openFresh(byId("new-dialog")));
  byId("you").addEventListener("click", () => {
    openFresh(byId("you-dialog"));
    byId("you-form").elements.name.value = current.names[current.me.user] ?? "";
  });
  byId("details-open").addEventListener("click", () => {
    showDetails(current);
    openFresh(byId("details"));
    byId("rename-form").elements.name.value = current.conversations[current.open]?.name ?? "";
    byId("details").querySelector("[data-close]").focus();
  });

  return (state) => {
    current = state;
    for (const form of forms) form(state);
    showYou(state);
    const { open, conversations } = state;
    if (byId("details").open && !conversations[open]) byId("details").close();
    if (byId("details").open) showDetails(state);
  };
}

function openFresh(dialog) {
  for (const error of dialog.querySelectorAll("[data-error]")) error.hidden = true;
  dialog.showModal();
}

/** A form that sends what `command` makes of it (`[cmd, fields]`); `accepted` is called when that was done. */
function commandForm(form, perform, command, accepted) {
  let waitsFor = null;
  const error = form.querySelector("[data-error]");
  const say = (words) => {
    error.hidden = words === null;
    text(error, words ?? "");
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (waitsFor) return;
    say(null);
    waitsFor = perform(...command(form.elements));
  });
  return (state) => {
    attribute(form, "aria-busy", waitsFor !== null);
    const outcome = state.answers[waitsFor];
    if (!outcome) return;
    waitsFor = null;
    attribute(form, "aria-busy", false);
    if (outcome.error) say(errorWords(outcome.error));
    else accepted(form);
  };
}

const users = (value) => value.split(/[,\n]/).map((user) => user.trim()).filter(Boolean);
const optional = (value) => value.trim() || undefined;

function newDialog(perform) {
  const form = byId("new-form");
  const labels = { group: "Create", direct: "Open", join: "Join" };
  const choose = () => {
    const kind = form.elements.kind.value;
    for (const part of form.querySelectorAll("[data-kind]")) {
      part.hidden = part.dataset.kind !== kind;
      for (const input of part.querySelectorAll("input")) input.disabled = part.hidden;
    }
    form.elements.peer.required = kind === "direct";
    form.elements.address.required = kind === "join";
    text(byId("new-submit"), labels[kind]);
  };
  form.addEventListener("change", choose);
  choose();
  const command = ({ kind, name, members, external, public: open, peer, address }) => {
    if (kind.value === "direct") return ["conversation.create", { kind: "direct", members: [peer.value.trim()] }];
    if (kind.value === "join") return ["conversation.join", { conversation: address.value.trim() }];
    return ["conversation.create", {
      kind: "group",
      visibility: open.checked ? "public" : "private",
      name: optional(name.value),
      members: users(members.value),
      external: optional(external.value),
    }];
  };
  return commandForm(form, perform, command, () => {
    form.reset();
    choose();
    byId("new-dialog").close();
  });
}

function details(dispatch, perform) {
  const open = () => byId("details").dataset.id;
  byId("members-more").addEventListener("click", () => dispatch("members.more"));
  return [
    commandForm(byId("rename-form"), perform, ({ name }) => ["conversation.rename", { conversation: open(), name: name.value.trim() }], () => {}),
    commandForm(byId("add-form"), perform, ({ members }) => ["conversation.add", { conversation: open(), members: users(members.value) }], (form) => form.reset()),
    commandForm(byId("join-bar"), perform, () => ["conversation.join", { conversation: byId("join-bar").dataset.id }], () => {}),
    commandForm(byId("leave-form"), perform, () => ["conversation.leave", { conversation: open() }], () => byId("details").close()),
  ];
}

const memberNodes = new Map();

function showDetails({ open, conversations, members, names }) {
  const conversation = conversations[open];
  byId("details").dataset.id = open;
  const group = conversation.kind === "group" && conversation.member;
  for (const id of ["rename-form", "add-form", "leave-form"]) byId(id).hidden = !group;
  const facts = [
    ["Kind", conversation.kind === "direct" ? "Direct chat" : `${conversation.visibility === "public" ? "Public" : "Private"} group`],
    ["Id", conversation.id],
    conversation.external ? ["External id", `ext:${conversation.external}`] : null,
  ];
  showFacts(byId("facts"), facts.filter(Boolean));
  text(byId("members-title"), membersWords(members?.count ?? conversation.memberCount));
  byId("members-more").hidden = !members?.cursor;
  reconcile(byId("members"), memberNodes, (members?.users ?? []).map((member) => memberRow(member, names)));
}

function memberRow({ user, role }, names) {
  const name = names[user] ?? user;
  return {
    key: user,
    signature: `${name}|${role}`,
    build: () => el("li"),
    update: (node) => node.replaceChildren(
      avatar(initials(name), hueOf(user)),
      el("span", { class: "member-name" }, bdi(name), name === user ? "" : el("small", {}, bdi(user))),
      role === "owner" ? el("span", { class: "role" }, "owner") : "",
    ),
  };
}

function showFacts(list, facts) {
  if (list.dataset.shown === JSON.stringify(facts)) return;
  list.dataset.shown = JSON.stringify(facts);
  list.replaceChildren(...facts.flatMap(([term, value]) => [el("dt", {}, term), el("dd", {}, bdi(value))]));
}

function you(perform) {
  byId("forget").addEventListener("click", () => {
    dropToken();
    location.reload();
  });
  const command = ({ name }) => ["user.update", { name: name.value.trim() }];
  return commandForm(byId("you-form"), perform, command, () => byId("you-dialog").close());
}

function showYou({ me, names }) {
  const name = names[me.user] ?? me.user;
  showFacts(byId("you-facts"), [["User id", me.user], ["Tenant", me.tenant]]);
  const button = byId("you");
  if (button.dataset.shown === name) return;
  button.dataset.shown = name;
  button.replaceChildren(avatar(initials(name), hueOf(me.user), "small"), bdi(name), el("span", { class: "hidden" }, ": your profile"));
}
