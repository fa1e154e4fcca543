/**
 * The picture of a purchase: who sent what to whom, and when.
 *
 * D1's simulator measures what it sends and gets; the sandbox's handler what it gets and answers; the gateway's log
 * says when the edge had its answer, and with what outcome; a notification says when it was stored, and the console,
 * as a watcher, when it came. All clocks are this machine's.
 */

import { h, ms, svg } from "./dom.js";
import { items } from "./feed.js";

const LANES = ["Merchant", "D1", "Edge", "Broker", "Handler", "Log", "Watcher"];
const [MERCHANT, D1, EDGE, BROKER, HANDLER, LOG, WATCHER] = LANES.keys();
const LEFT = 92;
const STEP = 128;
const TOP = 34;
const ROW = 30;
const WIDTH = LEFT + STEP * (LANES.length - 1) + 66;

const ENDS = {
  AWAITS_OTP: "waits for the OTP",
  AWAITS_DECISION: "waits for approval",
  SUCCESSFUL: "authenticated",
  FAILED: "not authenticated",
};

const isNotification = (call) => call.name.startsWith("notify");
const end = (what) => what.began + what.milliseconds / 1000;

/** The steps of a purchase, in order: from, to, what, when, and whether it is an answer or went wrong. */
function steps(purchase) {
  const ofIt = (each) => each.correlation_id === purchase.operationId;
  const calls = items("calls").filter(ofIt);
  const answers = items("answers").filter(ofIt);
  const logged = items("log").filter((each) => ofIt(each) && each.callback !== undefined);
  const found = [{ at: purchase.began, from: MERCHANT, to: D1, text: `purchase, ${purchase.flow}` }];
  for (const call of calls) {
    found.push({ at: call.began, from: D1, to: EDGE, text: call.name });
    if (call.milliseconds !== null) {
      const isBad = call.status === null || call.status >= 300;
      const text = call.status === null ? "no answer" : `HTTP ${call.status}`;
      found.push({ at: end(call), from: EDGE, to: D1, text, took: call.milliseconds, isAnswer: true, isBad });
    }
  }
  for (const answer of answers) {
    found.push({ at: answer.began, from: EDGE, to: HANDLER, over: BROKER, text: answer.kind });
    if (answer.milliseconds !== null) {
      const text = answer.refused ? "refusal" : "reply";
      found.push({ at: end(answer), from: HANDLER, to: EDGE, over: BROKER, text, took: answer.milliseconds, isAnswer: true, isBad: answer.refused });
    }
  }
  for (const line of logged.filter((each) => ["fallback", "no_handler", "exhausted"].includes(each.outcome))) {
    const text = line.outcome === "no_handler" ? "no handler: fallback" : "no reply: fallback";
    found.push({ at: Date.parse(line.timestamp) / 1000, from: BROKER, to: EDGE, text, took: line.duration_ms, isAnswer: true, isBad: true });
  }
  for (const each of items("notifications").filter((one) => one.correlationId === purchase.operationId)) {
    found.push({ at: each.received, from: EDGE, to: LOG, text: "stored" });
    found.push({ at: each.seen, from: LOG, to: WATCHER, text: "notification" });
  }
  for (const [at, word] of purchase.moments.slice(1)) {
    if (word in ENDS) {
      found.push({ at, from: D1, to: MERCHANT, text: ENDS[word], isAnswer: true, isBad: word === "FAILED" });
    } else if (word === "RUNNING") {
      found.push({ at, from: MERCHANT, to: D1, text: "the consumer acts" });
    }
  }
  return found.sort((a, b) => a.at - b.at);
}

const x = (lane) => LEFT + STEP * lane;

/** Writes a time since the beginning, and says where what lasted longer than a glance. */
const since = (seconds) => (seconds < 10 ? `${(seconds * 1000).toFixed(1)}` : `${seconds.toFixed(1)} s`);

function arrow(step, place, began) {
  const y = TOP + 30 + ROW * place;
  const [from, to] = [x(step.from), x(step.to)];
  const towards = Math.sign(to - from);
  const middle = (from + to) / 2;
  const took = step.took === undefined ? "" : ` ${ms(step.took)}`;
  return svg(
    "g",
    { class: `step${step.isAnswer ? " answer" : ""}${step.isBad ? " bad" : ""}` },
    svg("text", { x: 44, y: y + 4, class: "at" }, since(step.at - began)),
    svg("line", { x1: from, y1: y, x2: to - towards * 6, y2: y }),
    svg("path", { d: `M ${to} ${y} l ${-towards * 8} -4 v 8 z` }),
    step.over === undefined ? null : svg("circle", { cx: x(step.over), cy: y, r: 3 }),
    svg("text", { x: middle, y: y - 5, class: "label" }, step.text, svg("tspan", { class: "took" }, took)),
  );
}

function words(step, began) {
  const took = step.took === undefined ? "" : `, after ${ms(step.took)}`;
  return h("li", {}, `${since(step.at - began)} ms: ${LANES[step.from]} to ${LANES[step.to]}: ${step.text}${took}`);
}

/** Makes the picture, and says beside it how the purchase ended. */
export function picture(purchase) {
  const all = steps(purchase);
  const height = TOP + 30 + ROW * all.length;
  const lanes = LANES.map((name, lane) => [
    svg("line", { x1: x(lane), y1: TOP + 6, x2: x(lane), y2: height, class: "lane" }),
    svg("text", { x: x(lane), y: TOP - 6, class: "name" }, name),
  ]);
  const drawn = svg(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${height + 6}`, width: WIDTH, height: height + 6, "aria-hidden": "true" },
    svg("text", { x: 44, y: TOP - 6, class: "at" }, "ms"),
    lanes,
    all.map((step, place) => arrow(step, place, purchase.began)),
  );
  const undelivered = purchase.notification?.error;
  return [
    purchase.error === null ? null : h("p", { class: "why" }, "Failed: ", purchase.error, "."),
    undelivered ? h("p", { class: "why" }, "Not notified: ", undelivered, ".") : null,
    h("div", { class: "canvas", tabindex: "0", role: "region", "aria-label": "Sequence of the purchase" },
      drawn,
      h("ol", { class: "unseen" }, all.map((step) => words(step, purchase.began))),
    ),
    h("p", { class: "quiet id" }, "Correlation id ", h("code", {}, purchase.operationId), " ",
      h("button", { type: "button", class: "small", "data-log": purchase.operationId }, "Its log lines")),
  ];
}
