// Replaces the overview's changing part when the crawler has new figures. The page reads well without this.
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
        const open = live.querySelector("details")?.open;
        live.innerHTML = await answer.text();
        const details = live.querySelector("details");
        if (details && open) details.open = true;
      }
    } catch { /* the crawler is away; the next event tries again */ }
    busy = false;
    if (again && !document.hidden) { again = false; renew(); }
  }
  new EventSource("/events").addEventListener("snapshot", () => { if (!document.hidden) renew(); });
  document.addEventListener("visibilitychange", () => { if (!document.hidden) renew(); });
})();
