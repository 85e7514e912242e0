// What the page does for its readers: anyone can read and steer it, and nobody can misuse it.
// Run `cargo run` first: this looks at the book in target/book.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { launch, open as openPage, pages, serveBook } from "./book.js";
import { cardOf, cover, coverOf, fileOf, hashIn } from "./cards.js";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const themes = ["light", "rust", "coal", "navy", "ayu"];
const chapter = "grouped-query.html";

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

async function violations(tab, rules) {
  const options = rules ? { runOnly: rules } : {};
  const { violations } = await tab.evaluate((options) => window.axe.run(document, options), options);
  return violations.map(({ id, nodes }) => {
    const first = nodes.slice(0, 3).map((node) => `${node.target} ${node.any[0]?.message ?? ""}`);
    return `${id}, ${nodes.length} times: ${first.join(" | ")}`;
  });
}

for (const page of [...pages, "404.html"]) {
  test(`${page}: nothing stands in the way of a reader, in any theme (axe)`, async () => {
    const { tab, close } = await open(page, { width: 1400, reducedMotion: "reduce" });
    await tab.evaluate(axe);
    assert.deepEqual(await violations(tab), []);
    for (const theme of themes) {
      await tab.locator("#mdbook-theme-toggle").click();
      await tab.locator(`#mdbook-theme-${theme}`).click();
      await tab.keyboard.press("Escape");
      assert.equal(await tab.locator("html").evaluate((html, name) => html.classList.contains(name), theme), true);
      assert.deepEqual(await violations(tab, ["color-contrast"]), [], theme);
    }
    await tab.setViewportSize({ width: 360, height: 800 });
    await tab.reload();
    await tab.evaluate(axe);
    assert.deepEqual(await violations(tab), [], "on a phone");
    await close();
  });
}

test("a symbol, its row and its name in the code light up together", async () => {
  const { tab, close } = await open(chapter, { width: 1400 });
  const lit = () => tab.locator("main .lit").evaluateAll((all) => all.map((one) => `${one.localName} ${one.textContent}`));
  const formula = tab.locator("main p mi[data-symbol]", { hasText: /^G$/ }).first();
  await formula.hover();
  const together = await lit();
  assert.ok(together.some((one) => one === "mi G"), "in formulas");
  assert.ok(together.some((one) => one === "span kv_heads"), "in listings");
  assert.ok(together.some((one) => one === "code kv_heads"), "in the prose");
  assert.ok(together.some((one) => one.startsWith("tr") && one.includes("key/value heads")), "in the table");
  assert.match(await tab.locator(".symbol-note").textContent(), /query heads, key\/value heads/);

  await tab.locator("figure.listing span[data-symbol]", { hasText: /^kv_heads$/ }).first().hover();
  assert.deepEqual(await lit(), together, "the other way round");

  await tab.keyboard.press("Escape");
  assert.deepEqual(await lit(), []);
  await close();
});

test("rows of symbols can be reached and left with the keyboard", async () => {
  const { tab, close } = await open(chapter);
  const rows = tab.locator("main tr[tabindex='0']");
  assert.ok((await rows.count()) >= 6);
  await rows.first().focus();
  assert.ok((await tab.locator("main .lit").count()) > 10);
  await tab.keyboard.press("Tab");
  assert.equal(await rows.nth(1).evaluate((row) => row === document.activeElement), true);
  await close();
});

test("a figure can be enlarged, and comes back, by keyboard alone", async () => {
  const { tab, close } = await open(chapter);
  const figure = tab.locator("figure.figure").first();
  const small = await figure.locator("svg").boundingBox();
  await figure.locator(".enlarge").focus();
  await tab.keyboard.press("Enter");
  const large = await tab.locator("dialog.large svg").boundingBox();
  assert.ok(large.height > small.height * 1.2, `${small.height} to ${large.height}`);
  await tab.keyboard.press("Escape");
  await figure.locator("svg").waitFor();
  assert.equal(await figure.locator(".enlarge").evaluate((button) => button === document.activeElement), true);
  await close();
});

