// One call of the phone, as a page sees it; every method that needs signalling returns a promise.
//
// Events: "change" whenever something below is different, "ended" once.

import { Gathering } from "./gathering.js";
import { INFO_TYPE, saidIn } from "./sealing.js";

const PATIENCE_MS = 2000; // a path that breaks for less mends itself
const LOST_MS = 15000; // ... and one that is not back by then is given up
const WAIT_MS = 5000; // for a change that the other side is making
const AGAIN_MS = 50;
const AWAY = "not connected";
const KEY_MS = 120;
const GAP_MS = 70;
const RECORDING_TYPE = "application/x-chartline-recording"; // docs/reference/sip.md
const KEYS = /^[0-9A-D*#]+$/i;

export class Call extends EventTarget {
  #phone;
  #session;
  #stream;
  #answering = null;
  #offered = false; // an INVITE of ours was sent
  #unagreed = false; // ... and lost on its way, or its answer
  #sealing;
  #commitment;
  #connection = null;
  #gathering = null;
  #mending = null;
  #heard = new MediaStream();
  #keyTaken = false;
  #unpressed = ""; // keys for which there is no way yet
  #pressing = null;

  constructor(phone, { number, name = "", outgoing, resumed = null, stream = null, sealing = null, commitment = null }) {
    super();
    this.#phone = phone;
    this.#stream = stream;
    this.#sealing = sealing;
    this.#commitment = commitment;
    this.number = number;
    this.name = name;
    this.outgoing = outgoing;
    this.resumed = resumed; // the gateway's name of the call that this one goes on with
    this.state = outgoing ? "calling" : "ringing"; // then "talking", "ended"
    this.held = false; // by us
    this.heldByOther = false;
    this.muted = false;
    this.connected = false; // sound has come through; before, the gateway is not ready for a change
    this.lost = false; // no sound comes through now; it is being mended
    this.cause = null; // why it ended, in JsSIP's words
    this.code = null; // six digits to compare, where it is encrypted from end to end
    this.broken = null; // why it is not, although it should be
    this.unreached = null; // why it ended before any sound came through, in words, where that is known
    this.recording = null; // what the gateway says: "recording", "paused", "off" with a reason; "unknown" while out of touch
    sealing?.addEventListener("change", () => this.#change({ code: sealing.code }));
    phone.addEventListener("state", this.#touched);
  }

  // Take the session that `begin` makes once it is given who listens to it.
  follow(begin) {
    this.#session = begin({
      peerconnection: ({ peerconnection }) => this.#watch(peerconnection),
      icecandidate: ({ ready }) => ready(), // the gateway finds us whatever else we would gather
      sdp: (said) => this.#describe(said),
      progress: ({ originator }) => originator === "remote" && this.#change({ state: "ringing" }),
      accepted: () => this.#change({ state: "talking" }),
      confirmed: () => {
        this.#change({ state: "talking" });
        this.#touched();
      },
      hold: ({ originator }) => this.#change(originator === "local" ? { held: true } : { heldByOther: true }),
      unhold: ({ originator }) => this.#change(originator === "local" ? { held: false } : { heldByOther: false }),
      muted: () => this.#change({ muted: true }),
      unmuted: () => this.#change({ muted: false }),
      newInfo: ({ originator, info }) => originator === "remote" && this.#hearInfo(info),
      reinvite: (event) => this.#glare(event),
      ended: ({ cause }) => this.#over(cause),
      failed: ({ cause }) => this.#over(cause),
    });
    this.#outlast(this.#session);
  }

  // Once, however often it is asked for while the microphone is being opened.
  answer() {
    return (this.#answering ??= this.#answer().catch((error) => { this.#answering = null; throw error; }));
  }

  async #answer() {
    if (this.state !== "ringing" || this.outgoing) throw new Error("nothing to answer");
    this.#stream = await this.#phone.capture();
    try {
      if (this.#sealing) {
        await this.#sealing.ready();
        await this.#sealing.take(this.#commitment);
      }
      this.#session.answer(this.#phone.media(this.#stream));
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  // Hang up, withdraw, or decline.
  hangUp() {
    if (this.state === "ended") return;
    const declines = !this.outgoing && this.state === "ringing";
    this.#session.terminate(declines ? { status_code: 486, reason_phrase: "Busy Here" } : {});
  }

  async hold() {
    if (!this.held) await this.#signalled((done) => this.#session.hold({}, done));
  }

  async resume() {
    if (this.held) await this.#signalled((done) => this.#session.unhold({}, done));
  }

  mute() {
    this.#session.mute({ audio: true });
  }

  unmute() {
    this.#session.unmute({ audio: true });
  }

  // Have the call recorded, or nothing of it kept from now on. Rejects where it may not be; that it is done is told by
  // `recording`, which the gateway alone changes.
  async record(on) {
    await this.#inform(RECORDING_TYPE, "", [`Record: ${on ? "on" : "off"}`]);
  }

  // Ask the gateway to tell how the call is recorded: anew whenever it was out of touch, and may have told in vain.
  #touched = (moved = null) => {
    if (this.state !== "talking") return;
    if (moved) this.#agree();
    if (this.#phone.state === "ready") this.#inform(RECORDING_TYPE, "").catch(() => {}); // a call that is never recorded
    else if (this.recording) this.#change({ recording: "unknown" });
  };

  // Press keys; as events beside the sound (RFC 4733). What is pressed before there is a way for it waits, in order.
  // Not on a sealed call: the gateway would have to read them.
  press(keys) {
    if (this.code) throw new Error("no keys on an encrypted call");
    if (!KEYS.test(keys)) throw new Error("no such key");
    this.#unpressed += keys;
    this.#press();
  }

  // A connection may say that it is connected before it takes keys, and says nothing when it does.
  #press() {
    clearTimeout(this.#pressing);
    if (!this.#unpressed || this.state === "ended") return;
    const keypad = this.#connection?.getSenders().find(({ dtmf }) => dtmf?.canInsertDTMF)?.dtmf;
    if (!this.connected || this.lost || !keypad) {
      this.#pressing = setTimeout(() => this.#press(), AGAIN_MS);
      return;
    }
    keypad.insertDTMF(keypad.toneBuffer + this.#unpressed, KEY_MS, GAP_MS);
    this.#unpressed = "";
  }

  // Hand the call over to a number, unasked; resolves when the other side has answered there.
  transfer(number) {
    if (this.code) return Promise.reject(new Error("an encrypted call stays between two"));
    return this.#refer(this.#phone.address(number));
  }

  // Hand the call over to the far end of another call of ours, whom we have asked.
  transferTo(other) {
    if (this.code || other.code) return Promise.reject(new Error("an encrypted call stays between two"));
    return this.#refer(other.#session.remote_identity.uri, { replaces: other.#session });
  }

  // Packets and level, for whoever wants to show or to prove them.
  stats() {
    return this.#connection.getStats();
  }

  sealed() {
    return this.#sealing && !this.#sealing.given ? this.#sealing.counts() : null;
  }

  // JsSIP hangs up when the socket closes under a request, or nobody answers one in time. A call that is answered needs
  // neither for its sound, and goes on: an INFO is given up, an offer is made anew.
  #outlast(session) {
    for (const name of ["onTransportError", "onRequestTimeout"]) {
      const hangUp = session[name].bind(session);
      session[name] = () => (session.isEstablished() ? this.#unheard() : hangUp());
    }
  }

  #unheard() {
    this.dispatchEvent(new Event("unheard"));
    if (this.#connection.signalingState === "have-local-offer") this.#disagree();
  }

  #disagree() {
    this.#unagreed = this.state !== "ended";
    setTimeout(() => this.#agree(), PATIENCE_MS); // where the socket is not gone; otherwise once it is back
  }

  // The gateway may wait for an ACK that was lost: it takes no other offer meanwhile, and hangs up after 32 s (RFC 3261
  // section 13.3.1.4). Where it was the offer or its answer, offer what holds here now, anew: the path that the gateway
  // may have opened for an ICE restart is not ours any more.
  async #agree() {
    if (this.state !== "talking" || this.#phone.state !== "ready") return;
    if (this.#offered) this.#session.sendRequest("ACK");
    if (!this.#unagreed) return;
    this.#unagreed = false;
    try {
      await this.#signalled((done) => this.#session.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, done));
      this.dispatchEvent(new Event("agreed"));
    } catch {
      this.#disagree();
    }
  }

  // Change the session; one change at a time, so what is under way is waited for: JsSIP would only return false. A change
  // whose offer is lost is made when the next one is agreed.
  #signalled(ask) {
    const until = performance.now() + WAIT_MS;
    return new Promise((resolve, reject) => {
      this.addEventListener("ended", () => reject(new Error("no call")), { once: true });
      const attempt = () => {
        if (this.#phone.state !== "ready") reject(new Error(AWAY));
        else if (this.state !== "talking") reject(new Error("no call"));
        else if (ask(resolve)) this.addEventListener("agreed", () => resolve(), { once: true });
        else if (performance.now() > until) reject(new Error("not now"));
        else setTimeout(attempt, AGAIN_MS);
      };
      attempt();
    });
  }

  #refer(target, options = {}) {
    return new Promise((resolve, reject) => {
      if (this.#phone.state !== "ready") return reject(new Error(AWAY));
      const refused = (what) => reject(new Error(what));
      this.#session.refer(target, {
        ...options,
        eventHandlers: {
          requestFailed: ({ cause }) => refused(cause),
          accepted: () => resolve(),
          failed: ({ status_line: line }) => refused(line ? `${line.status_code} ${line.reason_phrase}` : "failed"),
        },
      });
    });
  }

  #describe(said) {
    const sealing = this.#sealing;
    this.#offered ||= said.originator === "local" && said.type === "offer";
    if (!sealing) return;
    if (said.originator === "local") {
      if (!sealing.given && !saidIn(said.sdp)) said.sdp = sealing.written(said.sdp);
    } else if (!this.outgoing) {
      sealing.cover(this.#connection);
    } else {
      this.#hearAnswer(saidIn(said.sdp));
    }
  }

  #hearAnswer(said) {
    if (this.#keyTaken) return;
    if (!said) {
      if (!this.#sealing.given) this.#sealing.giveUp().catch(this.#lie);
      return;
    }
    if (this.#sealing.given) return this.#lie(new Error("a key after all"));
    this.#keyTaken = true;
    const tell = (next) => this.#insist(INFO_TYPE, next).catch(() => this.#lie(new Error("the other page cannot be told")));
    this.#sealing.take(said).then((next) => this.#whenTalking(() => tell(next)), this.#lie);
  }

  // Send an INFO; resolves once it was taken.
  #inform(kind, said, extraHeaders = []) {
    return new Promise((resolve, reject) => {
      if (this.#phone.state !== "ready") return reject(new Error(AWAY));
      for (const end of ["unheard", "ended"]) this.addEventListener(end, () => reject(new Error(AWAY)), { once: true });
      const sent = ({ originator, info }) => {
        if (originator !== "local") return;
        info.on("succeeded", () => resolve());
        info.on("failed", ({ response }) => reject(new Error(response.reason_phrase)));
      };
      this.#session.on("newInfo", sent); // JsSIP tells of it before it sends
      this.#session.sendInfo(kind, said, { extraHeaders });
      this.#session.off("newInfo", sent);
    });
  }

  // The same, and again where the socket closes under it: whoever takes it may get it twice.
  #insist(kind, said) {
    return new Promise((resolve, reject) => {
      const failed = (error) => (error.message === AWAY ? setTimeout(attempt, AGAIN_MS) : reject(error));
      const attempt = () => {
        if (this.state === "ended") reject(new Error("no call"));
        else this.#inform(kind, said).then(resolve, failed);
      };
      attempt();
    });
  }

  #hearInfo(info) {
    if (info.contentType === RECORDING_TYPE) this.#change({ recording: info.body });
    if (info.contentType !== INFO_TYPE || !this.#sealing) return;
    this.#sealing.take(info.body).catch(this.#lie);
  }

  #lie = (error) => {
    if (this.state === "ended") return;
    this.#change({ broken: error.message });
    this.hangUp();
  };

  #whenTalking(act) {
    if (this.state === "ended") return;
    if (this.#session.isEstablished()) act();
    else this.#session.once("confirmed", act);
  }

  // JsSIP answers an offer that crosses its own with 491 and then follows it all the same, which ends the call.
  #glare(event) {
    if (this.#connection?.signalingState !== "stable") event.reject({ status_code: 491, reason_phrase: "Request Pending" });
  }

  #watch(connection) {
    this.#connection = connection;
    if (this.outgoing) this.#sealing?.coverFirst(connection);
    connection.addEventListener("track", ({ track }) => {
      for (const old of this.#heard.getTracks()) this.#heard.removeTrack(old);
      this.#heard.addTrack(track);
      this.#listen();
    });
    connection.addEventListener("connectionstatechange", () => this.#moved(connection.connectionState));
    this.#gathering = new Gathering(connection, (why) => {
      if (this.state !== "ended") this.#change({ unreached: why });
      this.hangUp();
    });
  }

  #listen() {
    if (this.#phone.player.srcObject === this.#heard) return;
    this.#phone.player.srcObject = this.#heard;
    this.#phone.player.play().catch(() => {}); // a page that nobody has touched yet may not sound
  }

  #moved(state) {
    if (state === "connected") {
      clearTimeout(this.#mending);
      this.#mending = null;
      this.#change({ connected: true, lost: false });
      this.#press();
    } else if (state === "failed") {
      this.#mend();
    } else if (state === "disconnected" && !this.#mending) {
      this.#mending = setTimeout(() => this.#mend(), PATIENCE_MS);
    }
  }

  // Look for another path (ICE restart), or hang up: JsSIP listens for neither.
  #mend() {
    clearTimeout(this.#mending);
    if (this.state === "ended") return;
    this.#change({ lost: true });
    const began = performance.now();
    const attempt = () => {
      if (this.state === "ended" || !this.lost) return;
      if (performance.now() - began > LOST_MS) return this.hangUp();
      if (this.#phone.state === "ready") this.#session.renegotiate({ rtcOfferConstraints: { iceRestart: true } });
      this.#mending = setTimeout(attempt, PATIENCE_MS);
    };
    attempt();
  }

  #over(cause) {
    if (this.state === "ended") return;
    clearTimeout(this.#mending);
    clearTimeout(this.#pressing);
    if (this.state === "talking" && !this.connected) this.unreached ??= this.#gathering?.trouble ?? null;
    this.#phone.removeEventListener("state", this.#touched);
    this.#release();
    if (this.#phone.player.srcObject === this.#heard) this.#phone.player.srcObject = null;
    this.#change({ state: "ended", cause });
    this.dispatchEvent(new Event("ended"));
  }

  #release() {
    this.#sealing?.end();
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
  }

  #change(now) {
    if (Object.entries(now).every(([name, value]) => this[name] === value)) return;
    Object.assign(this, now);
    if (this.state === "talking" && !this.held) this.#listen();
    this.dispatchEvent(new Event("change"));
  }
}
