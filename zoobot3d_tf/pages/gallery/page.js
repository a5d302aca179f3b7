// The gallery: controls, and a grid of cards. Only the cards near the window are in the document.
// Values from the table are written to the document as text, never as HTML, since an id may hold any characters.

"use strict";

const FOLDER = new URL(".", document.currentScript.src).href;
const CARD_WIDTH = 176; // smallest width of a card; this and the next two are in pixels
const MOST_CAPTION = 240; // largest height of the text under a picture, for ids that fill a page
const N_LONGEST = 12; // galaxies with the longest texts, whose height all captions have
const GAP = 12;
const ROWS_BEYOND = 2; // rows of cards above and below the window that are in the document

const flipped = new Set(); // galaxies with masks that were shown or hidden individually

const byId = (id) => document.getElementById(id);

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

// Cards

function picture(i) {
  const problem = gallery.image_problems[i];
  const box = element("div", { className: "picture" });
  const placeholder = (text) => element("div", { className: "nothing", title: text, textContent: text });
  if (problem) {
    box.append(placeholder(problem));
  } else {
    const image = element("img", { decoding: "async", src: `${FOLDER}${i}.jpg`, alt: "" });
    image.onerror = () => image.replaceWith(placeholder("The picture is missing from the folder of the page."));
    box.append(image);
  }
  for (const { name, drawn } of gallery.masks) {
    if (drawn[i] === "0") continue;
    const mask = { decoding: "async", src: `${FOLDER}${i}_${name}.png`, alt: "", className: `mask ${name}` };
    box.append(element("img", mask));
  }
  return box;
}

function likely(i) {
  const parts = gallery.most_likely[i].split(";").filter(Boolean);
  const label = gallery.label[i] ? [[element("b", { textContent: gallery.label[i] })]] : [];
  const texts = parts.map((text, place) => {
    const answer = answerOf.get(text);
    if (!answer) return [element("b", { textContent: text })];
    const first = element("b", { textContent: words(answer.label) });
    return place === 0 ? [first] : [first, ` ${titleOf(answer.question)}`];
  });
  return [...label, ...texts].flatMap((nodes, place) => (place === 0 ? nodes : [" · ", ...nodes]));
}

function sortedValue(i) {
  return labelOf.has(sort) ? `${labelOf.get(sort)} ${format(numbers(sort)[i], sort)}` : "";
}

function caption(i) {
  return [
    element("h3", { textContent: gallery.id_str[i] }),
    element("p", { className: "value", textContent: sortedValue(i) }),
    element("p", { className: "likely" }, ...likely(i)),
  ];
}

function card(i) {
  const id = gallery.id_str[i];
  const button = element("button", { className: "open", type: "button", ariaLabel: `Show ${id}` }, picture(i));
  button.onclick = () => openPanel(i);
  const flip = element("button", { className: "flip", type: "button", textContent: "◐" });
  flip.title = "Show or hide the masks of this galaxy";
  flip.ariaLabel = `Show or hide the masks of ${id}`;
  flip.onclick = () => {
    flipped.has(i) ? flipped.delete(i) : flipped.add(i);
    node.classList.toggle("flipped", flipped.has(i));
  };
  const node = element(
    "article",
    { className: "card", role: "listitem" },
    button,
    ...(gallery.masks.length ? [flip] : []),
    ...caption(i),
  );
  node.classList.toggle("flipped", flipped.has(i));
  return node;
}

// The grid: cards have fixed positions, so that cards outside the window need not exist

const grid = byId("grid");
const cards = new Map(); // number of a galaxy -> its card, for the cards in the document
const textLength = (i) => gallery.id_str[i].length + gallery.most_likely[i].length + gallery.label[i].length;
const longest = [...gallery.id_str.keys()].sort((a, b) => textLength(b) - textLength(a)).slice(0, N_LONGEST);
let across, side, captionHeight;

function drawGrid() {
  across = Math.max(2, Math.floor((grid.clientWidth + GAP) / (CARD_WIDTH + GAP)));
  side = (grid.clientWidth - GAP * (across - 1)) / across;
  grid.style.setProperty("--side", `${side}px`);
  captionHeight = measureCaptions();
  grid.style.setProperty("--caption", `${captionHeight}px`);
  grid.style.height = `${Math.ceil(view.length / across) * rowHeight()}px`;
  drawCards();
}

