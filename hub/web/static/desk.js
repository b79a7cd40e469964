// The desk: asks for the parts of the page that /live says have changed, keeps the clocks, and minds the session.

import htmx from "htmx.org";

import { Live } from "./live.js";
import { Softphone, span } from "./softphone.js";
import { keep, retype, typedIn } from "./typing.js";

const HEADER = "X-Chartline"; // what a write by the session's cookie must carry (hub/api/caller.py)
const ACTIVE_MS = 20000; // how often a hand on the keyboard is told
const WARNED_MS = 60000; // before the session is over
const PROBLEM_MS = 8000;
const AGAIN_MS = { least: 2000, most: 8000 }; // between two tries to ask for a part of the page

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
    htmx.trigger(body, "live:calls");
    changed.ended = me?.ended;
  }
}

// The pop is asked for only when it would say something else: each look is on record, and somebody may be typing in it.
const looks = new Map(); // requests under way whose answer is the pop: how many answers had been sent off before each
let sent = 0; // of what callers said
let due = false;
let about = null; // the call that the pop is about, as /live last said

const offerOf = (key) => key.split(".")[0];

// Whether /live knows more than the pop shows. An answer may be ahead of /live, which says the same a moment later.
function behind(shown, said) {
  const [[offer, stage, tries], [saidOffer, saidStage, saidTries]] = [shown.split("."), said.split(".")];
  if (offer !== saidOffer) return true;
  return stage === "masked" && (saidStage !== "masked" || Number(saidTries) > Number(tries));
}

function popped() {
  const pop = find("pop");
  if (!pop) return;
  const [shown, said] = [pop.querySelector("[data-key]")?.dataset.key, live.state.caller?.key ?? ""];
  const [call, before] = [offerOf(said), about];
  about = call;
  const another = call !== before && (shown ? offerOf(shown) !== call : before !== null && looks.size > 0);
  if (another) clear(pop);
  if (looks.size) due = true;
  else if (another || shown === undefined || behind(shown, said)) htmx.trigger(body, "live:pop");
}

// Nothing of another call stays in sight until the next answer, which may never come; nor is its own waited for.
function clear(pop) {
  const held = pop.contains(document.activeElement);
  const over = [...looks.keys()];
  looks.clear();
  pop.replaceChildren();
  for (const xhr of over) xhr.abort();
  if (held) find("caller").focus();
}

// What became of a call is asked until it is said; who writes a note is not cut short by the next call.
function asks() {
  const { asked } = live.state;
  if (!find("asked") || (asked ?? "") === keyOf("asked", "call")) return;
  if (typedIn(find("asked"))) find("asked-title").lastChild.data = "What became of the call before this one?";
  else htmx.trigger(body, "live:asked");
}

// A part that could not be asked for is asked for again, after pauses that grow until there is an answer.
const pauses = new Map(); // by part: the last, in milliseconds

function again(part) {
  const pause = Math.min((pauses.get(part) ?? AGAIN_MS.least / 2) * 2, AGAIN_MS.most);
  pauses.set(part, pause);
  setTimeout(() => look(part), pause * (0.5 + Math.random() / 2)); // by chance, as in live.js
}

function look(part) {
  if (part === "pop") popped();
  else if (part === "asked") asks();
  else htmx.trigger(body, `live:${part === "presence" ? "me" : part}`);
}

// What came and went between two words of /live stands in an answer, and is taken back by nothing that /live says.
const said = {
  head: ({ caller }) => caller?.phase ?? "",
  pop: ({ caller }) => offerOf(caller?.key ?? ""),
  queues: ({ queues }) => queues?.map(({ waiting }) => waiting).join(" ") ?? "",
};
const marks = { head: "phase", pop: "key", queues: "waiting" };

const differs = (part) => live.up && part in said && offerOf(keyOf(part, marks[part])) !== said[part](live.state);

function compared(part) {
  if (differs(part)) setTimeout(() => { if (differs(part)) look(part); }, AGAIN_MS.least); // it may be ahead of /live
}

