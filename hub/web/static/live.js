// What the hub tells this desk while it happens (hub/api/live.py): the state by parts, kept whole over lost connections.
//
// Events: "change" with `parts` (names) after each message, "session" with `idleAt`, "link" with `up`, "over" with `reason` once.

const OVER = 4401;
const AGAIN_MS = { least: 500, most: 8000 };

export class Live extends EventTarget {
  #url;
  #socket = null;
  #stream = "";
  #seq = -1;
  #wait = AGAIN_MS.least;
  #ahead = 0;

  constructor(url) {
    super();
    this.#url = url;
    this.state = {};
    this.up = false;
    this.idleAt = null;
  }

  start() {
    const url = new URL(this.#url, location.href);
    url.protocol = url.protocol.replace("http", "ws");
    if (this.#stream) url.search = new URLSearchParams({ stream: this.#stream, after: this.#seq });
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#closed(code, reason);
  }

  // The hub's clock, in milliseconds.
  now() {
    return Date.now() + this.#ahead;
  }

  // Somebody is here: the session goes on.
  active() {
    if (this.up) this.#socket.send("active");
  }

  #hear(said) {
    this.#wait = AGAIN_MS.least;
    if (said.now) this.#ahead = Date.parse(said.now) - Date.now();
    if (!this.up) {
      this.up = true;
      this.#tell("link", { up: true });
    }
    if (said.type === "session") {
      this.idleAt = Date.parse(said.idle_at);
      this.#tell("session", {});
      return;
    }
    if (said.type === "snapshot") this.#stream = said.stream;
    this.#seq = said.seq;
    const before = said.type === "snapshot" ? {} : this.state;
    const differs = (part) => JSON.stringify(before[part]) !== JSON.stringify(said.state[part]);
    const parts = Object.keys(said.state).filter(differs); // all of a snapshot: what was asked for meanwhile may be old
    this.state = { ...before, ...said.state };
    this.#tell("change", { parts });
  }

  #closed(code, reason) {
    this.up = false;
    if (code === OVER) {
      this.#tell("over", { reason });
      return;
    }
    this.#tell("link", { up: false });
    // By chance, so that desks do not all come back at once when the hub does.
    setTimeout(() => this.start(), this.#wait * (0.5 + Math.random() / 2));
    this.#wait = Math.min(this.#wait * 2, AGAIN_MS.most);
  }

  #tell(kind, more) {
    this.dispatchEvent(Object.assign(new Event(kind), more));
  }
}