// All cards have one height, since their places follow from it: that of the longest text.
function measureCaptions() {
  const probes = longest.map((i) => element("article", { className: "card probe" }, ...caption(i)));
  grid.append(...probes);
  const height = Math.max(0, ...probes.map((probe) => probe.offsetHeight));
  for (const probe of probes) probe.remove();
  return Math.min(MOST_CAPTION, height);
}

const rowHeight = () => side + captionHeight + GAP;

function drawCards() {
  const top = -grid.getBoundingClientRect().top;
  const first = Math.max(0, Math.floor(top / rowHeight()) - ROWS_BEYOND) * across;
  const last = Math.ceil((top + innerHeight) / rowHeight() + ROWS_BEYOND) * across;
  const wanted = view.slice(first, Math.max(first, last));
  const kept = new Set(wanted);
  for (const [i, node] of cards) {
    if (kept.has(i)) continue;
    node.remove();
    cards.delete(i);
  }
  let next = grid.firstChild;
  wanted.forEach((i, offset) => {
    if (!cards.has(i)) cards.set(i, card(i));
    const node = cards.get(i);
    const place = first + offset;
    const [row, column] = [Math.floor(place / across), place % across];
    node.style.transform = `translate(${column * (side + GAP)}px, ${row * rowHeight()}px)`;
    node.setAttribute("aria-posinset", place + 1);
    node.setAttribute("aria-setsize", view.length);
    node.querySelector(".value").textContent = sortedValue(i);
    // Cards in the right order are not moved, since a moved card loses the focus.
    if (node === next) next = next.nextSibling;
    else grid.insertBefore(node, next);
  });
}

// Controls

function columnOptions() {
  return columnGroups.map(([heading, columns]) =>
    element(
      "optgroup",
      { label: heading },
      ...columns.map(([column, label]) => element("option", { value: column, textContent: label })),
    ),
  );
}

function showMasks() {
  const root = document.documentElement.style;
  const anyShown = gallery.masks.some(({ name }) => !hidden.has(name));
  // A picture under the pointer is shown without its masks, or with its masks if all masks are hidden.
  for (const { name } of gallery.masks) root.setProperty(`--${name}`, hidden.has(name) ? 0 : opacity / 100);
  root.setProperty("--flipped", anyShown ? 0 : opacity / 100 || 1);
  for (const button of document.querySelectorAll("[data-mask]")) button.ariaPressed = !hidden.has(button.dataset.mask);
  for (const slider of document.querySelectorAll(".opacity")) slider.value = opacity;
}

function maskControls() {
  const buttons = gallery.masks.map(({ name, title, colour }) => {
    const swatch = element("i", { className: "swatch" });
    swatch.style.setProperty("--colour", colour);
    const button = element("button", { type: "button", className: "toggle" }, swatch, title);
    button.dataset.mask = name;
    button.onclick = () => {
      hidden.has(name) ? hidden.delete(name) : hidden.add(name);
      update({ choosing: false });
    };
    return button;
  });
  const slider = element("input", { type: "range", min: 0, max: 100, className: "opacity" });
  slider.ariaLabel = "Opacity of the masks";
  slider.oninput = () => {
    opacity = Number(slider.value);
    update({ choosing: false });
  };
  return buttons.length ? [...buttons, slider] : [];
}

