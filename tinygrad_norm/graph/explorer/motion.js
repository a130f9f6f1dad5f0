"use strict";
// Animation: at a step, the chosen cell's number moves along the curve from box to box. The state is complete before the
// animation starts, and the next step stops it.

const TRAVEL = 500; // milliseconds
const still = matchMedia("(prefers-reduced-motion: reduce)");
const journey = { step: 0, frame: 0, badges: [] };

/** The numbers that move at a step, each with its boxes and its curve. */
function loadsOf(step) {
  const { boxes, links } = now.stage;
  if (step.kind === "forward") {
    return links.flatMap(({ s, t }, i) => (t === step.box ? [{ link: i, from: s, to: t, value: now.values[boxes[s].v][chosenIn(boxes[s])] }] : []));
  }
  if (step.kind !== "backward") return [];
  const link = links[step.link];
  return [{ link: step.link, from: link.t, to: link.s, back: true, value: now.values[link.before][sourceCell(link, chosenIn(boxes[link.s]))] }];
}

/** The middle of the chosen cell in a box, in the graph's pixels. */
function middleOf({ element, value, gradient }, back) {
  const cell = ((back && gradient) || value).element.querySelector(".chosen") || ((back && gradient) || value).element;
  return [element.offsetLeft + cell.offsetLeft + cell.offsetWidth / 2, element.offsetTop + cell.offsetTop + cell.offsetHeight / 2];
}

/** The path from cell to cell: straight inside the boxes, along the curve between them. A function of the share of its length. */
function wayOf({ link, from, to, back }, i, all) {
  const curve = shownCurves[link], length = curve.getTotalLength();
  const on = (at) => { const { x, y } = curve.getPointAtLength(back ? length - at : at); return [x, y]; };
  const [start, end] = [middleOf(shownBoxes[from], back), middleOf(shownBoxes[to], back)];
  end[1] += 21 * (i - (all.length - 1) / 2); // they arrive below each other
  const out = Math.hypot(on(0)[0] - start[0], on(0)[1] - start[1]), into = Math.hypot(end[0] - on(length)[0], end[1] - on(length)[1]);
  const between = (a, b, share) => a.map((x, i) => x + (b[i] - x) * share);
  return (share) => {
    const at = share * (out + length + into);
    if (at < out) return between(start, on(0), at / out);
    return at < out + length ? on(at - out) : between(on(length), end, (at - out - length) / (into || 1));
  };
}

function stopMotion() {
  cancelAnimationFrame(journey.frame);
  journey.badges.forEach((badge) => badge.remove());
  journey.badges = [];
}

function startMotion(begin) {
  const loads = loadsOf(now.steps[state.step]).filter((load) => load.value !== undefined);
  const ways = loads.map(wayOf);
  journey.badges = loads.map((load) => make("span", { class: load.back ? "load back" : "load", "aria-hidden": "true" }, shown(load.value)));
  get("boxes").append(...journey.badges);
  const move = (time) => {
    const share = Math.min(1, (time - begin) / TRAVEL);
    if (share === 1) { stopMotion(); return; }
    const eased = share * share * (3 - 2 * share);
    journey.badges.forEach((badge, i) => {
      const [x, y] = ways[i](eased);
      badge.style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    });
    journey.frame = requestAnimationFrame(move);
  };
  move(begin);
}

views.push((what) => {
  stopMotion();
  const isNext = what === "step" && Math.abs(state.step - journey.step) === 1;
  journey.step = state.step;
  // The stage is drawn first: a frame comes after all views.
  if (isNext && !still.matches && panelNow().walks) journey.frame = requestAnimationFrame(startMotion);
});
