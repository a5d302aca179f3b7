
// The map: galaxies are dots, or pictures when few are in view. Values from tables are written to the document as text.

"use strict";

const map = JSON.parse(document.getElementById("data").textContent);
const places = decode(map.x_y); // x and y of the first galaxy, then of the second, and so on
const nGalaxies = map.id_str.length;
const colours = new Map(map.colours.map(([name, code]) => [name, decode(code)]));
const DOT = 3; // radius of a dot; lengths are in pixels of the page
const REACH = 14; // largest distance of the pointer from a dot that it selects
const MOST_PICTURES = 250; // largest number of galaxies in view that are drawn as pictures
const SIDES = [48, 144]; // smallest and largest side of a picture
const FILLED = 0.2; // share of the map that pictures fill where there is room for larger ones
const MARGIN = 40;
const RAMP = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"].map((hex) =>
  [1, 3, 5].map((i) => parseInt(hex.slice(i, i + 2), 16)),
);

const byId = (id) => document.getElementById(id);
const canvas = byId("map");
const context = canvas.getContext("2d");
const atlases = map.atlases.map((address) => {
  const image = new Image();
  image.onload = () => draw();
  image.src = address;
  return image;
});

let scale, left, top_; // pixels per unit; coordinates of the upper left corner
let values = null; // numbers that colour the galaxies
let low, high; // numbers at the ends of the colour ramp
let found = null; // galaxies whose id matches the search; null without a search
let under = null; // galaxy under the pointer
let kept = null; // galaxy whose card stays open
let waiting = false;
let side = 0; // of the pictures in view; 0 if galaxies are dots

function decode(code) {
  const bytes = Uint8Array.from(atob(code), (character) => character.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

// From coordinates to pixels

const xOf = (i) => (places[2 * i] - left) * scale;
const yOf = (i) => (top_ - places[2 * i + 1]) * scale;

function showAll() {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < nGalaxies; i++) {
    [x0, x1] = [Math.min(x0, places[2 * i]), Math.max(x1, places[2 * i])];
    [y0, y1] = [Math.min(y0, places[2 * i + 1]), Math.max(y1, places[2 * i + 1])];
  }
  const { clientWidth: width, clientHeight: height } = canvas;
  const wanted = [(width - 2 * MARGIN) / (x1 - x0), (height - 2 * MARGIN) / (y1 - y0)].filter(Number.isFinite);
  scale = Math.max(1e-6, Math.min(...wanted, 1e9));
  left = (x0 + x1) / 2 - width / 2 / scale;
  top_ = (y0 + y1) / 2 + height / 2 / scale;
  draw();
}

function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  left += (x / scale) * (1 - 1 / factor);
  top_ -= (y / scale) * (1 - 1 / factor);
  scale *= factor;
  draw();
}

function move(x, y) {
  left -= x / scale;
  top_ += y / scale;
  draw();
}

// Drawing

function draw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    drawNow();
  });
}

function drawNow() {
  const { clientWidth: width, clientHeight: height } = canvas;
  const ratio = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const style = getComputedStyle(document.documentElement);
  const [plain, accent] = ["--dot", "--accent"].map((name) => style.getPropertyValue(name));
  const inView = [];
  for (let i = 0; i < nGalaxies; i++) {
    const [x, y] = [xOf(i), yOf(i)];
    const beyond = SIDES[1] / 2;
    if (x > -beyond && y > -beyond && x < width + beyond && y < height + beyond) inView.push(i);
  }
  const asPictures = inView.length <= MOST_PICTURES;
  const room = Math.sqrt((FILLED * width * height) / Math.max(1, inView.length));
  side = asPictures ? Math.min(SIDES[1], Math.max(SIDES[0], room)) : 0;
  canvas.dataset.pictures = asPictures;
  canvas.dataset.side = Math.round(side);
  for (const i of inView) {
    context.globalAlpha = found && !found.has(i) ? 0.15 : 1;
    if (asPictures && map.has_picture[i] === "1") drawPicture(context, i, xOf(i) - side / 2, yOf(i) - side / 2, side);
    else drawDot(i, plain);
    if (asPictures && values) {
      context.strokeStyle = colourOf(i, plain);
      context.lineWidth = 2;
      context.strokeRect(xOf(i) - side / 2, yOf(i) - side / 2, side, side);
    }
  }
  context.globalAlpha = 1;
  context.strokeStyle = accent;
  context.lineWidth = 2.5;
  for (const i of [under, kept]) {
    if (i === null) continue;
    context.beginPath();
    context.arc(xOf(i), yOf(i), asPictures ? 0.75 * side : DOT + 4, 0, 2 * Math.PI);
    context.stroke();
  }
}

function drawDot(i, plain) {
  context.fillStyle = colourOf(i, plain);
  context.beginPath();
  context.arc(xOf(i), yOf(i), DOT, 0, 2 * Math.PI);
  context.fill();
}

function drawPicture(target, i, x, y, side) {
  const perAtlas = map.atlas_side ** 2;
  const atlas = atlases[Math.floor(i / perAtlas)];
  const within = i % perAtlas;
  const [row, column] = [Math.floor(within / map.atlas_side), within % map.atlas_side];
  const size = map.thumbnail_side;
  if (atlas.complete) target.drawImage(atlas, column * size, row * size, size, size, x, y, side, side);
}

