// Renews the page's changing part when the node has something new. The page reads well without this.
"use strict";
(() => {
  const live = document.getElementById("live");
  if (!live || !window.EventSource) return;
  let busy = false;
  let again = false;
  async function renew() {
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(live.dataset.source);
      if (answer.ok) {
        // Read whole before it is looked where the reader is: he may go on meanwhile.
        const html = await answer.text();
        // Where somebody has scrolled a table to stays, and so does what is focused.
        const places = [...live.querySelectorAll(".scroll")].map((table) => table.scrollLeft);
        const focus = document.activeElement?.getAttribute("aria-labelledby");
        live.innerHTML = html;
        live.querySelectorAll(".scroll").forEach((table, n) => { table.scrollLeft = places[n] ?? 0; });
        if (focus) live.querySelector(`.scroll[aria-labelledby="${focus}"]`)?.focus({ preventScroll: true });
      }
    } catch { /* the node is away; the next event tries again */ }
    busy = false;
    if (again && !document.hidden) { again = false; renew(); }
  }
  new EventSource(live.dataset.events).addEventListener("status", () => { if (!document.hidden) renew(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) renew(); });
})();
