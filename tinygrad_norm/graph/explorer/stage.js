"use strict";
// The graph: boxes and the curves between them, scaled to fit. A large graph follows the active box.

const LEAST_SCALE = 0.78, LEAST_SCALE_OF_COLOURS = 0.62;
const MOST_SCALE = 1.3;
const phone = matchMedia("(max-width: 700px)");
let shownBoxes = []; // for each box its element and its two matrices
let shownCurves = [];

// A box has room for "mean(x)", but not for the axes.
const inShort = (made) => made.replace(/^(\S+) over .*? of (.*)$/, (_, word, x) => `${word}${x.startsWith("(") && x.endsWith(")") ? x : `(${x})`}`);
const fitsBeside = (box, width) => 7.6 * box.name.length + 6 * inShort(box.made).length + 22 < width;
const layoutNow = () => (phone.matches ? now.stage.tall : now.stage.wide);

function arrowHead(id, size) {
  const mark = draw("marker", { id, viewBox: "0 0 10 10", refX: 9, refY: 5, markerWidth: size, markerHeight: size, markerUnits: "userSpaceOnUse", orient: "auto-start-reverse" });
  mark.append(draw("path", { d: "M0 0L10 5L0 10z" }));
  return mark;
}

function buildStage() {
  const layout = layoutNow();
  const { boxes, links, digits } = now.stage;
  const svg = draw("svg", { width: layout.w, height: layout.h, "aria-hidden": "true" }, draw("defs", {}, arrowHead("head", 8), arrowHead("head-flow", 12), arrowHead("head-back", 12)));
  shownCurves = links.map((link, i) => {
    const [x, y, ...rest] = layout.edges[i];
    const curve = draw("path", { d: `M${x} ${y}C${rest.join(" ")}`, class: "curve" });
    svg.append(curve);
    return curve;
  });
  shownBoxes = boxes.map((box, i) => {
    const [x, y, w, h] = layout.boxes[i];
    const isInput = now.stage.inputs.includes(i) && now.program.live;
    const value = matrix(box.name, box.shape, { edit: isInput ? box.v : undefined });
    const isSeed = i === now.stage.y && now.program.live;
    const gradient = box.g === undefined ? null : matrix(box.slope, box.shape, { edit: isSeed ? now.stage.cotangent : undefined, gradient: true });
    if (box.all) value.element.title = `part of ${box.all}`;
    const number = phone.matches || digits ? null : make("small", { class: "number" });
    const made = !number && box.made && box.made !== box.name && fitsBeside(box, w) ? make("small", {}, " = ", formula(inShort(box.made))) : null;
    const title = make("button", { type: "button", class: "title", title: box.whole || (box.made ? `${box.name} = ${box.made}` : box.name), onclick: () => goToBox(i) }, formula(box.name), made, number);
    const element = make("div", { class: "box", role: "group", "aria-label": box.name, "data-box": i }, title, value.element, gradient && gradient.element);
    element.classList.toggle("many", box.shape.length > 0 && value.isLarge);
    element.style.cssText = `left:${x}px;top:${y}px;width:${w}px;height:${h}px`;
    return { element, value, gradient, number };
  });
  const stage = get("boxes");
  stage.className = phone.matches ? "mini" : digits ? "digits" : "colours";
  stage.style.width = `${layout.w}px`;
  stage.style.height = `${layout.h}px`;
  stage.replaceChildren(svg, ...shownBoxes.map((box) => box.element));
}

/** Go to the step that computes a box, or, from there, to the first step of its gradient. */
function goToBox(i) {
  const there = Math.max(0, now.steps.findIndex((step) => step.kind === "forward" && step.box === i));
  const back = now.steps.findIndex((step) => (step.kind === "backward" || step.kind === "seed") && step.box === i);
  const isInput = !now.stage.boxes[i].made;
  go(back >= 0 && (isInput || state.step === there) && state.step !== back ? back : there);
}

/** The step that is highlighted in the graph. Panels that are not about steps highlight none. */
const activeStep = () => (panelNow().walks ? now.steps[state.step] : { kind: "whole", box: null });

