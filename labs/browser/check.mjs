// Looks at the dashboard as people do, in Chromium: every page and interaction, live, without JavaScript, on a phone, in the
// dark, by keyboard, by axe. Ends with "N passed, N failed", and with exit code 1 if something failed.
//
// Usage: node check.mjs LARGE DEMO AXE [SCREENSHOTS]
//   LARGE        address of the dashboard of a crawler with thousands of made-up peers, hostile names among them
//   DEMO         address of the dashboard of the demonstration, where a crawl goes on
//   AXE          file with axe-core
//   SCREENSHOTS  directory for pictures

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";
import { look } from "./png.mjs";

const [large, demo, axeFile, pictures] = process.argv.slice(2);
if (!axeFile) {
  console.error("usage: node check.mjs LARGE DEMO AXE [SCREENSHOTS]");
  process.exit(2);
}
const axe = readFileSync(axeFile, "utf8");
if (pictures) mkdirSync(pictures, { recursive: true });

const PHONE = { width: 390, height: 844, mobile: true };
const PAGES = ["/", "/history", "/history?range=month", "/history?range=year", "/peers", "/peers?search=nobodyiscalledthis"];

let passed = 0;
let failed = 0;
const browser = await Browser.start();

async function check(name, doing, options = {}) {
  const page = await browser.page(options);
  try {
    await doing(page);
    expect(page.faults.length === 0, `the console has ${page.faults.join("; ")}`);
    const own = [large, demo].map((url) => new URL(url).origin);
    const foreign = page.requests.filter((url) => !own.some((origin) => url.startsWith(`${origin}/`)) && !/^(data|about):/.test(url));
    expect(foreign.length === 0, `requests went elsewhere: ${foreign.join(", ")}`);
    passed += 1;
    console.log(`ok      ${name}`);
  } catch (error) {
    failed += 1;
    console.log(`FAILED  ${name}: ${error.message}`);
  }
  await page.close();
}

function expect(holds, what) {
  if (!holds) throw new Error(what);
}

const at = (path) => new URL(path, large).href;
const path = (page) => page.evaluate("location.pathname + location.search");

async function firstPeer(page) {
  await page.open(at("/peers?good=1"));
  return page.evaluate("document.querySelector('tbody th a').getAttribute('href')");
}

for (const where of PAGES) {
  await check(`${where} has a title, one heading, landmarks, and its figures`, async (page) => {
    await page.open(at(where));
    expect(page.statuses.get(at(where)) === 200, `status ${page.statuses.get(at(where))}`);
    expect(await page.evaluate("document.title.includes('QuantumCoin devnet')"), "no title");
    expect(await page.evaluate("document.querySelectorAll('h1').length") === 1, "not one h1");
    expect(await page.evaluate("!!document.querySelector('main') && !!document.querySelector('nav')"), "no landmarks");
    expect(await page.evaluate("document.documentElement.lang") === "en", "no language");
  });
  await check(`${where} fits a phone`, async (page) => {
    await page.open(at(where));
    const [inner, outer] = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]");
    expect(inner <= outer, `it is ${inner} wide on ${outer}`);
  }, PHONE);
  for (const dark of [false, true]) {
    await check(`${where} has nothing serious for axe${dark ? " in the dark" : ""}`, async (page) => {
      await page.open(at(where));
      await judge(page);
    }, { dark });
  }
}

async function judge(page) {
  await page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })");
  await page.evaluate(`${axe}; undefined`);
  const found = await page.evaluate(`axe.run().then((r) => r.violations
    .filter((v) => ["serious", "critical"].includes(v.impact))
    .map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? "")).join(" | ")))`);
  expect(found.length === 0, found.join("; "));
}

