/** Cards: real calls to the gateway, whose errors say what is wrong, and whether D1 may have acted. */

import { ago, h, show, table } from "./dom.js";
import { call, only } from "./feed.js";
import { expiryOf, explained, read, refuse, tell } from "./forms.js";
import * as issuing from "./issuing.js";

const form = document.getElementById("register");
const CHANGES = {
  suspend: ["SuspendCard", { reason_code: "USER_DECISION" }],
  resume: ["ResumeCard", { reason_code: "USER_DECISION" }],
};
const LEVELS = { ACTIVE: "good", SUSPENDED: "warn" };
const FIELDS = [
  ["card_id", /^[\w-]{1,48}$/u, "1 to 48 letters, digits, _ or -."],
  ["consumer_id", /^[\w-]{1,64}$/u, "1 to 64 letters, digits, _ or -."],
  ["pan", /^\d{10,19}$/u, "10 to 19 digits."],
  ["expiry", /^(0?[1-9]|1[0-2])\/20\d\d$/u, "Month and year, such as 12/2031."],
];

/** The card whose history is shown. */
let chosen = null;

/** Invents what a new card needs, so that one click registers one. */
function invent() {
  const known = new Set((only("cards")?.cards ?? []).map((each) => each.cardId));
  let number = 3;
  while (known.has(`card_${number}`)) {
    number += 1;
  }
  const digits = crypto.getRandomValues(new Uint32Array(1))[0] % 10 ** 9;
  form.elements.card_id.value = `card_${number}`;
  form.elements.pan.value = `4970101${String(digits).padStart(9, "0")}`;
  form.elements.expiry.value = `12/${new Date().getFullYear() + 4}`;
}

async function register(event) {
  event.preventDefault();
  const fields = read(form, FIELDS);
  if (fields === null) {
    return;
  }
  const { pan, expiry, ...others } = fields;
  try {
    await call("POST", "console/cards/RegisterCard", { ...others, credentials: { pan, expiry: expiryOf(expiry) } });
    invented = false;
    tell(form, `${fields.card_id} is registered.`, true);
  } catch (error) {
    refuse(form, error);
  }
}

async function change(cardId, action) {
  const said = document.getElementById("cards-said");
  said.textContent = "";
  said.classList.remove("done");
  try {
    if (action === "history") {
      const { operations } = await call("GET", `console/cards/${encodeURIComponent(cardId)}/history`);
      chosen = { cardId, operations: operations ?? [] };
      renderHistory();
    } else if (action in issuing.CHANGES) {
      issuing.begin(cardId, action);
    } else {
      const [rpc, fields] = CHANGES[action];
      await call("POST", `console/cards/${rpc}`, { card_id: cardId, ...fields });
    }
  } catch (error) {
    said.textContent = `${cardId}: ${explained(error)}`;
  }
}

const word = (name) => (name ?? "").replace(/^THREE_DS_OPERATION_(TYPE|STATUS)_/u, "").toLowerCase().replaceAll("_", " ");

function renderHistory() {
  const { cardId, operations } = chosen;
  const rows = operations.map((each) => {
    const level = { successful: "good", failed: "bad" }[word(each.status)] ?? "idle";
    return h("tr", { id: `operation-${each.operation_id}` },
      h("th", { scope: "row" }, word(each.type)),
      h("td", {}, h("span", { class: `state ${level}` }, word(each.status))),
      h("td", {}, each.error ?? ""),
      h("td", { class: "when" }, each.start_time ? ago(Date.parse(each.start_time) / 1000) : ""),
    );
  });
  const title = h("h3", {}, `3DS operations of ${cardId}`);
  const empty = h("p", { class: "empty" }, "D1 knows of none.");
  show(document.getElementById("history"), title, rows.length > 0 ? table("3DS operations", ["Operation", "Status", "Error", "When"], rows) : empty);
}

let invented = false;

export function start() {
  form.addEventListener("submit", register);
  issuing.start();
  document.getElementById("cards").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-action]");
    if (button !== null) {
      change(button.dataset.card, button.dataset.action);
    }
  });
}

const button = (cardId, action, text) =>
  h("button", { type: "button", class: "small", "data-card": cardId, "data-action": action, "aria-label": `${text} ${cardId}` }, text);

export function render() {
  const cards = only("cards")?.cards ?? [];
  const rows = cards.map((card) => {
    const id = card.cardId;
    const isOver = card.state === "DELETED" || card.state === "REPLACED";
    return h("tr", { id: `card-${id}` },
      h("th", { scope: "row" }, id),
      h("td", {}, card.consumerId),
      h("td", {}, card.cardProductId),
      h("td", {},
        h("span", { class: `state ${LEVELS[card.state] ?? "idle"}` }, card.state.toLowerCase()),
        card.awaitsCredentials ? h("span", { class: "quiet" }, " asks for its number") : null),
      h("td", {}, h("div", { class: "actions" },
        card.state === "ACTIVE" ? button(id, "suspend", "Suspend") : null,
        card.state === "SUSPENDED" ? button(id, "resume", "Resume") : null,
        ...(isOver ? [] : [button(id, "renew", "Renew"), button(id, "replace", "Replace"), button(id, "delete", "Delete")]),
        button(id, "history", "History"))),
    );
  });
  const empty = h("p", { class: "empty" }, "No card yet. Register one.");
  show(document.getElementById("cards"), rows.length > 0 ? table("Cards", ["Card", "Consumer", "Product", "State", "Actions"], rows) : empty);
  if (!invented && only("cards") !== undefined) {
    invented = true;
    invent();
  }
}
