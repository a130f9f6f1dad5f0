"use strict";
(() => {
  const { things, pictures } = JSON.parse(document.getElementById("data").textContent);
  const get = (id) => document.getElementById(id);
  const map = get("map"), world = get("world"), panel = get("panel"), input = get("search"), hits = get("hits");
  const SVG = "http://www.w3.org/2000/svg";
  const LINE = 17, PAD = 9, STEP = 90, LEGIBLE = 0.77, MOST_HITS = 40;

  // The current picture, the selected box, and the position and zoom.
  let here = null, chosen = null, view = { x: 0, y: 0, k: 1 };
  let shapes = [], lines = [];

  // All elements are created here. Names are inserted as text, never as markup.
  function fill(element, attributes, children) {
    for (const [key, value] of Object.entries(attributes)) {
      if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
      else element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null));
    return element;
  }

  const make = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
  const draw = (tag, attributes = {}, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // --- the data of boxes

  const [THING, X, Y, WIDTH, HEIGHT, LABEL, LOOK] = [0, 1, 2, 3, 4, 5, 6];
  const [FROM, TO, KIND, PATH, MARK] = [0, 1, 2, 3, 4];
  const boxes = () => pictures[here].boxes;
  const isStub = (box) => box[LOOK].includes("stub");
  const thingOf = (box) => (box[THING] === null ? {} : things[box[THING]]);
  const opens = (box) => !isStub(box) && thingOf(box).opens !== undefined;
  const above = (picture) => (picture === null ? [] : [...above(pictures[picture].outer), picture]);
  const pathOf = (picture) => above(picture).map((i) => pictures[i].name).join(" › ");
  const holderOf = (picture) => things.findIndex((thing) => thing.opens === picture);
  const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : noun.endsWith("x") ? "es" : "s"}`;

  function wordsOf(box) {
    const kind = box[LOOK].includes("backward") || box[LOOK].includes("higher") ? "gradient" : "";
    const does = opens(box) ? "opens" : isStub(box) ? "outside" : "";
    return [...box[LABEL], kind, does].filter(Boolean).join(", ");
  }

  // --- the picture

  function drawBox(box, i) {
    const [, x, y, width, height, label, look] = box;
    const round = look.includes("leaf") ? 8 : 2;
    const frame = { width, height, rx: round };
    const group = draw("g", {
      class: `box ${look}`, transform: `translate(${x} ${y})`, tabindex: 0, role: "button", "data-box": i, "aria-label": wordsOf(box),
    });
    if (opens(box)) group.append(draw("rect", { ...frame, x: 5, y: -5 }));
    group.append(draw("rect", { ...frame, class: "frame" }));
    if (look.includes("sum")) group.append(draw("rect", { x: 3, y: 3, width: width - 6, height: height - 6, rx: round }));
    const top = (height - LINE * label.length) / 2 + 13;
    label.forEach((text, at) => {
      const line = draw("text", { x: width / 2, y: top + LINE * at, class: text.startsWith("\u00a0") ? "mono" : "" });
      line.textContent = text;
      group.append(line);
    });
    if (opens(box)) {
      group.append(draw("path", { class: "plus", d: `M${width - 11} 4v8m-4-4h8` }));
      group.append(draw("path", { class: "target", d: `M${width - 24} -5h30v26h-30z` }));
    }
    return group;
  }

  function drawPicture() {
    const picture = pictures[here];
    const faint = (line) => [line[FROM], line[TO]].some((i) => isStub(picture.boxes[i]));
    lines = picture.lines.map((line) => draw("path", { class: `line ${line[KIND]}${faint(line) ? " faint" : ""}`, d: line[PATH] }));
    shapes = picture.boxes.map(drawBox);
    const marks = picture.lines.filter((line) => line.length > MARK).map((line) => {
      const mark = draw("text", { class: "mark", x: line[MARK + 1], y: line[MARK + 2] + 4 });
      mark.textContent = line[MARK];
      return mark;
    });
    const fresh = draw("g", {}, ...lines, ...marks, ...shapes);
    world.replaceChildren(fresh);
    world.setAttribute("class", picture.grid ? "grid" : "");
    // A name that is too wide is condensed.
    for (const [i, shape] of shapes.entries()) {
      const room = picture.boxes[i][WIDTH] - PAD;
      for (const text of shape.querySelectorAll("text")) {
        if (text.getComputedTextLength() > room) fill(text, { textLength: room, lengthAdjust: "spacingAndGlyphs" }, []);
      }
    }
    get("note").textContent = picture.note;
    get("svg").setAttribute("aria-label", `${picture.name}: ${count(picture.boxes.length, "box")}`);
    get("status").textContent = `${picture.name}: ${count(picture.boxes.length, "box")}. ${picture.note}`;
    get("crumbs").replaceChildren(...above(here).map((i) => make("li", {},
      i === here ? make("span", { "aria-current": "page" }, pictures[i].name) : make("button", { type: "button", onclick: () => climb(i) }, pictures[i].name))));
    get("crumbs").parentElement.scrollLeft = 1e6;
  }

  // --- moving and zooming

  function place() {
    world.setAttribute("transform", `translate(${view.x} ${view.y}) scale(${view.k})`);
  }

  function pan(x, y) {
    view.x += x;
    view.y += y;
    place();
  }

  function zoom(factor, x = map.clientWidth / 2, y = map.clientHeight / 2) {
    const k = Math.min(Math.max(view.k * factor, 0.03), 4);
    view = { x: x - (x - view.x) * k / view.k, y: y - (y - view.y) * k / view.k, k };
    place();
  }

  // Show the whole picture, or its beginning if the text would be too small to read.
  function fit(least = 0) {
    const [width, height] = pictures[here].size, room = [map.clientWidth, map.clientHeight];
    const k = Math.max(Math.min((room[0] - 32) / width, (room[1] - 32) / height, 1.3), least);
    const first = boxes().reduce((a, b) => (b[Y] < a[Y] ? b : a));
    const spare = room[0] - width * k, x = spare / 2 + k * (width / 2 - first[X] - first[WIDTH] / 2);
    view = { x: spare > 0 ? spare / 2 : Math.min(16, Math.max(spare - 16, x)), y: height * k > room[1] ? 16 : (room[1] - height * k) / 2, k };
    place();
  }

  function reveal(i) {
    const [, x, y, width, height] = boxes()[i];
    const left = view.x + x * view.k, top = view.y + y * view.k;
    const seen = left >= 0 && top >= 0 && left + width * view.k <= map.clientWidth && top + height * view.k <= map.clientHeight;
    if (!seen) pan(map.clientWidth / 2 - left - width * view.k / 2, map.clientHeight / 2 - top - height * view.k / 2);
  }

  const pointers = new Map();
  let dragged = false, before = null;

  map.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    if (!pointers.size) [dragged, before] = [false, chosen];
    pointers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  map.addEventListener("pointermove", (event) => {
    const last = pointers.get(event.pointerId);
    if (!last) return;
    const now = [event.clientX, event.clientY], moved = [now[0] - last[0], now[1] - last[1]];
    if (!dragged && Math.hypot(...moved) < 5) return;
    dragged = true;
    map.classList.add("moving");
    map.setPointerCapture(event.pointerId);
    pointers.set(event.pointerId, now);
    const other = [...pointers].find(([id]) => id !== event.pointerId);
    if (!other) return pan(...moved);
    const { left, top } = map.getBoundingClientRect();
    const away = (point) => Math.hypot(point[0] - other[1][0], point[1] - other[1][1]);
    zoom(away(now) / Math.max(away(last), 1), (now[0] + other[1][0]) / 2 - left, (now[1] + other[1][1]) / 2 - top);
    pan(moved[0] / 2, moved[1] / 2);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    map.addEventListener(end, (event) => {
      pointers.delete(event.pointerId);
      map.classList.remove("moving");
    });
  }
  map.addEventListener("wheel", (event) => {
    event.preventDefault();
    const { left, top } = map.getBoundingClientRect();
    if (event.ctrlKey || event.metaKey) zoom(Math.exp(-event.deltaY / 250), event.clientX - left, event.clientY - top);
    else pan(-event.deltaX, -event.deltaY);
  }, { passive: false });

  // --- selecting and navigating: the hash holds the place, so that the browser's Back works

  const hashOf = (picture, thing) => `#${picture}${thing === null || thing === undefined ? "" : `.${thing}`}`;

  function go(picture, thing) {
    if (location.hash !== hashOf(picture, thing)) history.pushState(null, "", hashOf(picture, thing));
    show();
  }

  function show() {
    const [picture, thing] = location.hash.slice(1).split(".").map(Number);
    const next = pictures[picture] ? picture : 0;
    let first = false;
    if (next !== here) {
      first = here === null;
      [here, chosen] = [next, null];
      drawPicture();
      fit(LEGIBLE);
    }
    // Prefer the box itself to a stub for it.
    const at = [false, true].map((stub) => boxes().findIndex((box) => box[THING] === thing && isStub(box) === stub)).find((i) => i >= 0);
    if (at === undefined) {
      choose(null);
      if (!first) map.focus({ preventScroll: true });
    } else {
      reveal(at);
      shapes[at].focus({ preventScroll: true });
      choose(at);
    }
  }

  function choose(i) {
    chosen = i;
    shapes.forEach((shape, at) => {
      shape.classList.toggle("chosen", at === i);
      if (at === i) shape.setAttribute("aria-current", "true");
      else shape.removeAttribute("aria-current");
    });
    pictures[here].lines.forEach((line, at) => lines[at].classList.toggle("near", i !== null && (line[FROM] === i || line[TO] === i)));
    describe();
    history.replaceState(null, "", hashOf(here, i === null ? null : boxes()[i][THING]));
  }

  function open(i) {
    const box = boxes()[i], thing = thingOf(box);
    if (opens(box)) go(thing.opens);
    else if (isStub(box) && box[THING] !== null) go(thing.home, box[THING]);
  }

  // Go to an outer picture, and select the box that contains this one.
  function climb(picture) {
    const path = above(here), inside = path[path.indexOf(picture) + 1];
    go(picture, holderOf(inside));
  }

  world.addEventListener("click", (event) => {
    const shape = event.target.closest("[data-box]");
    if (!shape || dragged) return;
    const i = Number(shape.dataset.box);
    if (before === i || event.target.closest(".target")) open(i);
    else choose(i);
  });
  // The listener is outside the SVG, whose groups would take the focus.
  map.addEventListener("focusin", (event) => {
    const shape = event.target.closest("[data-box]"), i = shape && Number(shape.dataset.box);
    if (!shape || i === chosen) return;
    choose(i);
    if (!pointers.size) reveal(i);
  });

  // --- the panel

  function factsOf(thing) {
    return make("dl", {}, ...Object.entries(thing.facts).flatMap(([key, text]) => (key === "values"
      ? [make("dt", { class: "whole" }, key), make("dd", { class: "whole" }, make("pre", { tabindex: 0, "aria-label": key }, text))]
      : [make("dt", {}, key), make("dd", {}, text)])));
  }

  function neighbours(heading, end, other) {
    const found = new Set(pictures[here].lines.filter((line) => line[end] === chosen).map((line) => line[other]));
    if (!found.size) return null;
    const link = (i) => make("li", {}, make("button", { type: "button", onclick: () => visit(i) }, boxes()[i][LABEL].slice(0, 2).join(" · ")));
    return make("div", {}, make("h3", {}, heading), make("ul", { class: "list" }, ...[...found].map(link)));
  }

  function visit(i) {
    reveal(i);
    shapes[i].focus({ preventScroll: true });
  }

  function describe() {
    if (chosen === null) return panel.replaceChildren(...aboutPicture());
    const box = boxes()[chosen], thing = thingOf(box), stub = isStub(box);
    const label = opens(box) ? `Open ${thing.title}` : "Go there";
    panel.replaceChildren(...[
      make("h2", {}, box[THING] === null ? box[LABEL][0] : thing.title),
      box[THING] === null ? make("p", {}, "Further neighbours outside, too many to show separately.") : make("p", { class: "path" }, `in ${pathOf(thing.home)}`),
      opens(box) || (stub && box[THING] !== null) ? make("button", { type: "button", class: "go", onclick: () => open(chosen) }, label) : null,
      thing.facts ? factsOf(thing) : null,
      neighbours("Comes from", TO, FROM),
      neighbours("Goes to", FROM, TO),
    ].filter(Boolean));
  }

  function aboutPicture() {
    const picture = pictures[here], holder = holderOf(here);
    const inside = picture.boxes.filter((box) => !isStub(box)).length, hasStubs = inside < picture.boxes.length;
    const hasPlus = picture.boxes.some(opens), hasGradient = picture.lines.some((line) => line[KIND] !== "forward");
    const keys = [["Enter", "opens a box with a plus, like a second click"], ["Esc", "goes to the outer picture"],
      ["Tab", "goes to the next box"], ["← ↑ → ↓", "move the picture, like dragging and the wheel"], ["+ − 0", "zoom in, out and to fit; Ctrl and the wheel also zoom"],
      ["/", "searches names"]];
    return [
      make("h2", {}, picture.name),
      make("p", { class: "path" }, here ? `in ${pathOf(picture.outer)}` : `${count(things.length, "box")} in ${count(pictures.length, "picture")}`),
      make("p", {}, `${count(inside, "box")} here.${hasPlus ? " Boxes with a plus can be opened." : ""}${hasStubs ? " Dotted frames are neighbours outside." : ""}${hasGradient ? " Dashed lines are the gradient, dotted lines the values that it uses." : ""}`),
      make("p", { class: "touch" }, "Tap a box for its details, and again to open it. Drag to move the picture, pinch to zoom."),
      holder >= 0 ? factsOf(things[holder]) : null,
      make("h3", { class: "keys" }, "Keys"),
      make("dl", { class: "keys" }, ...keys.flatMap(([key, does]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, does)])),
    ].filter(Boolean);
  }

  // --- searching

  let found = [], active = 0, texts = null;

  function search() {
    const wanted = input.value.trim().toLowerCase();
    texts = texts || things.map((thing) => [thing.facts.name || thing.title, thing.title, thing.facts.operation || ""].map((text) => text.toLowerCase()));
    const rank = ([name, title, operation]) => (name === wanted ? 0 : name.startsWith(wanted) ? 1 : name.includes(wanted) || title.includes(wanted) ? 2 : operation.includes(wanted) ? 3 : 4);
    const ranked = wanted ? texts.map((text, i) => [rank(text), i]).filter(([how]) => how < 4).sort((a, b) => a[0] - b[0] || a[1] - b[1]) : [];
    found = ranked.slice(0, MOST_HITS).map(([, i]) => i);
    hits.replaceChildren(...found.map((i, at) => make("li", { role: "option", id: `hit-${at}`, onclick: () => walk(at) },
      things[i].title, make("small", {}, pathOf(things[i].home)))));
    if (wanted && !found.length) hits.append(make("li", { role: "option", "aria-selected": "false", "aria-disabled": "true" }, "No matches."));
    hits.hidden = !wanted;
    input.setAttribute("aria-expanded", String(Boolean(wanted)));
    get("status").textContent = wanted ? `${count(ranked.length, "hit")}${ranked.length > MOST_HITS ? `, the first ${MOST_HITS} listed` : ""}` : "";
    point(0);
  }

  function point(at) {
    active = Math.max(0, Math.min(at, found.length - 1));
    found.forEach((_, i) => hits.children[i].setAttribute("aria-selected", String(i === active)));
    if (found.length) input.setAttribute("aria-activedescendant", `hit-${active}`);
    else input.removeAttribute("aria-activedescendant");
    if (found.length) hits.children[active].scrollIntoView({ block: "nearest" });
  }

  function walk(at) {
    const i = found[at];
    input.value = "";
    search();
    go(things[i].home, i);
  }

  input.addEventListener("input", search);
  input.addEventListener("blur", () => setTimeout(() => { hits.hidden = true; }, 200));
  input.addEventListener("focus", () => { hits.hidden = !input.value.trim(); });
  input.addEventListener("keydown", (event) => {
    const to = { ArrowDown: active + 1, ArrowUp: active - 1 }[event.key];
    if (to !== undefined) point(to);
    else if (event.key === "Enter" && found.length) walk(active);
    else if (event.key === "Escape") {
      input.value = "";
      search();
      map.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  });

  // --- keys

  const keys = {
    ArrowLeft: () => pan(STEP, 0), ArrowRight: () => pan(-STEP, 0), ArrowUp: () => pan(0, STEP), ArrowDown: () => pan(0, -STEP),
    "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": () => fit(), "/": () => input.focus(),
    Escape: () => here && climb(pictures[here].outer),
  };

  document.addEventListener("keydown", (event) => {
    if (event.target === input || event.altKey || event.ctrlKey || event.metaKey) return;
    const shape = event.target.closest("[data-box]");
    if (shape && (event.key === "Enter" || event.key === " ")) open(Number(shape.dataset.box));
    else if (event.key.startsWith("Arrow") && panel.contains(event.target)) return;
    else if (keys[event.key]) keys[event.key]();
    else return;
    event.preventDefault();
  });

  get("in").addEventListener("click", () => zoom(1.25));
  get("out").addEventListener("click", () => zoom(0.8));
  get("fit").addEventListener("click", () => fit());
  get("skip").addEventListener("click", () => panel.focus());
  window.addEventListener("hashchange", show);
  window.addEventListener("resize", () => fit(LEGIBLE));
  show();
})();
