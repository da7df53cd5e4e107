// Building the page. Foreign text only ever becomes a text node; nothing is parsed as HTML.

/** The element with this id, which index.html has. */
export const byId = (id) => document.getElementById(id);

/** An element. `attributes` are set as such (`null`, `false` and `undefined`: not at all); children are nodes or text. */
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** A foreign name within a sentence: its direction is its own, and ends with it. */
export const bdi = (text, attributes = {}) => el("bdi", attributes, text);

/** Sets an attribute, or takes it away. */
export function attribute(element, name, value) {
  if (value === null || value === undefined || value === false) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value === true ? "" : value);
}

/** Sets text where it differs, so that nothing is announced again. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
}

const LINK = /https?:\/\/[^\s<>"'\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const TRAILING = /[.,;:!?'"»”’)\]}]+$/u;

/** A message's text as nodes: plain text, and anchors for what is plainly a web address. */
export function linked(message) {
  const nodes = [];
  let from = 0;
  for (const found of message.matchAll(LINK)) {
    const address = found[0].replace(TRAILING, "");
    const anchor = anchorOf(address);
    if (!anchor) continue;
    nodes.push(message.slice(from, found.index), anchor);
    from = found.index + address.length;
  }
  nodes.push(message.slice(from));
  return nodes.filter((node) => node !== "");
}

function anchorOf(address) {
  if (!URL.canParse(address)) return null;
  const url = new URL(address);
  if (!["http:", "https:"].includes(url.protocol)) return null;
  return el("a", { href: url.href, target: "_blank", rel: "noopener noreferrer nofollow", dir: "ltr" }, address);
}

/** A coloured circle with initials; decoration only. */
export const avatar = (letters, hue, more = "") =>
  el("span", { class: `avatar hue-${hue} ${more}`, "aria-hidden": "true" }, letters);

/**
 * Makes `parent`'s children those of `rows` (`{key, signature, build}`), in order. A child is kept where its key was
 * there before, and built again where its signature differs. `nodes` is a `Map` from key to `{node, signature}`.
 */
export function reconcile(parent, nodes, rows) {
  const wanted = new Set(rows.map(({ key }) => key));
  for (const [key, { node }] of nodes) {
    if (wanted.has(key)) continue;
    node.remove();
    nodes.delete(key);
  }
  let next = parent.firstElementChild;
  for (const row of rows) {
    const node = nodeOf(nodes, row);
    if (node === next) next = next.nextElementSibling;
    else parent.insertBefore(node, next);
  }
}

function nodeOf(nodes, { key, signature, build, update }) {
  const known = nodes.get(key);
  if (known?.signature === signature) return known.node;
  if (known) {
    update(known.node);
    known.signature = signature;
    return known.node;
  }
  const node = build();
  update(node);
  nodes.set(key, { node, signature });
  return node;
}
