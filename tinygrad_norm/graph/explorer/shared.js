"use strict";
// The norms on the same numbers, with cells coloured by the statistic that they share.

const MOST_EXAMINED = 64;

/** The unit of each cell of a box while the panel is open, or null if the box has no units. */
function unitsOf(box) {
  const { shares } = now.scene;
  if (state.part !== "shared" || !shares || !shares.kind) return null;
  const size = product(box.shape), count = unitCount(shares.ids);
  if (size === shares.ids.length) return shares.ids;
  return size === count && box.made ? Array.from({ length: count }, (_, i) => i) : null;
}

// Colours that differ as much as possible for any number of units.
const colourOf = (unit) => `hsl(${Math.round((unit * 137.5 + 205) % 360)} 70% 55% / 0.42)`;

/** The scenes of the family: other norms on the same numbers. */
function family() {
  const isOne = (scene, i) => scene.group === "Norms on the same numbers" || (i === 0 && data.scenes.some((other) => other.group === "Norms on the same numbers"));
  return data.scenes.map((scene, i) => [scene, i]).filter(([scene, i]) => isOne(scene, i));
}

const shortName = (scene) => (scene.key === "train" ? data.title : scene.title).replace(/ normalization.*/, "");

function chooseNorm(i) {
  chooseScene(i);
  get("panel").querySelector(`[data-norm="${data.scenes[i].key}"]`).focus();
}

function familyButtons() {
  return make("div", { class: "choice", role: "group", "aria-label": "Norms on the same numbers" }, family().map(([scene, i]) =>
    make("button", { type: "button", "aria-pressed": String(i === state.scene), "data-norm": scene.key, onclick: () => chooseNorm(i) }, shortName(scene))));
}

function countsText({ ids, over, kind }) {
  const count = unitCount(ids), each = ids.length / count;
  if (!kind) return "The statistics are given, so each cell of the output depends on the same cell of the input only.";
  const { norm } = now.stage;
  const one = norm ? (norm.mean === undefined ? ["mean square", "mean squares"] : ["mean and one variance", `means and ${count} variances`]) : [kind, `values of ${kind}`];
  const what = count === 1 ? `One ${one[0]}` : `${count} ${one[1]}`;
  return `${what}${over ? ` over ${over}` : ""}, ${count === 1 ? "of" : "each of"} ${each} ${each === 1 ? "value" : "values"}.`;
}

const dependsOn = (values) => values.reduce((count, value) => count + (Math.abs(value) > 1e-9 * largestOf(values)), 0);

function showShared(panel) {
  const { boxes, x } = now.stage, of = boxes[x], { shares } = now.scene;
  const terms = [{ caption: ["input ", formula(of.name), shares.kind ? ", one colour for each statistic" : ""], name: of.name, values: now.values[of.v], shape: of.shape, top: 1, chosen: chosenIn(of), units: shares.kind ? shares.ids : null, edit: of.v }];
  const found = [];
  for (const side of [jacobian(), product(of.shape) <= MOST_EXAMINED && of.g !== undefined ? gradientByDifferences() : null]) {
    if (!side) continue;
    terms.push(side);
    found.push(make("span", { class: "part" }, formula(side.of), " depends on ", make("b", {}, `${dependsOn(side.values)} of ${product(of.shape)}`), " cells of ", formula(of.name)));
  }
  const ways = phone.matches ? ["dense", "colour", "tiny"] : ["full", "dense", "tight", "colour", "tiny"];
  fitInto(panel, ways, (density) => [
    make("h2", {}, countsText(shares)),
    make("div", { class: "row" }, make("div", { class: "line spaced", "data-density": density }, terms.map((term) => termElement(term, density))),
      make("div", { class: "side about" }, family().length ? familyButtons() : null, make("p", {}, now.scene.text))),
    make("div", { class: "arithmetic" }, cellTag(of), found),
  ]);
}

panels.push({ key: "shared", title: "Shared", show: showShared, isThere: () => now.program.live && Boolean(now.scene.shares) });
