/** Authentications through the 3-D Secure server, with the AReq and the ARes as the server got and sent them. */

import * as challenge from "./challenge.js";
import { ago, h, show } from "./dom.js";
import { call, counts, items, only, topics } from "./feed.js";
import { AT_THREEDS, explained } from "./forms.js";

const MOST = 20;
const RESULTS = {
  Y: ["authenticated", "good"],
  N: ["not authenticated", "bad"],
  A: ["attempted", "good"],
  R: ["rejected", "bad"],
  I: ["for information", "idle"],
  U: ["not possible", "bad"],
  C: ["challenge", "warn"],
  D: ["decoupled", "warn"],
};

const form = document.getElementById("authenticate");
const said = document.getElementById("authenticate-said");

async function attempt(work) {
  said.textContent = "";
  try {
    await work();
  } catch (error) {
    said.textContent = explained(error, AT_THREEDS);
  }
}

export function start() {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(async () => challenge.open(await call("POST", "console/authentications", Object.fromEntries(new FormData(form)))));
  });
  document.getElementById("authentications").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-decision]");
    if (button !== null) {
      const { transaction, decision } = button.dataset;
      attempt(() => call("POST", "sandbox/threeds/decisions", { threeDSServerTransID: transaction, decision }));
    }
  });
}

const message = (name, content) => h("div", {}, h("h3", {}, name), h("pre", {}, JSON.stringify(content, null, 2)));

/** What the browser brought back from a challenge that this page showed, and what the gateway says of it. */
function returned(end) {
  return h("details", {},
    h("summary", {}, "CRes and GetChallengeResult"),
    h("div", { class: "messages" }, message("CRes", end.cres), message("GetChallengeResult", end.result)));
}

function entry(each, transactions) {
  const id = each.areq.threeDSServerTransID;
  const end = topics.get("challenges")?.get(id);
  const transaction = transactions[id];
  const result = transaction?.transStatus ?? each.ares.transStatus;
  const [word, level] = RESULTS[result] ?? [each.ares.errorDescription ?? "refused", "bad"];
  const decide = (decision, text) =>
    h("button", { type: "button", class: "small", "data-transaction": id, "data-decision": decision }, text);
  return h("div", { id: `authentication-${id}-${each.at}`, class: "authentication" },
    h("p", { class: "row" },
      h("span", { class: `state ${level}` }, word),
      h("span", { class: "quiet" }, `card ${each.areq.acctNumber ?? ""} · `, ago(each.at)),
      transaction?.awaitsDecision ? h("span", { class: "actions" }, decide("pass", "Pass"), decide("fail", "Fail")) : null),
    h("details", {},
      h("summary", {}, "AReq and ", each.ares.messageType ?? "answer"),
      h("div", { class: "messages" }, message("AReq", each.areq), message(each.ares.messageType ?? "Answer", each.ares))),
    end === undefined ? null : returned(end));
}

export function render() {
  const transactions = only("transactions") ?? {};
  const latest = items("authentications").slice(-MOST).reverse();
  document.getElementById("authentications-total").textContent = counts.authentications ?? "";
  const empty = h("p", { class: "empty" }, "No authentication yet.");
  show(document.getElementById("authentications"), latest.length > 0 ? latest.map((each) => entry(each, transactions)) : empty);
}
