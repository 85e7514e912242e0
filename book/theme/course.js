// Ticks for the exercises, kept in this browser. Without scripts the pages are whole, and
// only the boxes are missing.

(() => {
  "use strict";

  const KEY = "attention-line-by-line.course";
  const LINE = "course:1:";

  /** The ids that are ticked. A browser that keeps nothing starts with none. */
  function read() {
    try {
      return new Set((localStorage.getItem(KEY) ?? "").split(",").filter(Boolean));
    } catch {
      return new Set();
    }
  }

  function write(done) {
    try {
      localStorage.setItem(KEY, [...done].sort().join(","));
    } catch {
      // Ticks then last as long as the page.
    }
  }

  let done = read();
  const boxes = [];
  const told = [];

  function show() {
    for (const { id, box } of boxes) box.checked = done.has(id);
    for (const tell of told) tell();
  }

  function addBox(element) {
    const id = element.dataset.exercise;
    const label = document.createElement("label");
    label.className = "tick";
    const box = document.createElement("input");
    box.type = "checkbox";
    label.append(box, element.matches("li") ? "" : "done");
    box.setAttribute("aria-label", `${id} is done`);
    box.addEventListener("change", () => {
      if (box.checked) done.add(id);
      else done.delete(id);
      write(done);
      show();
    });
    if (element.matches("li")) element.prepend(label, " ");
    else element.querySelector("code").before(label);
    boxes.push({ id, box });
  }

  function addCount(chapter) {
    const ids = [...chapter.querySelectorAll("[data-exercise]")].map((e) => e.dataset.exercise);
    const count = document.createElement("span");
    count.className = "kind";
    chapter.querySelector("a").after(" ", count);
    told.push(() => {
      const n = ids.filter((id) => done.has(id)).length;
      count.textContent = n === ids.length ? `✓ ${n} of ${n}` : `${n} of ${ids.length}`;
    });
  }

  /** A line to copy into the terminal, and a place to paste the terminal's. */
  function addExchange(list) {
    const known = new Set([...list.querySelectorAll("[data-exercise]")].map((e) => e.dataset.exercise));
    const panel = document.createElement("div");
    panel.className = "exchange";
    const field = (text, readOnly) => {
      const label = document.createElement("label");
      const input = document.createElement("input");
      Object.assign(input, { type: "text", readOnly, spellcheck: false });
      label.append(text, input);
      panel.append(label);
      return input;
    };
    const line = field("Your ticks as one line; in a terminal: cargo course progress LINE", true);
    const paste = field("Paste the line that cargo course progress prints", false);
    const answer = document.createElement("output");
    panel.append(answer);
    line.addEventListener("focus", () => line.select());
    paste.addEventListener("input", () => {
      const text = paste.value.trim();
      if (text === "") {
        answer.textContent = "";
        return;
      }
      if (!text.startsWith(LINE)) {
        answer.textContent = `A line begins with ${LINE}`;
        return;
      }
      const ids = text.slice(LINE.length).split(",").map((id) => id.trim()).filter((id) => known.has(id));
      const before = done.size;
      done = new Set([...done, ...ids]);
      write(done);
      show();
      answer.textContent = `${done.size - before} taken over`;
    });
    told.push(() => {
      line.value = LINE + [...done].sort().join(",");
    });
    list.after(panel);
  }

  document.querySelectorAll("main [data-exercise]").forEach(addBox);
  document.querySelectorAll("main .course [data-chapter]").forEach(addCount);
  document.querySelectorAll("main .course").forEach(addExchange);
  show();

  // Another tab of the book may tick as well.
  window.addEventListener("storage", (event) => {
    if (event.key === KEY) {
      done = read();
      show();
    }
  });
})();
