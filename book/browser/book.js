// The built book, served on loopback, and a browser to look at it with.

import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { createGzip, gzipSync } from "node:zlib";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../../target/book/", import.meta.url));
const types = {
  ".css": "text/css",
  ".html": "text/html",
  ".js": "text/javascript",
  ".json": "application/json",
  ".png": "image/png",
  ".svg": "image/svg+xml",
  ".wasm": "application/wasm",
  ".woff2": "font/woff2",
};

/** Whether the book was built with live figures. */
export const live = existsSync(join(root, "live/live.wasm"));

/** The size of a file of the book as it travels. */
export function compressedSize(path) {
  return gzipSync(readFileSync(join(root, path)), { level: 9 }).length;
}

const isMoved = (name) => readFileSync(join(root, name), "utf8").includes('http-equiv="refresh"');

/** Every page a reader can come to. */
export const pages = readdirSync(root).filter(
  (name) => name.endsWith(".html") && !["404.html", "print.html", "toc.html"].includes(name) && !isMoved(name),
);

/** Addresses at which there was a page once. */
export const moved = readdirSync(root).filter((name) => name.endsWith(".html") && isMoved(name));

export async function serveBook() {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    const path = join(root, normalize(new URL(request.url, "http://book").pathname));
    const file = existsSync(path) && statSync(path).isDirectory() ? join(path, "index.html") : path;
    if (!file.startsWith(root) || !existsSync(file)) {
      response.writeHead(404, { "content-type": "text/html" });
      createReadStream(join(root, "404.html")).pipe(response);
      return;
    }
    const type = types[extname(file)] ?? "application/octet-stream";
    if (/^text|json|svg/.test(type)) {
      // As every host of pages does.
      response.writeHead(200, { "content-type": type, "content-encoding": "gzip" });
      createReadStream(file).pipe(createGzip()).pipe(response);
    } else {
      response.writeHead(200, { "content-type": type });
      createReadStream(file).pipe(response);
    }
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { origin: `http://127.0.0.1:${server.address().port}`, asked, close: () => server.close() };
}

/** A page as a reader with these habits sees it, and what it complained of or fetched elsewhere. */
export async function open(browser, book, page, { width = 800, theme = "light", scripts = true, ...more } = {}) {
  const context = await browser.newContext({
    viewport: { width, height: 900 },
    javaScriptEnabled: scripts,
    ...more,
  });
  await context.addInitScript((name) => localStorage.setItem("mdbook-theme", name), theme);
  // print.html opens the window to print; a test that prints cannot do so at the same time.
  await context.addInitScript(() => (window.print = () => {}));
  const tab = await context.newPage();
  const seen = { errors: [], elsewhere: [] };
  tab.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  tab.on("pageerror", (error) => seen.errors.push(String(error)));
  tab.on("request", (request) => {
    if (!request.url().startsWith(book.origin)) seen.elsewhere.push(request.url());
  });
  await tab.goto(`${book.origin}/${page}`);
  return { tab, seen, close: () => context.close() };
}

export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}