await check("a peer's page tells the verdict of each rule and its probes, and fits a phone", async (page) => {
  const peer = await firstPeer(page);
  await page.open(at(peer));
  expect(await page.evaluate("document.querySelectorAll('[aria-labelledby=h-rules] tbody tr').length") >= 5, "too few rules");
  expect(await page.evaluate("document.querySelectorAll('[aria-labelledby=h-history] svg rect').length") > 0, "no bars");
  const [inner, outer] = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]");
  expect(inner <= outer, `it is ${inner} wide on ${outer}`);
  await judge(page);
}, PHONE);

await check("search finds by prefix, user agent, outcome, country, system and verdict", async (page) => {
  const rows = "[...document.querySelectorAll('tbody tr')].map((row) => [...row.cells].map((cell) => cell.textContent.trim()))";
  const search = async (fields) => {
    await page.open(at("/peers"));
    for (const [name, value] of Object.entries(fields)) {
      const set = name === "good" ? "field.checked = true" : `field.value = ${JSON.stringify(value)}`;
      await page.evaluate(`{ const field = document.querySelector('[name=${name}]'); ${set}; } undefined`);
    }
    await page.loaded(() => page.evaluate("document.querySelector('form[role=search] button').click()"));
    return page.evaluate(rows);
  };
  const prefix = await search({ search: "127.1.0." });
  expect(prefix.length > 1 && prefix.every((row) => row[0].startsWith("127.1.0.")), `prefix: ${prefix[0]}`);
  const agent = await search({ search: "QTCD" });
  expect(agent.length > 1 && agent.every((row) => row[3].includes("qtcd")), `agent: ${agent[0]}`);
  const outcome = await search({ outcome: "refused" });
  expect(outcome.length > 1 && outcome.every((row) => row[2] === "refused"), `outcome: ${outcome[0]}`);
  const good = await search({ good: true, country: "DE" });
  expect(good.length > 1 && good.every((row) => row[1] === "yes"), `good: ${good[0]}`);
  const system = await search({ system: "AS64001" });
  expect(system.length > 0 && system[0].length === 9, `system: ${system[0]}`);
  const none = await search({ search: "<b>nobody</b>" });
  expect(none[0][0] === "No peer matches.", `none: ${none[0]}`);
});

await check("the head of a column puts peers in its order, and again turns it round", async (page) => {
  await page.open(at("/peers?good=1"));
  const heights = "[...document.querySelectorAll('tbody tr')].map((row) => Number(row.cells[6].textContent.replace(/\\D/g, '')))";
  const head = "[...document.querySelectorAll('thead th')].find((th) => th.textContent.startsWith('Connect'))";
  await page.loaded(() => page.evaluate(`${head}.querySelector('a').click()`));
  expect(await page.evaluate(`${head}.getAttribute('aria-sort')`) === "ascending", "not told as ascending");
  const up = await page.evaluate(heights);
  expect(up.every((n, i) => i === 0 || up[i - 1] <= n), `not ascending: ${up.slice(0, 5)}`);
  await page.loaded(() => page.evaluate(`${head}.querySelector('a').click()`));
  const down = await page.evaluate(heights);
  expect(down.every((n, i) => i === 0 || down[i - 1] >= n) && down[0] > up[0], `not descending: ${down.slice(0, 5)}`);
  expect((await path(page)).includes("good=1"), "the filter is lost");
});

await check("pages of peers go forth and back and overlap nowhere", async (page) => {
  await page.open(at("/peers?good=1"));
  const addrs = "[...document.querySelectorAll('tbody th')].map((th) => th.textContent)";
  const first = await page.evaluate(addrs);
  await page.loaded(() => page.evaluate("document.querySelector('a[rel=next]').click()"));
  const second = await page.evaluate(addrs);
  expect(second.length === 50 && !second.some((addr) => first.includes(addr)), "pages overlap");
  await page.loaded(() => page.evaluate("document.querySelector('a[rel=prev]').click()"));
  expect(JSON.stringify(await page.evaluate(addrs)) === JSON.stringify(first), "not the same page");
});

