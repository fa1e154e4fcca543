/** Callbacks, notifications, subscriptions and the sandbox's handler. */

import { KINDS, answerTo, lineOf, othersFor } from "./callbacks.js";
import { ago, h, ms, show, table } from "./dom.js";
import { call, counts, items, only } from "./feed.js";

const MOST = 50;
const OUTCOMES = {
  answered: ["answered", "good"],
  refused: ["refused", "warn"],
  fallback: ["no reply, fallback", "bad"],
  no_handler: ["no handler, fallback", "bad"],
  exhausted: ["handlers failed, fallback", "bad"],
  withdrawn: ["withdrawn", "idle"],
};
const latest = (topic) => items(topic).slice(-MOST).reverse();
const cell = (...contents) => h("td", {}, ...contents);
const number = (...contents) => h("td", { class: "number" }, ...contents);

function outcome(each, line) {
  if (each.milliseconds === null) {
    return ["running", "idle"];
  }
  // The log tells how the broker ended it, but for requests of results, which are too many.
  if (line !== undefined && line.outcome in OUTCOMES) {
    return OUTCOMES[line.outcome];
  }
  if (each.status === null) {
    return [each.fault === null ? "no response" : "no response, a fault", "bad"];
  }
  return each.status < 300 ? ["answered", "good"] : [`HTTP ${each.status}`, "bad"];
}

export function renderCalls() {
  const calls = items("calls").filter((each) => each.name in KINDS).slice(-MOST).reverse();
  const rows = calls.map((each) => {
    const line = lineOf(each);
    const [word, level] = outcome(each, line);
    const isAnswered = line?.outcome === "answered" || (each.status !== null && each.status < 300);
    // A result that the issuer reported needs no handler.
    const other = KINDS[each.name] === "authentication_result" ? "reported before" : othersFor(each) || "another";
    const who = answerTo(each) !== undefined ? "sandbox" : isAnswered && each.milliseconds !== null ? other : "";
    return h("tr", { id: `call-${each.began}-${each.name}` },
      h("th", { scope: "row" }, h("code", {}, KINDS[each.name])),
      cell(h("span", { class: `state ${level}` }, word)),
      cell(who),
      number(ms(each.milliseconds)),
      h("td", { class: "when" }, ago(each.began)),
    );
  });
  const text = rows.length === MOST ? `${MOST} latest` : String(rows.length || "");
  document.getElementById("calls-total").textContent = text;
  const empty = h("p", { class: "empty" }, "No callback yet. A purchase with an OTP of the issuer makes one.");
  show(document.getElementById("calls"), rows.length > 0 ? table("Callbacks", ["Kind", "Outcome", "Handler", "#Time", "When"], rows) : empty);
}

const short = (type) => (type ?? "").replace(/^(THREE_DS|CONSUMER)_OPERATION_(TYPE|STATUS)_/u, "").toLowerCase().replaceAll("_", " ");

export function renderNotifications() {
  const found = latest("notifications");
  const rows = found.map((each) => {
    const status = short(each.operation.status);
    const level = { successful: "good", failed: "bad" }[status] ?? "idle";
    return h("tr", { id: `notification-${each.cursor}` },
      h("th", { scope: "row" }, short(each.operation.type) || each.operation.type_text),
      cell(h("span", { class: `state ${level}` }, status)),
      cell(each.cardId || each.consumerId),
      h("td", { class: "number" }, h("code", {}, each.cursor)),
      h("td", { class: "when" }, ago(each.received)),
    );
  });
  const total = counts.notifications ?? 0;
  const text = total > found.length ? `${found.length} latest of ${total.toLocaleString("en")}` : String(total || "");
  document.getElementById("notifications-total").textContent = text;
  const empty = h("p", { class: "empty" }, "No notification yet. Each purchase ends with one.");
  show(
    document.getElementById("notifications"),
    rows.length > 0 ? table("Notifications", ["Operation", "Status", "Card or consumer", "#Cursor", "When"], rows) : empty,
  );
}

export function renderSubscriptions() {
  const found = only("subscriptions")?.subscriptions ?? [];
  const text = (each) => {
    const count = each.watcher_count ?? 0;
    return `${each.name}: ${each.lag ?? 0} behind, ${count} ${count === 1 ? "watcher" : "watchers"}`;
  };
  show(
    document.getElementById("subscriptions"),
    found.length === 0 ? [] : h("ul", { class: "quiet lags", "aria-label": "Subscriptions" }, found.map((each) => h("li", {}, text(each)))),
  );
}

export function start() {
  document.getElementById("handler").addEventListener("change", async (event) => {
    const box = event.target;
    const said = document.getElementById("handler-said");
    said.textContent = "";
    const kinds = new Set(only("handler")?.kinds ?? []);
    kinds[box.checked ? "add" : "delete"](box.value);
    try {
      await call("POST", "sandbox/handler", { kinds: [...kinds] });
    } catch (error) {
      box.checked = !box.checked;
      said.textContent = error.message;
    }
  });
}

export function renderHandler() {
  const handler = only("handler");
  const list = (handler?.all ?? []).map((kind) => {
    const isThere = handler.registered.includes(kind);
    return h("li", { id: `kind-${kind}` },
      h("label", {}, h("input", { type: "checkbox", value: kind }), h("code", {}, kind)),
      h("span", { class: `state ${isThere ? "good" : "idle"}` }, isThere ? "connected" : "not connected"),
    );
  });
  show(document.getElementById("handler"), h("ul", { class: "switches", "aria-label": "Kinds that it answers" }, list));
  for (const box of document.querySelectorAll("#handler input")) {
    box.checked = handler.kinds.includes(box.value);
  }
}
