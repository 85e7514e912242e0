// What Lighthouse says of every chapter, on a phone: `npm run lighthouse`, after `cargo run`.
// Fails below 95 / 100 / 100 / 95. Performance is measured: run it on an idle machine.

import { launch as launchChrome } from "chrome-launcher";
import lighthouse from "lighthouse";
import { pages, serveBook } from "./book.js";

const wanted = { performance: 95, accessibility: 100, "best-practices": 100, seo: 95 };
const only = process.argv.slice(2);

const book = await serveBook();
const chrome = await launchChrome({
  chromePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  chromeFlags: [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

for (const page of only.length ? only : pages) {
  const { lhr } = await lighthouse(`${book.origin}/${page}`, {
    port: chrome.port,
    logLevel: "error",
    onlyCategories: Object.keys(wanted),
  });
  const scores = Object.keys(wanted).map((name) => Math.round(lhr.categories[name].score * 100));
  console.log(page.padEnd(28), scores.map((score) => String(score).padStart(4)).join(""));
  for (const [name, { auditRefs }] of Object.entries(lhr.categories)) {
    if (Math.round(lhr.categories[name].score * 100) >= wanted[name]) continue;
    process.exitCode = 1;
    for (const { id, weight } of auditRefs) {
      const { score, title, displayValue = "" } = lhr.audits[id];
      if (weight > 0 && score !== null && score < 0.9) console.log(`  ${name}: ${title} ${displayValue}`);
    }
  }
}

await chrome.kill();
book.close();
