/** Faults: what the gateway meets when it calls, what D1 meets when it calls the gateway, and how the handler fails. */

import { h, show } from "./dom.js";
import { call, only } from "./feed.js";

const form = document.getElementById("fault");
/** What fails, by the sort of operation as the sandbox lists them, and what can happen to it. */
const SORTS = [
  ["operations", "The gateway calls", ["*", "any call"], {
    503: "HTTP 503", 500: "HTTP 500", 429: "HTTP 429", 403: "HTTP 403", 404: "HTTP 404",
    before: "connection dropped, nothing done", after: "connection dropped, all done", "": "only late",
  }],
  ["callbacks", "D1 calls the gateway", ["callback.*", "any callback"], {
    before: "connection refused, nothing arrives", after: "connection dropped, all done",
    for_good: "never sent, nothing arrives", 503: "HTTP 503 of a proxy", 500: "HTTP 500 of a proxy",
    400: "HTTP 400 of a proxy", "": "only late",
  }],
  ["answers", "The sandbox’s handler answers", ["handler.*", "any callback"], {
    500: "refusal: failed", 404: "refusal: not found", 403: "refusal: not allowed",
    before: "no reply, nothing done", after: "no reply, all done", "": "only late",
  }],
];
/** The order: numbers would come first in an object. */
const ORDER = ["503", "500", "429", "400", "403", "404", "before", "after", "for_good", ""];
const LIMITS = { latency: [0, 60_000], times: [1, 10_000], seconds: [1, 3_600] };

function number(name) {
  const [least, most] = LIMITS[name];
  const text = form.elements[name].value.trim();
  const value = Number(text);
  const isFine = /^\d{1,6}$/u.test(text) && value >= least && value <= most;
  document.getElementById(`fault-${name}-said`).textContent = isFine ? "" : `${least} to ${most.toLocaleString("en")}.`;
  form.elements[name].setAttribute("aria-invalid", String(!isFine));
  return isFine ? value : null;
}

async function add(event) {
  event.preventDefault();
  const lasts = form.elements.seconds.value.trim() !== "";
  const [latency, many] = [number("latency"), number(lasts ? "seconds" : "times")];
  const { operation, what } = Object.fromEntries(new FormData(form));
  const said = document.getElementById("fault-said");
  said.textContent = what === "" && latency === 0 ? "Late by how much?" : "";
  if (latency === null || many === null || said.textContent !== "") {
    (form.querySelector("[aria-invalid=true]") ?? form.elements.latency).focus();
    return;
  }
  const kind = /^\d+$/u.test(what) ? { status: Number(what) } : what === "" ? {} : { drop: what };
  try {
    await call("POST", "sandbox/faults", { operation, ...(lasts ? { for_ms: many * 1000 } : { times: many }), latency_ms: latency, ...kind });
  } catch (error) {
    said.textContent = error.message;
  }
}

async function clear() {
  try {
    await call("DELETE", "sandbox/faults");
  } catch (error) {
    document.getElementById("fault-said").textContent = error.message;
  }
}

/** Offers what can happen to the chosen operation. */
function offer() {
  const group = form.elements.operation.selectedOptions[0].parentElement.dataset.sort;
  const [, , , happens] = SORTS.find(([sort]) => sort === group);
  const what = form.elements.what;
  // None is chosen before the first offer.
  const chosen = what.length === 0 ? null : what.value;
  what.replaceChildren(...ORDER.filter((each) => each in happens).map((each) => h("option", { value: each }, happens[each])));
  if (chosen !== null && chosen in happens) {
    what.value = chosen;
  }
}

export async function start() {
  form.addEventListener("submit", add);
  form.elements.operation.addEventListener("change", offer);
  document.getElementById("faults").addEventListener("click", (event) => {
    if (event.target.closest("button") !== null) {
      clear();
    }
  });
  const known = await call("GET", "sandbox");
  form.elements.operation.replaceChildren(...SORTS.map(([sort, label, [every, text]]) =>
    h("optgroup", { label, "data-sort": sort },
      h("option", { value: every }, text),
      known[sort].filter((each) => each !== every).map((each) => h("option", { value: each }, each.replace(/^handler\./u, ""))))));
  offer();
}

const times = (count) => (count === 1 ? "once" : `${count.toLocaleString("en")} times`);

export function render() {
  const faults = only("faults")?.faults ?? [];
  const list = faults.map(({ operation, what, left }) => {
    const every = SORTS.find(([, , [value]]) => value === operation);
    return h("li", {},
      every === undefined ? h("code", {}, operation) : h("span", {}, `${every[1]}: ${every[2][1]}`),
      h("span", {}, left === null ? what : `${what}, ${times(left)}`));
  });
  show(
    document.getElementById("faults"),
    faults.length === 0
      ? h("p", { class: "empty active" }, "None is active.")
      : [h("ul", { class: "switches", "aria-label": "Active faults" }, list), h("button", { type: "button", class: "small" }, "Clear all")],
  );
}
