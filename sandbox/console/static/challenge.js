/**
 * The ACS's page on the phone, as a browser shows it: a form with the CReq opens it in a frame, the person acts there,
 * and the last form brings the CRes to the shop.
 */

import { h } from "./dom.js";

const place = document.getElementById("challenges");
const MOST = 3;

/** Shows the page of a challenge, if the answer of an authentication has one. */
export function open({ ares, challenge }) {
  if (challenge === undefined) {
    return;
  }
  const id = `acs-${ares.three_ds_server_trans_id}`;
  const close = h("button", { type: "button", class: "small" }, "Close");
  const item = h("div", { id, class: "item asks" },
    h("p", { class: "from" }, "Browser: the page of the bank’s ACS"),
    h("iframe", { name: id, title: "Page of the bank’s ACS", sandbox: "allow-forms allow-same-origin" }),
    h("div", { class: "row" }, close));
  close.addEventListener("click", () => item.remove());
  place.prepend(item);
  while (place.children.length > MOST) {
    place.lastChild.remove();
  }
  // The ACS's certificate is the sandbox's own, which no browser trusts: its page is at the same path here.
  const form = h("form", { method: "post", action: new URL(challenge.acs_url).pathname, target: id, hidden: true },
    h("input", { name: "creq", value: challenge.creq }));
  document.body.append(form);
  form.submit();
  form.remove();
  item.scrollIntoView({ block: "nearest" });
}
