/**
 * Keeps the page up to date: fetches it again every few seconds, and changes what differs in place, so that focus,
 * selection and scroll position stay. Says so when the gateway does not answer, and when it does again.
 */

const POLL_MS = 5_000;
const RETRY_MS = 2_000;
const TIMEOUT_MS = 4_000;
const NOTICE_MS = 60_000;

const banner = document.getElementById("link");
const title = () => document.title.replace(/^No answer · /u, "");

let lastAnswer = Date.now();
let isLost = false;
let noticeUntil = 0;
let timer = 0;

/** Fetches the page as a document, whose scripts never run. */
function fetchPage() {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("GET", "./");
    request.responseType = "document";
    request.timeout = TIMEOUT_MS;
    request.onload = () => {
      const page = request.response;
      if (request.status === 200 && page?.body.dataset.version) {
        resolve(page);
      } else {
        reject(new Error(`it answers with ${request.status}`));
      }
    };
    request.onerror = () => reject(new Error("nothing answers at its address"));
    request.ontimeout = () => reject(new Error(`no answer within ${TIMEOUT_MS / 1000} s`));
    request.send();
  });
}

/** Writes a duration as the page does. */
function duration(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) {
    return `${seconds} s`;
  }
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes} min ${seconds % 60} s` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** Writes a time as the page does, in UTC. */
const clock = (ms) => `${new Date(ms).toISOString().slice(11, 19)} UTC`;

function say(level, text, aside = "") {
  if (banner.dataset.text !== text) {
    // Spoken once, and not again while only the seconds pass.
    banner.dataset.text = text;
    banner.className = `link ${level}`;
    const passing = document.createElement("span");
    passing.setAttribute("aria-hidden", "true");
    banner.replaceChildren(text, passing);
  }
  banner.querySelector("span").textContent = aside;
}

function hush() {
  delete banner.dataset.text;
  banner.className = "link";
  banner.replaceChildren();
}

function lose(error) {
  isLost = true;
  document.body.classList.add("lost");
  document.title = `No answer · ${title()}`;
  const text = `No answer from the gateway since ${clock(lastAnswer)}: ${error.message}. What is below is from then.`;
  say("bad", text, ` That is ${duration(Date.now() - lastAnswer)} ago.`);
}

function find(page) {
  const began = page.body.dataset.started;
  const wasRestarted = began !== document.body.dataset.started;
  if (page.body.dataset.version !== document.body.dataset.version) {
    // Another version may come with other files.
    location.reload();
    return;
  }
  if (isLost || wasRestarted) {
    const away = isLost ? `It did not for ${duration(Date.now() - lastAnswer)}. ` : "";
    say("good", `The gateway answers again. ${away}${wasRestarted ? "It has restarted: counts begin at zero." : ""}`);
    noticeUntil = Date.now() + NOTICE_MS;
  } else if (Date.now() > noticeUntil) {
    hush();
  }
  isLost = false;
  lastAnswer = Date.now();
  document.body.classList.remove("lost");
  document.body.dataset.started = began;
  document.title = page.title;
  for (const name of ["header", "main"]) {
    update(document.querySelector(name), page.querySelector(name));
  }
}

/** Marks what has changed, unless the reader wants no motion. */
function flash(element) {
  if (!matchMedia("(prefers-reduced-motion: reduce)").matches) {
    element.animate({ backgroundColor: ["var(--moved)", "transparent"] }, { duration: 1_600, easing: "ease-out" });
  }
}

/** Makes an element equal to another one, and keeps each part that is the same. */
function update(present, wanted) {
  for (const { name } of [...present.attributes]) {
    if (!wanted.hasAttribute(name)) {
      present.removeAttribute(name);
    }
  }
  for (const { name, value } of wanted.attributes) {
    if (present.getAttribute(name) !== value) {
      present.setAttribute(name, value);
    }
  }
  if (present.hasAttribute("data-moves") && present.textContent !== wanted.textContent) {
    flash(present);
  }
  const given = [...wanted.childNodes];
  for (const [place, child] of given.entries()) {
    const own = present.childNodes[place];
    if (own === undefined) {
      present.append(document.importNode(child, true));
    } else if (own.nodeType !== child.nodeType || own.nodeName !== child.nodeName || own.id !== child.id) {
      own.replaceWith(document.importNode(child, true));
    } else if (child.nodeType === Node.ELEMENT_NODE) {
      update(own, child);
    } else if (own.data !== child.data) {
      own.data = child.data;
    }
  }
  while (present.childNodes.length > given.length) {
    present.lastChild.remove();
  }
}

async function refresh() {
  try {
    await fetchPage().then(find, lose);
  } finally {
    // Another refresh may have begun meanwhile; there is one timer.
    clearTimeout(timer);
    // A page that nobody sees asks nothing.
    if (!document.hidden) {
      timer = setTimeout(refresh, isLost ? RETRY_MS : POLL_MS);
    }
  }
}

document.addEventListener("visibilitychange", () => (document.hidden ? clearTimeout(timer) : refresh()));
timer = setTimeout(refresh, POLL_MS);
