/** The shop: a form that says what is wrong before anything is sent. */

import { call, only } from "./feed.js";
import { h, show } from "./dom.js";

const form = document.getElementById("shop");
const said = (name) => document.getElementById(`shop-${name}-said`);

function complain(name, text) {
  said(name).textContent = text;
  document.getElementById(`shop-${name}`).setAttribute("aria-invalid", text === "" ? "false" : "true");
  return text !== "";
}

/** Reads an amount in the currency's minor units; returns a text if it is none. */
function minorUnits(text, exponent) {
  const match = /^(\d{1,9})(?:[.,](\d+))?$/u.exec(text.trim());
  if (match === null) {
    return exponent === 0 ? "Write digits, such as 1999." : "Write an amount such as 19.99.";
  }
  const fraction = match[2] ?? "";
  if (fraction.length > exponent) {
    return exponent === 0 ? "This currency has no decimals." : `This currency has at most ${exponent} decimals.`;
  }
  const units = Number(match[1] + fraction.padEnd(exponent, "0"));
  return units === 0 ? "Write an amount above 0." : units;
}

function order() {
  const fields = Object.fromEntries(new FormData(form));
  const exponent = Number(form.elements.currency.selectedOptions[0].dataset.exponent);
  const amount = minorUnits(fields.amount, exponent);
  const merchant = fields.merchant.trim();
  const card = (only("cards")?.cards ?? []).find((each) => each.cardId === fields.cardId);
  const wrong = [
    complain("card", card === undefined ? "There is no card: register one." : ""),
    complain("amount", typeof amount === "string" ? amount : ""),
    complain("merchant", merchant === "" ? "Name the merchant." : merchant.length > 40 ? "At most 40 characters." : ""),
  ];
  if (wrong.includes(true)) {
    form.querySelector("[aria-invalid=true]").focus();
    return null;
  }
  return { ...fields, amount, merchant };
}

export function start(onBought) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    document.getElementById("shop-said").textContent = "";
    const wanted = order();
    if (wanted === null) {
      return;
    }
    try {
      onBought((await call("POST", "sandbox/purchases", wanted)).purchaseId);
    } catch (error) {
      document.getElementById("shop-said").textContent = `Not possible: ${error.message}`;
    }
  });
}

export function render() {
  const select = document.getElementById("shop-card");
  const chosen = select.value;
  // Those that can buy come first.
  const cards = [...(only("cards")?.cards ?? [])].sort((a, b) => (b.state === "ACTIVE") - (a.state === "ACTIVE"));
  show(select, cards.map((card) =>
    h("option", { value: card.cardId }, card.state === "ACTIVE" ? card.cardId : `${card.cardId} (${card.state.toLowerCase()})`),
  ));
  if (cards.some((card) => card.cardId === chosen)) {
    select.value = chosen;
  }
}
