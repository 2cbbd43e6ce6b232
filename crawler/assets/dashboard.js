// What the pages do more with JavaScript: the overview's changing part is replaced when the crawler has new figures, and
// dragging across a chart of the history looks closer. Everything reads well and is reached by links without this.
"use strict";

// Seconds between two looks when there is no live stream (all of them are taken, or a proxy cuts them).
const POLL = 30;

function follow(live, state) {
  let busy = false;
  let again = false;
  let polling = 0;

  async function renew() {
    if (document.hidden) return;
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(live.dataset.source, { cache: "no-cache" });
      if (answer.ok) {
        replace(await answer.text());
        state.textContent = "";
      }
    } catch {
      state.textContent = "The crawler does not answer; these are the last figures. Trying again.";
    }
    busy = false;
    if (again) { again = false; renew(); }
  }

  // Keeps what the reader has opened, and where the keyboard is.
  function replace(html) {
    const open = [...live.querySelectorAll("details")].map((details) => details.open);
    const focus = live.contains(document.activeElement) ? document.activeElement : null;
    const place = focus && [...live.querySelectorAll("a, summary, [tabindex]")].indexOf(focus);
    live.innerHTML = html;
    live.querySelectorAll("details").forEach((details, n) => { details.open = open[n] === true; });
    if (focus) live.querySelectorAll("a, summary, [tabindex]")[place]?.focus({ preventScroll: true });
  }

  const events = new EventSource("/events");
  events.addEventListener("snapshot", renew);
  events.addEventListener("open", () => { clearInterval(polling); polling = 0; });
  events.addEventListener("error", () => {
    // A stream that broke off comes back by itself; one that was refused does not.
    if (events.readyState === EventSource.CLOSED && !polling) polling = setInterval(renew, POLL * 1000);
  });
  document.addEventListener("visibilitychange", renew);
}

function zoom(plot) {
  const svg = plot.querySelector("svg");
  const [left, , width] = svg.getAttribute("viewBox").split(" ").map(Number);
  // The plot lies between 0 and what is left of the labels and the margin.
  const inner = width + left - 8;
  const from = Number(plot.dataset.from);
  const to = Number(plot.dataset.to);
  let start = null;
  const box = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  box.setAttribute("class", "selection");
  box.setAttribute("y", "0");
  box.setAttribute("height", "160");

  function share(event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    return Math.min(1, Math.max(0, point.x / inner));
  }

  svg.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    start = share(event);
    svg.setPointerCapture(event.pointerId);
  });
  svg.addEventListener("pointermove", (event) => {
    if (start === null) return;
    const end = share(event);
    box.setAttribute("x", String(Math.min(start, end) * inner));
    box.setAttribute("width", String(Math.abs(end - start) * inner));
    if (!box.isConnected) svg.append(box);
  });
  svg.addEventListener("pointerup", (event) => {
    if (start === null) return;
    const ends = [start, share(event)].sort((a, b) => a - b);
    start = null;
    box.remove();
    // A click is no drag.
    if (ends[1] - ends[0] < 0.02) return;
    const [first, last] = ends.map((end) => Math.round(from + end * (to - from)));
    location.assign(`/history?from=${first}&to=${last}`);
  });
  svg.addEventListener("pointercancel", () => { start = null; box.remove(); });
}

const live = document.getElementById("live");
const state = document.getElementById("live-state");
if (live && state && window.EventSource) follow(live, state);
document.querySelectorAll("[data-zoom]").forEach(zoom);
document.querySelectorAll("[data-zoom-hint]").forEach((hint) => { hint.hidden = false; });
