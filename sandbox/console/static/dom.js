/** Elements made of data, and lists that change in place, so that focus, typed text and scroll position stay. */

const SVG = "http://www.w3.org/2000/svg";

function fill(made, attributes, contents) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== null && value !== undefined) {
      made.setAttribute(name, value === true ? "" : value);
    }
  }
  made.append(...contents.flat(2).filter((each) => each !== null && each !== undefined && each !== false));
  return made;
}

/** Makes an element; texts can never become markup. */
export function h(tag, attributes = {}, ...contents) {
  return fill(document.createElement(tag), attributes, contents);
}

/** Makes an element of a picture. */
export function svg(tag, attributes = {}, ...contents) {
  return fill(document.createElementNS(SVG, tag), attributes, contents);
}

/** Makes a table; a heading that begins with "#" is that of a column of numbers. */
export function table(label, headings, rows) {
  const names = headings.map((each) => each.replace(/^#/u, ""));
  for (const row of rows) {
    [...row.children].forEach((cell, place) => cell.setAttribute("data-label", names[place]));
  }
  return h(
    "table",
    { "aria-label": label, class: "stacked" },
    h("thead", {}, h("tr", {}, headings.map((each) =>
      h("th", { scope: "col", class: each.startsWith("#") ? "number" : false }, each.replace(/^#/u, "")),
    ))),
    h("tbody", {}, rows),
  );
}

/** Makes the time of something: how long ago, with the time itself where a pointer rests. No screen reader is to read
 * each second of it out. */
export function ago(seconds) {
  const iso = new Date(seconds * 1000).toISOString();
  return h("time", { datetime: iso, "aria-live": "off", title: `${iso.slice(0, 10)} ${iso.slice(11, 23)} UTC` }, elapsed(iso));
}

export function elapsed(iso) {
  const seconds = Math.max(0, Math.round((Date.now() - Date.parse(iso)) / 1000));
  if (seconds < 2) {
    return "now";
  }
  if (seconds < 60) {
    return `${seconds} s ago`;
  }
  return seconds < 3600 ? `${Math.floor(seconds / 60)} min ago` : `${Math.floor(seconds / 3600)} h ago`;
}

/** Writes milliseconds so that they align. */
export const ms = (value) => (value === null || value === undefined ? "" : `${value.toFixed(1)} ms`);

/** Puts contents into an element, and keeps each part that is the same. */
export function show(element, ...contents) {
  const wanted = h("div", {}, ...contents);
  reconcile(element, [...wanted.childNodes]);
}

function reconcile(present, wanted) {
  const names = new Set(wanted.map((each) => each.id).filter(Boolean));
  for (const child of [...present.children]) {
    if (child.id && !names.has(child.id)) {
      child.remove();
    }
  }
  for (const [place, child] of wanted.entries()) {
    const own = present.childNodes[place];
    if (own !== undefined && own.nodeName === child.nodeName && (own.id ?? "") === (child.id ?? "")) {
      update(own, child);
      continue;
    }
    const moved = child.id ? [...present.children].find((each) => each.id === child.id) : undefined;
    if (moved !== undefined) {
      update(moved, child);
      present.insertBefore(moved, own ?? null);
    } else if (child.id || own === undefined || own.id) {
      present.insertBefore(child, own ?? null);
      flash(child);
    } else {
      own.replaceWith(child);
    }
  }
  while (present.childNodes.length > wanted.length) {
    present.lastChild.remove();
  }
}

function update(present, wanted) {
  if (present.nodeType !== Node.ELEMENT_NODE) {
    if (present.data !== wanted.data) {
      present.data = wanted.data;
    }
    return;
  }
  for (const { name } of [...present.attributes]) {
    // What a person has opened stays open.
    if (!wanted.hasAttribute(name) && name !== "open") {
      present.removeAttribute(name);
    }
  }
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) {
      present.setAttribute(name, value);
    }
  }
  // What a person is told beside a field stays until the next attempt.
  if (!present.hasAttribute("data-own")) {
    reconcile(present, [...wanted.childNodes]);
  }
}

/** Marks what is new, unless the reader wants no motion. */
function flash(element) {
  if (element.nodeType !== Node.ELEMENT_NODE || !element.id || !element.isConnected) {
    return;
  }
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    element.animate({ backgroundColor: ["var(--moved)", "transparent"] }, { duration: 1_600, easing: "ease-out" });
  }
}
