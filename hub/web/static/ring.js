// The sound of a phone that rings: made, not loaded. A page that nobody has touched yet may not sound; it stays quiet.

const TONES_HZ = [440, 480];
const LEVEL = 0.06;
const ON_S = 1.2;
const PERIOD_MS = 3000;

export class Ring {
  #context = null;
  #timer = null;

  start() {
    if (this.#timer) return;
    this.#context ??= new AudioContext();
    this.#context.resume().catch(() => {});
    this.#timer = setInterval(() => this.#sound(), PERIOD_MS);
    this.#sound();
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = null;
    this.#context?.suspend().catch(() => {});
  }

  #sound() {
    const context = this.#context;
    const gain = new GainNode(context, { gain: LEVEL });
    gain.connect(context.destination);
    for (const frequency of TONES_HZ) {
      const tone = new OscillatorNode(context, { frequency });
      tone.connect(gain);
      tone.start();
      tone.stop(context.currentTime + ON_S);
    }
  }
}
