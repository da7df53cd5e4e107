// The page's state and how every input changes it: pure. Time, randomness and new refs come in with the inputs; what is
// to be done outside comes out as actions (`connect`, `disconnect`, `send` a frame, `read` a path).

import * as answers from "./answers.js";
import * as browsing from "./browsing.js";
import * as connection from "./connection.js";
import * as cursors from "./cursors.js";
import * as notices from "./notices.js";
import * as outbox from "./outbox.js";
import * as reads from "./reads.js";
import * as session from "./session.js";
import * as typing from "./typing.js";

/** Limits until the server tells its own. */
const LIMITS = { text_scalars: 4096, name_scalars: 128, command_members: 100 };

/** The state before anything happened. `unsent` are commands that a page before this one did not hear the outcome of. */
export function initial({ me, names = {}, unsent = [] }) {
  return {
    me,
    names: { ...names, ...(me.name ? { [me.user]: me.name } : {}) },
    connection: connection.idle,
    limits: LIMITS,
    partitions: 0,
    seen: {},
    conversations: {},
    arriving: {},
    list: { generation: 0, at: 0, cursor: null, loaded: false, complete: false },
    open: null,
    timeline: null,
    members: null,
    typing: {},
    typingSent: { conversation: null, at: 0, wanted: false },
    outbox: outbox.restored(unsent),
    answers: {},
    cursors: {},
    reads: {},
    notices: [],
    view: { visible: true, atEnd: false },
    nextId: 1,
    nextSerial: 1,
  };
}

const HANDLERS = {
  start: connect,
  wake: (turn) => {
    if (turn.state.connection.phase === "waiting") connect(turn);
    reads.retryDue(turn, true);
    browsing.wake(turn);
  },
  reconnect: (turn) => {
    if (["waiting", "stopped"].includes(turn.state.connection.phase)) connect(turn);
  },
  tick,
  "socket.frame": session.frame,
  "socket.closed": session.closed,
  "read.ok": answers.ok,
  "read.failed": answers.error,
  open: (turn, { id }) => {
    if (turn.state.open !== id) browsing.begin(turn, id);
  },
  close: browsing.close,
  older: browsing.older,
  newer: browsing.newer,
  newest: browsing.newest,
  "list.more": browsing.moreList,
  "members.more": browsing.moreMembers,
  viewed: (turn, { visible, atEnd }) => {
    const { view } = turn.state;
    if (view.visible !== visible || view.atEnd !== atEnd) turn.state = { ...turn.state, view: { visible, atEnd } };
  },
  typed: typing.typed,
  command: (turn, input) => {
    outbox.enqueue(turn, input);
    if (input.cmd !== "message.send") return;
    typing.finished(turn);
    browsing.newest(turn);
  },
  "outbox.retry": outbox.retry,
  "outbox.discard": (turn, { ref }) => outbox.remove(turn, ref),
  "notice.dismiss": (turn, { id }) => notices.expire(turn, id),
};

/**
 * What `input` (`{type, now, random?, …}`) makes of `state`: `{state, actions}`. A state in which nothing changed is the
 * same object.
 */
export function step(state, input) {
  const turn = { state, actions: [], now: input.now, random: input.random ?? 0.5 };
  HANDLERS[input.type](turn, input);
  outbox.flush(turn);
  browsing.settle(turn);
  outbox.settle(turn);
  cursors.settle(turn);
  typing.settle(turn);
  return { state: turn.state, actions: turn.actions };
}

function connect(turn) {
  turn.state = { ...turn.state, connection: connection.connect(turn.state.connection, turn.now) };
  turn.actions.push({ do: "connect" });
}

function tick(turn) {
  const { connection: now } = turn.state;
  if (now.phase === "waiting" && now.retryAt <= turn.now) connect(turn);
  if (connection.hangs(now, turn.now) || (now.phase === "open" && outbox.isStuck(turn))) turn.actions.push({ do: "disconnect" });
  reads.retryDue(turn);
  typing.expire(turn);
  notices.expire(turn);
}
