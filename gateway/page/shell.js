// The outside: carries out what the core asks for, and tells it what came of it.

/** A read that takes longer is given up. */
const READ_MS = 15_000;

/**
 * Carries out actions. `hear(type, fields)` is told of frames, of the socket's end and of answers. `base` is the page's
 * URL: everything else lies beside it.
 */
export function shell({ base, token, hear }) {
  let socket = null;

  function connect() {
    end();
    const url = new URL("v1/ws", base);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    let own;
    try {
      own = new WebSocket(url, ["natter.v1", `bearer.${token}`]);
    } catch {
      // A token that cannot stand in a header.
      queueMicrotask(() => hear("socket.closed", { code: 4500 }));
      return;
    }
    socket = own;
    own.onmessage = ({ data }) => socket === own && hear("socket.frame", { frame: JSON.parse(data) });
    own.onclose = ({ code }) => {
      if (socket !== own) return;
      socket = null;
      hear("socket.closed", { code });
    };
  }

  /** Ends the socket without waiting for the other side, which may be gone. */
  function end() {
    const ended = socket;
    socket = null;
    ended?.close();
  }

  async function read({ key, serial, path }) {
    try {
      const response = await fetch(new URL(path, base), {
        headers: { authorization: `Bearer ${token}` },
        cache: "no-store",
        signal: AbortSignal.timeout(READ_MS),
      });
      const body = await response.json().catch(() => ({}));
      if (response.ok) hear("read.ok", { key, serial, body });
      else hear("read.failed", { key, serial, error: errorOf(response.status, body) });
    } catch (error) {
      hear("read.failed", { key, serial, error: { code: "network", message: error.message, retry_after_ms: null } });
    }
  }

  return {
    connect,
    disconnect: () => {
      end();
      hear("socket.closed", { code: 1006 });
    },
    send: ({ frame }) => {
      if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(frame));
    },
    read,
  };
}

function errorOf(status, body) {
  if (body.error?.code) return body.error;
  const code = { 401: "unauthenticated", 403: "forbidden", 404: "not_found", 429: "rate_limited" }[status] ?? "unavailable";
  return { code, message: `HTTP ${status}`, retry_after_ms: null };
}
