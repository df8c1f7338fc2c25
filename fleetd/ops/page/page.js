"use strict";
// Fetches the page again whenever the daemon says that something is new, and changes what has changed in place:
// focus, selection, scroll position and open parts stay. Without this script the page reloads itself.
(() => {
  const PERIOD = 30000;
  const link = document.getElementById("link");
  let source = null;
  let busy = false;
  let again = false;
  let lost = null;

  const key = (node) => (node.nodeType === 1 ? node.getAttribute("data-key") || node.id || "" : "");

  function morph(have, want) {
    if (have.nodeName !== want.nodeName) {
      have.replaceWith(document.importNode(want, true));
      return;
    }
    if (have.nodeType !== 1) {
      if (have.nodeValue !== want.nodeValue) have.nodeValue = want.nodeValue;
      return;
    }
    for (const { name } of [...have.attributes]) {
      if (!want.hasAttribute(name) && !(name === "open" && have.nodeName === "DETAILS")) have.removeAttribute(name);
    }
    for (const { name, value } of [...want.attributes]) {
      if (have.getAttribute(name) !== value) have.setAttribute(name, value);
    }
    const known = new Map([...have.childNodes].filter(key).map((node) => [key(node), node]));
    let at = have.firstChild;
    for (const child of [...want.childNodes]) {
      const name = key(child);
      const match = name ? known.get(name) : at && !key(at) ? at : undefined;
      if (!match) {
        have.insertBefore(document.importNode(child, true), at);
        continue;
      }
      known.delete(name);
      if (match === at) at = at.nextSibling;
      else have.insertBefore(match, at);
      morph(match, child);
    }
    while (at) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
  }

  function say(state, words) {
    link.hidden = false;
    if (link.className !== state) link.className = state;
    if (link.textContent !== words) link.textContent = words;
  }

  function sayLive() {
    const open = source !== null && source.readyState === EventSource.OPEN;
    document.documentElement.classList.toggle("lost", lost !== null);
    if (lost !== null) say("gone", "Connection lost: this is how things stood");
    else if (open) say("live", "Live");
    else say("slow", `Every ${PERIOD / 1000} s`);
  }

  async function refresh() {
    if (document.hidden) return;
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const answer = await fetch("./", { cache: "no-store", signal: AbortSignal.timeout(15000) });
      if (!answer.ok) throw new Error(String(answer.status));
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (fresh.documentElement.dataset.build !== document.documentElement.dataset.build) {
        location.reload();
        return;
      }
      for (const part of ["main", "#headline", "#asof", "h1", "footer", "link[rel=icon]"]) {
        morph(document.querySelector(part), fresh.querySelector(part));
      }
      if (document.title !== fresh.title) document.title = fresh.title;
      lost = null;
    } catch {
      lost = lost || Date.now();
    } finally {
      busy = false;
      sayLive();
      if (again) {
        again = false;
        setTimeout(refresh, 300);
      }
    }
  }

  function connect() {
    if (document.hidden || (source !== null && source.readyState !== EventSource.CLOSED)) return;
    source = new EventSource("events");
    source.onopen = sayLive;
    source.onmessage = refresh;
    source.onerror = refresh;
  }

  // A browser opens few connections to one server: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source !== null) source.close();
      return;
    }
    connect();
    refresh();
  });
  setInterval(() => {
    connect();
    refresh();
  }, PERIOD);
  connect();
  sayLive();
})();
