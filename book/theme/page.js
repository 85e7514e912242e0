// What a page can do beyond mdBook: light a symbol up wherever it stands, show a figure at
// the size of the window, let a note stand where it belongs, let the keyboard reach what
// scrolls, and keep what a reader has switched. Without scripts nothing is lost but these.

(function symbols() {
  const main = document.getElementById("mdbook-main");
  const marked = [...main.querySelectorAll("[data-symbol]")];
  if (marked.length === 0) return;

  const name = (element) => element.dataset.symbol;
  const groups = Map.groupBy
    ? Map.groupBy(marked, name)
    : marked.reduce((all, one) => all.set(name(one), [...(all.get(name(one)) ?? []), one]), new Map());

  // The row that introduces a symbol has it in its first cell.
  const rows = new Map();
  for (const element of marked) {
    const cell = element.closest("td:first-child");
    if (cell && !rows.has(name(element))) rows.set(name(element), cell.parentElement);
  }
  const symbolsOf = (row) => [...rows].filter(([, other]) => other === row).map(([symbol]) => symbol);

  const note = document.createElement("div");
  note.className = "symbol-note";
  note.hidden = true;
  document.body.append(note);

  let lit = [];
  function put_out() {
    for (const element of lit) element.classList.remove("lit");
    lit = [];
    note.hidden = true;
  }
  function light(symbols, from) {
    put_out();
    lit = symbols.flatMap((symbol) => groups.get(symbol) ?? []);
    const row = rows.get(symbols[0]);
    if (row) lit.push(row);
    for (const element of lit) element.classList.add("lit");
    if (row && row !== from && !in_view(row)) tell(row);
  }
  function in_view(element) {
    const { top, bottom } = element.getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  }
  // The row is elsewhere on the page: its cells come to the foot of the window.
  function tell(row) {
    const cells = [...row.cells].filter((cell) => cell.textContent.trim());
    note.replaceChildren(...cells.map((cell) => {
      const copy = document.createElement("span");
      copy.append(...[...cell.childNodes].map((node) => node.cloneNode(true)));
      for (const one of copy.querySelectorAll(".lit")) one.classList.remove("lit");
      return copy;
    }));
    note.hidden = false;
  }

  const introduces = (target) => [...new Set(rows.values())].find((row) => row.contains(target));
  function at(target) {
    if (!(target instanceof Element)) return put_out();
    const element = target.closest("[data-symbol]");
    const row = introduces(target);
    if (element) light([name(element)], row);
    else if (row) light(symbolsOf(row), row);
    else put_out();
  }
  main.addEventListener("pointerover", (event) => at(event.target));
  main.addEventListener("pointerleave", put_out);
  main.addEventListener("focusin", (event) => at(event.target));
  main.addEventListener("focusout", put_out);
  document.addEventListener("keydown", (event) => event.key === "Escape" && put_out());
  for (const row of new Set(rows.values())) row.tabIndex = 0;
})();

(function figures() {
  const dialog = document.createElement("dialog");
  dialog.className = "large";
  const close = document.createElement("button");
  close.type = "button";
  close.textContent = "Close";
  close.addEventListener("click", () => dialog.close());
  dialog.append(close);
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  document.body.append(dialog);

  // The drawing itself moves, not a copy: its ids stay unique.
  let back = () => {};
  dialog.addEventListener("close", () => back());
  dialog.addEventListener("click", (event) => event.target !== close && dialog.close());

  for (const figure of document.querySelectorAll("figure.figure")) {
    const caption = figure.querySelector(":scope > figcaption");
    if (!caption || !figure.querySelector(":scope > svg")) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.className = "enlarge";
    button.textContent = "Enlarge";
    button.setAttribute("aria-label", `Enlarge ${caption.textContent.split(":")[0]}`);
    button.addEventListener("click", () => {
      const drawing = figure.querySelector(":scope > svg");
      const place = document.createComment("the drawing");
      drawing.replaceWith(place);
      dialog.append(drawing);
      dialog.setAttribute("aria-label", caption.firstChild.textContent.split(":")[0]);
      back = () => {
        place.replaceWith(drawing);
        button.focus();
      };
      dialog.showModal();
    });
    caption.prepend(button);
  }
})();

