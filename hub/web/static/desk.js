// The desk: asks for the parts of the page that /live says have changed, keeps the clocks, and minds the session.

import htmx from "htmx.org";

import { Live } from "./live.js";
import { Softphone, span } from "./softphone.js";
import { keep, retype, typedIn } from "./typing.js";

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
  const { me, caller } = live.state;
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
  if (parts.includes("asked")) asks();
  if (parts.includes("me") && me?.ended !== changed.ended) {
    if (changed.ended !== undefined) htmx.trigger(body, "live:calls");
    changed.ended = me?.ended;
  }
}

// The pop is asked for only when it would say something else: each look is on record, and somebody may be typing in it.
const looks = new Map(); // requests under way whose answer is the pop: how many answers had been sent off before each
let sent = 0; // of what callers said
let due = false;

// Whether /live knows more than the pop shows. An answer may be ahead of /live, which says the same a moment later.
function behind(shown, said) {
  const [[offer, stage, tries], [saidOffer, saidStage, saidTries]] = [shown.split("."), said.split(".")];
  if (offer !== saidOffer) return true;
  return stage === "masked" && (saidStage !== "masked" || Number(saidTries) > Number(tries));
}

function popped() {
  if (looks.size) due = true;
  else if (find("pop") && behind(keyOf("pop", "key"), live.state.caller?.key ?? "")) htmx.trigger(body, "live:pop");
}

// What became of a call is asked until it is said; who writes a note is not cut short by the next call.
function asks() {
  const { asked } = live.state;
  if (!find("asked") || (asked ?? "") === keyOf("asked", "call")) return;
  if (typedIn(find("asked"))) find("asked-title").lastChild.data = "What became of the call before this one?";
  else htmx.trigger(body, "live:asked");
}

const announce = (text) => { find("say").textContent = text; };

body.addEventListener("htmx:configRequest", ({ detail }) => {
  const background = detail.triggeringEvent?.type.startsWith("live:");
  detail.headers[HEADER] = background ? "background" : "desk";
});
body.addEventListener("htmx:beforeRequest", ({ detail: { requestConfig, target, xhr } }) => {
  if (target.id !== "pop") return;
  if (requestConfig.verb !== "get") sent += 1;
  looks.set(xhr, sent);
});
body.addEventListener("htmx:afterRequest", ({ detail: { xhr } }) => {
  if (!looks.delete(xhr) || looks.size) return;
  if (due) popped(); // not otherwise: an answer may be ahead of what /live has said
  due = false;
});
body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  keep(detail.target);
  if (!looks.has(detail.xhr) || looks.get(detail.xhr) === sent) return;
  detail.shouldSwap = false; // what was asked for before the caller's answer was sent is older than what comes of that
  due = true;
});
body.addEventListener("htmx:afterSwap", ({ detail }) => {
  retype(detail.target);
  const saved = detail.target.id === "asked" && detail.requestConfig.formData?.get("call");
  if (saved && saved !== live.state.asked) asks();
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
