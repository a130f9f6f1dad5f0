// What tests look at in a page: run inside it, beside its own script.
"use strict";

/** Everything that is wrong with what is seen of this step, in words. */
function wrongNow() {
  const wrong = [];
  const rect = (element) => element.getBoundingClientRect();
  const all = (selector) => [...document.querySelectorAll(selector)].filter((element) => element.offsetParent);
  const inside = (what, r, box) => {
    if (r.left < box.left - 1 || r.right > box.right + 1 || r.top < box.top - 1 || r.bottom > box.bottom + 1)
      wrong.push(`${what} sticks out: ${[r.left, r.top, r.right, r.bottom].map(Math.round)}`);
  };
  const apart = (what, elements) => elements.forEach((a, i) => elements.slice(i + 1).forEach((b) => {
    const [r, s] = [rect(a), rect(b)];
    if (r.left < s.right - 1 && s.left < r.right - 1 && r.top < s.bottom - 1 && s.top < r.bottom - 1)
      wrong.push(`${what} overlap: ${a.textContent.slice(0, 20)} and ${b.textContent.slice(0, 20)}`);
  }));
  const screen = { left: 0, top: 0, right: innerWidth, bottom: innerHeight };
  const active = all('[aria-current="step"]');
  if (active.length !== 1) wrong.push(`${active.length} active boxes`);
  inside("the active box", rect(active[0]), rect(get("graph")));
  for (const id of ["graph", "strip", "step", "next", "previous", "count"]) inside(id, rect(get(id)), screen);
  for (const part of all("#step h2, #step .line, #step .line > *, #step .side, #step .arithmetic, #step .part"))
    inside(part.className || part.tagName, rect(part), rect(get("step")));
  apart("boxes", all(".box"));
  apart("parts of the step", all("#step .line > *, #step .side, #step h2, #step .arithmetic"));
  apart("parts of the page", ["graph", "strip", "step", "next", "previous"].map(get));
  apart("parts of the header", all("header > *:not(.steps), #next, #previous"));
  for (const cell of all(".digits [data-cell], [data-density=full] [data-cell], [data-density=dense] [data-cell], [data-density=tight] [data-cell]"))
    if (cell.scrollWidth > cell.clientWidth + 1) wrong.push(`a number is cut: ${cell.textContent}`);
  if (document.documentElement.scrollWidth > innerWidth) wrong.push("it scrolls sideways");
  return wrong;
}

/** What is wrong at any step of any scene. */
function walk() {
  const found = [];
  for (let scene = 0; scene < data.scenes.length; scene++) {
    chooseScene(scene, 0);
    for (;;) {
      wrongNow().forEach((wrong) => found.push(`${data.scenes[scene].key}, ${get("count").textContent}: ${wrong}`));
      if (get("next").disabled) break;
      get("next").click();
    }
  }
  return found;
}

/** The numbers in the boxes at this step: of each its values, and what has arrived of its gradient. */
function boxesNow() {
  return [...document.querySelectorAll("[data-box]")].map((box) => [...box.querySelectorAll(".matrix")].map(
    (grid) => [...grid.querySelectorAll("[data-cell]")].map((cell) => cell.textContent)));
}

/** What is wrong with any panel of any scene. */
function walkPanels() {
  const found = [];
  for (let scene = 0; scene < data.scenes.length; scene++) {
    chooseScene(scene, 0);
    for (const button of [...get("parts").children].filter((each) => !each.hidden && each.dataset.part !== "step")) {
      button.click();
      const where = `${data.scenes[scene].key}, ${button.dataset.part}`;
      const say = (what) => found.push(`${where}: ${what}`);
      const panel = get("panel"), room = panel.getBoundingClientRect();
      if (panel.hidden || !panel.querySelector("h2")) { say("is not there"); continue; }
      if (document.documentElement.scrollWidth > innerWidth) say("it scrolls sideways");
      if (room.bottom > innerHeight + 1) say("it is below the window");
      if (phone.matches) {
        if (panel.scrollWidth > panel.clientWidth + 1) say("it is too wide for a phone");
      } else if (panel.scrollHeight > panel.clientHeight + 1 || panel.scrollWidth > panel.clientWidth + 1) {
        say(`it is cut: ${panel.scrollWidth} x ${panel.scrollHeight} in ${panel.clientWidth} x ${panel.clientHeight}`);
      }
      for (const part of panel.querySelectorAll(".row > *, .line > *, .arithmetic, h2")) {
        const box = part.getBoundingClientRect();
        if (box.right > room.right + 1) say(`${part.className || part.tagName} sticks out: ${part.textContent.slice(0, 40)}`);
      }
      for (const row of panel.querySelectorAll(".row, .line")) {
        const boxes = [...row.children].map((part) => part.getBoundingClientRect());
        boxes.forEach((a, i) => boxes.slice(i + 1).forEach((b) => {
          if (a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1) say(`parts of ${row.className} overlap`);
        }));
      }
      if (/NaN|undefined|\[object/.test(panel.textContent)) say(`${panel.textContent.match(/.{20}(NaN|undefined|\[object).{10}/)}`);
    }
  }
  return found;
}