function colourOf(i, plain) {
  if (!values) return plain;
  if (Number.isNaN(values[i])) return "#8888";
  const place = (RAMP.length - 1) * Math.min(1, Math.max(0, high > low ? (values[i] - low) / (high - low) : 0.5));
  const stop = Math.min(RAMP.length - 2, Math.floor(place));
  const mixed = RAMP[stop].map((from, band) => Math.round(from + (place - stop) * (RAMP[stop + 1][band] - from)));
  return `rgb(${mixed})`;
}

// The galaxy under the pointer, and the galaxy whose card stays open

function nearest(x, y) {
  let [best, least] = [null, Infinity];
  const reach = Math.max(REACH, 0.6 * side);
  for (let i = 0; i < nGalaxies; i++) {
    const distance = Math.hypot(xOf(i) - x, yOf(i) - y);
    if (distance < Math.min(reach, least)) [best, least] = [i, distance];
  }
  return best;
}

function showCard() {
  const i = kept ?? under;
  const card = byId("card");
  card.hidden = i === null;
  card.classList.toggle("kept", kept !== null);
  if (i === null) return;
  const picture = byId("picture").getContext("2d");
  picture.clearRect(0, 0, 192, 192);
  if (map.has_picture[i] === "1") drawPicture(picture, i, 0, 0, 192);
  byId("picture").hidden = map.has_picture[i] !== "1";
  card.querySelector("h2").textContent = map.id_str[i];
  const name = byId("colour").value;
  card.querySelector("p").textContent = values ? `${name}: ${format(values[i])}` : "";
}

function format(value) {
  return Number.isNaN(value) ? "–" : value.toLocaleString("en", { maximumSignificantDigits: 4, useGrouping: false });
}

// Controls

function chooseColour(name) {
  values = colours.get(name) ?? null;
  byId("legend").hidden = !values;
  if (values) {
    const sorted = values.filter(Number.isFinite).sort();
    // With the full range, a few outliers would leave one colour for all other galaxies.
    [low, high] = [0.02, 0.98].map((share) => sorted[Math.round(share * (sorted.length - 1))] ?? NaN);
    byId("low").textContent = format(low);
    byId("high").textContent = format(high);
    byId("ramp").style.background = `linear-gradient(to right, ${RAMP.map((stop) => `rgb(${stop})`).join(", ")})`;
  }
  showCard();
  draw();
}

function search(text) {
  const wanted = text.toLowerCase();
  const matching = [];
  for (let i = 0; i < nGalaxies; i++) if (map.id_str[i].toLowerCase().includes(wanted)) matching.push(i);
  found = text ? new Set(matching) : null;
  kept = matching.length === 1 ? matching[0] : null;
  byId("count").textContent = text ? `${matching.length.toLocaleString("en")} found` : "";
  showCard();
  draw();
}

const pressed = new Map(); // pointers that are down -> their positions
let travelled = 0;

canvas.onpointerdown = (event) => {
  canvas.setPointerCapture(event.pointerId);
  pressed.set(event.pointerId, [event.offsetX, event.offsetY]);
  travelled = 0;
};
canvas.onpointermove = (event) => {
  const here = [event.offsetX, event.offsetY];
  const before = pressed.get(event.pointerId);
  if (before) {
    pressed.set(event.pointerId, here);
    travelled += Math.hypot(here[0] - before[0], here[1] - before[1]);
    const other = [...pressed].find(([id]) => id !== event.pointerId)?.[1];
    if (!other) move(here[0] - before[0], here[1] - before[1]);
    else {
      const apart = ([x, y]) => Math.max(1, Math.hypot(x - other[0], y - other[1]));
      zoom(apart(here) / apart(before), ...other);
    }
  } else {
    under = nearest(...here);
    showCard();
    draw();
  }
};
canvas.onpointerup = (event) => {
  pressed.delete(event.pointerId);
  if (travelled > 4) return;
  kept = nearest(event.offsetX, event.offsetY);
  showCard();
  draw();
};
canvas.onpointercancel = (event) => pressed.delete(event.pointerId);
canvas.onpointerleave = () => {
  under = null;
  showCard();
  draw();
};
canvas.addEventListener(
  "wheel",
  (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), event.offsetX, event.offsetY);
  },
  { passive: false },
);
canvas.onkeydown = ({ key }) => {
  const steps = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
  if (key in steps) move(...steps[key]);
  else if (key === "+" || key === "=") zoom(1.4);
  else if (key === "-") zoom(1 / 1.4);
  else if (key === "0") showAll();
  else if (key === "Escape") {
    kept = null;
    showCard();
    draw();
  }
};
byId("closer").onclick = () => zoom(1.4);
byId("further").onclick = () => zoom(1 / 1.4);
byId("all").onclick = showAll;
byId("colour").onchange = ({ target }) => chooseColour(target.value);
byId("search").oninput = ({ target }) => search(target.value);
addEventListener("resize", draw);

document.title = `Map: ${map.title}`;
document.querySelector("h1").textContent = map.title;
byId("about").textContent = map.about;
byId("colour").append(new Option("nothing", ""));
for (const [heading, names] of map.menu) {
  const group = Object.assign(document.createElement("optgroup"), { label: heading });
  group.append(...names.map((name) => new Option(name, name)));
  byId("colour").append(group);
}
showAll();
