/** The page: what changes is shown once a frame, and what is lost is said. */

import * as activity from "./activity.js";
import * as authentications from "./authentications.js";
import * as cards from "./cards.js";
import * as demo from "./demo.js";
import { elapsed, h, show } from "./dom.js";
import * as faults from "./faults.js";
import { follow, only } from "./feed.js";
import * as log from "./log.js";
import * as phone from "./phone.js";
import * as purchases from "./purchases.js";
import * as shop from "./shop.js";

const NOTICE_MS = 8_000;
const GATEWAY_GRACE_MS = 400;
/** After it has drawn, the page rests for this many times as long: other programs need the processors too. */
const REST = 4;

const banner = document.getElementById("link");

/** What shows each topic. */
const SHOWN = [
  [renderGateway, ["gateway"]],
  [shop.render, ["cards"]],
  [cards.render, ["cards"]],
  [authentications.render, ["authentications", "challenges", "transactions"]],
  [faults.render, ["faults"]],
  [log.render, ["log"]],
  [phone.render, ["purchases", "sms"]],
  [purchases.render, ["purchases", "calls", "answers", "handlers", "notifications", "log"]],
  [activity.renderCalls, ["calls", "answers", "handlers", "log"]],
  [activity.renderNotifications, ["notifications"]],
  [activity.renderSubscriptions, ["subscriptions"]],
  [activity.renderHandler, ["handler"]],
  [demo.render, ["caption"]],
];

let waiting = null;
let restedAt = 0;
let lostAt = null;
let noticeTimer = 0;

function renderLater(changed) {
  if (waiting === null) {
    waiting = new Set();
    setTimeout(() => requestAnimationFrame(renderNow), restedAt - performance.now());
  }
  for (const topic of changed ?? ["*"]) {
    waiting.add(topic);
  }
}

function renderNow() {
  const began = performance.now();
  const now = waiting;
  waiting = null;
  for (const [render, topics] of SHOWN) {
    if (now.has("*") || topics.some((topic) => now.has(topic))) {
      render();
    }
  }
  const ended = performance.now();
  restedAt = ended + REST * (ended - began);
}

function say(level, text) {
  banner.className = text === "" ? "link" : `link ${level}`;
  if (banner.textContent !== text) {
    banner.textContent = text;
  }
}

function sayFound(text) {
  say("good", text);
  clearTimeout(noticeTimer);
  noticeTimer = setTimeout(() => say("", ""), NOTICE_MS);
}

const clock = () => new Date().toISOString().slice(11, 19);

function onLink(isThere) {
  document.body.classList.toggle("lost", !isThere);
  if (!isThere && lostAt === null) {
    lostAt = clock();
    clearTimeout(noticeTimer);
    say("bad", `The sandbox stopped at ${lostAt} UTC. The page shows that moment, and continues when the sandbox is back.`);
    renderGateway();
  } else if (isThere && lostAt !== null) {
    lostAt = null;
    sayFound("The sandbox is back.");
    renderGateway();
  }
}

let gatewayWasUp = null;

function renderGateway() {
  const gateway = only("gateway");
  const pill = document.getElementById("gateway");
  const [word, level] =
    lostAt !== null ? ["Sandbox stopped", "bad"] : gateway === undefined ? ["No gateway", "idle"] : gateway.up ? ["Gateway connected", "good"] : ["Gateway stopped", "bad"];
  pill.textContent = word;
  pill.className = `ready ${level}`;
  document.title = `${word} · sandbox · d1-gateway`;
  if (gateway !== undefined && lostAt === null) {
    tellGateway(gateway.up);
    const { admin, grpc, edge } = gateway.addresses;
    show(document.getElementById("addresses"),
      "gRPC ", h("code", {}, grpc), " · callbacks ", h("code", {}, edge.replace("https://", "")), " · ",
      h("a", { href: `${admin}/`, target: "_blank", rel: "noopener noreferrer" }, "operators’ page"));
  }
}

let gatewayTimer = 0;

function tellGateway(isUp) {
  clearTimeout(gatewayTimer);
  if (isUp && gatewayWasUp === false) {
    sayFound("The gateway is back, and what it had acknowledged is still there.");
  }
  if (isUp) {
    gatewayWasUp = true;
    return;
  }
  // As the page begins, it is not connected yet.
  gatewayTimer = setTimeout(() => {
    gatewayWasUp = false;
    clearTimeout(noticeTimer);
    say("bad", "The gateway is stopped. D1 repeats its notifications until it is back; calls and callbacks fail.");
  }, GATEWAY_GRACE_MS);
}

setInterval(() => {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const text = elapsed(time.dateTime);
    if (time.textContent !== text) {
      time.textContent = text;
    }
  }
}, 1_000);

shop.start((id) => {
  purchases.choose(id);
  renderLater(null);
});
phone.start();
purchases.start();
purchases.onLog(log.filter);
activity.start();
authentications.start();
cards.start();
faults.start();
log.start();
follow({ onChange: renderLater, onLink });
