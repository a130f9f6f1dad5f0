"use strict";
// The guided run: one prediction at a time. After an answer, the page shows the right state and the reason.

const run = data.guide ?? [];
const guide = { at: 0, chosen: null };

const isAnswered = ({ answers }) => !answers || guide.chosen !== null;
const stateOf = (each) => (each.answers && isAnswered(each) ? each.then : each.at);

/** Go to a place in the run, before or after its answer, and focus the next control. */
function goInGuide(at, chosen = null) {
  Object.assign(guide, { at, chosen });
  showState(`${stateOf(run[at])}&part=guide&${placeInGuide().join("&")}`);
  const next = get("panel").querySelector(chosen === null && run[at].answers ? ".choice button" : "#guide-next");
  if (next) next.focus({ preventScroll: true });
}

/** Go to the first state of the page. */
function leaveGuide() {
  guide.at = 0;
  showState(`#scene=${encodeURIComponent(data.scenes[0].key)}&step=1&cell=${state.cell.join(",")}`);
  get("next").focus();
}

/** The place in the run, for the address. */
const placeInGuide = () => [`at=${guide.at + 1}`, ...(guide.chosen === null ? [] : [`chose=${guide.chosen + 1}`])];

/** Further parts of the address: the place in the run, and the changes of numbers there. */
function addressOfGuide() {
  const changed = [...new URLSearchParams(stateOf(run[guide.at]).slice(1))].filter(([key]) => ["add", "times", "to"].includes(key));
  return [...placeInGuide(), ...changed.map((pair) => pair.join("="))];
}

function readGuide(asked) {
  if (asked.get("part") !== "guide") return;
  const number = (key, most) => Math.min(Math.max(parseInt(asked.get(key), 10) || 0, 0), most) - 1;
  guide.at = Math.max(0, number("at", run.length));
  const { answers } = run[guide.at], chosen = answers ? number("chose", answers.length) : -1;
  guide.chosen = chosen < 0 ? null : chosen;
}

function answerButton(answer, i, right) {
  const mark = guide.chosen === null ? "" : i === right ? "✓ " : i === guide.chosen ? "✗ " : "";
  return make("button", { type: "button", class: guide.chosen !== null && i === right ? "right" : null, "aria-pressed": String(guide.chosen === i), onclick: () => goInGuide(guide.at, i) }, mark, written(answer));
}

function showGuide(panel) {
  const each = run[guide.at], { at } = guide, isLast = at === run.length - 1;
  const step = now.steps[state.step];
  const verdict = isAnswered(each) && each.answers
    ? make("p", { class: guide.chosen === each.right ? "verdict" : "verdict wrong" }, make("b", {}, guide.chosen === each.right ? "Right. " : "Wrong. "), written(each.why)) : null;
  const further = make("div", { class: "further" },
    make("button", { type: "button", id: "guide-previous", disabled: at === 0, onclick: () => goInGuide(at - 1) }, "Previous"),
    make("button", { type: "button", id: "guide-next", onclick: () => (isLast ? leaveGuide() : goInGuide(at + 1)) }, isLast ? "Finish" : each.answers ? "Next question" : "Continue"));
  const numbers = isAnswered(each) && state.changes.size > 0 && make("div", { class: "arithmetic" }, cellTag(now.stage.boxes[step.box]), changedText(step));
  // The numbers are omitted if there is no room.
  fitInto(panel, [numbers, null], (said) => [
    make("h2", {}, make("span", { class: "place" }, `${at + 1} of ${run.length}`), " ", written(each.ask)),
    make("div", { class: "answers" }, each.answers ? make("div", { class: "choice", role: "group", "aria-label": "Your prediction" }, each.answers.map((answer, i) => answerButton(answer, i, each.right))) : null, further),
    verdict,
    said,
  ]);
}

if (run.length) {
  panels.push({ key: "guide", title: "Start here", button: false, isThere: () => true, show: showGuide, walks: true, leaves: true, address: addressOfGuide, read: readGuide });
}

function connectGuide() {
  get("start").hidden = run.length === 0;
  get("start").addEventListener("click", () => goInGuide(guide.at));
}
