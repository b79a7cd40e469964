// The record button: what the gateway says of it, and nothing that was merely asked for.

const WORDS = {
  recording: "This call is recorded",
  paused: "Recording is paused: nothing said now is kept",
  off: "Not recorded",
  "off consent": "Not recorded: the caller did not agree",
  "off policy": "Not recorded: the practice keeps no recordings",
  "off failed": "Not recorded: the recording failed",
  unknown: "Reconnecting: whether this is recorded is not known",
};

const find = (id) => document.getElementById(id);

// recording: as `Call` has it; null where there is no talk, or one that is never recorded.
export function drawRecording(recording, ready) {
  const [button, words] = [find("phone-record"), find("phone-recorded")];
  for (const each of [button, words]) each.hidden = recording === null;
  button.disabled = !ready || !["recording", "paused", "off"].includes(recording);
  button.setAttribute("aria-pressed", String(recording === "recording"));
  const said = WORDS[recording] ?? "";
  if (words.textContent !== said) words.textContent = said; // it is read out when it changes
  words.dataset.recording = recording ?? "";
}
