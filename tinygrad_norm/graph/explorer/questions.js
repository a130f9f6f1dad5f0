"use strict";
// Questions with answers, and links to the states that show them.

/** Text with formulas between backticks. */
const written = (text) => text.split("`").map((part, i) => (i % 2 ? formula(part) : part));

/** Show a state with the scene's original numbers. Undo restores changes. */
function showState(hash) {
  reset();
  goTo(hash);
}

function questionElement({ ask, answer, show }, i) {
  const id = `asked-${i}`;
  const button = make("button", { type: "button", "aria-describedby": id, onclick: () => { get("asked").close(); showState(show); panelElement().focus(); } }, "Show me");
  return make("li", {}, make("h3", { id }, written(ask)), make("p", {}, written(answer)), button);
}

function connectQuestions() {
  const questions = data.questions ?? [];
  get("questions").hidden = questions.length === 0;
  get("asked-list").append(make("ul", {}, questions.map(questionElement)));
  get("questions").addEventListener("click", () => get("asked").showModal());
  get("asked-close").addEventListener("click", () => get("asked").close());
}
