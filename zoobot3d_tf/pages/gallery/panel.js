// The panel of one galaxy: its image, its measurements, and the decision tree with one bar per answer.

"use strict";

const LEAST_OPAQUE = 0.5; // opacity of a question that is never asked, which can still be read
const panel = byId("panel");

function openPanel(i) {
  open = i;
  drawPanel();
  if (!panel.open) panel.showModal();
  panel.scrollTop = 0;
  keepAddress();
}

function drawPanel() {
  const place = view.indexOf(open);
  byId("place").textContent = place < 0 ? "not in view" : `${count(place + 1)} of ${count(view.length)}`;
  byId("previous").disabled = place <= 0;
  byId("next").disabled = place < 0 || place === view.length - 1;
  byId("panel-title").textContent = gallery.id_str[open];
  byId("path").textContent = gallery.file_loc[open];
  byId("large").replaceChildren(picture(open));
  byId("measurements").replaceChildren(...measurements(open));
  const roots = gallery.questions.filter((question) => !question.asked_after.length);
  byId("tree").replaceChildren(...roots.flatMap((question) => branch(question, open, 0)));
  byId("about-tree").hidden = !roots.length;
}

function measurements(i) {
  const shown = columnGroups.filter(([heading]) => heading === WHOLE_TREE || heading === OTHERS);
  return shown.flatMap(([, columns]) =>
    columns.flatMap(([column, label]) => [
      element("dt", { textContent: label, title: gallery.meanings[column] ?? "" }),
      element("dd", { textContent: format(numbers(column)[i], column) }),
    ]),
  );
}

// A question with one bar per answer, and below it the questions that its answers lead to.
function branch(question, i, depth) {
  const own = answers.filter((answer) => answer.question === question.question);
  const asked = codes.has(`${question.question}_asked_p`) ? numbers(`${question.question}_asked_p`)[i] : 1;
  const after = question.asked_after.map((text) => words(answerOf.get(text).label)).join(" or ");
  const node = element(
    "section",
    { className: "question" },
    element(
      "h3",
      {},
      titleOf(question.question),
      element("span", { className: "quiet" }, `${after ? ` after ${after},` : ""} asked ${Math.round(100 * asked)}%`),
    ),
    ...own.map((answer) => bar(answer, i)),
  );
  node.style.setProperty("--depth", depth);
  node.style.opacity = LEAST_OPAQUE + (1 - LEAST_OPAQUE) * asked;
  // A question may follow several answers, all of one question.
  const below = gallery.questions.filter((q) => answerOf.get(q.asked_after[0])?.question === question.question);
  return [node, ...below.flatMap((q) => branch(q, i, depth + 1))];
}

function bar({ label, text }, i) {
  const [fraction, low, high] = ["fraction", "low", "high"].map((what) => numbers(`${text}_${what}`)[i]);
  const percent = (share) => `${(100 * share).toFixed(2)}%`;
  const predicted = element("i", { className: "predicted" });
  predicted.style.width = percent(fraction);
  const interval = element("i", { className: "interval" });
  interval.style.left = percent(low);
  interval.style.width = percent(high - low);
  const level = `${Math.round(100 * gallery.interval)}% interval ${percent(low)} to ${percent(high)}`;
  return element(
    "div",
    { className: "answer", title: level },
    element("span", { textContent: words(label) }),
    element("div", { className: "track", role: "img", ariaLabel: level }, predicted, interval),
    element("span", { className: "number", textContent: `${Math.round(100 * fraction)}%` }),
  );
}

function step(by) {
  const place = view.indexOf(open);
  const neighbour = view[place + by];
  if (place >= 0 && neighbour !== undefined) openPanel(neighbour);
}

byId("previous").onclick = () => step(-1);
byId("next").onclick = () => step(1);
byId("close").onclick = () => panel.close();
panel.onclose = () => {
  open = null;
  keepAddress();
};
panel.onclick = ({ target }) => target === panel && panel.close(); // the backdrop
panel.onkeydown = (event) => {
  // Arrow keys move sliders where one has the focus.
  if (event.target.type === "range") return;
  if (event.key === "ArrowLeft") step(-1);
  if (event.key === "ArrowRight") step(1);
};
