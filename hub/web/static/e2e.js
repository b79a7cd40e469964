// End-to-end encryption between two browsers: a worker that makes the keys, and seals and opens each frame of sound.
//
// Keys never leave this worker. The page carries its messages to the other page, by way of a gateway that is not
// trusted with them:
//
//   caller -> callee   commit = SHA-256(caller's public key)      in the offer
//   callee -> caller   callee's public key                        in the answer
//   caller -> callee   caller's public key                        in an INFO
//
// ECDH over P-256; HKDF-SHA-256 makes one AES-256-GCM key for each way, and six digits that both people compare. Whoever
// sits in between would have to choose his key before he knows the caller's (the commitment): one chance in a million.
//
// A frame: its first byte in clear and authenticated, the rest encrypted, then the nonce: 8 bytes that count, behind 4
// that are chosen by chance. What cannot be opened is dropped, and so is what is to be sent before there is a key.

const CLEAR = 1;
const TAG = 16;
const NONCE = 12;

const text = (said) => new TextEncoder().encode(said);
const joined = (...parts) => new Uint8Array(parts.flatMap((part) => [...new Uint8Array(part)]));
const written = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes)));
const read = (said) => Uint8Array.from(atob(said), (letter) => letter.charCodeAt(0));
const digest = (bytes) => crypto.subtle.digest("SHA-256", bytes);

class Exchange {
  constructor(calls) {
    this.calls = calls; // whether ours is the offer
    this.theirs = null;
    this.commitment = null;
    this.made = this.make();
  }

  async make() {
    this.pair = await crypto.subtle.generateKey({ name: "ECDH", namedCurve: "P-256" }, false, ["deriveBits"]);
    this.ours = new Uint8Array(await crypto.subtle.exportKey("raw", this.pair.publicKey));
  }

  // What we say first: the commitment of who calls, the key of who is called.
  async first() {
    await this.made;
    return this.calls ? `commit ${written(await digest(this.ours))}` : `key ${written(this.ours)}`;
  }

  // Take what the other side says; returns what is to be said next, or null. Throws where it is not what was promised.
  async take(said) {
    await this.made;
    const [kind, value] = said.split(" ");
    if (!this.calls && kind === "commit" && !this.commitment) {
      this.commitment = value;
      return null;
    }
    if (kind === "key" && this.theirs && written(this.theirs) === value) return null; // said twice
    if (kind !== "key" || this.theirs) throw new Error("not expected now");
    const key = read(value);
    if (!this.calls && (!this.commitment || written(await digest(key)) !== this.commitment)) {
      throw new Error("not the key that was promised");
    }
    this.theirs = key;
    await this.derive();
    return this.calls ? `key ${written(this.ours)}` : null;
  }

  async derive() {
    const theirs = await crypto.subtle.importKey("raw", this.theirs, { name: "ECDH", namedCurve: "P-256" }, false, []);
    const secret = await crypto.subtle.deriveBits({ name: "ECDH", public: theirs }, this.pair.privateKey, 256);
    const [caller, callee] = this.calls ? [this.ours, this.theirs] : [this.theirs, this.ours];
    const salt = await digest(joined(text("chartline e2e 1"), caller, callee));
    const base = await crypto.subtle.importKey("raw", secret, "HKDF", false, ["deriveBits", "deriveKey"]);
    const from = (info) => ({ name: "HKDF", hash: "SHA-256", salt, info: text(info) });
    const gcm = { name: "AES-GCM", length: 256 };
    const way = (info, use) => crypto.subtle.deriveKey(from(info), base, gcm, false, [use]);
    const [out, back] = this.calls ? ["caller", "callee"] : ["callee", "caller"];
    this.seals = await way(out, "encrypt");
    this.opens = await way(back, "decrypt");
    const bits = new DataView(await crypto.subtle.deriveBits(from("compare"), base, 64));
    const number = Number(bits.getBigUint64(0) % 1000000n);
    this.code = String(number).padStart(6, "0");
  }
}

class Sealer {
  constructor(exchange) {
    this.exchange = exchange;
    this.nonce = crypto.getRandomValues(new Uint8Array(NONCE));
    this.count = 0n;
    this.plain = false; // the other end is no page, or one that cannot: an ordinary call
    this.counts = { sealed: 0, opened: 0, dropped: 0 };
  }

  async seal(frame, out) {
    if (this.plain) return out.enqueue(frame);
    const key = this.exchange.seals;
    if (!key) return this.drop();
    const data = new Uint8Array(frame.data);
    const nonce = this.nonce.slice();
    new DataView(nonce.buffer).setBigUint64(4, this.count++);
    const clear = data.subarray(0, CLEAR);
    const body = await crypto.subtle.encrypt({ name: "AES-GCM", iv: nonce, additionalData: clear }, key, data.subarray(CLEAR));
    frame.data = joined(clear, body, nonce).buffer;
    this.counts.sealed++;
    out.enqueue(frame);
  }

  async open(frame, out) {
    if (this.plain) return out.enqueue(frame);
    const key = this.exchange.opens;
    const data = new Uint8Array(frame.data);
    if (!key || data.length < CLEAR + TAG + NONCE) return this.drop();
    const clear = data.subarray(0, CLEAR);
    const nonce = data.subarray(data.length - NONCE);
    const body = data.subarray(CLEAR, data.length - NONCE);
    let plain;
    try {
      plain = await crypto.subtle.decrypt({ name: "AES-GCM", iv: nonce, additionalData: clear }, key, body);
    } catch {
      return this.drop();
    }
    frame.data = joined(clear, plain).buffer;
    this.counts.opened++;
    out.enqueue(frame);
  }

  drop() {
    this.counts.dropped++;
  }
}

let exchange = null;
let sealer = null;

onmessage = async ({ data: { id, ask, said } }) => {
  let answer = null;
  try {
    if (ask === "begin") {
      exchange = new Exchange(said);
      sealer = new Sealer(exchange);
      answer = await exchange.first();
    } else if (ask === "take") {
      answer = { next: await exchange.take(said), code: exchange.code ?? null };
    } else if (ask === "plain") {
      if (exchange.theirs) throw new Error("it is sealed");
      sealer.plain = true;
    } else if (ask === "counts") {
      answer = sealer.counts;
    }
    postMessage({ id, answer });
  } catch (error) {
    postMessage({ id, fault: error.message });
  }
};

onrtctransform = ({ transformer }) => {
  const work = transformer.options.way === "out" ? "seal" : "open";
  const through = new TransformStream({ transform: (frame, out) => sealer[work](frame, out) });
  transformer.readable.pipeThrough(through).pipeTo(transformer.writable);
};
