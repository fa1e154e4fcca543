/** The demonstration: what happens now, where to look, and how it went. Shown only where a demonstration walks. */

import { h, show } from "./dom.js";
import { only } from "./feed.js";

const WORDS = { running: ["now", "idle"], passed: ["passed", "good"], failed: ["failed", "bad"] };

/** The section that is looked at. */
let seen = null;

function look(section) {
  const title = section === "" ? null : document.getElementById(`${section}-title`);
  const next = title?.closest("section") ?? null;
  if (next === seen) {
    return;
  }
  seen?.classList.remove("seen");
  next?.classList.add("seen");
  seen = next;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  next?.scrollIntoView({ block: "start", behavior: isCalm ? "auto" : "smooth" });
}

function step(caption) {
  const [word, level] = WORDS[caption.verdict];
  return [
    h("p", { class: "quiet" }, `Step ${caption.place} of ${caption.number} · ${caption.part.replaceAll("->", "→")}`),
    h("p", { class: "row" }, h("strong", {}, caption.step), h("span", { class: `state ${level}` }, word)),
    caption.result === "" ? null : h("p", { class: caption.verdict === "failed" ? "why" : false }, caption.result),
    caption.section === "" ? null : h("p", {}, h("a", { href: `#${caption.section}-title` }, caption.name), `: ${caption.look}`),
  ];
}

function summary({ passed, failures }) {
  return [
    h("p", { class: "row" }, h("strong", {}, "The demonstration is over."),
      h("span", { class: `state ${failures.length === 0 ? "good" : "bad"}` }, `${passed} steps passed, ${failures.length} failed`)),
    h("ul", {}, failures.map((each) => h("li", {}, `${each.step}: ${each.result}`))),
    h("p", {}, "The sandbox stays as it is, to try things out, until Ctrl-C in the terminal."),
  ];
}

export function render() {
  const caption = only("caption");
  const place = document.getElementById("demo");
  place.hidden = caption === undefined;
  if (caption !== undefined) {
    look(caption.section);
    show(place, caption.verdict === "over" ? summary(caption) : step(caption));
  }
}
