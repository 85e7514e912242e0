// Draws the cards that stand for pages elsewhere, from title and first figure, into images/cards,
// and the cover of the EPUB into images/cover.png: `npm run cards`, after `cargo run`. `npm test`
// holds them to the pages.

import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { crc32 } from "node:zlib";
import { launch, pages, serveBook } from "./book.js";

const KEYWORD = "Source-SHA256";

const STYLE = `
  body { margin: 0; width: 1200px; height: 630px; display: grid; grid-template-columns: 1fr 560px;
    grid-template-rows: auto 1fr auto; gap: 0 40px; padding: 56px; box-sizing: border-box; background: #fff;
    color: #1a1a1a; border-left: 20px solid #1c4cb3; overflow: hidden; }
  p, h1, small { margin: 0; font-family: "Source Sans 3"; grid-column: 1; }
  p { font-size: 30px; color: #55585f; }
  h1 { align-self: center; font-size: 60px; line-height: 1.1; font-weight: 600; text-wrap: balance; }
  small { font-size: 30px; color: #1c4cb3; }
  svg { grid-column: 2; grid-row: 1 / 4; width: 560px; height: 518px; }`;

const COVER_STYLE = `
  body { margin: 0; width: 1200px; height: 1800px; display: grid; grid-template-rows: auto 1fr auto; gap: 60px;
    padding: 120px 100px 100px; box-sizing: border-box; background: #fff; color: #1a1a1a;
    border-left: 40px solid #1c4cb3; overflow: hidden; }
  h1, p, small { margin: 0; font-family: "Source Sans 3"; }
  h1 { font-size: 132px; line-height: 1.05; font-weight: 600; text-wrap: balance; }
  svg { width: 1060px; height: 1000px; align-self: center; }
  p { font-size: 40px; line-height: 1.3; color: #55585f; text-wrap: balance; }`;

/** The page whose first figure is on the cover. */
const COVER_PAGE = "attention.html";

/** Where the cover is kept. */
export const cover = fileURLToPath(new URL("../../images/cover.png", import.meta.url));

const folder = fileURLToPath(new URL("../../images/cards/", import.meta.url));

/** Where the card of a page is kept. */
export const fileOf = (page) => folder + page.replace(/html$/, "png");

/** The card as a page of its own, and what tells whether it has changed. */
export async function cardOf(tab, origin, page) {
  await tab.goto(`${origin}/${page}`);
  const { title, chapter, drawing, book } = await tab.evaluate(() => ({
    title: document.querySelector("main h1").textContent.trim(),
    chapter: document.title.split(" - ")[0],
    drawing: document.querySelector("figure.figure > svg")?.outerHTML ?? "",
    book: document.querySelector(".menu-title").textContent.trim(),
  }));
  const body = `<p>${escape(book)}</p><h1>${escape(title)}</h1><small>${escape(chapter)}</small>${drawing}`;
  return { body, hash: createHash("sha256").update(STYLE + body).digest("hex") };
}

/** The cover, in the same way. */
export async function coverOf(tab, origin) {
  await tab.goto(`${origin}/${COVER_PAGE}`);
  const drawing = await tab.evaluate(() => document.querySelector("figure.figure > svg").outerHTML);
  await tab.goto(`${origin}/index.html`);
  const { title, about } = await tab.evaluate(() => ({
    title: document.querySelector(".menu-title").textContent.trim(),
    about: document.querySelector("main > p").textContent.trim().replace(/\s+/g, " ").split(". ")[0],
  }));
  const body = `<h1>${escape(title)}</h1>${drawing}<p>${escape(about)}</p>`;
  return { body, hash: createHash("sha256").update(COVER_STYLE + body).digest("hex") };
}

function escape(text) {
  return text.replace(/[&<>]/g, (letter) => `&#${letter.charCodeAt(0)};`);
}

/** The hash that a card was drawn with. */
export function hashIn(png) {
  const at = png.indexOf(`${KEYWORD}\0`);
  return at < 0 ? "" : png.subarray(at + KEYWORD.length + 1, at + KEYWORD.length + 65).toString();
}

function withHash(png, hash) {
  const data = Buffer.from(`tEXt${KEYWORD}\0${hash}`, "latin1");
  const chunk = Buffer.alloc(data.length + 8);
  chunk.writeUInt32BE(data.length - 4);
  data.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(data), data.length + 4);
  const end = png.length - 12; // before IEND
  return Buffer.concat([png.subarray(0, end), chunk, png.subarray(end)]);
}

/** Draws what is told by `body` and `hash` into a file, unless that is what it shows already. */
async function drawInto(file, tab, { body, hash }, style, size) {
  let old = "";
  try {
    old = hashIn(readFileSync(file));
  } catch {
    // There is none yet.
  }
  if (old === hash) return;
  await tab.setViewportSize(size);
  // The page's own fonts, without its own looks.
  await tab.evaluate(([body, style]) => {
    document.body.innerHTML = body;
    const rules = [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules]);
    const fonts = rules.filter((rule) => rule instanceof CSSFontFaceRule).map((rule) => rule.cssText);
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(fonts.join("").replaceAll("../fonts/", `${location.origin}/fonts/`) + style);
    for (const link of document.querySelectorAll("link[rel=stylesheet]")) link.disabled = true;
    document.adoptedStyleSheets = [sheet];
  }, [body, style]);
  await tab.evaluate(() => Promise.all([..."46"].map((w) => document.fonts.load(`${w}00 30px "Source Sans 3"`))));
  const png = await tab.screenshot({ clip: { x: 0, y: 0, ...size } });
  writeFileSync(file, withHash(png, hash));
  console.log(file);
}

async function draw() {
  const book = await serveBook();
  const browser = await launch();
  const tab = await browser.newPage();
  mkdirSync(folder, { recursive: true });
  for (const page of pages) {
    const card = await cardOf(tab, book.origin, page);
    await drawInto(fileOf(page), tab, card, STYLE, { width: 1200, height: 630 });
  }
  await drawInto(cover, tab, await coverOf(tab, book.origin), COVER_STYLE, { width: 1200, height: 1800 });
  await browser.close();
  book.close();
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await draw();
