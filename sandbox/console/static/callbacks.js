/** What belongs to a call of D1: the handler's answer, the line of the gateway's log, and who may have answered. */

import { items } from "./feed.js";

/** The kinds of callback that a handler answers, by D1's name. */
export const KINDS = {
  getConsumerInformation: "consumer_information",
  deliverOtp: "deliver_otp",
  authenticateConsumer: "authenticate",
  getAuthenticationResult: "authentication_result",
  cmsGetCardCredentials: "card_credentials",
};

/** How the route of each callback ends, as the log writes it. */
const ROUTES = {
  getConsumerInformation: "/consumers/{consumerId}",
  deliverOtp: "/otp",
  authenticateConsumer: "/authentication",
  getAuthenticationResult: "/authentication/{authenticationId}",
  cmsGetCardCredentials: "/credentials",
};

const SLACK = 0.02;

/** Reads a time of the gateway's log, to the microsecond, in seconds. */
export function logged(timestamp) {
  const [, whole, micros] = /^(.*?\.\d{3})(\d*)Z$/u.exec(timestamp) ?? [];
  return whole === undefined ? Date.parse(timestamp) / 1000 : Date.parse(`${whole}Z`) / 1000 + Number(`0.000${micros || 0}`);
}

const ended = (call) => (call.milliseconds === null ? Infinity : call.began + call.milliseconds / 1000);

function within(call, found, at) {
  return found.find((one) =>
    one.correlation_id === call.correlation_id && at(one) >= call.began - SLACK && at(one) <= ended(call) + SLACK);
}

/** The answer of the sandbox's own handler, if it got the call. */
export const answerTo = (call) =>
  within(call, items("answers").filter((one) => one.kind === KINDS[call.name]), (one) => one.began);

/** The line that tells how the broker ended the call; there is none for requests of results, which are too many. */
export const lineOf = (call) =>
  within(call, items("log").filter((one) => one.callback?.endsWith(ROUTES[call.name])), (line) => logged(line.timestamp));

/** The names of the handlers, other than the sandbox's, that were connected for the call's kind. */
export function othersFor(call) {
  const names = items("handlers")
    .filter((one) => one.name !== "sandbox" && one.kinds.includes(KINDS[call.name]))
    .filter((one) => logged(one.began) <= ended(call) && (one.ended === null || logged(one.ended) >= call.began))
    .map((one) => one.name);
  return [...new Set(names)].join(" or ");
}
