// Drives Debian's Chromium by the DevTools protocol over two pipes: nothing but Node.js's own library, no port is opened.
//
//   const browser = await Browser.start();
//   const page = await browser.page({ width: 1280, height: 900 });
//   await page.open("http://127.0.0.1:8380/");
//   await page.evaluate("document.title");
//   await browser.close();

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

// Longest wait for the browser to do one thing, milliseconds.
const PATIENCE = 30_000;

// Nothing that a browser does of itself: no updates, no experiments, no requests of its own.
const FLAGS = [
  "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--no-default-browser-check",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-extensions",
  "--disable-features=Translate,OptimizationHints,MediaRouter,AutofillServerCommunication", "--metrics-recording-only",
  "--password-store=basic", "--use-mock-keychain", "--hide-scrollbars", "--remote-debugging-pipe",
];

export class Browser {
  static async start() {
    const browser = new Browser();
    browser.directory = mkdtempSync(join(tmpdir(), "browser-"));
    const flags = [...FLAGS, `--user-data-dir=${browser.directory}`, "about:blank"];
    browser.process = spawn(process.env.CHROMIUM ?? "chromium", flags, {
      stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"],
    });
    browser.errors = "";
    browser.process.stderr.on("data", (data) => { browser.errors = (browser.errors + data).slice(-4_000); });
    browser.process.on("error", (error) => browser.fail(error));
    browser.process.on("exit", (code) => browser.fail(new Error(`chromium ended (${code}): ${browser.errors}`)));
    browser.waiting = new Map();
    browser.listeners = new Map();
    browser.last = 0;
    let rest = "";
    browser.process.stdio[4].on("data", (data) => {
      const parts = (rest + data).split("\0");
      rest = parts.pop();
      for (const part of parts) browser.receive(JSON.parse(part));
    });
    await browser.send("Browser.getVersion");
    return browser;
  }

  fail(error) {
    for (const { reject } of this.waiting.values()) reject(error);
    this.waiting.clear();
    this.dead = error;
  }

  receive(message) {
    if (message.id) {
      const waiting = this.waiting.get(message.id);
      this.waiting.delete(message.id);
      if (message.error) waiting?.reject(new Error(`${waiting.method}: ${message.error.message}`));
      else waiting?.resolve(message.result);
    } else {
      this.listeners.get(message.sessionId)?.(message.method, message.params);
    }
  }

  send(method, params = {}, sessionId = undefined) {
    if (this.dead) return Promise.reject(this.dead);
    const id = ++this.last;
    this.process.stdio[3].write(JSON.stringify({ id, method, params, sessionId }) + "\0");
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiting.delete(id);
        reject(new Error(`${method} took longer than ${PATIENCE} ms`));
      }, PATIENCE);
      const end = (done) => (value) => { clearTimeout(timer); done(value); };
      this.waiting.set(id, { method, resolve: end(resolve), reject: end(reject) });
    });
  }

  // A new page, of which everything is noted: requests, messages on the console, exceptions.
  async page({ width = 1280, height = 900, dark = false, scripts = true, mobile = false } = {}) {
    const { browserContextId } = await this.send("Target.createBrowserContext");
    const { targetId } = await this.send("Target.createTarget", { url: "about:blank", browserContextId });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    const page = new Page(this, sessionId, browserContextId);
    this.listeners.set(sessionId, (method, params) => page.note(method, params));
    for (const domain of ["Page", "Runtime", "Network", "Log"]) await page.send(`${domain}.enable`);
    await page.send("Page.setLifecycleEventsEnabled", { enabled: true });
    await page.send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile });
    const features = [{ name: "prefers-color-scheme", value: dark ? "dark" : "light" }];
    await page.send("Emulation.setEmulatedMedia", { features });
    if (!scripts) await page.send("Emulation.setScriptExecutionDisabled", { value: true });
    return page;
  }

  async close() {
    // That it ends is wanted now.
    this.process.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.process.once("exit", resolve));
    this.process.kill();
    await ended;
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 5 });
  }
}