function ruleRow(rule) {
  const column = element("select", { ariaLabel: "Column" }, ...columnOptions());
  column.value = rule.column;
  const sign = element("button", { type: "button", ariaLabel: "At least or at most" });
  const [low, high] = range(rule.column);
  const bounds = { min: low, max: high, step: "any", value: rule.value };
  const slider = element("input", { type: "range", ariaLabel: "Value, as a slider", ...bounds });
  const number = element("input", { type: "number", ariaLabel: "Value", step: "any", value: rule.value });
  const remove = element("button", { type: "button", textContent: "✕", ariaLabel: "Remove this filter" });
  sign.textContent = rule.atLeast ? "≥" : "≤";
  column.onchange = () => changeRules(rules.map((other) => (other === rule ? newRule(column.value) : other)));
  sign.onclick = () => {
    rule.atLeast = !rule.atLeast;
    sign.textContent = rule.atLeast ? "≥" : "≤";
    update();
  };
  slider.oninput = () => {
    rule.value = Number(Number(slider.value).toPrecision(3));
    number.value = rule.value;
    update();
  };
  number.oninput = () => {
    if (!Number.isFinite(number.valueAsNumber)) return;
    rule.value = number.valueAsNumber;
    slider.value = rule.value;
    update();
  };
  remove.onclick = () => changeRules(rules.filter((other) => other !== rule));
  return element("div", { className: "rule" }, column, sign, slider, number, remove);
}

function newRule(column) {
  const [low, high] = range(column);
  return { column, atLeast: true, value: Number(((low + high) / 2).toPrecision(2)) };
}

function changeRules(changed) {
  rules = changed;
  byId("rules").replaceChildren(...rules.map(ruleRow));
  update();
}

function update({ choosing = true } = {}) {
  if (choosing) {
    choose();
    byId("count").textContent = `${count(view.length)} of ${count(nGalaxies)} galaxies`;
    byId("direction").textContent = descending ? "↓ descending" : "↑ ascending";
    // Scroll back to the first cards.
    scrollTo(0, Math.min(scrollY, document.querySelector("header").offsetHeight));
    drawGrid();
  }
  showMasks();
  keepAddress();
}

function restore() {
  readAddress();
  byId("sort").value = sort;
  byId("search").value = search;
  changeRules(rules);
  if (open !== null) openPanel(open);
  else if (panel.open) panel.close();
}

// The header, and the events of the page

function drawHeader() {
  document.title = `Predictions: ${gallery.table}`;
  document.querySelector("h1").textContent = gallery.table;
  const all = gallery.n_in_table;
  const which = nGalaxies < all ? `The first ${count(nGalaxies)} of ${count(all)} galaxies` : `${count(all)} galaxies`;
  byId("provenance").firstChild.textContent = gallery.metadata.length ? `${which}: how they were predicted` : which;
  byId("provenance").lastChild.append(
    ...gallery.metadata.flatMap(([name, text]) => [element("dt", {}, words(name)), element("dd", {}, text)]),
  );
  byId("notes").append(...gallery.notes.map((text) => element("p", { className: "quiet" }, text)));
  const [byTable, byName] = [element("option", { value: "" }), element("option", { value: "id_str" })];
  byTable.append("order of the table");
  byName.append("id");
  byId("sort").append(byTable, byName, ...columnOptions());
  byId("looks").append(...maskControls());
  byId("panel-looks").append(...maskControls());
  const level = Math.round(100 * gallery.interval);
  byId("about-tree").textContent =
    `Expected vote fraction with its ${level}% interval. A question is paler if fewer volunteers are asked.`;
  byId("about-masks").hidden = !gallery.masks.length;
  byId("add-rule").hidden = !columnGroups.length;
}

function downloadIds() {
  const quoted = view.map((i) => `"${gallery.id_str[i].replaceAll('"', '""')}"`);
  const file = new Blob([["id_str", ...quoted, ""].join("\n")], { type: "text/csv" });
  const link = element("a", { href: URL.createObjectURL(file), download: "ids.csv" });
  link.click();
  URL.revokeObjectURL(link.href);
}

byId("sort").onchange = ({ target }) => {
  sort = target.value;
  descending = labelOf.has(sort); // the largest fractions first, but ids from A to Z
  update();
};
byId("direction").onclick = () => {
  descending = !descending;
  update();
};
byId("search").oninput = ({ target }) => {
  search = target.value;
  update();
};
byId("add-rule").onclick = () => changeRules([...rules, newRule(labelOf.has(sort) ? sort : columnGroups[0][1][0][0])]);
byId("download").onclick = downloadIds;
addEventListener("scroll", () => requestAnimationFrame(drawCards), { passive: true });
addEventListener("hashchange", restore);
addEventListener("DOMContentLoaded", () => {
  drawHeader();
  restore();
  addEventListener("resize", drawGrid);
});
