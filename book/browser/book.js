// The built book, served on loopback, and a browser to look at it with.

import { createReadStream, existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { createServer } from "node:http";
import { extname, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
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

/** Every page a reader can come to. */
export const pages = readdirSync(root).filter(
  (name) => name.endsWith(".html") && !["404.html", "print.html", "toc.html"].includes(name),
);

export async function serveBook() {
  const asked = [];
  const server = createServer((request, response) => {
    asked.push(request.url);
    const path = join(root, normalize(new URL(request.url, "http://book").pathname));
    const file = existsSync(path) && statSync(path).isDirectory() ? join(path, "index.html") : path;
    if (!file.startsWith(root) || !existsSync(file)) {
      response.writeHead(404).end();
      return;
    }
    response.writeHead(200, { "content-type": types[extname(file)] ?? "application/octet-stream" });
    createReadStream(file).pipe(response);
  });
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  return { origin: `http://127.0.0.1:${server.address().port}`, asked, close: () => server.close() };
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
