/** The forms that have a card made, renewed, replaced or deleted. */

import { call } from "./feed.js";
import { h, show } from "./dom.js";
import { complain, expiryOf, read, refuse, tell } from "./forms.js";

const CARD_ID = [/^[\w-]{0,48}$/u, "At most 48 letters, digits, _ or -."];
const LOST = [["CARD_LOST", "lost"], ["CARD_STOLEN", "stolen"]];

/** What can be done to a card: the rpc, what it means, the reasons that it may have, and whether a card follows. */
export const CHANGES = {
  renew: ["RenewCard", "The same number with a new expiry. D1 asks the issuer for both, unless they are given.", [["", "none"], ["USER_DECISION", "the holder’s decision"], ["ISSUER_DECISION", "the issuer’s decision"]], true],
  replace: ["ReplaceCard", "A card with another number follows, and this one stays replaced. D1 asks the issuer for the number, unless it is given.", [["CARD_BROKEN", "broken"], ...LOST, ["CARD_NOT_RECEIVED", "never received"], ["FRAUD", "used fraudulently"]], true],
  delete: ["DeleteCard", "The card and its digital cards end. This is final.", [["CLOSED_CARD", "card closed"], ["CLOSED_ACCOUNT", "account closed"], ...LOST], false],
};
const WORDS = { renew: ["Renew", "renewed"], replace: ["Replace", "replaced"], delete: ["Delete", "deleted"] };
const FIELDS = [
  ["new_card_id", ...CARD_ID],
  ["pan", /^(\d{10,19})?$/u, "10 to 19 digits, or nothing."],
  ["expiry", /^((0?[1-9]|1[0-2])\/20\d\d)?$/u, "Month and year, such as 12/2031, or nothing."],
];
const ACCOUNT = [
  ["consumer_id", /^[\w-]{1,64}$/u, "1 to 64 letters, digits, _ or -."],
  ["number", /^.{1,64}$/u, "1 to 64 characters."],
  ["name_on_card", /^[a-zA-Z. -]{0,26}$/u, "At most 26 Latin letters, dots, spaces and hyphens."],
];

const creation = document.getElementById("create");
const form = document.getElementById("change");
let chosen = null;

/** Asks for what a change of a card needs. */
export function begin(cardId, action) {
  chosen = { cardId, action };
  const [, meaning, reasons, follows] = CHANGES[action];
  form.reset();
  for (const [name] of FIELDS) {
    complain(form, name, "");
  }
  tell(form, "");
  document.getElementById("change-title").textContent = `${WORDS[action][0]} ${cardId}`;
  document.getElementById("change-meaning").textContent = meaning;
  show(form.elements.reason_code, reasons.map(([value, text]) => h("option", { value }, text)));
  document.getElementById("change-follows").hidden = !follows;
  document.getElementById("change-do").textContent = WORDS[action][0];
  form.hidden = false;
  form.elements.reason_code.focus();
}

function leave() {
  form.hidden = true;
  const row = document.getElementById(`card-${chosen.cardId}`);
  (row?.querySelector(`[data-action="${chosen.action}"]`) ?? document.getElementById("cards")).focus();
}

async function change(event) {
  event.preventDefault();
  const fields = read(form, FIELDS);
  if (fields === null) {
    return;
  }
  const { pan, expiry, ...others } = fields;
  if ((pan === "") !== (expiry === "")) {
    const missing = pan === "" ? "pan" : "expiry";
    complain(form, missing, "Both or neither.");
    form.elements[missing].focus();
    return;
  }
  const { cardId, action } = chosen;
  const [rpc, , , follows] = CHANGES[action];
  const data = pan === "" ? {} : { credentials: { pan, expiry: expiryOf(expiry) } };
  const request = { card_id: cardId, reason_code: others.reason_code, ...(follows ? { new_card_id: others.new_card_id, ...data } : {}) };
  try {
    const { card_id: next } = await call("POST", `console/cards/${rpc}`, request);
    leave();
    const said = document.getElementById("cards-said");
    said.classList.add("done");
    said.textContent = `${cardId} is ${WORDS[action][1]}${next ? `; the card is now ${next}` : ""}.`;
  } catch (error) {
    refuse(form, error);
  }
}

async function create(event) {
  event.preventDefault();
  const fields = read(creation, ACCOUNT);
  if (fields === null) {
    return;
  }
  const { number, currency_code, ...others } = fields;
  try {
    const made = await call("POST", "console/cards/CreateCard", { ...others, accounts: [{ is_default: true, number, currency_code }] });
    tell(creation, `D1 has created ${made.card_id}.`, true);
  } catch (error) {
    refuse(creation, error);
  }
}

export function start() {
  creation.addEventListener("submit", create);
  form.addEventListener("submit", change);
  document.getElementById("change-leave").addEventListener("click", leave);
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      leave();
    }
  });
}
