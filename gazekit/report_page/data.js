"use strict";
// The islands of the page, decoded. Text from the data reaches the page through textContent and attributes alone.

const FIELDS = 11; // columns of a reading's gaze, see GAZE_FIELDS of gazekit/report_data.py
const X = 0, Y = 1, SIGMA_X = 2, SIGMA_Y = 3, SHARE = 4, CLIP = 5, ONSET = 9, OFFSET = 10;

const READER_COLOURS = ["#63c5ff", "#ffb000", "#ff6fae", "#9a8cff", "#f5ef6a", "#ffffff"]; // apart for colour-blind readers too

const byId = (id) => document.getElementById(id);
const island = (name) => JSON.parse(byId(`${name}-data`).textContent);

const about = island("about");
const images = island("images");
const readings = island("readings");

/** An element with text, attributes and children. */
function make(name, { text, children = [], ...attributes } = {}) {
  const element = document.createElement(name);
  if (text !== undefined) element.textContent = text;
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children);
  return element;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function floats(text) {
  return new Float32Array(bytes(text).buffer);
}

const kept = new WeakMap();

/** Gaze of a reading, decoded once: `table` with FIELDS numbers a look in the order of its `onsets`, `end` the last moment. */
function gazeOf(reading) {
  if (!kept.has(reading)) {
    const raw = floats(reading.gaze);
    const n = raw.length / FIELDS;
    const order = Array.from({ length: n }, (_, k) => k).sort(
      (a, b) => raw[a * FIELDS + ONSET] - raw[b * FIELDS + ONSET] || a - b,
    );
    const table = new Float32Array(raw.length);
    let end = 0;
    order.forEach((from, to) => {
      table.set(raw.subarray(from * FIELDS, (from + 1) * FIELDS), to * FIELDS);
      end = Math.max(end, raw[from * FIELDS + OFFSET]);
    });
    const onsets = Float32Array.from({ length: n }, (_, k) => table[k * FIELDS + ONSET]);
    kept.set(reading, { table, n, end, onsets });
  }
  return kept.get(reading);
}

/** How many of the ascending values are not above one. */
function countUpTo(values, most) {
  let low = 0, high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] <= most) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** How many looks had begun by a moment. */
const begunBy = (gaze, time) => countUpTo(gaze.onsets, time);

const pictures = new Map();

/** The X-ray of an image, as a promise of an element that can be drawn. */
function pictureOf(image) {
  if (!pictures.has(image)) {
    const picture = new Image();
    pictures.set(image, new Promise((resolve) => {
      picture.onload = () => resolve(picture);
      picture.onerror = () => resolve(null);
      picture.src = image.src;
    }));
  }
  return pictures.get(image);
}

const plural = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
const seconds = (value) => `${value.toFixed(1)} s`;

/** A time that may be long, in the unit that suits it. */
const duration = (value) => (value < 120 ? seconds(value) : value < 7200 ? `${(value / 60).toFixed(1)} min` : `${(value / 3600).toFixed(1)} h`);
const percent = (value, digits = 0) => `${(100 * value).toFixed(digits)} %`;

/** What a reading's gaze consists of. */
function looksName(reading) {
  return reading.samples ? "sample" : "fixation";
}
