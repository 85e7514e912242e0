// What a reader does with live figures, by keyboard, and what stays when they cannot work.
// Run `cargo run -- build --live` first; a book without live figures is looked at as such.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { compressedSize, launch, live, pages, serveBook } from "./book.js";

let book, browser;
before(async () => {
  book = await serveBook();
  browser = await launch();
});
after(async () => {
  await browser?.close();
  book?.close();
});

async function open(page, { scripts = true, without } = {}) {
  const context = await browser.newContext({ javaScriptEnabled: scripts });
  if (without === "WebAssembly") {
    await context.addInitScript(() => delete globalThis.WebAssembly);
  } else if (without) {
    await context.route(without, (route) => route.abort());
  }
  const tab = await context.newPage();
  const errors = [];
  tab.on("console", (message) => message.type() === "error" && errors.push(message.text()));
  tab.on("pageerror", (error) => errors.push(String(error)));
  await tab.goto(`${book.origin}/${page}`);
  const form = (name) => tab.locator(`form[data-figure="${name}"]`);
  return { tab, errors, form, close: () => context.close() };
}

/** A figure's elements and words, and its numbers, taken apart. */
function parts(figure) {
  const words = [];
  const numbers = [];
  const places = ["d", "x", "y", "cx", "cy", "r", "width", "height", "viewBox", "transform"];
  for (const node of figure.querySelectorAll("svg, svg *")) {
    words.push(node.tagName, node.children.length ? "" : node.textContent);
    for (const { name, value } of node.attributes) {
      const numeric = places.includes(name);
      words.push(`${name}=${numeric ? value.replace(/-?[\d.]+/g, "#") : value}`);
      if (numeric) numbers.push(...(value.match(/-?[\d.]+/g) ?? []).map(Number));
    }
  }
  words.push(figure.querySelector("figcaption").innerHTML);
  words.push(...[...figure.querySelectorAll("th")].map((cell) => cell.outerHTML));
  return { words, numbers };
}

/** Waits until the figure has been redrawn `turn` times, or said why not. */
async function redrawn(form, turn = 1) {
  await form.and(form.page().locator(`[data-state="${turn}"]`)).waitFor();
}

test("without live figures the pages hold no controls and no script for them", { skip: live }, async () => {
  const { tab, close } = await open("attention.html");
  assert.equal(await tab.locator("form.live").count(), 0);
  assert.equal(book.asked.filter((url) => url.includes("/live")).length, 0);
  await close();
});

test("the module travels in less than 300 KB", { skip: !live }, () => {
  const size = compressedSize("live/live.wasm");
  console.log(`live.wasm: ${size} bytes compressed`);
  assert.ok(size < 300_000, `${size} bytes`);
});

test("the model travels with its module in less than 1.3 MB", { skip: !live }, () => {
  const size = compressedSize("live/model.wasm");
  console.log(`model.wasm: ${size} bytes compressed`);
  assert.ok(size < 1_300_000, `${size} bytes`);
});

for (const page of live ? pages : []) {
  test(`${page}: live figures start as they were printed, with labels and without errors`, async () => {
    const { tab, errors, close } = await open(page);
    for (const form of await tab.locator("form.live").all()) {
      for (const control of await form.locator("select, input").all()) {
        const labels = await control.evaluate((c) => [...c.labels].map((l) => l.innerText.trim()));
        assert.ok(labels.length === 1 && labels[0] !== "", `a label: ${labels}`);
      }
      const figure = form.locator("xpath=..");
      const printed = await figure.evaluate(parts);
      const before = book.asked.length;
      // A reset asks for the figure as the book has it, drawn anew.
      await form.locator("button[type=reset]").press("Enter");
      await redrawn(form);
      const drawn = await figure.evaluate(parts);
      assert.deepEqual(drawn.words, printed.words);
      assert.equal(drawn.numbers.length, printed.numbers.length);
      drawn.numbers.forEach((number, i) => {
        assert.ok(Math.abs(number - printed.numbers[i]) <= 0.5, `${number}, ${printed.numbers[i]}`);
      });
      const loaded = book.asked.slice(before);
      assert.ok(loaded.filter((url) => url.endsWith(".safetensors")).length <= 1, `${loaded}`);
      const name = await form.getAttribute("data-figure");
      await form.locator("button[type=reset]").press("Enter");
      await redrawn(form, 2);
      const milliseconds = Number(await form.getAttribute("data-milliseconds"));
      console.log(`${name}: ${milliseconds.toFixed(1)} ms`);
    }
    assert.deepEqual(errors, []);
    await close();
  });
}

test("nothing is loaded before a control is touched", { skip: !live }, async () => {
  const before = book.asked.length;
  const { tab, form, close } = await open("attention.html");
  await tab.waitForLoadState("networkidle");
  const loaded = () => book.asked.slice(before).filter((url) => /wasm|safetensors/.test(url));
  assert.deepEqual(loaded(), []);
  const scaling = form("attention::scaling");
  await scaling.locator("[name=d_k]").press("ArrowLeft");
  await redrawn(scaling);
  assert.deepEqual(loaded(), ["/live/live.wasm"]);
  await close();
});

