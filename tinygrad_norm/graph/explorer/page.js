"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const MATHML = "http://www.w3.org/1998/Math/MathML";

  // Everything is made here: names and numbers get in as text, never as markup.
  function make(tag, attributes = {}, ...children) {
    const element = document.createElement(tag);
    for (const [key, value] of Object.entries(attributes)) {
      if (key === "class") element.className = value;
      else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else if (value !== null && value !== false) element.setAttribute(key, value === true ? "" : value);
    }
    element.append(...children.flat().filter((child) => child !== null && child !== undefined));
    return element;
  }

  function branch(tree) {
    if (typeof tree === "string") return document.createTextNode(tree);
    const element = document.createElementNS(MATHML, tree[0]);
    element.append(...tree.slice(1).map(branch));
    return element;
  }

  const sign = (text) => ["mo", text];

  function equation(text, ...trees) {
    const math = document.createElementNS(MATHML, "math");
    math.setAttribute("display", "block");
    math.setAttribute("alttext", text);
    math.append(branch(["mrow", ...trees]));
    return make("div", { class: "equation", title: text }, math);
  }

  function shown(value) {
    if (typeof value !== "number") return value;
    if (value === 0) return "0";
    const size = Math.abs(value);
    const text = size < 5e-4 || size >= 1e5 ? value.toExponential(1) : value.toFixed(3);
    return text.replaceAll("-", "−");
  }

  const shapeText = (shape) => shape.length ? shape.join(" × ") : "scalar";

  // --- arrays as tables

  // Which axes go down and which across: pairs of rows and columns in blocks for images.
  function layout(shape) {
    const axes = shape.map((_, i) => i);
    if (shape.length < 3) return [axes.slice(0, shape.length - 1), axes.slice(-1)];
    if (shape.length === 3) return [[0], [1, 2]];
    return [[0, shape.length - 2], [...axes.slice(1, -2), shape.length - 1]];
  }

  function places(shape, axes) {
    let found = [[]];
    for (const axis of axes) found = found.flatMap((place) => Array.from({ length: shape[axis] }, (_, i) => [...place, i]));
    return found;
  }

  const sizeOf = (values) => Math.max(...values.map((v) => (typeof v === "number" ? Math.abs(v) : 0)), 0);

  function matrix(values, shape, options = {}) {
    const { caption = "", label = caption, whole = null, sets = null, scene = null, input = false, moved = null } = options;
    if (!Array.isArray(values)) {
      const text = `${shapeText(shape)} values: least ${shown(values.min)}, mean ${shown(values.mean)}, greatest ${shown(values.max)}. Too many to show here.`;
      return make("p", {}, make("strong", {}, caption), " ", text);
    }
    const strides = shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));
    const [down, across] = layout(shape);
    const largest = Math.max(sizeOf(values), options.largest || 1e-300);
    const table = make("table", { class: "matrix", role: "grid", "aria-label": label }, caption ? make("caption", { title: whole, class: caption.length > 40 ? "long" : "" }, caption) : null);
    const inside = (axes, place) => axes.length > 1 && place[place.length - 1] === shape[axes[axes.length - 1]] - 1;
    for (const row of places(shape, down)) {
      const line = make("tr", { role: "row", class: inside(down, row) ? "block-down" : "" });
      for (const column of places(shape, across)) {
        const index = [...down.map((axis, i) => [axis, row[i]]), ...across.map((axis, i) => [axis, column[i]])];
        const flat = index.reduce((sum, [axis, at]) => sum + strides[axis] * at, 0);
        const value = values[flat];
        const name = `[${index.sort((a, b) => a[0] - b[0]).map((pair) => pair[1]).join(", ")}]`;
        const classes = [inside(across, column) ? "block-right" : "", moved && moved.includes(flat) ? "moved" : ""];
        const cell = make("td", { role: "gridcell", tabindex: "-1", class: classes.join(" ").trim(), "data-cell": flat }, shown(value));
        if (typeof value === "number") {
          const colour = value < 0 ? "--minus" : "--plus";
          const strength = (0.38 * Math.abs(value) / largest).toFixed(3);
          cell.style.backgroundColor = `rgba(var(${colour}), ${strength})`;
        }
        let words = `${label} ${name}: ${shown(value)}`;
        if (moved && moved.includes(flat)) words += ", changed";
        if (sets) {
          const cells = scene.sets[sets[flat]];
          words += `, depends on ${cells.length} cells`;
          const light = () => lightUp(table, cells, `${caption}${name}`, scene);
          cell.addEventListener("pointerenter", light);
          cell.addEventListener("focus", light);
          cell.addEventListener("pointerleave", dark);
          cell.addEventListener("blur", dark);
        }
        cell.setAttribute("aria-label", words);
        line.append(cell);
      }
      table.append(line);
    }
    if (input) table.dataset.input = "";
    const first = table.querySelector("td");
    if (first) first.tabIndex = 0;
    table.addEventListener("keydown", moveInside);
    return table;
  }

  function moveInside(event) {
    const rows = [...event.currentTarget.querySelectorAll("tr")].map((row) => [...row.querySelectorAll("td")]);
    const row = rows.findIndex((cells) => cells.includes(event.target));
    if (row < 0) return;
    const column = rows[row].indexOf(event.target);
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const next = (rows[row + move[0]] || [])[column + move[1]];
    if (!next) return;
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  function lightUp(table, cells, name, scene) {
    dark();
    const part = table.closest("[data-scope]") || document;
    for (const input of part.querySelectorAll("table[data-input]")) {
      for (const cell of cells) input.querySelector(`td[data-cell="${cell}"]`).classList.add("lit");
    }
    const x = scene.nodes[scene.x];
    const words = cells.length === 0 ? "does not depend on" : `depends on ${cells.length} of ${x.value.length} cells of`;
    get("depends").textContent = `${name} ${words} ${x.name}.`;
  }

  function dark() {
    for (const cell of document.querySelectorAll("td.lit")) cell.classList.remove("lit");
  }

  const valueOf = (scene, i, options = {}) => {
    const node = scene.nodes[i];
    return matrix(node.value, node.shape, {
      caption: node.name, whole: node.whole || null, scene, sets: node.valueSets || null, input: i === scene.x, ...options,
    });
  };
  const gradientOf = (scene, i, options = {}) => {
    const node = scene.nodes[i];
    return matrix(node.gradient, node.shape, { caption: node.slope, scene, sets: node.gradientSets || null, ...options });
  };

  // --- steps

  function stepsOf(scene) {
    const forward = scene.nodes.map((_, node) => ({ kind: "forward", node }));
    const backward = scene.links.map((link, i) => ({ kind: "backward", link: i })).filter((step) => scene.links[step.link].rule);
    return [...forward, { kind: "seed", node: scene.y }, ...backward];
  }

  const state = { scene: 0, step: 0, timer: null, hide: new Set(), revealed: new Set(), named: "" };
  let scene = data.scenes[0];
  let steps = stepsOf(scene);

  const hides = (kind) => state.hide.has(kind) && !state.revealed.has(kind);

  // What has no name is called by its formula, or, while that is to be predicted, by its number.
  const nameOf = (i) => (hides("formula") && scene.nodes[i].alias) || scene.nodes[i].name;
  const slopeOf = (i) => (hides("formula") && scene.nodes[i].alias ? `∂L/∂${scene.nodes[i].alias}` : scene.nodes[i].slope);
  const valueHere = (i) => valueOf(scene, i, { caption: nameOf(i) });
  const gradientHere = (i) => gradientOf(scene, i, { caption: slopeOf(i) });

  function announcement(step) {
    if (step.kind === "forward") {
      const node = scene.nodes[step.node];
      if (!node.by) return `${node.name} is given`;
      return hides("formula") ? nameOf(step.node) : `${node.name} = ${node.by}`;
    }
    if (step.kind === "seed") return `The backward pass starts: ${slopeOf(scene.y)} is given`;
    const link = scene.links[step.link];
    const words = link.words && !hides("formula") ? `: ${link.words}` : "";
    return `Backward from ${nameOf(link.target)} to ${nameOf(link.source)}${words}`;
  }

  function hidden(kind, ...children) {
    if (!hides(kind)) return children;
    const reveal = () => {
      state.revealed.add(kind);
      showStep();
      get("step").querySelector("h3").focus();
    };
    return [make("p", {}, make("button", { type: "button", "data-reveal": kind, onclick: reveal }, `Reveal the ${kind}`))];
  }

  function forwardPanel(step) {
    const node = scene.nodes[step.node];
    const made = node.by && node.by !== node.name;
    const parts = [];
    if (node.by) {
      const trees = made ? [node.tree, sign("="), node.byTree] : [node.byTree];
      parts.push(hidden("formula", equation(made ? `${node.name} = ${node.by}` : node.by, ...trees)));
      const operands = scene.links.filter((link) => link.target === step.node).map((link) => link.source);
      parts.push(make("h4", {}, "from"), make("div", { class: "row" }, [...new Set(operands)].map(valueHere)));
    } else {
      const used = scene.links.some((link) => link.source === step.node);
      parts.push(make("p", {}, used ? "An input." : "An input that is not used: its gradient is zero."));
    }
    parts.push(make("h4", {}, "value"), hidden("shape", make("p", {}, `shape ${shapeText(node.shape)}`)), hidden("value", valueHere(step.node)));
    return parts;
  }

  function seedPanel() {
    return [
      make("p", {}, `L is the sum of ${nameOf(scene.y)} times a fixed random cotangent, so ${slopeOf(scene.y)} is that cotangent. The sum of a normalized output is constant, so with ones the gradient of x̂'s sum would vanish and show nothing.`),
      gradientHere(scene.y),
    ];
  }

  function backwardPanel(step) {
    const link = scene.links[step.link];
    const [source, slope] = [scene.nodes[link.source], slopeOf(link.source)];
    const arriving = steps.filter((s) => s.kind === "backward" && scene.links[s.link].source === link.source).map((s) => s.link);
    const place = arriving.indexOf(step.link);
    const arrived = link.after || link.before;
    const parts = [
      make("h4", {}, `comes in: ${slopeOf(link.target)}`),
      hidden("value", gradientHere(link.target)),
      make("h4", {}, "local rule: what goes on to this operand"),
      hidden("formula", equation(link.rule, link.ruleTree)),
      make("h4", {}, link.words ? "contribution of this edge, as the rule makes it" : "contribution of this edge"),
      hidden("shape", make("p", {}, `shape ${shapeText(link.beforeShape)}`)),
      hidden("value", matrix(link.before, link.beforeShape, { caption: "contribution" })),
    ];
    if (link.words) {
      parts.push(make("h4", {}, hides("formula") ? "as it arrives" : link.words), hidden("shape", make("p", {}, `shape ${shapeText(source.shape)}`)),
        hidden("value", matrix(link.after, source.shape, { caption: "arrives" })));
    }
    const count = arriving.length === 1 ? "the only contribution" : `contribution ${place + 1} of ${arriving.length}`;
    parts.push(make("h4", {}, `at ${nameOf(link.source)}: ${count}`));
    if (place > 0) {
      parts.push(hidden("value", matrix(link.total, source.shape, { caption: "sum so far" })));
    }
    if (place === arriving.length - 1) {
      parts.push(make("p", {}, arriving.length > 1 ? `All have arrived: this sum is ${slope}.` : `So this is ${slope}.`));
    } else {
      parts.push(make("p", {}, `${slope} waits for the others.`));
    }
    return parts;
  }

  function showStep() {
    const step = steps[state.step];
    const text = announcement(step);
    const order = steps.filter((s) => (s.kind === "backward") === (step.kind === "backward"));
    const count = step.kind === "seed" ? "" : ` ${order.indexOf(step) + 1} of ${order.length - (step.kind === "forward" ? 1 : 0)}`;
    const kind = step.kind === "forward" ? "Forward" : "Backward";
    const parts = step.kind === "forward" ? forwardPanel(step) : step.kind === "seed" ? seedPanel() : backwardPanel(step);
    const whole = step.kind === "forward" ? scene.nodes[step.node].whole || null : null;
    const title = make("h3", { tabindex: "-1", title: whole, class: step.kind === "forward" ? "forward" : "backward" }, `${kind}${count}: ${text.replace("Backward from", "from")}`);
    get("step").replaceChildren(title, ...parts.flat());
    get("slider").value = state.step;
    get("slider").setAttribute("aria-valuetext", `${state.step + 1} of ${steps.length}: ${text}`);
    get("count").textContent = `Step ${state.step + 1} of ${steps.length}`;
    get("status").textContent = `Step ${state.step + 1} of ${steps.length}. ${text}.`;
    for (const id of ["first", "previous"]) get(id).disabled = state.step === 0;
    for (const id of ["next", "last"]) get(id).disabled = state.step === steps.length - 1;
    [...get("list").children].forEach((item, i) => {
      item.className = i === state.step ? "current" : "";
      if (i === state.step) item.setAttribute("aria-current", "step"); else item.removeAttribute("aria-current");
    });
    showNames();
    markGraph(step);
    showArrays();
  }

  // In the boxes and in the list: how something is computed stands there only while formulas are shown.
  function showNames() {
    const shownNow = `${state.scene} ${hides("formula")}`;
    if (state.named === shownNow) return;
    state.named = shownNow;
    scene.nodes.forEach((node, i) => {
      const box = get(`p${scene.picture}-n${i}`);
      box.setAttribute("aria-label", `Go to ${nameOf(i)}`);
      box.querySelectorAll("text").forEach((line, at) => {
        if (line.dataset.text === undefined) line.dataset.text = line.textContent;
        line.textContent = !hides("formula") ? line.dataset.text : at > 0 ? "" : node.alias || line.dataset.text;
      });
    });
    [...get("list").children].forEach((item, i) => { item.firstChild.textContent = announcement(steps[i]); });
  }

  function markGraph(step) {
    const prefix = `p${scene.picture}-`;
    const past = steps.slice(0, state.step + 1);
    const seen = new Set(past.filter((s) => s.kind === "forward").map((s) => s.node));
    const carried = new Set(past.filter((s) => s.kind === "backward").map((s) => s.link));
    const started = past.some((s) => s.kind === "seed");
    const reached = new Set([...carried].map((i) => scene.links[i].source));
    if (started) reached.add(scene.y);
    const now = step.kind === "backward" ? scene.links[step.link].source : step.node;
    scene.nodes.forEach((_, i) => {
      const box = get(`${prefix}n${i}`);
      box.classList.toggle("done", seen.has(i));
      box.classList.toggle("arrived", reached.has(i));
      box.classList.toggle("now", i === now);
    });
    scene.links.forEach((link, i) => {
      const arrow = get(`${prefix}e${i}`);
      arrow.classList.toggle("carried", carried.has(i));
      arrow.classList.toggle("now", step.kind === "backward" && step.link === i);
      arrow.classList.toggle("flow", step.kind === "forward" && link.target === step.node);
    });
  }

  function showArrays() {
    const past = steps.slice(0, state.step + 1);
    const computed = new Set(past.filter((s) => s.kind === "forward").map((s) => s.node));
    const started = past.some((s) => s.kind === "seed");
    const cards = scene.nodes.map((node, i) => {
      const parts = [];
      if (computed.has(i)) parts.push(...hidden("value", valueHere(i)));
      const arrived = past.filter((s) => s.kind === "backward" && scene.links[s.link].source === i).map((s) => scene.links[s.link]);
      const all = steps.filter((s) => s.kind === "backward" && scene.links[s.link].source === i).length;
      if (started && node.gradient && (i === scene.y || all === 0)) parts.push(...hidden("value", gradientHere(i)));
      else if (arrived.length) {
        const last = arrived[arrived.length - 1];
        const complete = arrived.length === all;
        const options = complete ? {} : { caption: `${slopeOf(i)}, ${arrived.length} of ${all}`, sets: null };
        const part = complete ? gradientHere(i) : matrix(last.total || last.after || last.before, node.shape, options);
        parts.push(...hidden("value", part));
      }
      return parts.length ? make("div", { class: "card" }, ...parts) : null;
    });
    get("arrays").replaceChildren(...cards.filter(Boolean));
  }

  function go(step) {
    const bounded = Math.max(0, Math.min(steps.length - 1, step));
    if (bounded !== state.step) state.revealed.clear();
    state.step = bounded;
    showStep();
  }

  function play(on) {
    clearInterval(state.timer);
    state.timer = null;
    if (on) {
      if (state.step === steps.length - 1) go(0);
      state.timer = setInterval(() => (state.step === steps.length - 1 ? play(false) : go(state.step + 1)), 1400);
    }
    get("play").setAttribute("aria-pressed", String(on));
    get("play").textContent = on ? "Pause" : "Play";
  }

  function chooseScene(index, step = 0) {
    play(false);
    state.scene = index;
    scene = data.scenes[index];
    steps = stepsOf(scene);
    get("scene").value = String(index);
    get("scene-text").textContent = scene.text;
    get("slider").max = steps.length - 1;
    for (const picture of get("graph").children) picture.hidden = picture.id !== `picture-${scene.picture}`;
    get("list").replaceChildren(...steps.map((_, i) => make("li", {}, make("button", { type: "button", onclick: () => go(i) }))));
    state.revealed.clear();
    state.named = "";
    state.step = Math.min(step, steps.length - 1);
    showStep();
  }

  // --- the other parts

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
    const open = () => { showTab("steps"); chooseScene(index); get("step").querySelector("h3").focus(); };
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
    const largest = Math.max(...base.routes.map((route) => (Array.isArray(route.contribution) ? sizeOf(route.contribution) : 0)));
    const cards = base.routes.map((route, i) => make("section", { class: "card", "data-route": i },
      make("h4", {}, `Route ${i + 1}: ${route.stations.join(" → ")}`),
      matrix(route.contribution, x.shape, { caption: `carries to ${x.name}`, largest }),
      route.termTree ? [make("p", {}, "The term of the closed form:"), equation(route.term, route.termTree),
        matrix(route.expected, x.shape, { caption: "computed by the term", largest })] : null));
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
          make("div", { class: "row" }, gradientOf(s, s.x, { caption: "by the graph", sets: null }), matrix(s.closedForm, x.shape, { caption: "by the closed form" })));
      }
      if (s.invariants) {
        section.push(make("h3", {}, "what always holds"), ...s.invariants.map((invariant) =>
          make("div", { "data-invariant": true }, make("p", {}, invariant.text),
            matrix(invariant.values, [invariant.values.length], { label: invariant.text, largest: invariant.largest }))));
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
        make("p", {}, make("button", { type: "button", onclick: () => showTab(q.tab), "aria-label": `Show me: ${q.question}` }, "Show me")))));
  }

  const INTRO = {
    compare: "The same numbers, another rule for the statistics.",
    "test time": "Stored statistics take the place of the batch's own.",
    identity: "γ and β let the layer learn the identity again.",
    play: "Change the input, and see what moves in y and in the gradient, and what does not. Each variant was run by the engine.",
  };
  const TABS = [["steps", "Steps"], ["routes", "Routes"], ["compare", "Compare"], ["test time", "Test time"], ["identity", "Identity"], ["play", "Play"], ["checks", "Checks"], ["questions", "Questions"]];
  const idOf = (key) => key.replace(" ", "-");

  function showTab(key) {
    for (const [other] of TABS) {
      const tab = get(`tab-${idOf(other)}`);
      if (!tab) continue;
      tab.setAttribute("aria-selected", String(other === key));
      tab.tabIndex = other === key ? 0 : -1;
      get(`panel-${idOf(other)}`).hidden = other !== key;
    }
  }

  for (const [key, title] of TABS) {
    if (key !== "steps") {
      const content = key === "routes" ? routesPanel() : key === "checks" ? checksPanel() : key === "questions" ? questionsPanel() : scenesPanel(key, INTRO[key]);
      if (!content) continue;
      get("main").append(make("section", { role: "tabpanel", id: `panel-${idOf(key)}`, "aria-labelledby": `tab-${idOf(key)}`, tabindex: "0", hidden: true },
        make("h2", {}, title), ...content.flat().filter(Boolean)));
    }
    get("tabs").append(make("button", { type: "button", role: "tab", id: `tab-${idOf(key)}`, "aria-controls": `panel-${idOf(key)}`, onclick: () => showTab(key) }, title));
  }
  get("tabs").addEventListener("keydown", (event) => {
    const tabs = [...get("tabs").children];
    const at = tabs.indexOf(event.target);
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = tabs[(to + tabs.length) % tabs.length];
    next.click();
    next.focus();
  });

  // --- controls

  get("scene").append(...data.scenes.map((s, i) => make("option", { value: i }, s.title)));
  get("scene-label").hidden = data.scenes.length === 1;
  get("scene").addEventListener("change", (event) => chooseScene(Number(event.target.value)));
  get("first").addEventListener("click", () => go(0));
  get("previous").addEventListener("click", () => go(state.step - 1));
  get("next").addEventListener("click", () => go(state.step + 1));
  get("last").addEventListener("click", () => go(steps.length - 1));
  get("play").addEventListener("click", () => play(state.timer === null));
  get("slider").addEventListener("input", (event) => go(Number(event.target.value)));
  for (const box of document.querySelectorAll("[data-hide]")) {
    box.addEventListener("change", () => {
      state.hide[box.checked ? "add" : "delete"](box.dataset.hide);
      showStep();
    });
  }
  document.addEventListener("keydown", (event) => {
    if (get("panel-steps").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, select, [role=tablist], .graph .node")) return;
    const to = { ArrowLeft: state.step - 1, ArrowRight: state.step + 1, Home: 0, End: steps.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    go(to);
  });
  for (const picture of get("graph").children) {
    // Text of 20 pixels may be drawn at 9; a larger picture scrolls.
    const svg = picture.querySelector("svg");
    svg.style.minWidth = `${0.45 * svg.width.baseVal.value}px`;
    svg.style.minHeight = `${0.45 * svg.height.baseVal.value}px`;
    const { nodes } = data.scenes.find((s) => `picture-${s.picture}` === picture.id);
    for (const box of picture.querySelectorAll(".node")) {
      const index = Number(box.id.split("-n")[1]);
      box.setAttribute("role", "button");
      box.setAttribute("tabindex", "0");
      box.setAttribute("aria-label", `Go to ${nodes[index].name}`);
      // To where it is computed; from there, to where its gradient starts to arrive.
      const jump = () => {
        const there = steps.findIndex((s) => s.kind === "forward" && s.node === index);
        const back = steps.findIndex((s) => (s.kind === "backward" && scene.links[s.link].source === index) || (s.kind === "seed" && s.node === index));
        go(state.step === there && back >= 0 ? back : there);
      };
      box.addEventListener("click", jump);
      box.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") { event.preventDefault(); jump(); }
      });
    }
  }
  get("panel-steps").dataset.scope = "";
  showTab("steps");
  chooseScene(0);
})();
