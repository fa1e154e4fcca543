/** Forms that say what is wrong beside each field: before anything is sent, and as the gateway says it after. */

const AT_D1 = {
  NOT_SENT: "Nothing was sent to D1.",
  REJECTED: "D1 has rejected it.",
  UNKNOWN: "D1 may have done it: look at the card before you try again.",
};
export const AT_THREEDS = {
  NOT_SENT: "Nothing was sent to the 3-D Secure server.",
  REJECTED: "The 3-D Secure server has rejected it.",
  UNKNOWN: "The 3-D Secure server may have received it.",
};

/** Writes what went wrong, with the reason and the outcome at the upstream. */
export function explained(error, outcomes = AT_D1) {
  const { reason, outcome, correlationId } = error.answer ?? {};
  if (reason === undefined) {
    return error.message;
  }
  const named = reason === "UNSPECIFIED" ? error.answer.status : reason;
  return `${error.message.replace(/\.$/u, "")} (${named}). ${outcomes[outcome] ?? outcomes.UNKNOWN} ${correlationId ? `Correlation id ${correlationId}` : ""}`;
}

/** Says what is wrong with a field; an empty text that nothing is. */
export function complain(form, name, text) {
  document.getElementById(`${form.id}-${name}-said`).textContent = text;
  form.elements[name].setAttribute("aria-invalid", text === "" ? "false" : "true");
}

/** Says how a form's call went. */
export function tell(form, text, isDone = false) {
  const said = document.getElementById(`${form.id}-said`);
  said.textContent = text;
  said.classList.toggle("done", isDone);
}

/** Returns a form's fields, or null if some do not fit their rule: a field's name, a pattern, and what to say. */
export function read(form, rules) {
  tell(form, "");
  const fields = Object.fromEntries([...new FormData(form)].map(([name, value]) => [name, value.trim()]));
  for (const [name, pattern, text] of rules) {
    complain(form, name, pattern.test(fields[name]) ? "" : text);
  }
  const wrong = form.querySelector("[aria-invalid=true]");
  wrong?.focus();
  return wrong === null ? fields : null;
}

/** Says why the gateway refused a form: at its end, and beside the fields that it names. */
export function refuse(form, error) {
  tell(form, explained(error));
  for (const { field, description } of error.answer?.violations ?? []) {
    const name = field.replace(/^credentials\./u, "").replace(/^expiry\..*/u, "expiry").replace(/^accounts\[0\]\./u, "");
    if (document.getElementById(`${form.id}-${name}-said`) !== null) {
      complain(form, name, description);
    }
  }
}

/** Reads a month and a year, such as 12/2031. */
export function expiryOf(text) {
  const [month, year] = text.split("/").map(Number);
  return { month, year };
}
