// Prints how long a page takes from the request to its first paint in Chromium, as one line of JSON: the median of some
// loads with an empty cache. Usage: node paint.mjs URL

import { Browser } from "./browser.mjs";

const LOADS = 7;
const url = process.argv[2];
if (!url) {
  console.error("usage: node paint.mjs URL");
  process.exit(2);
}

const browser = await Browser.start();
const times = [];
// The first load also starts the browser's own processes and is not counted.
for (let load = 0; load <= LOADS; load += 1) {
  const page = await browser.page();
  await page.open(url);
  const paint = `performance.getEntriesByName("first-paint")[0]?.startTime ?? 0`;
  let ms = 0;
  await page.until("something is painted", async () => (ms = await page.evaluate(paint)) > 0);
  if (load > 0) times.push(ms);
  await page.close();
}
await browser.close();
times.sort((a, b) => a - b);
console.log(JSON.stringify({ first_paint_ms: times[Math.floor(times.length / 2)], slowest_ms: times.at(-1) }));
