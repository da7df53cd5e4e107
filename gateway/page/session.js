// What comes over the socket: the session's first frame, replies, events and signals.

import { begin, catchUp, look, refreshList, removed, reviewMembers } from "./browsing.js";
import * as connection from "./connection.js";
import { fold, messageOf, raised } from "./conversations.js";
import * as cursors from "./cursors.js";
import { notice } from "./notices.js";
import * as outbox from "./outbox.js";
import { see } from "./positions.js";
import { ask } from "./reads.js";
import { arrive } from "./timeline.js";
import * as typing from "./typing.js";
import { errorWords, retryable } from "./words.js";

/** Events of a conversation that is being read for the first time; more only delay what the next read says. */
const ARRIVING_MAX = 1000;

/** One frame. */
export function frame(turn, { frame: wire }) {
  if (wire.event === "session.opened") opened(turn, wire);
  else if (wire.event) event(turn, wire);
  else if (wire.signal === "typing") typing.heard(turn, wire);
  else if (wire.ok) accepted(turn, wire.id, wire.ok);
  else if (wire.error) refused(turn, wire.id, wire.error);
}

/** The socket closed, or could not be opened. */
export function closed(turn, { code }) {
  outbox.unsent(turn);
  cursors.unsent(turn);
  const { state } = turn;
  if (state.connection.phase === "stopped" || state.connection.phase === "idle") return;
  const refusedAtOnce = state.connection.phase === "connecting";
  const next = connection.closed(state.connection, { code, now: turn.now, random: turn.random });
  turn.state = { ...state, connection: next };
  // A browser does not tell why an upgrade was refused; a read does.
  if (refusedAtOnce) ask(turn, "probe", { kind: "list", query: { limit: 1 }, once: true });
}

function opened(turn, wire) {
  const positions = Object.values(wire.positions);
  turn.state = {
    ...turn.state,
    connection: connection.opened(turn.state.connection),
    limits: wire.limits,
    partitions: positions.length,
    seen: positions.reduce(see, turn.state.seen),
  };
  refreshList(turn);
  catchUp(turn);
}

function event(turn, wire) {
  turn.state = { ...turn.state, seen: see(turn.state.seen, wire.position) };
  if (wire.event === "user.updated") {
    turn.state = { ...turn.state, names: { ...turn.state.names, [wire.sender]: wire.name } };
    return;
  }
  const { conversation: id } = wire;
  if (!id) return;
  if (wire.event === "message.sent") sent(turn, wire);
  const known = turn.state.conversations[id];
  if (known) put(turn, fold(known, wire, turn.state.me.user));
  else arriving(turn, wire);
  if (wire.event === "conversation.left" && wire.sender === turn.state.me.user) removed(turn, id, "You left");
  else if (/^conversation\.(added|joined|left|imported)$/.test(wire.event)) reviewMembers(turn, id);
}

function sent(turn, wire) {
  typing.wrote(turn, wire.conversation, wire.sender);
  const { timeline, view, me } = turn.state;
  if (timeline?.conversation === wire.conversation) {
    turn.state = { ...turn.state, timeline: arrive(timeline, messageOf(wire), view.atEnd) };
  }
  const own = wire.sender === me.user && wire.ref
    && turn.state.outbox.some((entry) => entry.ref === wire.ref && entry.scope === wire.conversation);
  if (own) outbox.stored(turn, wire.ref, wire);
}

/** An event of a conversation that is not known yet: kept until a read says what the conversation is. */
function arriving(turn, wire) {
  const { arriving: all } = turn.state;
  const events = all[wire.conversation] ?? [];
  if (events.length < ARRIVING_MAX) {
    turn.state = { ...turn.state, arriving: { ...all, [wire.conversation]: [...events, wire] } };
  }
  look(turn, wire.conversation);
}

function accepted(turn, id, ok) {
  turn.state = { ...turn.state, seen: see(turn.state.seen, ok.position) };
  if (id?.startsWith("cursor:")) {
    cursors.answered(turn, id.slice("cursor:".length), false);
    return;
  }
  const entry = outbox.entryOf(turn.state, id);
  if (!entry) return;
  if (entry.cmd === "message.send") {
    outbox.stored(turn, entry.ref, ok);
    const conversations = raised(turn.state.conversations, entry.scope, ok.seq, { readSeq: ok.seq });
    turn.state = { ...turn.state, conversations };
    return;
  }
  outbox.done(turn, entry, ok);
  if (entry.cmd === "conversation.create" || entry.cmd === "conversation.join") begin(turn, ok.conversation);
  if (entry.cmd === "conversation.leave") removed(turn, ok.conversation, "You left");
  if (entry.cmd === "user.update") {
    const { names, me } = turn.state;
    turn.state = { ...turn.state, names: { ...names, [me.user]: entry.fields.name } };
  }
}

function refused(turn, id, error) {
  if (id?.startsWith("cursor:")) {
    cursors.answered(turn, id.slice("cursor:".length), retryable(error));
    return;
  }
  const entry = outbox.entryOf(turn.state, id);
  if (entry) outbox.refused(turn, entry, error);
  else notice(turn, errorWords(error));
}

function put(turn, conversation) {
  turn.state = { ...turn.state, conversations: { ...turn.state.conversations, [conversation.id]: conversation } };
}
