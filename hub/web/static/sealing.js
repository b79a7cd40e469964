// The page's side of end-to-end encryption: one worker (e2e.js) for a call, and its messages in SIP.

const ATTRIBUTE = "x-chartline-e2e";

export const INFO_TYPE = "application/x-chartline-e2e";

// Whether this browser can seal at all.
export const able = () => "RTCRtpScriptTransform" in globalThis && "subtle" in (globalThis.crypto ?? {});

// What a description says to the other page, or null.
export function saidIn(sdp) {
  const line = sdp.match(new RegExp(`^a=${ATTRIBUTE}:(.*?)\\r?$`, "m"));
  return line ? line[1] : null;
}

export class Sealing extends EventTarget {
  #worker;
  #waiting = new Map();
  #next = 0;
  #first;
  #used = false;

  constructor(worker, calls) {
    super();
    this.code = null; // six digits, once both have a key
    this.given = false; // an ordinary call
    this.#worker = new Worker(worker);
    this.#worker.onmessage = ({ data }) => {
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.fault) reject(new Error(data.fault));
      else resolve(data.answer);
    };
    this.#first = this.#ask("begin", calls);
    this.#first.catch(() => {}); // told by whoever waits for it
  }

  // Returns a description with what we say first in it.
  async ready() {
    this.first = await this.#first;
  }

  written(sdp) {
    return `${sdp}a=${ATTRIBUTE}:${this.first}\r\n`;
  }

  // Send every frame of a connection that is about to call through the worker. Chromium takes a transform only before
  // its transceiver is negotiated; the track that is added next makes use of this one.
  coverFirst(connection) {
    this.#cover(connection.addTransceiver("audio"));
  }

  // The same for one that is called: its transceiver is there when the offer is about to be applied.
  cover(connection) {
    if (this.#used) return;
    for (const transceiver of connection.getTransceivers()) this.#cover(transceiver);
  }

  #cover({ sender, receiver }) {
    this.#used = true;
    sender.transform = new RTCRtpScriptTransform(this.#worker, { way: "out" });
    receiver.transform = new RTCRtpScriptTransform(this.#worker, { way: "in" });
  }

  // The other end is no page, or one that cannot: frames go as they are. Never once there was a key of another page.
  async giveUp() {
    this.given = true;
    await this.#ask("plain");
  }

  // Take what the other page says; returns what is to be sent to it by INFO, or null. Rejects where it is a lie.
  async take(said) {
    const { next, code } = await this.#ask("take", said);
    if (code) {
      this.code = code;
      this.dispatchEvent(new Event("change"));
    }
    return next;
  }

  // How many frames were sealed, opened and dropped so far.
  counts() {
    return this.#ask("counts");
  }

  end() {
    this.#worker.terminate();
    for (const { reject } of this.#waiting.values()) reject(new Error("the call is over"));
    this.#waiting.clear();
  }

  #ask(ask, said) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, ask, said });
    });
  }
}
