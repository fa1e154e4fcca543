/** The consumers' phone: SMS, requests to approve, and the page where an OTP is typed. */

import { ago, h, show } from "./dom.js";
import { call, items } from "./feed.js";
import { price } from "./purchases.js";

const phone = document.getElementById("phone");
const MOST_SMS = 4;

const path = (id, action) => `sandbox/purchases/${encodeURIComponent(id)}/${action}`;

async function act(id, action, body) {
  const said = document.getElementById(`said-${id}`);
  said.textContent = "";
  try {
    const answer = await call("POST", path(id, action), body);
    if (answer.right === false && answer.otpAttemptsLeft > 0) {
      const left = answer.otpAttemptsLeft;
      said.textContent = `That is not the OTP. ${left} ${left === 1 ? "attempt is" : "attempts are"} left.`;
      document.getElementById(`otp-${id}`).select();
    }
  } catch (error) {
    said.textContent = error.message;
  }
}

export function start() {
  phone.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-action]");
    if (button !== null && button.type !== "submit") {
      act(button.dataset.purchase, button.dataset.action);
    }
  });
  phone.addEventListener("submit", (event) => {
    event.preventDefault();
    const { purchase } = event.target.dataset;
    const field = document.getElementById(`otp-${purchase}`);
    const otp = field.value.trim();
    if (/^\d{4,10}$/u.test(otp)) {
      act(purchase, "otp", { otp });
    } else {
      document.getElementById(`said-${purchase}`).textContent = "Type the digits of the OTP.";
      field.focus();
    }
  });
}

const said = (id) => h("p", { id: `said-${id}`, class: "said", "data-own": true, role: "alert" });

function challenge(purchase) {
  const id = purchase.purchaseId;
  return h(
    "form",
    { id: `challenge-${id}`, class: "item asks", novalidate: true, "data-purchase": id },
    h("p", { class: "from" }, "Browser: confirm this payment"),
    h("p", {}, h("strong", {}, price(purchase)), ` at ${purchase.merchant}`),
    h("label", { for: `otp-${id}` }, "OTP from the SMS"),
    h("div", { class: "row" },
      h("input", { id: `otp-${id}`, inputmode: "numeric", autocomplete: "one-time-code", maxlength: "10", "aria-describedby": `said-${id}` }),
      h("button", { type: "submit", class: "main" }, "Confirm"),
      h("button", { type: "button", "data-action": "resend", "data-purchase": id }, "Send again"),
    ),
    said(id),
  );
}

function push(purchase) {
  const id = purchase.purchaseId;
  return h(
    "div",
    { id: `push-${id}`, class: "item asks" },
    h("p", { class: "from" }, "Your bank’s app ", h("span", { class: "quiet" }, purchase.consumerId)),
    h("p", {}, "Approve ", h("strong", {}, price(purchase)), ` at ${purchase.merchant}?`),
    h("div", { class: "row" },
      h("button", { type: "button", class: "main", "data-action": "approve", "data-purchase": id }, "Approve"),
      h("button", { type: "button", "data-action": "deny", "data-purchase": id }, "Deny"),
    ),
    said(id),
  );
}

function sms(message) {
  return h(
    "div",
    { id: `sms-${message.purchaseId}-${message.sent}`, class: "item" },
    h("p", { class: "from" }, "SMS ", h("span", { class: "quiet" }, `to ${message.phone} · `, ago(Date.parse(message.sent) / 1000))),
    h("p", {}, message.text),
  );
}

export function render() {
  const purchases = items("purchases");
  const shown = [
    ...purchases.filter((each) => each.status === "AWAITS_OTP").map(challenge),
    ...purchases.filter((each) => each.status === "AWAITS_DECISION").map(push),
    ...items("sms").slice(-MOST_SMS).reverse().map(sms),
  ];
  const empty = h("p", { class: "empty" }, "Nothing yet. SMS and requests to approve a purchase come here.");
  show(phone, shown.length > 0 ? shown : empty);
}
