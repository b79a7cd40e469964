// The phone in a page: SIP over WebSocket (RFC 7118) by JsSIP, one sound element, calls as objects.
//
//   const phone = new Phone({ url, extension, iceServers });
//   phone.addEventListener("call", ({ call }) => ...);      an incoming call, or one that was begun here
//   phone.addEventListener("state", ({ state }) => ...);    "offline", "connecting", "ready", "over"
//   phone.start();
//   const call = await phone.call("102");
//
// The session's cookie is what lets it in: it knows no password. Sound goes on while the socket is away; what needs
// signalling (hold, transfer, ...) rejects until it is back, so a page shows those buttons by `phone.state`.

import JsSIP from "jssip";

import { Call } from "./call.js";
import { Sealing, able, saidIn } from "./sealing.js";

const OVER = 4401; // the login's session is over (hub/api/phone.py)
const NOT_A_PHONE = 4404;
const AGAIN_S = { least: 1, most: 8 };

export const MICROPHONE = { audio: { echoCancellation: true, noiseSuppression: true, autoGainControl: true }, video: false };

// What this tab is to the registrar (RFC 5626): the same after a reload, so that it takes its own place there.
function instance() {
  const kept = sessionStorage.getItem("chartline-phone") ?? crypto.randomUUID();
  sessionStorage.setItem("chartline-phone", kept);
  return kept;
}

export class Phone extends EventTarget {
  #ua = null;
  #settings;
  #stop = () => this.stop();

  constructor({ url, extension, iceServers = [], worker = null, capture = null, player = null, log = false }) {
    super();
    // worker: the address of e2e.js; without it no call is encrypted from end to end.
    // capture: () => Promise<MediaStream>, for tests; the microphone otherwise.
    this.#settings = { url, extension, iceServers, worker };
    this.capture = capture ?? (() => navigator.mediaDevices.getUserMedia(MICROPHONE));
    this.player = player ?? new Audio(); // one for all calls: one for each would double the sound after a hold
    this.player.autoplay = true;
    this.state = "offline";
    this.calls = new Set();
    if (log) JsSIP.debug.enable("JsSIP:*");
  }

  get extension() {
    return this.#settings.extension;
  }

  start() {
    if (this.#ua) return;
    const { url, extension } = this.#settings;
    const ua = new JsSIP.UA({
      sockets: [new JsSIP.WebSocketInterface(url)],
      uri: `sip:${extension}@${location.hostname}`,
      instance_id: instance(),
      register_expires: 120,
      session_timers: false,
      no_answer_timeout: 120,
      connection_recovery_min_interval: AGAIN_S.least,
      connection_recovery_max_interval: AGAIN_S.most,
      user_agent: "chartline",
    });
    ua.on("connecting", () => this.#become("connecting"));
    ua.on("connected", () => this.#become("connecting"));
    ua.on("registered", () => this.#become("ready"));
    ua.on("unregistered", () => this.#become(ua.isConnected() ? "connecting" : "offline"));
    ua.on("registrationFailed", () => this.#become(ua.isConnected() ? "offline" : "connecting"));
    ua.on("disconnected", ({ code }) => {
      this.#become("connecting");
      if (code === OVER || code === NOT_A_PHONE) queueMicrotask(() => this.stop());
    });
    ua.on("newRTCSession", ({ originator, session, request }) => {
      if (originator === "remote") this.#rings(session, request);
    });
    this.#ua = ua;
    ua.start();
    addEventListener("chartline:session-over", this.#stop);
  }

  // Leave: calls are hung up, the extension rings here no more.
  stop() {
    removeEventListener("chartline:session-over", this.#stop);
    const ua = this.#ua;
    this.#ua = null;
    if (!ua) return;
    for (const call of this.calls) call.hangUp();
    ua.stop();
    this.#become("over");
  }

  // Call an extension or a number; resolves once it is under way. Sealed where the other end is a page that can, unless
  // the call is to be handed over: the keys stay between two.
  async call(number, { sealed = true } = {}) {
    this.#need();
    const sealing = sealed ? this.#sealing(true) : null;
    const stream = await this.capture();
    try {
      await sealing?.ready();
      this.#need();
    } catch (error) {
      sealing?.end();
      for (const track of stream.getTracks()) track.stop();
      throw error;
    }
    const call = new Call(this, { number, outgoing: true, stream, sealing });
    // JsSIP makes the peer connection while it calls: whoever is to see it must listen before.
    call.follow((eventHandlers) =>
      this.#ua.call(this.address(number), { ...this.media(stream), eventHandlers }),
    );
    this.#keep(call);
    return call;
  }

  // What JsSIP needs to speak.
  media(mediaStream) {
    const { iceServers } = this.#settings;
    return { mediaStream, pcConfig: { iceServers, bundlePolicy: "max-bundle" }, mediaConstraints: { audio: true, video: false } };
  }

  address(number) {
    return number.includes("@") ? number : `sip:${encodeURIComponent(number)}@${location.hostname}`;
  }

  #need() {
    if (this.state !== "ready") throw new Error("not connected");
  }

  #sealing(calls) {
    const { worker } = this.#settings;
    return worker && able() ? new Sealing(worker, calls) : null;
  }

  #rings(session, request) {
    const sealing = saidIn(request.body ?? "") ? this.#sealing(false) : null;
    const call = new Call(this, {
      number: request.from.uri.user,
      name: request.from.display_name,
      outgoing: false,
      resumed: request.getHeader("X-Resume") ?? null,
      sealing,
      commitment: saidIn(request.body ?? ""),
    });
    call.follow((handlers) => {
      for (const [name, handler] of Object.entries(handlers)) session.on(name, handler);
      return session;
    });
    this.#keep(call);
    if (call.resumed) call.answer().catch(() => call.hangUp()); // it was answered before the page was loaded anew
  }

  #keep(call) {
    this.calls.add(call);
    call.addEventListener("ended", () => this.calls.delete(call), { once: true });
    this.#tell("call", { call });
  }

  #become(state) {
    if (state === this.state || this.state === "over") return;
    this.state = state;
    this.#tell("state", { state });
  }

  #tell(kind, more) {
    this.dispatchEvent(Object.assign(new Event(kind), more));
  }
}
