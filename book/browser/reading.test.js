// What the page does for its readers: anyone can read and steer it, and nobody can misuse it.
// Run `cargo run` first: this looks at the book in target/book.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { launch, open as openPage, pages, serveBook } from "./book.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const themes = ["light", "rust", "coal", "navy", "ayu"];
const chapter = "05-grouped-query.html";

let book, browser;
before(async () => {
  book = await serveBook();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  book?.close();
});

const open = (page, habits) => openPage(browser, book, page, habits);

async function violations(tab) {
  await tab.evaluate(axe);
  const { violations } = await tab.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map(({ id, nodes }) => `${id}: ${nodes.map((n) => `${n.target} ${n.any[0]?.message ?? ""}`).slice(0, 3).join(" | ")} (${nodes.length})`);
}

for (const page of [...pages, "404.html"]) {
  for (const [theme, width] of [...themes.map((theme) => [theme, 1400]), ["light", 360], ["navy", 360]]) {
    test(`${page}, ${theme}, ${width} px: nothing stands in the way of a reader (axe)`, async () => {
      const { tab, close } = await open(page, { theme, width, reducedMotion: "reduce" });
      await tab.waitForLoadState("networkidle");
      assert.deepEqual(await violations(tab), []);
      await close();
    });
  }
}
