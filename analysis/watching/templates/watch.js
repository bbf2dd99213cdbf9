// Asks for the same page again and replaces the sections that have changed. What is open, scrolled or focused stays.
"use strict";

const root = document.documentElement;
const main = document.querySelector("main");
const state = document.getElementById("state");
const shown = new Map([...main.children].map((section) => [section.id, section.outerHTML]));
let version = root.dataset.version;

function keepState(old, fresh) {
  for (const before of old.querySelectorAll("details[id]")) {
    const after = fresh.querySelector(`#${CSS.escape(before.id)}`);
    if (after) after.open = before.open;
  }
}

function scrolled(section) {
  return [...section.querySelectorAll("div, figure")].map((box) => box.scrollLeft);
}

function focused(section) {
  const at = document.activeElement;
  if (!section.contains(at) || at === document.body) return null;
  if (at.localName === "summary") return `#${CSS.escape(at.parentElement.id)} > summary`;
  const link = at.getAttribute("href");
  return link === null ? null : `a[href="${CSS.escape(link)}"]`;
}

function replace(old, fresh) {
  const [places, focus] = [scrolled(old), focused(old)];
  keepState(old, fresh);
  old.replaceWith(fresh);
  fresh.querySelectorAll("div, figure").forEach((box, place) => { box.scrollLeft = places[place] || 0; });
  if (focus) fresh.querySelector(focus)?.focus({ preventScroll: true });
}

function update(page) {
  const first = [...main.children].find((section) => section.getBoundingClientRect().bottom > 0);
  const [anchor, top] = [first?.id, first?.getBoundingClientRect().top];
  const wanted = [...page.querySelector("main").children];
  let before = null;
  for (const fresh of wanted) {
    const text = fresh.outerHTML;
    let old = document.getElementById(fresh.id);
    if (old && (shown.get(fresh.id) === text || "form" in old.dataset)) {
      if (old.previousElementSibling !== before) main.insertBefore(old, before ? before.nextSibling : main.firstChild);
    } else if (old) {
      replace(old, fresh);
      old = fresh;
    } else {
      main.insertBefore(fresh, before ? before.nextSibling : main.firstChild);
      old = fresh;
    }
    shown.set(fresh.id, text);
    before = old;
  }
  const ids = new Set(wanted.map((section) => section.id));
  for (const section of [...main.children]) {
    if (!ids.has(section.id)) {
      shown.delete(section.id);
      section.remove();
    }
  }
  document.title = page.title;
  const moved = anchor && document.getElementById(anchor);
  if (moved && window.scrollY > 0) window.scrollBy(0, moved.getBoundingClientRect().top - top);
}

async function look() {
  if (document.hidden) return;
  try {
    const answer = await fetch(location.href, { cache: "no-store", headers: { "If-None-Match": `"${version}"` } });
    if (answer.status === 200) {
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      version = page.documentElement.dataset.version;
      update(page);
    }
    state.textContent = [200, 304].includes(answer.status) ? "" : `This page is no longer there (${answer.status}).`;
  } catch {
    state.textContent = "The server does not answer: what is shown may be old.";
  }
}

async function follow() {
  await look();
  setTimeout(follow, 1000 * Number(root.dataset.seconds));
}

document.addEventListener("visibilitychange", look);
setTimeout(follow, 1000 * Number(root.dataset.seconds));