export class Page {
  constructor(browser, sessionId, context) {
    this.browser = browser;
    this.sessionId = sessionId;
    this.context = context;
    this.requests = [];
    this.faults = [];
    this.statuses = new Map();
    this.loads = 0;
  }

  send(method, params) {
    return this.browser.send(method, params, this.sessionId);
  }

  note(method, params) {
    switch (method) {
      case "Network.requestWillBeSent":
        this.requests.push(params.request.url);
        break;
      case "Network.responseReceived":
        this.statuses.set(params.response.url, params.response.status);
        break;
      case "Runtime.consoleAPICalled":
        if (["error", "warning", "assert"].includes(params.type)) {
          this.faults.push(`console: ${params.args.map((arg) => arg.value ?? arg.description).join(" ")}`);
        }
        break;
      case "Runtime.exceptionThrown":
        this.faults.push(`exception: ${params.exceptionDetails.exception?.description ?? params.exceptionDetails.text}`);
        break;
      case "Log.entryAdded":
        if (["error", "warning"].includes(params.entry.level)) {
          this.faults.push(`log: ${params.entry.text} ${params.entry.url ?? ""}`);
        }
        break;
      case "Page.loadEventFired":
        this.loads += 1;
        break;
    }
  }

  // Opens an address and waits until it has loaded.
  async open(url) {
    const before = this.loads;
    const { errorText } = await this.send("Page.navigate", { url });
    if (errorText) throw new Error(`${url}: ${errorText}`);
    await this.until("the page has loaded", () => this.loads > before);
  }

  // Waits until a page that something has led to has loaded.
  async loaded(doing) {
    const before = this.loads;
    await doing();
    await this.until("the next page has loaded", () => this.loads > before);
  }

  // Polls until a check holds.
  async until(what, check, patience = PATIENCE) {
    const end = Date.now() + patience;
    while (!(await check())) {
      if (Date.now() > end) throw new Error(`never: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }

  async evaluate(expression) {
    const answer = await this.send("Runtime.evaluate", { expression, awaitPromise: true, returnByValue: true });
    if (answer.exceptionDetails) {
      throw new Error(`${expression}: ${answer.exceptionDetails.exception?.description ?? answer.exceptionDetails.text}`);
    }
    return answer.result.value;
  }

  // The text of the page as it is shown, also of one without scripts.
  async text() {
    const { root } = await this.send("DOM.getDocument", { depth: 0 });
    const { nodeId } = await this.send("DOM.querySelector", { nodeId: root.nodeId, selector: "body" });
    const { outerHTML } = await this.send("DOM.getOuterHTML", { nodeId });
    return outerHTML;
  }

  async key(key, modifiers = 0) {
    const codes = { Tab: 9, Enter: 13, Space: 32 };
    const text = { Enter: "\r", Space: " " }[key] ?? (key.length === 1 ? key : undefined);
    const common = { key: key === "Space" ? " " : key, code: key, windowsVirtualKeyCode: codes[key] ?? 0, modifiers };
    await this.send("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", text, ...common });
    await this.send("Input.dispatchKeyEvent", { type: "keyUp", ...common });
  }

  async mouse(type, x, y) {
    await this.send("Input.dispatchMouseEvent", { type, x, y, button: "left", buttons: type === "mouseReleased" ? 0 : 1, clickCount: 1 });
  }

  // A PNG of what is shown, or of the whole page.
  async screenshot(whole = false) {
    const { data } = await this.send("Page.captureScreenshot", { format: "png", captureBeyondViewport: whole });
    return Buffer.from(data, "base64");
  }

  async close() {
    this.browser.listeners.delete(this.sessionId);
    await this.browser.send("Target.disposeBrowserContext", { browserContextId: this.context });
  }
}
