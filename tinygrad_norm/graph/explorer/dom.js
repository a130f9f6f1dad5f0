"use strict";
// Elements, and numbers as text. All elements are created here. Names and numbers are inserted as text, never as markup.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const get = (id) => document.getElementById(id);

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") element.className = value;
    else if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

function draw(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// A formula: single letters are italic, words upright.
function formula(text) {
  const parts = text.split(/((?:\p{L}\p{M}*){3,}|[\p{L}_]\w{2,}|\bof\b)/u);
  return make("span", { class: "formula" }, parts.map((part, i) => (i % 2 ? make("span", { class: "word" }, part) : part)));
}

const minus = (text) => text.replaceAll("-", "−");

// The width of a text of digits, in ems.
const WIDTHS = { ".": 0.28, "−": 0.585 };
const widthOf = (text) => [...text].reduce((sum, character) => sum + (WIDTHS[character] || 0.557), 0);

/** Format a number with the given decimals, with fewer if room is short, or with an exponent if it is small or large. */
function shown(value, decimals = 3, room = Infinity) {
  if (typeof value !== "number") return value;
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "NaN" : value > 0 ? "∞" : "−∞";
  const size = Math.abs(value);
  if (size < 5e-13) return "0";
  const texts = [];
  if (size >= 0.5 * 10 ** -decimals && size < 1e5) {
    for (let d = decimals; d >= (size < 10 ? 1 : 0); d--) texts.push(value.toFixed(d));
  }
  texts.push(...[1, 0].map((digits) => value.toExponential(digits).replace("e+", "e")), size < 1 ? "≈0" : value > 0 ? "≫" : "≪");
  return texts.map(minus).find((text) => widthOf(text) <= room) || minus(texts[texts.length - 1]);
}

const product = (numbers) => numbers.reduce((a, b) => a * b, 1);
const largestOf = (values) => values.reduce((most, v) => (Number.isFinite(v) ? Math.max(most, Math.abs(v)) : most), 0);
