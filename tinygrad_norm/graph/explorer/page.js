"use strict";
// The page: its controls, and the parts that are redrawn after a change.

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
  const panel = panelElement();
  const said = [get("count"), panel.querySelector("h2"), panel.querySelector(".verdict"), panel.querySelector(".arithmetic")];
  const texts = said.filter(Boolean).map((part) => part.textContent.trim());
  get("status").textContent = texts.map((text) => (/[.?!]$/.test(text) ? text : `${text}.`)).join(" ");
}

views.push((what) => {
  if (what === "scene") buildStage();
  showControls();
  showChanges();
  showPanel();
  fillStage();
  if (what !== "values") announce();
});

function connect() {
  const groups = new Map();
  data.scenes.forEach((scene, i) => {
    const menu = scene.group && !groups.has(scene.group) ? make("optgroup", { label: scene.group }) : groups.get(scene.group) || get("scene");
    if (!groups.has(scene.group)) { groups.set(scene.group, menu); if (scene.group) get("scene").append(menu); }
    menu.append(make("option", { value: i }, scene.title));
  });
  get("scene-label").hidden = data.scenes.length === 1;
  get("scene").addEventListener("change", (event) => chooseScene(Number(event.target.value)));
  get("previous").addEventListener("click", () => go(state.step - 1));
  get("next").addEventListener("click", () => go(state.step + 1));
  document.addEventListener("keydown", (event) => {
    if (cellKeys(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, dialog, .scrolling")) return;
    const command = COMMANDS[event.key];
    if (!command) return;
    event.preventDefault();
    command();
  });
  addEventListener("hashchange", () => { readHash(); redraw("scene"); });
  addEventListener("resize", () => redraw("scene"));
  connectEditing();
  connectPanels();
  connectQuestions();
  connectGuide();
}

openScene(0);
readHash();
connect();
redraw("scene");
