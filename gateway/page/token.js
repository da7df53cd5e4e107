// The token: it comes in the URL's fragment (which no server and no log sees), leaves the address bar at once, and is
// kept for this tab only. What it says is read for display; whether it holds is the server's matter.

const KEY = "natter.token";

/** The token, from the fragment or from before; `null` where there is none. */
export function takeToken() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  const given = fragment.get("token");
  if (given) {
    keepToken(given);
    const route = fragment.get("c");
    history.replaceState(null, "", location.pathname + location.search + (route ? `#c=${route}` : ""));
  }
  return sessionStorage.getItem(KEY);
}

/** Keeps a token for this tab. */
export function keepToken(token) {
  sessionStorage.setItem(KEY, token.trim());
}

/** Forgets it. */
export function dropToken() {
  sessionStorage.removeItem(KEY);
}

/** Whom a token is for: `{user, tenant, name}`; `null` where it is no token. */
export function holderOf(token) {
  try {
    const payload = token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/");
    const bytes = Uint8Array.from(atob(payload), (character) => character.charCodeAt(0));
    const { sub, tenant, name } = JSON.parse(new TextDecoder().decode(bytes));
    return typeof sub === "string" ? { user: sub, tenant: String(tenant ?? ""), name: name ?? null } : null;
  } catch {
    return null;
  }
}
