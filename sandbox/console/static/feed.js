/** Follows the sandbox: the latest items of each topic, kept up to date by server-sent events. */

const MOST = 200;

/** What is known: each topic's items by their key, oldest change first. */
export const topics = new Map();
/** How many items each topic has had, also those no longer known. */
export let counts = {};

/** A topic's items, the one that changed last at the end. */
export const items = (topic) => [...(topics.get(topic)?.values() ?? [])];
/** The item of a topic that has only one. */
export const only = (topic) => items(topic)[0];

let source = null;
let last = "";

function take(topic, key, item) {
  if (!topics.has(topic)) {
    topics.set(topic, new Map());
  }
  const known = topics.get(topic);
  // An item keeps its place: it is where it began.
  known.set(key, item);
  if (known.size > MOST) {
    known.delete(known.keys().next().value);
  }
}

/** Follows for as long as the page can be seen; browsers allow few connections to one server. */
export function follow({ onChange, onLink }) {
  const open = () => {
    source?.close();
    source = new EventSource(`console/feed?after=${encodeURIComponent(last)}`);
    source.addEventListener("reset", () => {
      topics.clear();
      onChange(null);
    });
    source.addEventListener("changes", (event) => {
      last = event.lastEventId;
      const said = JSON.parse(event.data);
      counts = said.counts;
      const changed = new Set();
      for (const [topic, key, item] of said.changes) {
        take(topic, key, item);
        changed.add(topic);
      }
      onLink(true);
      onChange(changed);
    });
    source.addEventListener("error", () => {
      onLink(false);
      // A browser gives up after some answers; this page does not.
      if (source.readyState === EventSource.CLOSED) {
        setTimeout(open, 1_000);
      }
    });
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? source?.close() : open()));
  open();
}

/** Calls the sandbox; returns what it answers, or throws an error that says what is wrong. */
export async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new Error("The sandbox did not answer. It may have acted: look before you try again.");
  }
  const answer = response.status === 204 ? {} : await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(answer.error ?? `The sandbox answers ${response.status}.`), { answer });
  }
  return answer;
}