// What a person asked for, a person asks for again.
function unanswered({ requestConfig, target }, why = "Chartline does not answer.") {
  const alone = requestConfig.verb === "get" && !byHand(requestConfig);
  problem(`${why} ${alone ? "Trying again." : "Try again."}`);
  if (alone || target.id === "presence") again(target.id); // a press takes the place of looks
}

// What was asked for before the answer that a part shows is not shown any more; what came of it /live says.
const numbers = new WeakMap(); // by request, in the order in which they were begun
const latest = new Map(); // by part: the number of the request whose answer it shows
let begun = 0;
let pressed = false; // a press is about to be sent: the answer to a look that waits would take its button away before

const byHand = ({ triggeringEvent }) => /^(click|submit)$/.test(triggeringEvent?.type ?? "");

const announce = (text) => { find("say").textContent = text; };

body.addEventListener("htmx:configRequest", ({ detail }) => {
  const background = detail.triggeringEvent?.type.startsWith("live:");
  detail.headers[HEADER] = background ? "background" : "desk";
});
body.addEventListener("htmx:confirm", (event) => {
  const { target, verb } = event.detail;
  if (target.id !== "presence") return;
  if (verb !== "get") pressed = true;
  else if (pressed) event.preventDefault();
});
body.addEventListener("htmx:beforeRequest", ({ detail: { requestConfig, target, xhr } }) => {
  begun += 1;
  numbers.set(xhr, begun);
  pressed = false;
  if (target.id !== "pop") return;
  if (requestConfig.verb !== "get") sent += 1;
  looks.set(xhr, sent);
});
body.addEventListener("htmx:afterRequest", ({ detail: { successful, target, xhr } }) => {
  if (successful) pauses.delete(target.id);
  if (!looks.delete(xhr) || looks.size) return;
  if (due) popped(); // not otherwise: an answer may be ahead of what /live has said
  due = false;
});
body.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (numbers.get(detail.xhr) < (latest.get(detail.target.id) ?? 0)) detail.shouldSwap = false;
  if (detail.shouldSwap) keep(detail.target);
  if (!looks.has(detail.xhr) || looks.get(detail.xhr) === sent) return;
  detail.shouldSwap = false; // what was asked for before the caller's answer was sent is older than what comes of that
  due = true;
});
body.addEventListener("htmx:afterSwap", ({ detail }) => {
  latest.set(detail.target.id, numbers.get(detail.xhr));
  retype(detail.target);
  compared(detail.target.id);
  const saved = detail.target.id === "asked" && detail.requestConfig.formData?.get("call");
  if (saved && saved !== live.state.asked) asks();
  tick();
  if (!byHand(detail.requestConfig) || document.activeElement !== body) return; // focus stood on what is gone
  const wrong = detail.target.querySelector("[role=alert] ~ * input:not([type=hidden]), [role=alert] ~ input");
  const next = wrong ?? (detail.target.childElementCount ? detail.target : find("caller"));
  if (!wrong) next.tabIndex = -1;
  next.focus();
});
body.addEventListener("htmx:responseError", ({ detail }) => {
  const { status } = detail.xhr;
  const why = `That was not done (${status}).`;
  if (status === 401) leave("over");
  else if (status >= 500) unanswered(detail, why);
  else problem(`${why} Try again.`);
});
for (const fault of ["htmx:sendError", "htmx:timeout"]) body.addEventListener(fault, ({ detail }) => unanswered(detail));

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

let rested = null; // where the focus was when somebody was asked whether they are there

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
  if (asks) rested = document.activeElement;
  find("still").hidden = !asks;
  for (const behind of document.querySelectorAll("body > header, body > main")) behind.inert = asks;
  if (asks) find("still-yes").focus();
  else goOn();
}

function goOn() {
  if (rested === body) return;
  const same = rested.isConnected ? rested : find(rested.id); // its part may have been rendered anew
  (same?.checkVisibility() ? same : find("caller")).focus();
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
  const asked = fetch(`/v1/calls/${encodeURIComponent(id)}`, { headers: { [HEADER]: "desk" } });
  const answer = await asked.catch(() => null);
  const { number } = answer?.ok ? await answer.json() : {};
  if (!answer) problem("Chartline does not answer. Try again.");
  else if (number) await phone.dial(number);
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
