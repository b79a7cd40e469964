// The phone's part of the page: buttons and words around `Phone` (phone.js). One call at a time: who rings meanwhile
// hears that it is busy here, and a caller of a queue is offered to the next. While a caller is on hold a colleague may
// be asked; that call is in front then, and the caller's behind it.

import { MICROPHONE, Phone } from "./phone.js";
import { drawRecording } from "./recording.js";
import { Ring } from "./ring.js";

const WORDS = {
  offline: ["failed", "Phone is not signed in"],
  connecting: ["reconnecting", "Phone is reconnecting…"],
  ready: ["registered", "Phone is ready"],
  over: ["off", "Phone is off"],
  elsewhere: ["off", "Phone is in another tab"],
  asking: ["no-microphone", "Allow the microphone"],
  deaf: ["no-microphone", "No microphone"],
};

const AGAIN_MS = 5000; // between two tries to learn one's extension
const GONE_MS = 2000;
const KEPT = "chartline-call"; // how the call stood, for this tab when it is loaded anew

const find = (id) => document.getElementById(id);
const show = (element, shown) => { element.hidden = !shown; };
const dialled = (text) => text.replace(/(?!^\+)[^0-9*#A-Za-z._-]/g, "").replace(/[.\-_](?=[0-9])/g, "");

export class Softphone {
  #phone = null;
  #call = null; // the one in front
  #held = null; // the caller's, while a colleague is asked
  #asked = ""; // the colleague's name
  #moving = false; // a change of calls that was asked for here
  #since = new WeakMap(); // by call: when the talk began
  #heldSince = null;
  #ring = new Ring();
  #elsewhere = false; // another tab is the phone
  #problem;
  #now;
  #serves;
  #lock = () => {};

  // serves: whether this desk shows a caller whom it talks to, whatever name their call came here under.
  constructor({ problem, now, serves }) {
    this.#problem = problem;
    this.#now = now;
    this.#serves = serves;
    find("phone-answer").onclick = () => this.answer();
    find("phone-hangup").onclick = () => this.#call?.hangUp();
    find("phone-hold").onclick = () => this.#try(this.#call.held ? this.#call.resume() : this.#call.hold());
    find("phone-mute").onclick = () => (this.#call.muted ? this.#call.unmute() : this.#call.mute());
    find("phone-record").onclick = () => this.#try(this.#call.record(this.#call.recording !== "recording"));
    find("phone-transfer").onclick = () => this.#hand(find("phone-hand").hidden);
    find("phone-stay").onclick = () => this.#hand(false);
    find("phone-hand").onsubmit = (event) => this.#transfer(event);
    find("phone-hand").onkeydown = ({ key }) => { if (key === "Escape") this.#hand(false); };
    find("phone-hand").onchange = () => this.#chose();
    find("phone-hand").addEventListener("htmx:afterSwap", () => { this.#chose(); find("phone-to").focus(); });
    find("phone-ask").onclick = () => this.#ask();
    find("phone-over").onclick = () => this.#handOver();
    find("phone-back").onclick = () => this.#back();
    find("phone-dial").onsubmit = (event) => {
      event.preventDefault();
      this.dial(find("phone-number").value);
    };
    find("phone-dial").addEventListener("click", ({ target }) => this.#key(target.closest("[data-key]")?.dataset.key));
    this.#say("connecting");
  }

  // Become the phone; with several tabs of this desk, one of them is it, and the next takes over when it closes.
  async start() {
    this.#say("elsewhere");
    if (navigator.locks) {
      await new Promise((mine) => {
        navigator.locks.request("chartline-phone", () => new Promise((free) => { this.#lock = free; mine(); }));
      });
    }
    const [{ extension, ice_servers: iceServers }] = await Promise.all([this.#own(), this.#sound()]);
    this.#say("connecting");
    const url = new URL("/phone", location.href);
    url.protocol = url.protocol.replace("http", "ws");
    const worker = document.body.dataset.e2e ?? null;
    this.#phone = new Phone({ url: url.href, extension, iceServers, worker });
    this.#phone.addEventListener("state", ({ state }) => this.#moved(state));
    this.#phone.addEventListener("call", ({ call }) => this.#took(call));
    this.#phone.start();
  }

  stop() {
    this.#ring.stop();
    this.#phone?.stop();
    this.#lock();
  }

  get busy() {
    return [this.#call, this.#held].some((call) => call?.state === "talking");
  }

  async answer() {
    if (this.#call?.state === "ringing" && !this.#call.outgoing) await this.#try(this.#call.answer());
  }

  async dial(number) {
    const target = dialled(number);
    if (!target) {
      find("phone-number").focus();
      return;
    }
    if (!this.#phone) {
      this.#problem(this.#elsewhere ? "Your phone is in another tab: call from there." : "The phone is not ready.");
      return;
    }
    if (this.#call || this.#held) {
      this.#problem("End this call before you begin another.");
      return;
    }
    find("phone-number").value = number;
    await this.#try(this.#phone.call(target));
  }

  // The desk shows another caller.
  served() {
    this.#draw();
  }

  // Once a second.
  tick() {
    const began = this.#since.get(this.#call);
    find("phone-time").textContent = began ? span(this.#now() - began) : "";
    find("phone-waits-time").textContent = this.#held ? span(this.#now() - this.#heldSince) : "";
  }

  // What is needed to be a phone; asked again until the hub says it.
  async #own() {
    for (;;) {
      const answer = await fetch("/v1/phone", { headers: { "X-Chartline": "background" } }).catch(() => null);
      if (answer?.ok) return answer.json();
      this.#say("offline");
      await new Promise((later) => { setTimeout(later, AGAIN_MS); });
    }
  }

  // Return once there is a microphone: a phone that cannot speak must not ring. Asked now, not when a caller waits.
  async #sound() {
    this.#say("asking");
    const devices = navigator.mediaDevices; // none at all where the page is not reached safely (https)
    for (;;) {
      try {
        const stream = await devices.getUserMedia(MICROPHONE);
        for (const track of stream.getTracks()) track.stop();
        return;
      } catch {
        this.#say("deaf");
        await new Promise((changed) => devices?.addEventListener("devicechange", changed, { once: true }));
      }
    }
  }

  #moved(state) {
    this.#say(state);
    this.#draw();
  }

  #say(what) {
    const [state, words] = WORDS[what];
    this.#elsewhere = what === "elsewhere";
    find("phone-state").dataset.state = state;
    find("phone-words").textContent = words;
  }

  #took(call) {
    if (this.#call || (this.#held && !call.outgoing)) {
      call.hangUp();
      return;
    }
    this.#call = call;
    if (call.resumed) this.#restore(call);
    else if (!call.outgoing) this.#ring.start();
    call.addEventListener("change", () => this.#draw());
    call.addEventListener("ended", () => this.#over(call));
    this.#draw();
  }

  // Go on as it was before the page was loaded anew: who was silent or held is so again.
  #restore(call) {
    const { since, muted, held } = JSON.parse(sessionStorage.getItem(KEPT) ?? "{}");
    if (since) this.#since.set(call, since);
    const talks = () => {
      if (call.state !== "talking") return;
      if (muted && !call.muted) call.mute();
      if (!call.connected) return;
      call.removeEventListener("change", talks);
      if (held) this.#try(call.hold());
    };
    call.addEventListener("change", talks);
  }

  #keep() {
    const call = this.#held ?? this.#call;
    if (call?.state !== "talking") return;
    const { muted, held } = call;
    sessionStorage.setItem(KEPT, JSON.stringify({ since: this.#since.get(call), muted, held }));
  }

  #over(call) {
    const asked = call === this.#call && this.#held;
    if (call === this.#call) this.#call = this.#held;
    if (call === this.#held || asked) this.#held = null;
    if (!this.#call && !this.#held) sessionStorage.removeItem(KEPT);
    this.#hand(false);
    this.#draw();
    if (call.broken) this.#problem("The call was ended: its encryption could not be proven.");
    if (call.unreached) this.#problem(`The call was ended, its sound found no way: ${call.unreached}.`);
    if (!asked || this.#moving) return;
    this.#problem(`${this.#asked} is not on the line any more. The caller is still on hold.`);
    land("phone-hold");
  }

  #draw() {
    const call = this.#call;
    const asking = Boolean(this.#held);
    const talking = call?.state === "talking";
    const ringsHere = call?.state === "ringing" && !call.outgoing;
    const ready = this.#phone?.state === "ready" && !this.#moving;
    if (!ringsHere) this.#ring.stop();
    if (talking && !this.#since.get(call)) this.#since.set(call, this.#now());
    document.body.dataset.phone = call ? (ringsHere ? "ringing" : call.state) : "none";
    show(find("phone-call"), Boolean(call) || asking);
    show(find("phone-dial-go"), !call && !asking);
    show(find("phone-answer"), ringsHere);
    show(find("phone-mute"), talking);
    show(find("phone-hold"), talking && !asking);
    show(find("phone-transfer"), talking && !asking && !call.outgoing);
    show(find("phone-hangup"), !asking);
    for (const id of ["phone-waits", "phone-over", "phone-back"]) show(find(id), asking);
    find("phone-hold").disabled = !ready;
    find("phone-transfer").disabled = !ready || Boolean(call?.code);
    find("phone-over").disabled = !(ready && talking);
    find("phone-back").disabled = this.#moving;
    for (const key of document.querySelectorAll("[data-key]")) key.disabled = Boolean(talking && call.code);
    this.#keep();
    this.tick();
    if (asking) find("phone-waits-party").textContent = this.#named(this.#held);
    find("phone-party").textContent = call && !asking ? this.#named(call) : this.#asked;
    find("phone-what").textContent = call ? doing(call, ringsHere) : "Calling";
    find("phone-hangup-words").textContent = ringsHere ? "Decline" : "Hang up";
    find("phone-hold").setAttribute("aria-pressed", String(Boolean(call?.held)));
    find("phone-mute").setAttribute("aria-pressed", String(Boolean(call?.muted)));
    drawRecording(talking && !asking && !call.code ? call.recording : null, ready);
    show(find("phone-sas"), Boolean(call?.code));
    find("phone-sas-words").textContent = call?.code ?? "";
  }

  // Who was handed on after a colleague asked here is still called as the colleague by their phone.
  #named(call) {
    if (call.number.startsWith("+") || call.outgoing || !this.#serves()) return call.name || spoken(call.number);
    return "the caller";
  }

  #key(key) {
    if (!key) return;
    const number = find("phone-number");
    if (this.#call?.state !== "talking") {
      number.value += key;
      return;
    }
    try {
      this.#call.press(key);
    } catch (error) {
      this.#problem(`The key was not sent: ${error.message}.`);
    }
  }

  #hand(open) {
    const inside = find("phone-hand").contains(document.activeElement);
    show(find("phone-hand"), open);
    find("phone-transfer").setAttribute("aria-expanded", String(open));
    if (open) document.body.dispatchEvent(new Event("transfer"));
    else if (inside) find("phone-transfer").focus();
  }

  // Nobody in particular can be asked of a queue.
  #chose() {
    find("phone-ask").disabled = find("phone-to")?.selectedOptions[0]?.dataset.queue !== undefined;
  }

  async #transfer(event) {
    event.preventDefault();
    const target = find("phone-to")?.value;
    if (!target) return;
    await this.#try(this.#call.transfer(target));
    this.#hand(false);
  }

  // Call a colleague while the caller hears music.
  async #ask() {
    const [caller, to] = [this.#call, find("phone-to")];
    if (!find("phone-hand").reportValidity() || !caller) return;
    this.#asked = to.selectedOptions[0].dataset.name;
    const target = to.value;
    this.#hand(false);
    await this.#try(this.#move(async () => {
      await caller.hold();
      [this.#held, this.#call, this.#heldSince] = [caller, null, this.#now()];
      this.#draw();
      try {
        await this.#phone.call(target, { sealed: false });
      } catch (error) {
        if (!this.#call) [this.#call, this.#held] = [this.#held, null];
        throw error;
      }
    }));
    land(this.#held ? "phone-back" : "phone-hold");
  }

  // The colleague has the caller from now, and this desk neither.
  async #handOver() {
    const [caller, asked] = [this.#held, this.#call];
    await this.#try(this.#move(async () => {
      await caller.transferTo(asked);
      await Promise.all([gone(caller), gone(asked)]);
    }));
    land(this.#held ? "phone-back" : "caller");
  }

  // Leave the colleague, and speak with the caller again.
  async #back() {
    const [caller, asked] = [this.#held, this.#call];
    await this.#try(this.#move(async () => {
      asked?.hangUp();
      await caller.resume();
    }));
    land("phone-hold");
  }

  async #move(act) {
    this.#moving = true;
    this.#draw();
    try {
      await act();
    } finally {
      this.#moving = false;
      this.#draw();
    }
  }

  async #try(promise) {
    try {
      return await promise;
    } catch (error) {
      if (["NotAllowedError", "NotFoundError", "NotReadableError"].includes(error.name)) {
        this.#say("deaf");
        this.#problem("There is no microphone: plug one in, or allow this page to use it, and try again.");
      } else {
        this.#problem(`The phone could not do that: ${error.message}.`);
      }
      this.#draw();
    }
  }
}

function doing(call, ringsHere) {
  if (call.lost) return "Sound is lost, mending…";
  if (call.held) return "On hold";
  if (call.heldByOther) return "Held by";
  if (call.state === "talking") return call.muted ? "Muted, talking to" : "Talking to";
  return ringsHere ? "Call from" : "Calling";
}

// Once a call that the hub is to end has ended; it is not waited for longer than that takes.
async function gone(call) {
  if (call.state === "ended") return;
  await new Promise((over) => {
    call.addEventListener("ended", over, { once: true });
    setTimeout(over, GONE_MS);
  });
  call.hangUp();
}

// Put the focus where one goes on, when it stood on what is gone.
function land(id) {
  const { activeElement: now } = document;
  if (now === document.body || now.disabled || !now.checkVisibility()) find(id).focus();
}

// A number of North America as people read it; any other as it is.
const spoken = (number) => number.replace(/^\+1(\d{3})(\d{3})(\d{4})$/, "+1 $1-$2-$3");

// Minutes and seconds.
export function span(ms) {
  const seconds = Math.max(Math.round(ms / 1000), 0);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
