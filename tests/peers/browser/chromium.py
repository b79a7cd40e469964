"""Headless Chromium for tests: pages that call, say a tone, and measure what they hear."""

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, Page, async_playwright

ARGUMENTS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--use-fake-ui-for-media-stream"),
    *("--use-fake-device-for-media-stream", "--allow-loopback-in-peer-connection"),
    *("--autoplay-policy=no-user-gesture-required", "--disable-dev-shm-usage"),
)

PATIENCE_S = 15.0
"For what takes a fraction of a second on a machine that does nothing else."

SECURE = "http://localhost/"
"A page from here counts as safe, so that it may speak and hear; nobody listens there, the test answers for it."

RELAYED = """
    const Direct = RTCPeerConnection;
    window.RTCPeerConnection = class extends Direct {
      constructor(settings) { super({...settings, iceTransportPolicy: "relay"}); }
    };
"""
"As where a firewall lets nothing of a page through but what goes to a TURN server."


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """Start Debian's Chromium and end it."""
    async with async_playwright() as driver:
        browser = await driver.chromium.launch(executable_path=shutil.which("chromium"), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            await browser.close()


async def page_with(browser: Browser, script: str, *, module: bool = False) -> Page:
    """Open a page of its own session that runs a script."""
    context = await browser.new_context()
    page = await context.new_page()
    kind = ' type="module"' if module else ""
    html = f"<!doctype html><title>test</title><script{kind}>{script}</script>"

    await page.route(SECURE, lambda route: route.fulfill(body=html, content_type="text/html"))
    await page.goto(SECURE)
    return page


EAR = """
// Measures what is heard: a remote stream is silent to WebAudio until some element plays it (crbug.com/933677).
const sounds = new AudioContext();
function listen(stream) {
  const source = sounds.createMediaStreamSource(stream), ear = sounds.createAnalyser();
  ear.fftSize = 8192;
  source.connect(ear);
  window.ear = ear;
}
async function loudest() {
  const bins = new Float32Array(window.ear.frequencyBinCount);
  window.ear.getFloatFrequencyData(bins);
  let at = 0;
  for (let i = 1; i < bins.length; i++) if (bins[i] > bins[at]) at = i;
  return [at * sounds.sampleRate / window.ear.fftSize, bins[at]];
}
async function hears(hz, within = 15000) {
  // Resolves with the loudest frequency once it is the expected one; rejects when it never is.
  const until = performance.now() + within;
  let found = [0, -Infinity];
  while (performance.now() < until) {
    if (window.ear) found = await loudest();
    if (Math.abs(found[0] - hz) < 15 && found[1] > -60) return found[0];
    await new Promise(next => setTimeout(next, 20));
  }
  throw new Error(`heard ${found} in place of ${hz}`);
}
async function silent(within = 15000) {
  const until = performance.now() + within;
  let found = [0, 0];
  while (performance.now() < until) {
    found = await loudest();
    if (found[1] < -90) return true;
    await new Promise(next => setTimeout(next, 20));
  }
  throw new Error(`heard ${found}`);
}
async function eventually(check, within = 15000) {
  // For what has to be waited for itself: Playwright takes a promise for true.
  const until = performance.now() + within;
  while (!(await check())) {
    if (performance.now() > until) throw new Error(`never: ${check}`);
    await new Promise(next => setTimeout(next, 20));
  }
  return true;
}
async function arrived(call) {
  // Packets of any kind: telephone events are not counted as sound.
  return [...(await call.stats()).values()].find(each => each.type === "transport").packetsReceived;
}
function tone(hz) {
  const source = sounds.createOscillator(), volume = sounds.createGain(), out = sounds.createMediaStreamDestination();
  source.frequency.value = hz;
  volume.gain.value = 0.3;
  source.connect(volume).connect(out);
  source.start();
  return out.stream;
}
"""