await check("bars of the overview lead to the peers that they count", async (page) => {
  await page.open(at("/"));
  await page.loaded(() => page.evaluate("document.querySelector('[aria-labelledby=h-countries] tbody a').click()"));
  expect((await path(page)).startsWith("/peers?good=1&country="), await path(page));
  expect(await page.evaluate("document.querySelectorAll('tbody tr').length") > 1, "nobody is listed");
});

await check("scripts in user agents are text", async (page) => {
  await page.open(at("/peers?search=script"));
  const text = await page.evaluate("document.querySelector('td.agent')?.textContent ?? ''");
  expect(text.includes("<script>"), `shown as ${JSON.stringify(text)}`);
  expect(await page.evaluate("!document.title.includes('owned')"), "the script ran");
  await page.open(at("/peers?search=onerror"));
  expect(await page.evaluate("document.querySelectorAll('img').length") === 0, "an image came to be");
  await page.open(at(`/peers?search=${encodeURIComponent("\"><script>document.title='owned'</script>")}`));
  expect(await page.evaluate("!document.title.includes('owned')"), "the search ran");
});

await check("dragging across a chart looks closer, and a click does not", async (page) => {
  await page.open(at("/history?range=year"));
  const box = await page.evaluate("(({ x, y, width, height }) => ({ x, y, width, height }))(document.querySelector('[data-zoom] svg').getBoundingClientRect())");
  const y = box.y + box.height / 2;
  await page.mouse("mousePressed", box.x + box.width / 2, y);
  await page.mouse("mouseReleased", box.x + box.width / 2, y);
  expect(await path(page) === "/history?range=year", "a click has led away");
  await page.loaded(async () => {
    await page.mouse("mousePressed", box.x + box.width * 0.5, y);
    await page.mouse("mouseMoved", box.x + box.width * 0.6, y);
    await page.mouse("mouseMoved", box.x + box.width * 0.7, y);
    await page.mouse("mouseReleased", box.x + box.width * 0.7, y);
  });
  const span = new URLSearchParams((await path(page)).split("?")[1]);
  const days = (Number(span.get("to")) - Number(span.get("from"))) / 86_400;
  expect(days > 60 && days < 100, `${days} days`);
});

await check("spans have links: year, closer, earlier", async (page) => {
  await page.open(at("/history"));
  expect(await page.evaluate("document.querySelector('nav.ranges [aria-current]').textContent") === "2 days", "not two days");
  const bands = "document.querySelectorAll('.band[d^=M]').length";
  expect(await page.evaluate(bands) >= 3, "no bands");
  for (const name of ["Year", "Closer", "Earlier"]) {
    await page.loaded(() => page.evaluate(`[...document.querySelectorAll('.ranges a')].find((a) => a.textContent === '${name}').click()`));
    expect(await page.evaluate(bands) >= 3, `no bands after ${name}`);
  }
  expect(await page.evaluate("document.querySelectorAll('.curve[d^=M]').length") === 3, "no latencies");
});

await check("all can be read and searched without JavaScript", async (page) => {
  for (const [where, words] of [
    ["/", ["Good", "User agents", "Uptime", "As of"]],
    ["/history?range=month", ["How probes ended", "Who came and went"]],
    ["/peers?search=127.1.0.&sort=height&direction=descending", ["127.1.0.", "Visit my node"]],
    ["/nothing", ["Not found"]],
  ]) {
    await page.open(at(where));
    const text = await page.text();
    for (const word of words) expect(text.includes(word), `${where} lacks ${word}`);
  }
  page.faults = page.faults.filter((fault) => !fault.includes("404"));
}, { scripts: false });