function fillStage() {
  const { boxes, links } = now.stage;
  const step = activeStep();
  const past = now.steps.slice(0, stepShown() + 1);
  const computed = new Set([...boxes.keys()].filter((i) => !boxes[i].made));
  past.forEach((s) => s.kind === "forward" && computed.add(s.box));
  const carried = new Set(past.filter((s) => s.kind === "backward").map((s) => s.link));
  const gradients = arrived();
  const { value, gradient } = scales();
  const changed = now.values !== now.before;
  boxes.forEach((box, i) => {
    const shownBox = shownBoxes[i], chosen = chosenIn(box);
    const isTarget = step.kind === "backward" && links[step.link].t === i;
    shownBox.element.classList.toggle("active", i === step.box);
    shownBox.element.classList.toggle("back", step.kind === "backward" || step.kind === "seed");
    shownBox.element.classList.toggle("target", isTarget);
    if (i === step.box) shownBox.element.setAttribute("aria-current", "step");
    else shownBox.element.removeAttribute("aria-current");
    shownBox.value.fill(now.values[box.v], { top: value.get(box.unit), chosen, decimals: 2, room: 2.95, empty: !computed.has(i), units: unitsOf(box), before: changed ? now.before[box.v] : null });
    if (shownBox.number) {
      const { seen } = shownBox.value.element.about;
      shownBox.number.textContent = [" ", [computed.has(i) ? shown(now.values[box.v][chosen]) : "", seen].filter(Boolean).join(", ")].join("");
    }
    if (shownBox.gradient) {
      const v = gradients.get(i);
      shownBox.gradient.fill(now.values[v ?? box.g], { top: gradient.get(box.unit), chosen, decimals: 2, room: 2.95, empty: v === undefined, before: changed ? now.before[v ?? box.g] : null });
    }
  });
  links.forEach((link, i) => {
    const isNow = step.kind === "backward" && step.link === i;
    const flows = step.kind === "forward" && link.t === step.box;
    const kind = isNow ? "now" : flows ? "flow" : carried.has(i) ? "carried" : "";
    shownCurves[i].setAttribute("class", `curve ${kind}`);
    shownCurves[i].setAttribute("marker-end", isNow ? "" : flows ? "url(#head-flow)" : "url(#head)");
    shownCurves[i].setAttribute("marker-start", isNow ? "url(#head-back)" : "");
  });
  // The highlighted curve is drawn above the others.
  const lit = shownCurves.find((curve) => curve.classList.contains("now"));
  if (lit) lit.parentNode.append(lit);
  fit();
}

/** Scale to fit. If that would be too small, keep the active boxes in view. */
function fit() {
  const layout = layoutNow(), room = get("graph");
  const [width, height] = [room.clientWidth - 20, room.clientHeight - 16];
  if (width <= 0 || height <= 0) return;
  const least = panelNow().walks ? (phone.matches ? LEAST_SCALE_OF_COLOURS : LEAST_SCALE) : 0; // a panel that is not about steps shows the whole graph
  const scale = Math.max(least, Math.min(width / layout.w, height / layout.h, MOST_SCALE));
  const step = activeStep();
  const seen = [step.box ?? now.stage.x, ...(step.kind === "backward" ? [now.stage.links[step.link].t] : [])].map((i) => layout.boxes[i]);
  const offset = (size, room, low, high, first) => {
    if (size * scale <= room) return (room - size * scale) / 2;
    // Show both ends of the arrow if they fit, and always the active box.
    const middle = (high - low) * scale < room ? (low + high) / 2 : first;
    return Math.max(room - size * scale, Math.min(0, room / 2 - middle * scale));
  };
  const [x, y, w, h] = seen[0];
  const left = offset(layout.w, width, Math.min(...seen.map((b) => b[0])), Math.max(...seen.map((b) => b[0] + b[2])), x + w / 2);
  const top = offset(layout.h, height, Math.min(...seen.map((b) => b[1])), Math.max(...seen.map((b) => b[1] + b[3])), y + h / 2);
  get("boxes").style.transform = `translate(${left + 10}px, ${top + 8}px) scale(${scale})`;
}