const isSearching = (tab) => tab.locator("#mdbook-search-wrapper").evaluate((box) => !box.classList.contains("hidden"));
const isHelping = (tab) => tab.locator("#mdbook-help-popup").isVisible();

test("keys turn pages, search and help, until a reader switches them off", async () => {
  const { tab, seen, close } = await open("decoding.html");
  await tab.waitForLoadState("networkidle");
  const at = (page) => tab.waitForURL(`${book.origin}/${page}`);
  await tab.keyboard.press("ArrowRight");
  await at("multi-query.html");
  await tab.keyboard.press("ArrowLeft");
  await at("decoding.html");
  await tab.waitForLoadState("networkidle");
  await tab.keyboard.press("?");
  assert.equal(await isHelping(tab), true);
  await tab.keyboard.press("Escape");

  await tab.locator("#options-toggle").click();
  const keys = tab.getByRole("switch", { name: "Keyboard shortcuts" });
  assert.equal(await keys.isChecked(), true);
  await keys.press(" ");
  await tab.keyboard.press("Escape");
  const dead = async () => {
    assert.equal(await tab.locator("[aria-keyshortcuts]").count(), 0);
    for (const key of ["?", "s", "/", "ArrowRight", "ArrowLeft"]) {
      await tab.evaluate(() => document.activeElement.blur());
      await tab.keyboard.press(key);
    }
    await tab.waitForTimeout(300);
    assert.equal(await isSearching(tab), false);
    assert.equal(await isHelping(tab), false);
    assert.equal(new URL(tab.url()).pathname, "/decoding.html");
  };
  await dead();
  await tab.reload({ waitUntil: "networkidle" });
  await dead();

  await tab.locator("#options-toggle").click();
  await keys.press(" ");
  await tab.keyboard.press("Escape");
  await tab.evaluate(() => document.activeElement.blur());
  await tab.keyboard.press("s");
  assert.equal(await isSearching(tab), true);
  assert.deepEqual(seen, { errors: [], elsewhere: [] });
  await close();
});

test("a control that has the focus keeps its keys, and what scrolls does", async () => {
  const { tab, close } = await open("decoding.html", { width: 1400 });
  await tab.waitForLoadState("networkidle");
  for (const control of [".enlarge", "main summary", "main a[href]", "#mdbook-theme-toggle", ".exercise input", "#mdbook-sidebar a"]) {
    for (const key of ["?", "s", "/", "ArrowRight", "ArrowLeft"]) {
      await tab.locator(control).first().focus();
      await tab.keyboard.press(key);
    }
    await tab.waitForTimeout(100);
    assert.equal(await isSearching(tab), false, control);
    assert.equal(await isHelping(tab), false, control);
    assert.equal(new URL(tab.url()).pathname, "/decoding.html", control);
  }
  await tab.locator("main").focus();
  await tab.keyboard.press("ArrowRight");
  await tab.waitForURL(`${book.origin}/multi-query.html`);
  await close();
});

test("one switch unfolds every doc comment and every test behind an output, and is remembered", async () => {
  const { tab, close } = await open(chapter);
  const folds = "main details:is(.doc, .kept)";
  const open_ = () => tab.locator(folds).evaluateAll((all) => all.filter((one) => one.open).length);
  const all = await tab.locator(folds).count();
  assert.ok(all > 20);
  assert.equal(await open_(), 0);
  const unfold = tab.getByRole("switch", { name: /Unfold all/ });
  await tab.locator("#options-toggle").click();
  await unfold.check();
  assert.equal(await open_(), all);
  await tab.goto(`${book.origin}/attention.html`);
  assert.equal(await open_(), await tab.locator(folds).count());
  await tab.locator("#options-toggle").click();
  await unfold.uncheck();
  await tab.reload();
  assert.equal(await open_(), 0);
  await close();
});

