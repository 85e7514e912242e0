// Redraws figures from a reader's inputs, with the code that drew them for the book,
// compiled to WebAssembly. Nothing is loaded before a control is touched; whatever fails,
// the figure that the page came with stays.
"use strict";

(() => {
  const folder = new URL("../../live/", document.currentScript.src);
  const files = new Map();
  const drawers = new Map();

  /** A file of the folder, fetched once. */
  function load(name) {
    if (!files.has(name)) {
      const fetched = fetch(new URL(name, folder)).then((response) => {
        if (!response.ok) throw new Error(`${name}: ${response.status}`);
        return response.arrayBuffer();
      });
      fetched.catch(() => files.delete(name));
      files.set(name, fetched);
    }
    return files.get(name);
  }

  /** What a module exports, and by which name it draws. */
  function start(module) {
    if (!drawers.has(module)) {
      const bytes = load(`${module}.wasm`);
      const started = bytes.then((bytes) => WebAssembly.instantiate(bytes)).then(
        ({ instance: { exports } }) => ({ ...exports, draw_room: exports[`${module}_draw`] }),
      );
      drawers.set(module, started);
    }
    return drawers.get(module);
  }

  /** An SVG file, or a line about why there is none. */
  function draw({ memory, live_room, draw_room, live_answer }, request, weights) {
    const words = new TextEncoder().encode(JSON.stringify(request));
    const room = live_room(words.length + weights.byteLength);
    const bytes = new Uint8Array(memory.buffer, room);
    bytes.set(words);
    bytes.set(new Uint8Array(weights), words.length);
    const length = draw_room(words.length);
    return new TextDecoder().decode(new Uint8Array(memory.buffer, live_answer(), length));
  }

  /** Puts a drawing with its caption and its data in the place of the last one. */
  function show(figure, prefix, file) {
    // What only a file of its own needs; the page's policy would complain of its style.
    const inline = file.replace(/<style>[^]*?<\/style>/, "");
    const svg = new DOMParser().parseFromString(inline, "image/svg+xml").documentElement;
    const metadata = svg.querySelector("metadata");
    const { caption, table } = JSON.parse(metadata.textContent);
    metadata.remove();
    for (const named of svg.querySelectorAll("[id]")) named.id = prefix + named.id;
    const words = svg.getAttribute("aria-labelledby").replace(/\S+/g, (id) => prefix + id);
    svg.setAttribute("aria-labelledby", words);
    figure.querySelector("svg").replaceWith(document.adoptNode(svg));

    const figcaption = figure.querySelector("figcaption");
    const buttons = figcaption.querySelectorAll("button");
    const [number] = figcaption.textContent.match(/Figure [\d.]+: /);
    const { className } = figcaption.querySelector("code") ?? figcaption;
    const code = (words) => Object.assign(element("code", words), { className });
    const parts = caption.split("`").map((part, i) => (i % 2 ? code(part) : part));
    figcaption.replaceChildren(...buttons, number, ...parts);

    const row = (cells, tag) => element("tr", ...cells.map((cell) => element(tag, cell)));
    const head = row(table.columns, "th");
    for (const cell of head.children) cell.scope = "col";
    figure.querySelector("thead").replaceChildren(head);
    figure.querySelector("tbody").replaceChildren(...table.rows.map((cells) => row(cells, "td")));
    return svg.querySelector("title").textContent;
  }

  function element(tag, ...children) {
    const made = document.createElement(tag);
    made.append(...children);
    return made;
  }

  /** What a control stands at, as the code that draws wants it. */
  function value({ value, dataset }) {
    return dataset.powersOf ? String(dataset.powersOf ** value) : value;
  }

  function enliven(form) {
    const figure = form.closest("figure");
    const status = form.querySelector("[role=status]");
    const controls = [...form.querySelectorAll("select, input")];
    const name = form.dataset.figure;
    const prefix = `${name.split("::")[0].replaceAll("_", "-")}-`;
    let turn = 0;

    async function update() {
      const mine = ++turn;
      const inputs = {};
      for (const control of controls) {
        inputs[control.name] = value(control);
        const shown = Number(inputs[control.name]).toLocaleString("en", { maximumFractionDigits: 3 });
        for (const output of control.labels[0].querySelectorAll("output")) output.value = shown;
        if (control.type === "range") control.setAttribute("aria-valuetext", shown);
      }
      try {
        const drawer = start(form.dataset.module ?? "live");
        const wanted = form.dataset.weights?.replace(/\{(\w+)\}/g, (_, input) => inputs[input]);
        const [exports, weights] = await Promise.all([
          drawer,
          wanted ? load(`${wanted}.safetensors`) : new ArrayBuffer(0),
        ]);
        if (mine !== turn) return;
        const began = performance.now();
        const answer = draw(exports, { figure: name, inputs }, weights);
        const drawn = answer.startsWith("<svg");
        status.textContent = drawn ? show(figure, prefix, answer) : answer;
        // The new title can be seen; whoever cannot see it hears it.
        status.classList.toggle("heard", drawn);
        form.dataset.milliseconds = performance.now() - began;
      } catch (error) {
        // A module that failed once is started anew.
        drawers.delete(form.dataset.module ?? "live");
        status.classList.remove("heard");
        status.textContent = `This figure cannot be redrawn here (${error.message}).`;
      }
      form.dataset.state = `${mine}`;
    }

    form.addEventListener("input", update);
    form.addEventListener("submit", (event) => event.preventDefault());
    // The controls go back after the event.
    form.addEventListener("reset", () => setTimeout(update));
    form.hidden = false;
  }

  if ("WebAssembly" in window) document.querySelectorAll("form.live").forEach(enliven);
})();
