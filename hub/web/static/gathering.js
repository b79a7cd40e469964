// Where a connection may send from, and what is wrong where that is nowhere.

const NO_ANSWER = 701; // what a browser says of a TURN server that it cannot reach (WebRTC, icecandidateerror)

// A page that may send from nowhere, as where only TURN is let through and refuses it, never even begins to look for a
// path: it would be silent for ever, and no state says so. `nowhere` is called then, with the reason in words.
export class Gathering {
  constructor(connection, nowhere) {
    this.trouble = null; // what is wrong with the TURN server, in words
    let found = false;
    connection.addEventListener("icecandidate", ({ candidate }) => { found ||= Boolean(candidate?.candidate); });
    connection.addEventListener("icecandidateerror", ({ errorCode, url }) => {
      if (!/^turns?:/.test(url)) return; // a STUN server's silence harms nobody who is found all the same
      const server = `the TURN server ${url.replace(/^\w+:|\?.*$/g, "")}`;
      if (errorCode === 401) this.trouble = `${server} does not take this page's password; load the page anew`;
      else if (errorCode !== NO_ANSWER) this.trouble ??= `${server} refuses with ${errorCode}`;
      else this.trouble ??= `${server} does not answer`;
    });
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState === "complete" && !found) nowhere(this.trouble ?? "this browser may use no network");
    });
  }
}