await check("a node can be named for a visit, and what is wrong is told", async (page) => {
  const ask = async (addr) => {
    await page.open(new URL("/peers", demo).href);
    await page.evaluate(`document.querySelector('[name=addr]').value = ${JSON.stringify(addr)}`);
    await page.loaded(() => page.evaluate("document.querySelector('form[action=\"/visits\"] button').click()"));
  };
  await ask("127.0.77.1:8333");
  expect((await path(page)).startsWith("/peers/127.0.77.1:8333"), await path(page));
  await page.until("it was visited", async () => {
    await page.open(new URL("/peers/127.0.77.1:8333", demo).href);
    return page.evaluate("document.querySelector('[aria-labelledby=h-history]').textContent.includes('refused')");
  });
  await ask("nobody.example:1");
  expect(await page.evaluate("document.querySelector('h1').textContent") === "No visit", "it is not told");
  page.faults = page.faults.filter((fault) => !fault.includes("400"));
});

await check("the overview follows the crawl, and keeps what is open", async (page) => {
  await page.open(new URL("/", demo).href);
  const shown = "document.querySelector('#live .updated').textContent";
  const before = await page.evaluate(shown);
  await page.evaluate("document.querySelector('#live details').open = true");
  await page.until("it is new", async () => await page.evaluate(shown) !== before);
  expect(await page.evaluate("document.querySelector('#live details').open"), "the details have closed");
  expect(await page.evaluate("document.querySelectorAll('h1').length") === 1, "not one h1");
});

await check("the seeder of the demonstration is shown with its queries", async (page) => {
  await page.until("it is shown", async () => {
    await page.open(new URL("/", demo).href);
    return page.evaluate("document.body.textContent.includes('DNS queries by type')");
  });
  expect(await page.evaluate("document.body.textContent.includes('seed1.quantumcoin.network')"), "no zone");
  await judge(page);
});

await check("everything is reached by keyboard, and one sees where one is", async (page) => {
  await page.open(at("/peers"));
  const focus = "(({ tagName, name, textContent, className }) => ({ tagName, name, text: textContent.trim(), className }))(document.activeElement)";
  await page.key("Tab");
  expect((await page.evaluate(focus)).className === "skip", "the first stop does not skip to the content");
  const stops = new Set();
  for (let n = 0; n < 40; n += 1) {
    await page.key("Tab");
    const stop = await page.evaluate(focus);
    stops.add(stop.name || stop.text);
    const outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
    expect(stop.tagName === "BODY" || outline !== "none", `${stop.name || stop.text} shows no focus`);
  }
  for (const name of ["History", "search", "outcome", "good", "Height"]) expect(stops.has(name), `${name} is no stop`);
  await page.evaluate("document.querySelector('[name=search]').focus()");
  await page.send("Input.insertText", { text: "qtcd" });
  await page.loaded(() => page.key("Enter"));
  expect((await path(page)).includes("search=qtcd"), "Enter does not search");
});

for (const [name, where, options] of [
  ["overview", "/", { width: 1280, height: 1500 }],
  ["overview-dark", "/", { width: 1280, height: 1500, dark: true }],
  ["overview-phone", "/", PHONE],
  ["history", "/history?range=year", { width: 1280, height: 1500 }],
  ["peers", "/peers?good=1", { width: 1280, height: 1000 }],
  ["peer", "PEER", { width: 1280, height: 1300 }],
]) {
  await check(`a picture of ${name} shows something`, async (page) => {
    const address = where === "PEER" ? await firstPeer(page) : where;
    await page.open(at(address));
    const png = await page.screenshot();
    const seen = look(png);
    expect(seen.width === options.width && seen.height === options.height, `${seen.width} x ${seen.height}`);
    expect(seen.colours > 40, `${seen.colours} colours`);
    expect(options.dark ? seen.brightness < 70 : seen.brightness > 180, `brightness ${seen.brightness}`);
    if (pictures) writeFileSync(join(pictures, `${name}.png`), png);
  }, options);
}

await browser.close();
console.log(`${passed} passed, ${failed} failed`);
process.exit(failed === 0 ? 0 : 1);
