// The desk: asks for the parts of the page that /live says have changed, keeps the clocks, and minds the session.

import htmx from "htmx.org";

import { Live } from "./live.js";
import { Softphone, span } from "./softphone.js";

const HEADER = "X-Chartline"; // what a write by the session's cookie must carry (hub/api/caller.py)
const ACTIVE_MS = 20000; // how often a hand on the keyboard is told
const WARNED_MS = 60000; // before the session is over
const PROBLEM_MS = 8000;

const { body } = document;
const find = (id) => document.getElementById(id);
const live = new Live("/live");
const serves = () => live.state.caller?.phase === "talking";
const phone = find("phone") ? new Softphone({ problem, now: () => live.now(), serves }) : null;
const title = document.title;

let told = 0; // when the hub was last told that somebody is here
let touched = false;
let problems = null;

function problem(text) {
  clearTimeout(problems);
  find("problem").textContent = text;
  find("problem").hidden = false;
  problems = setTimeout(() => { find("problem").hidden = true; }, PROBLEM_MS);
}

function leave(why) {
  dispatchEvent(new Event("chartline:session-over"));
  phone?.stop();
  location.replace(`/login?ended=${why}`);
}

// Parts

const keyOf = (id, name) => find(id)?.querySelector(`[data-${name}]`)?.dataset[name] ?? "";

function changed(parts) {
  const { me, caller, asked } = live.state;
  for (const part of ["me", "queues", "tasks"]) if (parts.includes(part)) htmx.trigger(body, `live:${part}`);
  if (parts.includes("caller") || parts.includes("me")) {
    const phase = caller?.phase ?? "none";
    if (phase !== body.dataset.phase || parts.includes("caller")) htmx.trigger(body, "live:head");
    if (phase === "ringing" && body.dataset.phase !== "ringing") announce("Incoming call.");
    body.dataset.phase = phase;
    document.title = phase === "ringing" ? `Incoming call | ${title}` : title;
    popped();
    phone?.served();
  }
  if (parts.includes("asked") && (asked ?? "") !== keyOf("asked", "call")) htmx.trigger(body, "live:asked");
  if (parts.includes("me") && me?.ended !== changed.ended) {
    if (changed.ended !== undefined) htmx.trigger(body, "live:calls");
    changed.ended = me?.ended;
  }
}

// The pop is asked for only when it would say something else: each look is on record, and somebody may be typing in it.
let asking = false;
let due = false;

function popped() {
  if (asking) due = true;
  else if (find("pop") && (live.state.caller?.key ?? "") !== keyOf("pop", "key")) htmx.trigger(body, "live:pop");
}

const announce = (text) => { find("say").textContent = text; };

body.addEventListener("htmx:configRequest", ({ detail }) => {
  const background = detail.triggeringEvent?.type.startsWith("live:");
  detail.headers[HEADER] = background ? "background" : "desk";
});
body.addEventListener("htmx:beforeRequest", ({ detail }) => {
  if (detail.target.id === "pop") asking = true;
});
body.addEventListener("htmx:afterRequest", ({ detail }) => {
  if (detail.target.id !== "pop") return;
  asking = false;
  if (due) popped(); // not otherwise: an answer may be ahead of what /live has said
  due = false;
});
body.addEventListener("htmx:afterSwap", ({ detail }) => {
  tick();
  const byHand = /^(click|submit)$/.test(detail.requestConfig.triggeringEvent?.type ?? "");
  if (!byHand || document.activeElement !== body) return; // focus stood on what is gone
  const wrong = detail.target.querySelector("[role=alert] ~ * input:not([type=hidden]), [role=alert] ~ input");
  const next = wrong ?? (detail.target.childElementCount ? detail.target : find("caller"));
  if (!wrong) next.tabIndex = -1;
  next.focus();
});
body.addEventListener("htmx:responseError", ({ detail }) => {
  if (detail.xhr.status === 401) leave("over");
  else problem(`That was not done (${detail.xhr.status}). Try again.`);
});
body.addEventListener("htmx:sendError", () => problem("Chartline does not answer. Trying again."));

// Clocks

function tick() {
  const now = live.now();
  for (const clock of document.querySelectorAll("[data-since]")) clock.textContent = span(now - Date.parse(clock.dataset.since));
  for (const clock of document.querySelectorAll("[data-until]")) clock.textContent = span(Date.parse(clock.dataset.until) - now);
  for (const clock of document.querySelectorAll("[data-target]")) {
    const late = now - Date.parse(clock.dataset.since) > clock.dataset.target * 1000;
    clock.closest("tr").classList.toggle("queues__late", late);
  }
  phone?.tick();
  minded(now);
}

// The session: whoever does nothing for ten minutes is signed out, and is asked a minute before.

function minded(now) {
  const here = touched || phone?.busy;
  if (here && now - told > ACTIVE_MS) {
    told = now;
    touched = false;
    live.active();
  }
  const left = live.idleAt === null ? Infinity : live.idleAt - now;
  const asks = left < WARNED_MS;
  find("still-left").textContent = span(Math.max(left, 0));
  if (asks === !find("still").hidden) return;
  find("still").hidden = !asks;
  for (const behind of document.querySelectorAll("body > header, body > main")) behind.inert = asks;
  if (asks) find("still-yes").focus();
}

for (const act of ["keydown", "pointerdown"]) {
  addEventListener(act, () => { touched = true; }, { capture: true, passive: true });
}
find("still-yes").onclick = () => {
  told = live.now();
  live.active();
};

// Buttons that call somebody

async function callBack(id) {
  const answer = await fetch(`/v1/calls/${encodeURIComponent(id)}`, { headers: { [HEADER]: "desk" } });
  const { number } = answer.ok ? await answer.json() : {};
  if (number) await phone.dial(number);
  else problem("The number of this call is not known.");
}

body.addEventListener("click", ({ target }) => {
  const of = (name) => target.closest(`[data-${name}]`)?.getAttribute(`data-${name}`);
  if (!phone) return;
  if (of("answer") !== undefined) phone.answer();
  else if (of("dial")) phone.dial(of("dial"));
  else if (of("call-back")) callBack(of("call-back"));
});

live.addEventListener("change", ({ parts }) => changed(parts));
live.addEventListener("session", () => tick());
live.addEventListener("link", ({ up }) => {
  find("link").textContent = up ? "" : "Connection lost: what you see may be old.";
});
live.addEventListener("over", ({ reason }) => leave(reason === "idle" ? "idle" : "over"));
live.start();
setInterval(tick, 1000);
phone?.start();
