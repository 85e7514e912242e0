// What a reader sees, on a phone, a tablet and a desk, in light and dark, with scripts and without.
// Run `cargo run` first: this looks at the book in target/book.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch, moved, open as openPage, pages, serveBook } from "./book.js";

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

for (const page of pages) {
  for (const theme of ["light", "navy"]) {
    test(`${page}, ${theme}: no errors, and nothing is fetched from elsewhere`, async () => {
      const { tab, seen, close } = await open(page, { theme });
      await tab.waitForLoadState("networkidle");
      assert.deepEqual(seen, { errors: [], elsewhere: [] });
      await close();
    });
  }

  for (const width of [360, 800, 1400]) {
    for (const scripts of [true, false]) {
      test(`${page}, ${width} px, scripts ${scripts ? "on" : "off"}: nothing sticks out`, async () => {
        const { tab, close } = await open(page, { width, scripts });
        const root = tab.locator("html");
        const wide = await root.evaluate((html) => html.scrollWidth - html.clientWidth);
        assert.equal(wide, 0, `the page is ${wide} px too wide`);
        await close();
      });
    }
  }

  test(`${page}: every figure says what it shows`, async () => {
    const { tab, close } = await open(page);
    for (const figure of await tab.locator("figure.figure svg").all()) {
      assert.equal(await figure.getAttribute("role"), "img");
      const ids = (await figure.getAttribute("aria-labelledby")).split(" ");
      for (const id of ids) {
        assert.equal(await tab.locator(`[id="${id}"]`).count(), 1, `one element with the id ${id}`);
        assert.notEqual((await tab.locator(`[id="${id}"]`).textContent()).trim(), "");
      }
    }
    await close();
  });
}

test("figures take the colors of the theme", async () => {
  const ink = async (theme) => {
    const { tab, close } = await open("attention.html", { theme });
    const words = tab.locator("figure.figure svg text").first();
    const color = await words.evaluate((text) => getComputedStyle(text).fill);
    await close();
    return color;
  };
  assert.notEqual(await ink("light"), await ink("navy"));
});

test("without scripts, listings are highlighted, formulas are set, answers unfold", async () => {
  const { tab, close } = await open("attention.html", { scripts: false });
  assert.ok((await tab.locator("figure.listing .hljs-keyword").count()) > 20);
  assert.ok((await tab.locator("math").count()) > 20);
  const answer = tab.locator("details:has(> summary:text-is('Answer'))").first();
  assert.equal(await answer.locator("p").first().isVisible(), false);
  await answer.locator("summary").click();
  assert.equal(await answer.locator("p").first().isVisible(), true);
  await close();
});

test("with scripts, a listing keeps the highlighting that it was built with", async () => {
  const { tab, close } = await open("attention.html");
  const code = tab.locator("figure.listing > pre code").first();
  assert.match(await code.textContent(), /pub fn scores\(/);
  assert.ok((await code.locator(".hljs-keyword").count()) > 0);
  await close();
});

test("doc comments and the tests behind outputs are folded, and unfold without scripts", async () => {
  const { tab, close } = await open("attention.html", { scripts: false });
  for (const [fold, inside] of [["figure.listing details.doc", "pre"], ["figure.output details.kept", "a"]]) {
    const details = tab.locator(fold).first();
    assert.equal(await details.locator(inside).isVisible(), false, fold);
    await details.locator("summary").click();
    assert.equal(await details.locator(inside).isVisible(), true, fold);
  }
  await close();
});

test("there are addresses of old", () => assert.ok(moved.length >= 10, `${moved}`));

for (const old of moved) {
  test(`${old} leads on to the page of today, to the heading and to the words that were looked for`, async () => {
    const page = old.replace(/^\d+-/, "");
    const { tab, seen, close } = await open(page);
    const heading = await tab.locator("main h2[id]").last().getAttribute("id");
    await tab.goto(`${book.origin}/${old}?highlight=the#${heading}`);
    await tab.waitForURL(`${book.origin}/${page}?highlight=the#${heading}`);
    await tab.locator(`[id="${heading}"]`).waitFor();
    assert.equal(await tab.locator(`[id="${heading}"]`).isVisible(), true);
    assert.deepEqual(seen, { errors: [], elsewhere: [] });
    // Nobody comes back to it by way of the browser's own arrow.
    await tab.goBack();
    assert.equal(new URL(tab.url()).pathname, `/${page}`);
    await close();

    const plain = await open(old, { scripts: false });
    await plain.tab.waitForURL(`${book.origin}/${page}`);
    await plain.close();
  });
}

for (const [word, chapter] of [
  ["softmax", "attention"],
  ["absorbed", "latent"],
]) {
  test(`search finds "${word}" in the chapter that tells of it`, async () => {
    const { tab, close } = await open("index.html");
    await tab.waitForLoadState("networkidle");
    await tab.keyboard.press("s");
    await tab.locator("#mdbook-searchbar").pressSequentially(word);
    await tab.locator(`#mdbook-searchresults a[href*="${chapter}.html"]`).first().waitFor();
    await close();
  });
}

test("a tick on a chapter's page is kept, and counted on the page of the course", async () => {
  const { tab, seen, close } = await open("attention.html");
  const box = tab.getByRole("checkbox", { name: "attention/softmax is done" });
  await box.check();
  await tab.reload();
  assert.equal(await box.isChecked(), true);
  await tab.goto(`${book.origin}/course.html`);
  const chapter = tab.locator("[data-chapter=attention]");
  assert.match(await chapter.textContent(), /1 of \d+/);
  assert.equal(await chapter.getByRole("checkbox", { name: "attention/softmax is done" }).isChecked(), true);
  assert.equal(await tab.locator(".exchange input[readonly]").inputValue(), "course:1:attention/softmax");
  assert.deepEqual(seen, { errors: [], elsewhere: [] });
  await close();
});

test("a line from the terminal sets ticks, and takes none away", async () => {
  const { tab, close } = await open("course.html");
  const box = (id) => tab.getByRole("checkbox", { name: `${id} is done` });
  await box("attention/softmax").check();
  const paste = tab.locator(".exchange input:not([readonly])");
  await paste.fill("attention/mask");
  assert.match(await tab.locator(".exchange output").textContent(), /begins with course:1:/);
  assert.equal(await box("attention/mask").isChecked(), false);
  await paste.fill("course:1:attention/mask,attention/nothing");
  assert.equal(await box("attention/mask").isChecked(), true);
  assert.equal(await box("attention/softmax").isChecked(), true);
  assert.equal(
    await tab.locator(".exchange input[readonly]").inputValue(),
    "course:1:attention/mask,attention/softmax",
  );
  await close();
});

test("without scripts an exercise is whole, and has no box that does nothing", async () => {
  const { tab, close } = await open("attention.html", { scripts: false });
  const exercise = tab.locator("#exercise-softmax");
  assert.match(await exercise.textContent(), /cargo course check attention\/softmax/);
  assert.equal(await tab.locator(".exercise input").count(), 0);
  await close();
});