test("reading options open below their button, and fit on a phone", async () => {
  for (const width of [360, 1400]) {
    const { tab, close } = await open(chapter, { width });
    assert.equal(await tab.locator("#options").isVisible(), false);
    await tab.locator("#options-toggle").press("Enter");
    await tab.evaluate(axe);
    assert.deepEqual(await violations(tab), []);
    const [button, panel] = await Promise.all(["#options-toggle", "#options"].map((one) => tab.locator(one).boundingBox()));
    assert.ok(panel.y >= button.y + button.height - 1, "below");
    assert.ok(panel.x >= 0 && panel.x + panel.width <= width, "inside the window");
    assert.ok(width < 1000 || Math.abs(panel.x - button.x) < 20, "at its button");
    await close();
  }
});

test("the first key leads past the menus, and what has the focus shows it", async () => {
  const { tab, close } = await open(chapter);
  await tab.keyboard.press("Tab");
  const focused = () => tab.evaluate(() => document.activeElement.textContent.trim());
  assert.equal(await focused(), "Skip to the text");
  assert.ok((await tab.locator(".skip-link").boundingBox()).y >= 0);
  await tab.keyboard.press("Enter");
  assert.equal(await tab.evaluate(() => document.activeElement.id), "mdbook-main");
  await tab.keyboard.press("Tab");
  const outline = await tab.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.equal(outline, "solid");
  await close();
});

test("the table of contents opens and closes by keyboard", async () => {
  const { tab, close } = await open(chapter, { width: 360 });
  const button = tab.locator("#mdbook-sidebar-toggle");
  await button.focus();
  assert.equal(await button.getAttribute("aria-expanded"), "false");
  await tab.keyboard.press("Enter");
  await tab.locator("#mdbook-sidebar a.active").waitFor({ state: "visible" });
  assert.equal(await button.getAttribute("aria-expanded"), "true");
  await close();
});

