"use strict";
// The parts behind the stage: routes, comparisons, test time, the identity, variants, checks, questions.

function sceneCard(other, index) {
  const dx = other.nodes[other.x];
  const moved = other.moved || {};
  const base = data.scenes.find((candidate) => candidate.key === other.compare);
  const before = base && moved.dx.length ? gradientOf(base, base.x, { caption: `before: ${base.nodes[base.x].slope}`, sets: null }) : null;
  const picture = make("div", { class: "row" },
    valueOf(other, other.x, { moved: moved.x }),
    valueOf(other, other.y, { moved: moved.y }),
    gradientOf(other, other.y),
    gradientOf(other, other.x, { moved: moved.dx }), before);
  const words = base ? `Compared with “${base.title}”: ${other.movedWords} Changed cells have a dashed outline.` : null;
  const open = () => { chooseScene(index, 0); get("next").focus(); };
  return make("section", { class: "card wide", "data-scope": true, "data-scene": other.key },
    make("h3", {}, other.title), make("p", {}, other.text), words ? make("p", {}, words) : null, picture,
    parametersOf(other),
    make("p", {}, make("button", { type: "button", onclick: open, "aria-label": `Step through: ${other.title}` }, "Step through it")));
}

function parametersOf(other) {
  const leaves = other.nodes.map((_, i) => i).filter((i) => !other.nodes[i].by && i !== other.x);
  if (!leaves.length) return null;
  return make("details", {}, make("summary", {}, "Its other inputs and their gradients"),
    make("div", { class: "row" }, leaves.flatMap((i) => [valueOf(other, i), other.nodes[i].gradient ? gradientOf(other, i) : null])));
}

function scenesPanel(tab, intro) {
  const all = data.scenes.map((s, i) => [s, i]);
  let chosen = all.filter(([s]) => s.tab === tab);
  // A page that compares several functions shows them side by side.
  if (tab === "compare" && !chosen.length && all.length > 1) chosen = all.filter(([s]) => s.tab === "steps");
  if (chosen.length < 2 && chosen.every(([s]) => s.tab === "steps")) return null;
  return [make("p", {}, intro), make("div", { class: "cards" }, chosen.map(([s, i]) => sceneCard(s, i)))];
}

function routesPanel() {
  const shownScenes = data.scenes.filter((s) => s.tab === "steps" && s.routes.length);
  if (!shownScenes.length) return null;
  return shownScenes.map((s) => [make("h3", {}, s.title), routesOf(s)]).flat(2);
}

function routesOf(base) {
  const x = base.nodes[base.x];
  const largest = Math.max(...base.routes.map((route) => (Array.isArray(route.contribution) ? largestOf(route.contribution) : 0)));
  const cards = base.routes.map((route, i) => make("section", { class: "card", "data-route": i },
    make("h4", {}, `Route ${i + 1}: ${route.stations.join(" → ")}`),
    tableOf(route.contribution, x.shape, { caption: `carries to ${x.name}`, largest }),
    route.termTree ? [make("p", {}, "The term of the closed form:"), equation(route.term, route.termTree),
      tableOf(route.expected, x.shape, { caption: "computed by the term", largest })] : null));
  const parts = [
    make("p", {}, `${base.nodes[base.y].name} depends on ${x.name} by ${base.routes.length} route${base.routes.length > 1 ? "s" : ""}. What each carries is its chain of local rules; ${x.slope} is their sum.`),
  ];
  if (base.routes.some((route) => route.term)) {
    parts.push(make("p", {}, "Three routes are the three terms of the closed form, in which a mean runs over the values that share it. The fourth, from the variance to the mean, carries exactly nothing: deviations from a mean sum to zero (what is left is rounding)."), equation(base.closedFormText, base.closedFormTree));
  }
  parts.push(make("div", { class: "cards" }, cards), make("div", { class: "card", "data-scope": true }, gradientOf(base, base.x, { caption: `the sum: ${x.slope}`, sets: null })));
  return parts;
}

