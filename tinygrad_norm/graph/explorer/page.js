"use strict";
// The page: what its controls do, and which parts are redrawn when something changes.

const COMMANDS = { ArrowLeft: () => go(state.step - 1), ArrowRight: () => go(state.step + 1), Home: () => go(0), End: () => go(now.steps.length - 1) };

function showControls() {
  const { step } = state, last = now.steps.length - 1;
  get("scene").value = String(state.scene);
  get("count").textContent = `Step ${step + 1} of ${last + 1}`;
  get("previous").disabled = step === 0;
  get("next").disabled = step === last;
  get("lead").title = get("lead").textContent;
}

function announce() {
  get("status").textContent = `${get("count").textContent}. ${get("step").querySelector("h2").textContent} ${get("step").querySelector(".arithmetic").textContent}`;
}

views.push((what) => {
  showPart();
  if (what === "scene") buildStage();
  showControls();
  showChanges();
  showStep();
  fillStage();
  if (what === "step" || what === "scene") announce();
});

function connect() {
  get("scene").append(...data.scenes.map((scene, i) => make("option", { value: i }, scene.title)));
  get("scene-label").hidden = data.scenes.length === 1;
  get("scene").addEventListener("change", (event) => chooseScene(Number(event.target.value)));
  get("previous").addEventListener("click", () => go(state.step - 1));
  get("next").addEventListener("click", () => go(state.step + 1));
  document.addEventListener("keydown", (event) => {
    if (cellKeys(event) || event.ctrlKey || event.metaKey || event.altKey || state.part !== "stage") return;
    if (event.target.closest("input, select")) return;
    const command = COMMANDS[event.key];
    if (!command) return;
    event.preventDefault();
    command();
  });
  addEventListener("hashchange", () => { readHash(); redraw("scene"); });
  addEventListener("resize", () => redraw("scene"));
  connectEditing();
  connectParts();
}

openScene(0);
readHash();
connect();
redraw("scene");
