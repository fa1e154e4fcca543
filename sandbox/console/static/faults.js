/** Faults: what the gateway meets when it calls D1 or the 3-D Secure server. */

import { h, show } from "./dom.js";
import { call, only } from "./feed.js";

const form = document.getElementById("fault");
const LIMITS = { latency: [0, 60_000], times: [1, 10_000] };

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
  const [latency, times] = [number("latency"), number("times")];
  const { operation, what } = Object.fromEntries(new FormData(form));
  const said = document.getElementById("fault-said");
  said.textContent = what === "" && latency === 0 ? "Late by how much?" : "";
  if (latency === null || times === null || said.textContent !== "") {
    return;
  }
  const kind = /^\d+$/u.test(what) ? { status: Number(what) } : what === "" ? {} : { drop: what };
  try {
    await call("POST", "sandbox/faults", { operation, times, latency_ms: latency, ...kind });
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

export async function start() {
  form.addEventListener("submit", add);
  document.getElementById("faults").addEventListener("click", (event) => {
    if (event.target.closest("button") !== null) {
      clear();
    }
  });
  const { operations } = await call("GET", "sandbox");
  form.elements.operation.append(...operations.map((each) => h("option", { value: each }, each)));
}

function words(fault) {
  const what = [
    fault.latencyMs > 0 ? `${fault.latencyMs} ms late` : "",
    fault.status === null ? "" : `HTTP ${fault.status}`,
    { before: "dropped, nothing done", after: "dropped, all done" }[fault.drop] ?? "",
  ].filter(Boolean);
  return `${what.join(", ")}, ${fault.left === 1 ? "once" : `${fault.left} times`}`;
}

export function render() {
  const faults = only("faults")?.faults ?? [];
  const list = faults.map((each) =>
    h("li", {}, h("code", {}, each.operation === "*" ? "any call" : each.operation), h("span", {}, words(each))));
  show(
    document.getElementById("faults"),
    faults.length === 0
      ? h("p", { class: "empty active" }, "None is active.")
      : [h("ul", { class: "switches", "aria-label": "Active faults" }, list), h("button", { type: "button", class: "small" }, "Clear all")],
  );
}
