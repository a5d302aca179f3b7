// The state of the page: the columns of the table, the galaxies that pass the filters, their order, and the address
// that stores the view. Nothing here changes the document.

"use strict";

const WHOLE_TREE = "whole tree"; // headings of columns that do not belong to one question
const OTHERS = "other columns";

const nGalaxies = gallery.id_str.length;
const codes = new Map(gallery.columns); // column -> its numbers in base64
const answers = gallery.questions.flatMap(({ question, answers }) =>
  answers.map((label) => ({ label, question, text: `${question}_${label}` })),
);
const answerOf = new Map(answers.map((answer) => [answer.text, answer]));
const commonEnding = findCommonEnding();
const columnGroups = groupColumns(); // [heading, [[column, label], ...]]
const labelOf = new Map(columnGroups.flatMap(([, columns]) => columns));
const collator = new Intl.Collator("en", { numeric: true });
const decoded = new Map();
let addressTimer;

// All of these but `view` are stored in the address.
let sort = ""; // a column, "id_str", or "" for the order of the table
let descending = false;
let search = "";
let rules = []; // {column, atLeast, value}
let hidden = new Set(); // names of masks
let opacity = 100; // opacity of the masks in per cent
let open = null; // number of the galaxy in the panel
let view = []; // numbers of the galaxies that pass the filters, in order

// Words and numbers

function words(name) {
  return name.replaceAll(/[-_]/g, " ");
}

// In published trees all questions may end in the name of the survey, as in "bar-dr5".
function findCommonEnding() {
  const [first = "", ...others] = gallery.questions.map(({ question }) => question);
  const [ending = ""] = first.match(/-[^-]+$/) ?? [];
  return others.length && others.every((question) => question.endsWith(ending)) ? ending : "";
}

function titleOf(question) {
  return words(question.slice(0, question.length - commonEnding.length));
}

function count(number) {
  return number.toLocaleString("en");
}

function isShare(column) {
  return /_(fraction|joint_p|asked_p)$/.test(column);
}

function format(value, column) {
  if (Number.isNaN(value)) return "–";
  if (isShare(column)) return `${Math.round(100 * value)}%`;
  return value.toLocaleString("en", { maximumSignificantDigits: 5, useGrouping: false });
}

// Columns

function numbers(column) {
  if (!decoded.has(column)) {
    const bytes = Uint8Array.from(atob(codes.get(column)), (character) => character.charCodeAt(0));
    decoded.set(column, new Float32Array(bytes.buffer));
  }
  return decoded.get(column);
}

function groupColumns() {
  const groups = [[WHOLE_TREE, [["entropy", "uncertainty (entropy)"]]]];
  for (const { question } of gallery.questions) {
    const columns = [];
    for (const { label, text } of answers.filter((answer) => answer.question === question)) {
      columns.push([`${text}_fraction`, `${titleOf(question)}: ${words(label)}`]);
      columns.push([`${text}_joint_p`, `${titleOf(question)}: asked and answered ${words(label)}`]);
    }
    columns.push([`${question}_asked_p`, `${titleOf(question)}: asked`]);
    columns.push([`${question}_entropy`, `${titleOf(question)}: uncertainty (entropy)`]);
    groups.push([titleOf(question), columns]);
  }
  const known = new Set(groups.flatMap(([, columns]) => columns.map(([column]) => column)));
  for (const { text } of answers) known.add(`${text}_low`).add(`${text}_high`);
  groups.push([OTHERS, [...codes.keys()].filter((name) => !known.has(name)).map((name) => [name, words(name)])]);
  return groups
    .map(([heading, columns]) => [heading, columns.filter(([column]) => codes.has(column))])
    .filter(([, columns]) => columns.length);
}

function range(column) {
  if (isShare(column)) return [0, 1];
  const finite = numbers(column).filter(Number.isFinite).sort();
  return finite.length ? [finite[0], finite[finite.length - 1]] : [0, 1];
}

// Which galaxies, and in which order

function choose() {
  const text = search.toLowerCase();
  const tests = rules.map(({ column, atLeast, value }) => {
    const values = numbers(column);
    const limit = Math.fround(value); // rounded as the values are, so that 0.7 itself passes
    return atLeast ? (i) => values[i] >= limit : (i) => values[i] <= limit;
  });
  view = [];
  for (let i = 0; i < nGalaxies; i++) {
    if (gallery.id_str[i].toLowerCase().includes(text) && tests.every((test) => test(i))) view.push(i);
  }
  const sign = descending ? -1 : 1;
  if (sort === "") {
    if (descending) view.reverse();
  } else if (sort === "id_str") {
    view.sort((a, b) => sign * collator.compare(gallery.id_str[a], gallery.id_str[b]));
  } else {
    const values = numbers(sort);
    // Galaxies without a value come last in both directions.
    view.sort((a, b) => Number.isNaN(values[a]) - Number.isNaN(values[b]) || sign * (values[a] - values[b]) || a - b);
  }
}

// The address stores the view, so that it can be saved and shared

function keepAddress() {
  // Browsers allow few changes per second, and a slider makes many.
  clearTimeout(addressTimer);
  addressTimer = setTimeout(writeAddress, 250);
}

function writeAddress() {
  const parameters = new URLSearchParams();
  if (sort) parameters.set("sort", sort);
  if (descending) parameters.set("descending", "1");
  if (search) parameters.set("find", search);
  for (const rule of rules) parameters.append("rule", `${rule.column}${rule.atLeast ? ">=" : "<="}${rule.value}`);
  for (const name of hidden) parameters.append("hide", name);
  if (opacity !== 100) parameters.set("opacity", opacity);
  if (open !== null) parameters.set("galaxy", gallery.id_str[open]);
  history.replaceState(null, "", `#${parameters}`);
}

function readAddress() {
  const parameters = new URLSearchParams(location.hash.slice(1));
  const wanted = parameters.get("sort") ?? "";
  sort = wanted === "id_str" || labelOf.has(wanted) ? wanted : "";
  descending = parameters.has("descending");
  search = parameters.get("find") ?? "";
  rules = parameters
    .getAll("rule")
    .map((rule) => rule.match(/^(.+)(>=|<=)([^<>=]+)$/s) ?? [])
    .map(([, column, sign, value]) => ({ column, atLeast: sign === ">=", value: Number(value) }))
    .filter(({ column, value }) => labelOf.has(column) && Number.isFinite(value));
  hidden = new Set(parameters.getAll("hide"));
  opacity = Math.min(100, Math.max(0, Number(parameters.get("opacity") ?? 100) || 0));
  const galaxy = gallery.id_str.indexOf(parameters.get("galaxy"));
  open = galaxy < 0 ? null : galaxy;
}
