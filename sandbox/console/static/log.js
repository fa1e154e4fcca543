/** The gateway's log: the latest lines, or those that contain a text. */

import { h, show } from "./dom.js";
import { counts, items } from "./feed.js";

const MOST = 100;
const LEVELS = { warning: "warn", error: "bad", critical: "bad" };
const KNOWN = new Set(["event", "level", "timestamp"]);

const field = document.getElementById("log-of");

/** Shows only the lines of one correlation id. */
export function filter(text) {
  field.value = text;
  render();
  document.getElementById("log-title").scrollIntoView({ block: "nearest" });
  field.focus();
}

export function start() {
  field.addEventListener("input", render);
  document.getElementById("log-filter").addEventListener("submit", (event) => event.preventDefault());
}

const facts = (line) =>
  Object.entries(line)
    .filter(([name]) => !KNOWN.has(name))
    .map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`)
    .join(" ");

export function render() {
  const wanted = field.value.trim();
  const all = items("log");
  const found = (wanted === "" ? all : all.filter((line) => JSON.stringify(line).includes(wanted))).slice(-MOST).reverse();
  const lines = found.map((line) =>
    h("li", { class: LEVELS[line.level] ?? false },
      h("time", { title: line.timestamp, class: "quiet clock", "data-still": true }, (line.timestamp ?? "").slice(11, 23)),
      " ", h("strong", {}, line.event ?? ""), " ", h("span", { class: "quiet" }, facts(line))));
  const total = counts.log ?? 0;
  document.getElementById("log-total").textContent = total === 0 ? "" : `${found.length} of ${total.toLocaleString("en")} lines`;
  const empty = h("p", { class: "empty" }, wanted === "" ? "Nothing yet." : "No line contains this.");
  show(document.getElementById("log"), lines.length > 0 ? h("ul", {}, lines) : empty);
}