(function notes() {
  for (const mark of document.querySelectorAll("main .footnote-reference")) {
    const link = mark.querySelector("a");
    const foot = document.getElementById(decodeURIComponent(link.hash.slice(1)));
    if (!foot) continue;
    const note = document.createElement("small");
    note.className = "note";
    for (const block of foot.cloneNode(true).children) note.append(...block.childNodes);
    for (const back of note.querySelectorAll("a[href^='#fr-']")) back.remove();
    mark.after(note);
    link.setAttribute("role", "button");
    link.setAttribute("aria-expanded", "false");
    link.addEventListener("click", (event) => {
      event.preventDefault();
      link.setAttribute("aria-expanded", String(note.classList.toggle("open")));
    });
    link.addEventListener("keydown", (event) => {
      if (event.key !== " ") return;
      event.preventDefault();
      link.click();
    });
  }
})();

(function scrolling() {
  const boxes = document.querySelectorAll("main :is(pre > code, .table-wrapper, .formula)");
  const observer = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      const scrolls = target.scrollWidth > target.clientWidth || target.scrollHeight > target.clientHeight;
      if (scrolls) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  for (const box of boxes) observer.observe(box);
})();

// What a reader switches holds on every page, and the browser remembers it.
(function options() {
  const keys = document.getElementById("option-keys");
  const folds = document.getElementById("option-folds");
  const names = new Map([[keys, "attention-line-by-line.keys"], [folds, "attention-line-by-line.folds"]]);
  function kept(box) {
    try {
      return localStorage.getItem(names.get(box)) ?? "";
    } catch {
      return "";
    }
  }
  function keep(box) {
    try {
      localStorage.setItem(names.get(box), box.checked ? "on" : "off");
    } catch {
      // The choice then lasts as long as the page.
    }
  }

  // mdBook's shortcuts of one key turn the page, also for those who talk to their computer or
  // hit a key by accident: they can be switched off, and leave whatever has the focus alone
  // (WCAG 2.1.4). Its listeners are the document's, so what stops here is not heard.
  const shortcuts = ["ArrowLeft", "ArrowRight", "s", "/", "?"];
  const main = document.getElementById("mdbook-main");
  document.body.addEventListener("keydown", (event) => {
    if (event.altKey || event.ctrlKey || event.metaKey || !shortcuts.includes(event.key)) return;
    const { activeElement } = document;
    const isFree = !activeElement || [document.body, main].includes(activeElement);
    if (!keys.checked || !isFree) event.stopPropagation();
  });
  const told = [...document.querySelectorAll("[aria-keyshortcuts]")].map((one) => [one, one.getAttribute("aria-keyshortcuts")]);
  function tell() {
    for (const [one, shortcut] of told) {
      if (keys.checked) one.setAttribute("aria-keyshortcuts", shortcut);
      else one.removeAttribute("aria-keyshortcuts");
    }
  }

  function fold() {
    for (const details of document.querySelectorAll("main details:is(.doc, .kept)")) details.open = folds.checked;
  }

  function recall() {
    keys.checked = kept(keys) !== "off";
    tell();
    const unfolded = kept(folds) === "on";
    if (folds.checked !== unfolded) {
      folds.checked = unfolded;
      fold();
    }
  }
  keys.addEventListener("change", () => {
    keep(keys);
    tell();
  });
  folds.addEventListener("change", () => {
    keep(folds);
    fold();
  });
  recall();

  // The browser puts what pops up into the middle; it belongs below its button.
  const panel = document.getElementById("options");
  panel.addEventListener("toggle", () => {
    const { left } = document.getElementById("options-toggle").getBoundingClientRect();
    panel.style.left = `${Math.max(10, Math.min(left, innerWidth - panel.offsetWidth - 10))}px`;
  });

  // Another tab of the book may switch as well.
  window.addEventListener("storage", (event) => [...names.values()].includes(event.key) && recall());
})();

// A page that is not there offers to look for the words of its address.
(function lost() {
  const link = document.getElementById("look-for-it");
  if (!link) return;
  const words = decodeURIComponent(location.pathname).split("/").pop().replace(/\.html?$/, "");
  const asked = words.split(/[^\p{L}]+/u).filter(Boolean).join(" ");
  if (!asked || asked === "404") return;
  link.href = `index.html?search=${encodeURIComponent(asked)}`;
  link.querySelector("q").textContent = asked;
  link.parentElement.hidden = false;
})();
