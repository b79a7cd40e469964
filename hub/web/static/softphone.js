// The phone's part of the page: buttons and words around `Phone` (phone.js). One call at a time: who rings meanwhile
// hears that it is busy here, and a caller of a queue is offered to the next.

import { MICROPHONE, Phone } from "./phone.js";
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

const find = (id) => document.getElementById(id);
const show = (element, shown) => { element.hidden = !shown; };
const dialled = (text) => text.replace(/(?!^\+)[^0-9*#A-Za-z._-]/g, "").replace(/[.\-_](?=[0-9])/g, "");

export class Softphone {
  #phone = null;
  #call = null;
  #since = null;
  #ring = new Ring();
  #problem;
  #now;
  #lock = () => {};

  constructor({ problem, now }) {
    this.#problem = problem;
    this.#now = now;
    find("phone-answer").onclick = () => this.answer();
    find("phone-hangup").onclick = () => this.#call?.hangUp();
    find("phone-hold").onclick = () => this.#try(this.#call.held ? this.#call.resume() : this.#call.hold());
    find("phone-mute").onclick = () => (this.#call.muted ? this.#call.unmute() : this.#call.mute());
    find("phone-transfer").onclick = () => this.#hand(find("phone-hand").hidden);
    find("phone-stay").onclick = () => this.#hand(false);
    find("phone-hand").onsubmit = (event) => this.#transfer(event);
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
    await this.#sound();
    this.#say("connecting");
    const { extension, ice_servers: iceServers } = await this.#own();
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
    return this.#call?.state === "talking";
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
    if (this.#call || !this.#phone) {
      this.#problem(this.#call ? "End this call before you begin another." : "The phone is not ready.");
      return;
    }
    find("phone-number").value = number;
    await this.#try(this.#phone.call(target));
  }

  // Once a second.
  tick() {
    if (this.#since) find("phone-time").textContent = span(this.#now() - this.#since);
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
    find("phone-state").dataset.state = state;
    find("phone-words").textContent = words;
  }

  #took(call) {
    if (this.#call) {
      call.hangUp();
      return;
    }
    this.#call = call;
    this.#since = null;
    if (!call.outgoing && !call.resumed) this.#ring.start();
    call.addEventListener("change", () => this.#draw());
    call.addEventListener("ended", () => {
      this.#call = this.#since = null;
      this.#hand(false);
      this.#draw();
      if (call.broken) this.#problem("The call was ended: its encryption could not be proven.");
    });
    this.#draw();
  }

  #draw() {
    const call = this.#call;
    const talking = call?.state === "talking";
    const ringsHere = call?.state === "ringing" && !call.outgoing;
    const ready = this.#phone?.state === "ready";
    if (!ringsHere) this.#ring.stop();
    if (talking && !this.#since) this.#since = this.#now();
    document.body.dataset.phone = call ? (ringsHere ? "ringing" : call.state) : "none";
    show(find("phone-call"), Boolean(call));
    show(find("phone-dial-go"), !call);
    show(find("phone-answer"), ringsHere);
    for (const id of ["phone-hold", "phone-mute", "phone-transfer"]) show(find(id), talking);
    for (const id of ["phone-hold", "phone-transfer"]) find(id).disabled = !ready;
    for (const key of document.querySelectorAll("[data-key]")) key.disabled = Boolean(talking && call.code);
    if (!call) return;
    find("phone-party").textContent = call.name || spoken(call.number);
    find("phone-what").textContent = doing(call, ringsHere);
    if (!this.#since) find("phone-time").textContent = "";
    find("phone-hangup-words").textContent = ringsHere ? "Decline" : "Hang up";
    find("phone-hold").setAttribute("aria-pressed", String(call.held));
    find("phone-mute").setAttribute("aria-pressed", String(call.muted));
    show(find("phone-sas"), Boolean(call.code));
    find("phone-sas-words").textContent = call.code ?? "";
  }

  #key(key) {
    if (!key) return;
    const number = find("phone-number");
    if (!this.busy) {
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
    show(find("phone-hand"), open);
    find("phone-transfer").setAttribute("aria-expanded", String(open));
    if (open) document.body.dispatchEvent(new Event("transfer"));
  }

  async #transfer(event) {
    event.preventDefault();
    const target = find("phone-to")?.value;
    if (!target) return;
    await this.#try(this.#call.transfer(target));
    this.#hand(false);
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

// A number of North America as people read it; any other as it is.
const spoken = (number) => number.replace(/^\+1(\d{3})(\d{3})(\d{4})$/, "+1 $1-$2-$3");

// Minutes and seconds.
export function span(ms) {
  const seconds = Math.max(Math.round(ms / 1000), 0);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
