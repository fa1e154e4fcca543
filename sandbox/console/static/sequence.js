/**
 * The picture of a purchase: who sent what to whom, and when.
 *
 * D1's simulator measures what it sends and gets; the sandbox's handler what it gets and answers; the gateway's log
 * says when the edge got the call and had its answer, and with what outcome, so that what is left is the broker's; a
 * notification says when it was stored, and the console, as a watcher, when it came. All clocks are this machine's.
 */

import { KINDS, answerTo, lineOf, logged, othersFor } from "./callbacks.js";
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

const lasted = (value) => (value < 1_000 ? ms(value) : `${(value / 1_000).toFixed(1)} s`);
const end = (what) => what.began + what.milliseconds / 1000;

const FALLBACKS = { fallback: "no reply: fallback", no_handler: "no handler: fallback", exhausted: "no reply: fallback" };

/** What the broker and a handler did for a call, as far as the gateway's log and the sandbox's handler tell. */
function brokered(call) {
  const [answer, line] = [answerTo(call), lineOf(call)];
  const last = call.milliseconds === null ? Infinity : end(call);
  if (line?.outcome === undefined) {
    // Without the log, the broker's part is not known; a result that was reported before needs none.
    return answer === undefined ? [] : handled(answer, EDGE, answer.began);
  }
  // The log rounds, and is written a moment later: what must be before stays before.
  const done = Math.min(logged(line.timestamp), last);
  const got = Math.max(Math.min(done - line.duration_ms / 1000, answer?.began ?? Infinity), call.began);
  const asked = { at: got, from: EDGE, to: BROKER, text: KINDS[call.name] };
  if (line.outcome in FALLBACKS) {
    const gaveUp = { at: done, from: BROKER, to: EDGE, text: FALLBACKS[line.outcome], took: line.duration_ms, isAnswer: true, isBad: true };
    return [asked, ...(answer === undefined ? [] : handled(answer, BROKER, got)), gaveUp];
  }
  if (answer !== undefined) {
    const own = Math.max(line.duration_ms - (answer.milliseconds ?? 0), 0);
    return [asked, ...handled(answer, BROKER, got), { at: done, from: BROKER, to: EDGE, text: "broker", took: own, isAnswer: true, isBad: answer.refused }];
  }
  if (!["answered", "refused"].includes(line.outcome)) {
    return [asked];
  }
  // What another handler did is not seen, but that it got the call and replied in this time is certain.
  const isBad = line.outcome === "refused";
  const reply = `${isBad ? "refusal" : "reply"} of ${othersFor(call) || "another handler"}`;
  return [
    { ...asked, to: HANDLER, over: BROKER },
    { at: done, from: HANDLER, to: EDGE, over: BROKER, text: reply, took: line.duration_ms, isAnswer: true, isBad },
  ];
}

/** What the sandbox's handler got and answered; with the lane that it got it from, and since when that had it. */
function handled(answer, from, since) {
  const over = from === EDGE ? BROKER : undefined;
  const text = from === EDGE ? answer.kind : "passed on";
  const got = { at: Math.max(answer.began, since), from, to: HANDLER, over, text, took: answer.began > since ? (answer.began - since) * 1000 : undefined };
  if (answer.milliseconds === null) {
    return [got];
  }
  const reply = answer.refused ? "refusal" : "reply";
  return [got, { at: end(answer), from: HANDLER, to: from, over, text: reply, took: answer.milliseconds, isAnswer: true, isBad: answer.refused }];
}

/** The steps of a purchase, in order: from, to, what, when, and whether it is an answer or went wrong. */
function steps(purchase, calls) {
  const found = [{ at: purchase.began, from: MERCHANT, to: D1, text: `purchase, ${purchase.flow}` }];
  for (const call of calls) {
    const isLost = call.fault !== null && call.status === null && call.milliseconds !== null;
    found.push({ at: call.began, from: D1, to: EDGE, text: call.name, isBad: isLost });
    found.push(...(call.name in KINDS ? brokered(call) : []));
    if (call.milliseconds !== null) {
      const isBad = call.status === null || call.status >= 300;
      const text = call.status === null ? "no answer" : `HTTP ${call.status}`;
      found.push({ at: end(call), from: EDGE, to: D1, text, took: call.milliseconds, isAnswer: true, isBad });
    }
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

/** Writes a time since the beginning; without a unit it is in milliseconds, as the picture's column says. */
const since = (seconds, unit = "") => (seconds < 10 ? `${(seconds * 1000).toFixed(1)}${unit}` : `${seconds.toFixed(1)} s`);

function arrow(step, place, began) {
  const y = TOP + 30 + ROW * place;
  const [from, to] = [x(step.from), x(step.to)];
  const towards = Math.sign(to - from);
  const middle = (from + to) / 2;
  const took = step.took === undefined ? "" : ` ${lasted(step.took)}`;
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
  const took = step.took === undefined ? "" : `, after ${lasted(step.took)}`;
  return h("li", {}, `${since(step.at - began, " ms")}: ${LANES[step.from]} to ${LANES[step.to]}: ${step.text}${took}`);
}

/** Says which faults on demand D1's calls met, or the handler had. */
function faultsMet(calls) {
  const met = calls.flatMap((call) => [
    call.fault === null ? null : `${call.name}, ${call.fault}`,
    answerTo(call)?.fault ? `the handler of ${KINDS[call.name]}, ${answerTo(call).fault}` : null,
  ]);
  return [...new Set(met.filter(Boolean))];
}

/** Makes the picture, and says beside it how the purchase ended. */
export function picture(purchase) {
  const calls = items("calls").filter((each) => each.correlation_id === purchase.operationId);
  const all = steps(purchase, calls);
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
    ...faultsMet(calls).map((text) => h("p", { class: "why" }, "Fault on demand: ", text, ".")),
    undelivered ? h("p", { class: "why" }, "Not notified: ", undelivered, ".") : null,
    h("div", { class: "canvas", tabindex: "0", role: "region", "aria-label": "Sequence of the purchase" },
      drawn,
      h("ol", { class: "unseen" }, all.map((step) => words(step, purchase.began))),
    ),
    h("p", { class: "quiet id" }, "Correlation id ", h("code", {}, purchase.operationId), " ",
      h("button", { type: "button", class: "small", "data-log": purchase.operationId }, "Its log lines")),
  ];
}