test("copying a listing gives its code", async () => {
  const { tab, close } = await open(chapter, { permissions: ["clipboard-read", "clipboard-write"] });
  const listing = tab.locator("figure.listing > pre").nth(2);
  await listing.hover();
  await listing.locator(".clip-button").click();
  const copied = await tab.evaluate(() => navigator.clipboard.readText());
  assert.match(copied, /^#\[must_use\]\npub fn kv_head\(self, head: usize\) -> usize \{\n {4}head \/ self\.size\(\)\n\}$/);
  await close();
});

test("reduced motion: nothing moves", async () => {
  const { tab, close } = await open(chapter, { reducedMotion: "reduce" });
  const moving = await tab.evaluate(() => [...document.querySelectorAll("*")].filter((one) => {
    const { transitionDuration, animationName } = getComputedStyle(one);
    return animationName !== "none" || transitionDuration.split(", ").some((time) => time !== "0s");
  }).length);
  assert.equal(moving, 0);
  await close();
});

for (const width of [360, 1400]) {
  test(`at ${width} px no listing, and no output of 44 characters, has to be scrolled sideways`, async () => {
    for (const page of pages) {
      const { tab, close } = await open(page, { width });
      await tab.evaluate(() => document.fonts.ready);
      const wide = await tab.locator("main figure:is(.listing, .output) pre > code").evaluateAll((all) =>
        all
          .filter((code) => code.closest(".listing") || code.textContent.split("\n").every((line) => line.length <= 44))
          .filter((code) => code.checkVisibility() && code.scrollWidth > code.clientWidth + 1)
          .map((code) => code.textContent.slice(0, 60)));
      assert.deepEqual(wide, [], page);
      await close();
    }
  });
}

for (const page of pages) {
  test(`${page}: its head says what it is, once`, async () => {
    const { tab, close } = await open(page);
    const content = async (selector, attribute = "content") => {
      const found = tab.locator(`head ${selector}`);
      assert.equal(await found.count(), 1, selector);
      return found.getAttribute(attribute);
    };
    const description = await content("meta[name=description]");
    assert.ok(description.length > 40 && description.length < 320, description);
    const address = await content("link[rel=canonical]", "href");
    assert.ok(address.startsWith("https://"));
    assert.equal(new URL(address).pathname.split("/").pop(), page === "index.html" ? "" : page);
    const listed = await (await fetch(`${book.origin}/sitemap.xml`)).text();
    assert.ok(listed.includes(`<loc>${address}</loc>`), "in sitemap.xml");
    const policy = await content("meta[http-equiv='Content-Security-Policy']");
    assert.doesNotMatch(policy, /unsafe-inline|unsafe-eval(?<!wasm-unsafe-eval)|\*|http/);
    await close();
  });
}

test("a script that finds its way into a page does not run", async () => {
  const { tab, seen, close } = await open(chapter);
  await tab.evaluate(() => {
    const script = document.createElement("script");
    script.textContent = "window.ran = true";
    document.body.append(script);
    document.body.insertAdjacentHTML("beforeend", "<img src='missing' onerror='window.ran = true'>");
  });
  await tab.waitForTimeout(200);
  assert.equal(await tab.evaluate(() => window.ran), undefined);
  assert.ok(seen.errors.some((error) => error.includes("Content Security Policy")));
  await close();
});

test("what a reader asks for stays text", async () => {
  const hostile = "<img src=x onerror=alert(1)><b id=injected>";
  for (const page of [`index.html?search=${encodeURIComponent(hostile)}`, `attention.html?highlight=${encodeURIComponent(hostile)}`, `no/${encodeURIComponent(hostile)}`]) {
    const { tab, close } = await open(page);
    await tab.waitForTimeout(300);
    assert.equal(await tab.locator("#injected, img[src=x]").count(), 0, page);
    await close();
  }
});

test("an address that leads nowhere leads on", async () => {
  const { tab, seen, close } = await open("no/such/rotary-positions.html");
  assert.match(await tab.locator("h1").textContent(), /not here/);
  assert.ok((await tab.locator("main li a").count()) >= pages.length - 1);
  assert.deepEqual(seen.elsewhere, []);
  const color = await tab.locator("html").evaluate((html) => getComputedStyle(html).fontFamily);
  assert.match(color, /Source Sans/, "it is dressed");
  await tab.locator("#look-for-it").click();
  await tab.locator("#mdbook-searchresults-header").waitFor();
  assert.equal(await tab.locator("#mdbook-searchbar").inputValue(), "rotary positions");
  await close();
});

test("the first view of a chapter takes less than 500 KB", async () => {
  const { gzipSync } = await import("node:zlib");
  for (const page of pages) {
    const { tab, close } = await open("404.html");
    // The browser may have dropped a body by the time that it is asked for; the server has it.
    const needed = new Set();
    tab.on("response", (response) => response.ok() && needed.add(response.url()));
    await tab.goto(`${book.origin}/${page}`, { waitUntil: "networkidle" });
    let total = 0;
    for (const url of needed) {
      const body = Buffer.from(await (await fetch(url)).arrayBuffer());
      total += /woff2|png/.test(url) ? body.length : gzipSync(body).length;
    }
    assert.ok(total > 50_000 && total < 500_000, `${page}: ${total} bytes`);
    await close();
  }
});

test("a footnote stands in the margin, unfolds on a phone, and stays at the foot without scripts", async () => {
  const noted = async (habits) => {
    const context = await browser.newContext(habits);
    const tab = await context.newPage();
    await tab.route(`**/${chapter}`, async (route) => {
      const response = await route.fetch();
      const page = await response.text();
      // As mdBook writes `word[^n]`.
      const mark = '<p>A word<sup class="footnote-reference" id="fr-n-1"><a href="#footnote-n">1</a></sup> and more.</p>';
      const foot = '<ol class="footnote-definition"><li id="footnote-n"><p>What is meant. <a href="#fr-n-1">↩</a></p></li></ol></main>';
      const body = page.replace("<h2 id=\"neigh", `${mark}<h2 id="neigh`).replace("</main>", foot);
      await route.fulfill({ response, body });
    });
    await tab.goto(`${book.origin}/${chapter}`);
    return { tab, note: tab.locator(".note"), close: () => context.close() };
  };
  const desk = await noted({ viewport: { width: 1400, height: 900 } });
  const [text, margin] = await Promise.all([desk.tab.locator("p:has(> .note)"), desk.note].map((one) => one.boundingBox()));
  assert.equal(await desk.note.textContent(), "What is meant. ");
  assert.ok(margin.x >= text.x + text.width && margin.x + margin.width <= 1400, JSON.stringify([text, margin]));
  await desk.close();

  const phone = await noted({ viewport: { width: 360, height: 800 } });
  assert.equal(await phone.note.isVisible(), false);
  await phone.tab.locator(".footnote-reference a").focus();
  await phone.tab.keyboard.press("Enter");
  assert.equal(await phone.note.isVisible(), true);
  await phone.close();

  const plain = await noted({ javaScriptEnabled: false });
  assert.equal(await plain.note.count(), 0);
  assert.equal(await plain.tab.locator("#footnote-n").isVisible(), true);
  await plain.close();
});

test("the whole book prints, with every figure, formula and row of code", async () => {
  const { tab, close } = await open("print.html", { theme: "navy", width: 800 });
  await tab.emulateMedia({ media: "print" });
  const found = await tab.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const all = (selector) => [...document.querySelectorAll(selector)];
    const shown = (one) => one.checkVisibility() && one.getBoundingClientRect().height > 0;
    return {
      background: getComputedStyle(document.querySelector("main")).color,
      figures: all("figure.figure > svg").filter(shown).length,
      cut: all("main :is(pre > code, .formula, svg, table)")
        .filter((one) => shown(one) && (one.scrollWidth > one.clientWidth + 1 || one.getBoundingClientRect().right > width + 1))
        .map((one) => `${one.localName} ${one.textContent.slice(0, 50)}`),
      answers: all("details:not(.figure > details) p").every(shown),
      folds: all("details.doc pre, details.kept a").every(shown),
      handles: all(":is(.doc, .kept) > summary").filter(shown).length,
      menus: all("#mdbook-menu-bar, #mdbook-sidebar, .enlarge, pre > .buttons, .skip-link").filter(shown).length,
    };
  });
  let figures = 0;
  for (const page of pages) figures += (await (await fetch(`${book.origin}/${page}`)).text()).split('class="figure"').length - 1;
  assert.deepEqual(found.cut, []);
  assert.equal(found.figures, figures);
  assert.ok(figures > 30);
  assert.equal(found.answers, true, "answers are unfolded");
  assert.equal(found.folds, true, "doc comments are unfolded");
  assert.equal(found.handles, 0);
  assert.equal(found.menus, 0);
  assert.equal(found.background, "rgb(0, 0, 0)", "ink is black, whatever the theme");

  const pdf = await tab.pdf({ format: "A4", printBackground: true, tagged: true, outline: true });
  const text = pdf.toString("latin1");
  assert.ok((text.match(/\/Type\s*\/Page[^s]/g) ?? []).length > 60, "pages");
  // Each figure is in the tree of the tagged PDF, with its words.
  const told = (text.match(/\/S\s*\/Figure/g) ?? []).length;
  assert.ok(told >= figures, `${told} of ${figures} figures`);
  await close();
});

test("the card of every page, and the cover, are drawn from what the pages say now", async () => {
  const tab = await browser.newPage();
  for (const page of pages) {
    const { hash } = await cardOf(tab, book.origin, page);
    assert.equal(hashIn(readFileSync(fileOf(page))), hash, `${page}: npm run cards`);
  }
  const { hash } = await coverOf(tab, book.origin);
  assert.equal(hashIn(readFileSync(cover)), hash, "cover: npm run cards");
  await tab.close();
});