test("keys on the keyboard move a figure, its caption and its data", { skip: !live }, async () => {
  const { tab, form, errors, close } = await open("attention.html");
  const opening = form("attention::it_looks_at_animal");
  const figure = tab.locator("#fig-it_looks_at_animal");
  assert.match(await figure.locator("figcaption").innerText(), /head 1 of layer 3/);
  const data = () => figure.locator("td").allTextContents();
  const first = await data();
  await opening.locator("[name=head]").press("ArrowRight");
  await redrawn(opening);
  assert.match(await figure.locator("figcaption").innerText(), /Figure 1\.1: .*head 2 of layer 3/s);
  assert.notDeepEqual(await data(), first);
  assert.match(await opening.locator("[role=status]").innerText(), /^“it” looks at “/);
  // The drawing is named by its own title and description.
  for (const id of (await figure.locator("svg").getAttribute("aria-labelledby")).split(" ")) {
    assert.equal(await tab.locator(`[id="${id}"]`).count(), 1, id);
  }
  await opening.locator("button[type=reset]").press("Enter");
  await redrawn(opening, 2);
  assert.deepEqual(await data(), first);
  assert.deepEqual(errors, []);
  await close();
});

test("what the code refuses is told, and the figure stays", { skip: !live }, async () => {
  const { tab, form, close } = await open("grouped-query.html");
  const groups = form("grouped_query::groups");
  await groups.locator("[name=kv_heads]").press("ArrowRight");
  await redrawn(groups);
  assert.match(await groups.locator("[role=status]").innerText(), /8 query heads cannot form 3/);
  assert.equal(await tab.locator("#fig-groups svg").isVisible(), true);
  await close();
});

test("the model reads what is typed, and nothing of it becomes markup or leaves the page", { skip: !live }, async () => {
  const { tab, form, errors, close } = await open("learning.html");
  const model = form("learning::inside");
  const figure = tab.locator("#fig-inside");
  const title = () => figure.locator("svg > title").textContent();
  const text = model.locator("[name=text]");
  const before = book.asked.length;
  let turn = 0;
  const type = async (words) => {
    await text.fill(words);
    await redrawn(model, ++turn);
    return model.locator("[role=status]").innerText();
  };
  const loaded = () => book.asked.slice(before).filter((url) => !url.includes("favicon"));
  assert.match(await type("The wolf said to the"), /After “·the”, the model expects “/);
  assert.deepEqual(loaded(), ["/live/model.wasm"]);
  const printed = await title();
  // What it cannot read is told as words, and the figure stays.
  assert.match(await type('<img src=x onerror="document.title=1">'), /`<` does not occur/);
  assert.match(await type(""), /nothing to read/);
  assert.match(await type("king ".repeat(70).slice(0, 300)), /After|are looked at/);
  assert.equal(await model.locator("img").count(), 0);
  assert.match(await type("The wolf said to the"), /After “·the”/);
  assert.equal(await title(), printed);

  // Every control moves the drawing; 64 pieces are redrawn in less than 100 ms.
  const long =
    "Once upon a time there was a king who had three daughters, and the youngest was so " +
    "beautiful that the king said to the queen, 'My dear wife, we must send the youngest away, " +
    "for she will never be a good and happy wife to him.' So the queen took";
  assert.match(await type(long), /After “·took”/);
  const times = [];
  for (const [control, change] of [
    ["off", (c) => c.selectOption("1.3")],
    ["kv_heads", (c) => c.selectOption("2")],
    ["sight", (c) => c.selectOption("8")],
    ["temperature", (c) => c.press("ArrowRight")],
    ["layer", (c) => c.press("ArrowRight")],
    ["head", (c) => c.press("ArrowLeft")],
  ]) {
    const was = await figure.locator("svg").innerHTML();
    await change(model.locator(`[name=${control}]`));
    await redrawn(model, ++turn);
    assert.notEqual(await figure.locator("svg").innerHTML(), was, control);
    times.push(Number(await model.getAttribute("data-milliseconds")));
  }
  console.log(`learning::inside, long text: ${times.map((t) => t.toFixed(0)).join(", ")} ms`);
  assert.deepEqual(loaded(), ["/live/model.wasm"]);
  assert.deepEqual(errors, []);
  await close();
});

for (const [what, without] of [
  ["the module is missing", "**/live.wasm"],
  ["the weights are missing", "**/*.safetensors"],
]) {
  test(`${what}: the printed figure stays, and says so when touched`, { skip: !live }, async () => {
    const { tab, form, close } = await open("attention.html", { without });
    const figure = tab.locator("#fig-it_looks_at_animal");
    const printed = await figure.evaluate(parts);
    const opening = form("attention::it_looks_at_animal");
    await opening.locator("[name=head]").press("ArrowRight");
    await redrawn(opening);
    assert.match(await opening.locator("[role=status]").innerText(), /cannot be redrawn/);
    assert.deepEqual(await figure.evaluate(parts), printed);
    await close();
  });
}

for (const [what, options] of [
  ["scripts", { scripts: false }],
  ["WebAssembly", { without: "WebAssembly" }],
]) {
  test(`without ${what} a figure is what it always was`, { skip: !live }, async () => {
    const { tab, errors, close } = await open("attention.html", options);
    assert.equal(await tab.locator("#fig-it_looks_at_animal svg").isVisible(), true);
    assert.equal(await tab.locator("form.live:visible").count(), 0);
    assert.deepEqual(errors, []);
    await close();
  });
}
