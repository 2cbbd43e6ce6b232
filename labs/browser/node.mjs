// Looks at a node's page as people do, in Chromium: live, without JavaScript, on a phone, in the dark, by axe. Ends with "N passed, N
// failed", and with exit code 1 if something failed. labs/api.sh starts the node, which mines, so that there is something new.
//
// Usage: node node.mjs NODE AXE [SCREENSHOTS]
//   NODE         address of the page
//   AXE          file with axe-core
//   SCREENSHOTS  directory for pictures

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Browser } from "./browser.mjs";

const [node, axeFile, pictures] = process.argv.slice(2);
if (!axeFile) {
  console.error("usage: node node.mjs NODE AXE [SCREENSHOTS]");
  process.exit(2);
}
const axe = readFileSync(axeFile, "utf8");
const origin = new URL(node).origin;
if (pictures) mkdirSync(pictures, { recursive: true });

const PHONE = { width: 390, height: 844, mobile: true };
const SECTIONS = ["h-peers", "h-reach", "h-chain", "h-book", "h-node", "h-seeds", "h-events", "h-bans"];

let passed = 0;
let failed = 0;
const browser = await Browser.start();

async function check(name, doing, options = {}) {
  const page = await browser.page(options);
  try {
    await doing(page);
    expect(page.faults.length === 0, `the console has ${page.faults.join("; ")}`);
    const foreign = page.requests.filter((url) => !url.startsWith(`${origin}/`) && !/^(data|about):/.test(url));
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

await check("it has a title, one heading, landmarks, and all its sections", async (page) => {
  await page.open(node);
  expect(await page.evaluate("document.title.includes('QuantumCoin devnet')"), "no title");
  expect(await page.evaluate("document.querySelectorAll('h1').length") === 1, "not one h1");
  expect(await page.evaluate("!!document.querySelector('main') && !!document.querySelector('nav')"), "no landmarks");
  for (const id of SECTIONS) expect(await page.evaluate(`!!document.getElementById('${id}')`), `no ${id}`);
});

await check("it says first what is wrong, and what to do", async (page) => {
  await page.open(node);
  const notice = await page.evaluate("document.querySelector('.notice').textContent");
  expect(notice.includes("There are no peers.") && notice.includes("quantumcoin-node add"), notice);
  const above = await page.evaluate("document.querySelector('.notice').getBoundingClientRect().bottom < innerHeight");
  expect(above, "it is below the first screen");
});

await check("new blocks show without a reload, and places stay", async (page) => {
  await page.open(node);
  const height = "document.querySelector('.cards .note').textContent";
  const before = await page.evaluate(height);
  await page.evaluate("document.querySelector('.scroll[aria-labelledby=h-seeds]').focus()");
  await page.until("the height has moved", async () => await page.evaluate(height) !== before);
  expect(page.loads === 1, `${page.loads} loads`);
  expect(await page.evaluate("document.activeElement.getAttribute('aria-labelledby')") === "h-seeds", "the focus is lost");
});

await check("all of it can be read without JavaScript", async (page) => {
  await page.open(node);
  const text = await page.text();
  for (const words of ["There are no peers.", "Security events", "Address book", "Kept out", "DNS seeds", "block "]) {
    expect(text.includes(words), `no ${words}`);
  }
}, { scripts: false });

await check("what somebody wrote as a reason is text", async (page) => {
  await page.open(node);
  const reason = await page.evaluate("document.querySelector('[aria-labelledby=h-bans] td.wrap').textContent");
  expect(reason.includes("<script>"), `shown as ${JSON.stringify(reason)}`);
  expect(await page.evaluate("!document.title.includes('owned') && document.querySelectorAll('main script').length === 0"), "the script ran");
});

for (const [name, options] of [["light", {}], ["dark", { dark: true }], ["phone", PHONE]]) {
  await check(`${name}: it fits, and axe finds nothing serious`, async (page) => {
    await page.open(node);
    const [inner, outer] = await page.evaluate("[document.documentElement.scrollWidth, document.documentElement.clientWidth]");
    expect(inner <= outer, `it is ${inner} wide on ${outer}`);
    await page.evaluate(`${axe}; undefined`);
    const found = await page.evaluate(`axe.run().then((r) => r.violations
      .filter((v) => ["serious", "critical"].includes(v.impact))
      .map((v) => v.id + ": " + v.nodes.slice(0, 3).map((n) => n.target.join(" ") + " " + (n.any[0]?.message ?? "")).join(" | ")))`);
    expect(found.length === 0, found.join("; "));
    if (pictures) writeFileSync(join(pictures, `node-${name}.png`), await page.screenshot(true));
  }, options);
}

await browser.close();
console.log(`node page: ${passed} passed, ${failed} failed`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
