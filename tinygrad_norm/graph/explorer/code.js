"use strict";
// The code beside the step: the line that computes the step is highlighted, and clicking a line leads to its steps.

const hasCode = () => Boolean(now.stage.code);

/** The place in the code of a step's operation. Backward, it is the operation that the gradient goes through. */
function markOf(step) {
  const { code, links, y } = now.stage;
  if (step.kind === "given") return null;
  const box = step.kind === "backward" ? links[step.link].t : step.kind === "seed" ? y : step.box;
  return code.of[box] === null ? null : code.marks[code.of[box]];
}

/** The steps of each line: forward, then backward. */
function stepsByLine() {
  const found = now.stage.code.lines.map(() => []);
  now.steps.forEach((step, k) => markOf(step)?.at.forEach((i) => found[i].push(k)));
  return found;
}

/** Go to the next of a line's steps, or to its first. */
const goToNext = (steps) => go(steps[(steps.indexOf(state.step) + 1) % steps.length]);

/** A line's text with a marked part. Columns count code points, as in Python. */
function markedText(text, part) {
  if (!part) return text;
  const characters = [...text], piece = (from, to) => characters.slice(from, to).join("");
  return [piece(0, part[1]), make("mark", {}, piece(part[1], part[2])), piece(part[2])];
}

function lineElement(line, i, mark, steps) {
  const isLit = mark !== null && mark.at.includes(i);
  const text = make("span", { class: "text" }, markedText(line.text, isLit && mark.parts.find(([of]) => of === i)));
  // A long line wraps, with two more columns of indentation.
  text.style.setProperty("--indent", `${Math.min(line.text.search(/\S|$/), 12) + 2}ch`);
  const content = [make("span", { class: "number" }, line.n === null ? "" : String(line.n)), text];
  const kind = ["line-of-code", line.n === null && "aside", mark && mark.via.includes(i) && "via"].filter(Boolean).join(" ");
  if (!steps.length) return make("div", { class: kind }, content);
  const where = `${steps.length > 1 ? "Steps" : "Step"} ${steps.map((k) => k + 1).join(", ")}`;
  return make("button", { type: "button", class: kind, "data-line": line.n, "aria-current": isLit && "true", title: where, onclick: () => goToNext(steps) }, content);
}

/** The source with the current step's lines highlighted. Once it is on the page, they are scrolled into view. */
function codeElement() {
  const { lines } = now.stage.code;
  const step = now.steps[state.step], mark = markOf(step), steps = stepsByLine();
  const element = make("div", { class: "code", role: "group", "aria-label": "Code" }, lines.map((line, i) => lineElement(line, i, mark, steps[i])));
  element.classList.toggle("back", step.kind === "seed" || step.kind === "backward");
  const focused = [...document.querySelectorAll(".code > *")].indexOf(document.activeElement);
  queueMicrotask(() => {
    if (!element.isConnected) return;
    if (focused >= 0 && document.activeElement === document.body) element.children[focused]?.focus({ preventScroll: true });
    const lit = element.querySelector("mark, [aria-current]");
    if (lit) element.scrollTop += lit.getBoundingClientRect().top - element.getBoundingClientRect().top - element.clientHeight / 2 + 8;
  });
  return element;
}

/** The step with the code beside it. On a phone, only the code and the chosen cell's arithmetic. */
function showCode(panel) {
  const terms = termsOf(now.steps[state.step]), { title, said } = sayStep(panel), code = codeElement();
  fitInto(panel, phone.matches ? [null] : DENSITIES.map(([density]) => density), (density) => [
    make("div", { class: "row beside" },
      make("div", { class: "walked" }, title, density && lineElementOf(terms, density), said),
      code),
  ]);
}

panels.push({ key: "code", title: "Code", show: showCode, isThere: hasCode, walks: true });