function checksPanel() {
  const parts = [];
  data.scenes.forEach((s) => {
    const section = [];
    if (s.closedForm) {
      const x = s.nodes[s.x];
      section.push(make("h3", {}, "composed and closed form"), make("p", {}, `Largest difference: ${shown(s.closedFormError)}.`),
        make("div", { class: "row" }, gradientOf(s, s.x, { caption: "by the graph", sets: null }), tableOf(s.closedForm, x.shape, { caption: "by the closed form" })));
    }
    if (s.invariants) {
      section.push(make("h3", {}, "what always holds"), ...s.invariants.map((invariant) =>
        make("div", { "data-invariant": true }, make("p", {}, invariant.text),
          tableOf(invariant.values, [invariant.values.length], { label: invariant.text, largest: invariant.largest }))));
    }
    const checked = s.nodes.filter((node) => node.differences !== undefined);
    if (checked.length) {
      section.push(make("h3", {}, "gradients next to central differences"), make("table", { class: "plain" },
        make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "at"), make("th", { scope: "col" }, "largest error"), make("th", { scope: "col" }, "the differences are uncertain by"))),
        make("tbody", {}, checked.map((node) => make("tr", {}, make("td", {}, node.name), make("td", {}, shown(node.differences)), make("td", {}, shown(node.uncertain)))))));
    }
    if (section.length) {
      parts.push(make("details", { open: s === data.scenes[0], "data-checks": s.key }, make("summary", {}, make("strong", {}, s.title)), ...section));
    }
  });
  return parts.length ? [make("p", {}, "Every gradient on this page was computed by the engine from the graph. Here it stands beside independent computations."), ...parts] : null;
}

function questionsPanel() {
  if (!data.questions) return null;
  return data.questions.map((q) => make("details", {}, make("summary", {}, make("strong", {}, q.question)),
    make("div", { class: "answer" }, q.answer.map((text) => make("p", {}, text)),
      make("p", {}, make("button", { type: "button", onclick: () => openPart(q.tab === "steps" ? "stage" : q.tab), "aria-label": `Show me: ${q.question}` }, "Show me")))));
}

const INTRO = {
  compare: "The same numbers, another rule for the statistics.",
  "test time": "Stored statistics take the place of the batch's own.",
  identity: "γ and β let the layer learn the identity again.",
  play: "Change the input, and see what moves in y and in the gradient, and what does not. Each variant was run by the engine.",
};

// --- the menu of parts

const PARTS = [["routes", "Routes"], ["compare", "Compare"], ["test time", "Test time"], ["identity", "Identity"], ["play", "Variants"], ["checks", "Checks"], ["questions", "Questions"]];
const idOf = (key) => `panel-${key.replace(" ", "-")}`;
const contentOf = (key) => (key === "routes" ? routesPanel() : key === "checks" ? checksPanel() : key === "questions" ? questionsPanel() : scenesPanel(key, INTRO[key]));

function openPart(key) {
  state.part = key;
  writeHash();
  redraw("scene");
  if (key === "stage") get("next").focus();
}

function showPart() {
  if (!get(idOf(state.part))) state.part = "stage";
  for (const panel of get("main").children) panel.hidden = panel.id !== idOf(state.part);
  get("part").value = state.part;
  document.body.classList.toggle("reading", state.part !== "stage");
}

function connectParts() {
  get("part").append(make("option", { value: "stage" }, "Steps"));
  for (const [key, title] of PARTS) {
    const content = contentOf(key);
    if (!content) continue;
    get("main").append(make("section", { class: "part-of-page", id: idOf(key), "aria-label": title, tabindex: "0", hidden: true },
      make("h2", {}, title), ...content.flat().filter(Boolean)));
    get("part").append(make("option", { value: key }, title));
  }
  get("part-label").hidden = get("part").children.length === 1;
  get("part").addEventListener("change", (event) => openPart(event.target.value));
}
