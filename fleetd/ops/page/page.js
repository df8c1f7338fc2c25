"use strict";
// Fetches the page again whenever the daemon says that something is new, and changes what has changed in place:
// focus, selection, scroll position and open parts stay. A tab that nobody sees asks for its title and its icon only.
// Without this script the page reloads itself.
(() => {
  const PERIOD = 30000;
  const { root, subject } = document.documentElement.dataset;
  let tag = null;
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
    if (lost !== null) say("gone", `Connection lost at ${lost.slice(11, 19)} UTC: this is how things stood`);
    else if (open) say("live", "Live");
    else say("slow", `Every ${PERIOD / 1000} s`);
  }

  function wear(mood) {
    const icon = document.querySelector("link[rel=icon]");
    icon.href = icon.dataset[mood];
  }

  // What the tab says is as old as the page: it must not look well. The next answer is taken whole, and mends it.
  function lose() {
    lost = lost || new Date().toISOString();
    tag = null;
    document.title = `? ${document.title.replace(/^\? /, "")}`;
    wear("blind");
  }

  async function ask(where, headers) {
    const answer = await fetch(where, { cache: "no-store", headers, signal: AbortSignal.timeout(15000) });
    // That a machine is gone, or a filter cannot be read, is an answer, too.
    if (!answer.ok && ![304, 400, 404].includes(answer.status)) throw new Error(String(answer.status));
    return answer;
  }

  async function show(answer) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const { build, root: theirs } = fresh.documentElement.dataset;
    if (build === undefined) throw new Error("somebody else's page");
    if (build !== document.documentElement.dataset.build || theirs !== root) {
      location.reload();
      return;
    }
    for (const part of ["main", "#how", "#asof", "h1", "footer", "link[rel=icon]"]) {
      morph(document.querySelector(part), fresh.querySelector(part));
    }
    if (document.title !== fresh.title) document.title = fresh.title;
    tag = answer.headers.get("ETag");
  }

  async function refresh() {
    if (document.hidden) {
      glance();
      return;
    }
    if (busy) {
      again = true;
      return;
    }
    busy = true;
    try {
      const answer = await ask(location.href.split("#")[0], tag === null ? {} : { "If-None-Match": tag });
      if (answer.status !== 304) await show(answer);
      lost = null;
    } catch {
      lose();
    } finally {
      busy = false;
      sayLive();
      if (again) {
        again = false;
        setTimeout(refresh, 300);
      }
    }
  }

  async function glance() {
    try {
      const told = await (await ask(`${root}summary`, {})).json();
      document.title = subject ? `${subject} · ${told.title}` : told.title;
      wear(told.mood);
      tag = null;
      lost = null;
    } catch {
      lose();
    }
  }

  function connect() {
    if (document.hidden || (source !== null && source.readyState !== EventSource.CLOSED)) return;
    source = new EventSource(`${root}events`);
    source.onopen = sayLive;
    source.onmessage = refresh;
    source.onerror = refresh;
  }

  // A browser opens few connections to one server: a page that nobody sees gives its own back.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source !== null) source.close();
      glance();
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
