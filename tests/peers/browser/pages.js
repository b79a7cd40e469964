// What the tests' pages load: the product's phone, which says a tone in place of a microphone, and an ear.
import { Phone } from "../../../hub/web/static/phone.js";

const told = await (await fetch("/v1/phone")).json();
const player = new Audio();
const phone = new Phone({
  url: `ws://${location.host}/phone`,
  extension: told.extension,
  iceServers: told.ice_servers,
  worker: "/test/e2e.js",
  capture: async () => tone(options.hz),
  player,
});
const calls = [];
const states = []; // of the phone: a socket may be lost and back between two looks
phone.addEventListener("state", ({ state }) => states.push(state));
phone.addEventListener("call", ({ call }) => {
  calls.push(call);
  window.call = call;
});
// The ear hears what the player plays, whichever call that is.
player.addEventListener("loadedmetadata", () => listen(player.srcObject));
Object.assign(window, { phone, calls, states, player });
phone.start();
