/** The list of purchases, of which one is shown as a picture. */

import { ago, h, show } from "./dom.js";
import { counts, items } from "./feed.js";
import { picture } from "./sequence.js";

const MOST = 30;
const EXPONENTS = { JPY: 0, KRW: 0, CLP: 0, KWD: 3, JOD: 3, BHD: 3, TND: 3, OMR: 3 };
const WORDS = {
  RUNNING: ["running", "idle"],
  AWAITS_OTP: ["waits for OTP", "warn"],
  AWAITS_DECISION: ["waits for approval", "warn"],
  SUCCESSFUL: ["successful", "good"],
  FAILED: ["failed", "bad"],
};

/** The purchase that somebody chose; null for the latest. */
let chosen = null;

/** Writes an amount in its currency. */
export function price({ amount, currency }) {
  const exponent = EXPONENTS[currency] ?? 2;
  return `${currency} ${(amount / 10 ** exponent).toFixed(exponent)}`;
}

export function choose(id) {
  chosen = id;
}

export function start() {
  document.getElementById("purchases").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-purchase]");
    if (button !== null) {
      choose(button.dataset.purchase);
      render();
    }
  });
}

/** Shows the log lines of a purchase on demand. */
export function onLog(filter) {
  document.getElementById("sequence").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-log]");
    if (button !== null) {
      filter(button.dataset.log);
    }
  });
}

const began = (purchase) => purchase.began;

function pick(purchase, isShown) {
  const [word, level] = WORDS[purchase.status];
  return h(
    "button",
    { type: "button", id: `pick-${purchase.purchaseId}`, class: "pick", "data-purchase": purchase.purchaseId, "aria-pressed": String(isShown) },
    h("span", { class: "what" }, price(purchase)),
    h("span", { class: `state ${level}` }, word),
    h("span", { class: "quiet where" }, `${purchase.merchant} · ${purchase.cardId} · ${purchase.flow} · `, ago(purchase.began)),
  );
}

export function render() {
  const purchases = items("purchases").sort((a, b) => began(b) - began(a)).slice(0, MOST);
  const shown = purchases.find((each) => each.purchaseId === chosen) ?? purchases[0];
  document.getElementById("purchases-total").textContent = counts.purchases ?? "";
  const empty = h("p", { class: "empty" }, "No purchase yet. Buy something in the shop.");
  show(document.getElementById("purchases"), purchases.length > 0 ? purchases.map((each) => pick(each, each === shown)) : empty);
  show(document.getElementById("sequence"), shown === undefined ? [] : picture(shown));
}
