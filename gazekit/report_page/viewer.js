// One reading, or all of an image: panels, colour bar, time line. What is drawn is decided here, how in scene.js.

const LEGEND_CIRCLES = [0.1, 0.2, 0.4];
const FIXED_TOP = 20; // as DENSITY_MAX of gazekit/plots.py

const viewer = {
  reading: null, // that was opened
  view: "one", // "one", "together" or "beside"
  panels: [], // { readings, canvas, picture, colourOf }
  settings: {},
};

const isOpen = () => viewer.reading !== null;

/** The readings with gaze of the image that is open, and every one of a panel. */
const siblings = () => images[viewer.reading.image].readings.map((k) => readings[k]).filter((reading) => reading.kind);
const shownReadings = () => viewer.panels.flatMap((panel) => panel.readings).filter((reading) => reading.kind);
const colourOf = (reading) => READER_COLOURS[images[reading.image].readings.indexOf(readings.indexOf(reading)) % READER_COLOURS.length];

function openReading(reading) {
  viewer.reading = reading;
  const several = siblings().length > 1 && siblings().includes(reading);
  if (!several || (viewer.view === "together" && !images[reading.image].together)) viewer.view = "one";
  byId("viewer-title").textContent = reading.id;
  const at = listed.indexOf(readings.indexOf(reading));
  byId("place").textContent = at < 0 ? "" : `${at + 1} of ${listed.length}`;
  byId("previous-reading").disabled = at <= 0;
  byId("next-reading").disabled = at < 0 || at >= listed.length - 1;
  const note = noteOf(reading);
  byId("viewer-note").textContent = note;
  byId("viewer-note").hidden = !note;
  for (const id of ["overview", "head"]) byId(id).hidden = true;
  byId("viewer").hidden = false;
  document.title = `${reading.id}: gazekit report`;
  showFacts(reading);
  showViews();
  showPanels();
}

/** What must be known of a reading before its picture is believed. */
function noteOf(reading) {
  if (reading.window) return `Gaze of the sentence \u201c${reading.window.text}\u201d, ${seconds(reading.window.start_s)} to ${seconds(reading.window.stop_s)}.`;
  if (!reading.kind) return "There is no gaze for this image: nobody read it, or the gaze was discarded.";
  if (reading.kind === "predicted") return "Predicted gaze: what a model expects. Nobody looked at this image, so there are no fixations and no replay.";
  if (!reading.timed) return "This gaze has no times, so there is no replay.";
  const drawn = gazeOf(reading).n;
  if (drawn < reading.looks) return `${reading.looks.toLocaleString("en")} samples are drawn as ${drawn.toLocaleString("en")} groups of neighbours.`;
  return "";
}

function closeViewer() {
  const reading = viewer.reading;
  pause();
  viewer.reading = null;
  byId("viewer").hidden = true;
  for (const id of ["overview", "head"]) byId(id).hidden = false;
  document.title = `${about.title}: gazekit report`;
  if (reading) (cards[readings.indexOf(reading)].querySelector("a")).focus();
}

function showViews() {
  const read = siblings();
  const choices = [["one", "This reading"]];
  if (read.length > 1 && read.includes(viewer.reading)) {
    if (images[viewer.reading.image].together) choices.push(["together", `All ${read.length} together`]);
    choices.push(["beside", "Side by side"]);
  }
  byId("views").hidden = choices.length === 1;
  byId("views").replaceChildren(...choices.map(([view, text]) => {
    const button = make("button", { type: "button", text, "aria-pressed": String(view === viewer.view) });
    button.addEventListener("click", () => setView(view));
    return button;
  }));
  viewer.choices = choices.map(([view]) => view);
}

function setView(view) {
  viewer.view = view;
  const buttons = byId("views").children;
  viewer.choices.forEach((choice, k) => buttons[k].setAttribute("aria-pressed", String(choice === view)));
  showPanels();
}

async function showPanels() {
  const { reading, view } = viewer;
  const image = images[reading.image];
  const groups = view === "one" ? [[reading]] : view === "together" ? [siblings()] : siblings().map((one) => [one]);
  viewer.panels = groups.map((group) => {
    const canvas = make("canvas", { role: "img", "aria-label": described(group, image) });
    const panel = { readings: group, canvas, picture: null };
    const caption = make("figcaption", { children: group.map((one) => make("span", {
      children: groups.length > 1 || group.length > 1 ? [swatch(colourOf(one)), nameOf(one), `: ${gazeSummary(one)}`] : [gazeSummary(one)],
    })) });
    panel.figure = make("figure", { children: [caption, canvas] });
    canvas.addEventListener("pointermove", (event) => hint(panel, event));
    canvas.addEventListener("pointerleave", () => { byId("hint").textContent = ""; });
    return panel;
  });
  byId("panels").replaceChildren(...viewer.panels.map((panel) => panel.figure));
  const timed = shownReadings().filter((one) => one.timed);
  byId("transport").hidden = !timed.length;
  startReplay(Math.max(0, ...timed.map((one) => gazeOf(one).end)));
  fitPanels();
  const picture = await pictureOf(image);
  for (const panel of viewer.panels) panel.picture = picture;
  changed();
}

function swatch(colour) {
  const mark = make("i", { class: "swatch" });
  mark.style.background = colour;
  return mark;
}

function described(group, image) {
  const gaze = group.map((reading) => `${nameOf(reading)}: ${gazeSummary(reading)}`).join("; ");
  return `X-ray ${image.id} with ${gaze}. The table of fixations says it in numbers.`;
}

/** As large as the window allows, so that picture, colour bar and replay are seen together. */
function fitPanels() {
  if (!isOpen()) return;
  const image = images[viewer.reading.image];
  const host = byId("panels");
  const n = viewer.panels.length;
  const wide = innerWidth > 900;
  const perRow = wide ? Math.min(n, n === 4 ? 2 : 3) : 1;
  const gap = 12;
  const room = (host.clientWidth - gap * (perRow - 1)) / perRow;
  const rowsOfPanels = Math.ceil(n / perRow);
  const height = wide ? Math.max(240, (innerHeight - 292) / Math.min(rowsOfPanels, 2) - 24) : Infinity;
  const scale = Math.min(room / image.width, height / image.height);
  const dense = Math.min(2, devicePixelRatio || 1);
  for (const { canvas } of viewer.panels) {
    canvas.style.width = `${Math.floor(image.width * scale)}px`;
    canvas.style.height = `${Math.floor(image.height * scale)}px`;
    canvas.width = Math.round(Math.floor(image.width * scale) * dense);
    canvas.height = Math.round(Math.floor(image.height * scale) * dense);
  }
  changed();
}

let pending = false;

/** Something of the picture changed: all of it is drawn anew in the next frame, once. */
function changed() {
  if (pending || !isOpen()) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    if (isOpen()) drawAll();
  });
}

function drawAll() {
  const { settings } = viewer;
  const growing = settings.heatOf === "now" && replay.time < replay.end ? replay.time : null;
  const maps = viewer.panels.map((panel) => (settings.heat ? heatMap(panel.readings, growing) : null));
  const top = scaleTop();
  viewer.panels.forEach((panel, k) => drawPanel(panel, maps[k], top));
  drawLegend(top);
  showTime();
  drawStrip();
  followTranscript(replay.time);
}

/** Top of the colour scale, in even spreads: the maximum of all panels' whole readings, or the same for every image. */
function scaleTop() {
  if (viewer.settings.scale === "fixed") return FIXED_TOP;
  const peaks = viewer.panels.map((panel) => heatMap(panel.readings, null)).filter(Boolean).map(({ map }) => map.reduce((a, b) => Math.max(a, b), 0));
  return Math.max(1e-9, ...peaks);
}

function drawPanel(panel, heat, top) {
  const { settings } = viewer;
  const { canvas, picture } = panel;
  const image = images[viewer.reading.image];
  const context = canvas.getContext("2d");
  const to = mapping(image, canvas.width, canvas.height);
  context.fillStyle = "#000000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (settings.xray && picture) drawXray(context, image, picture, to);
  if (heat) {
    panel.heat = paintHeat(heat, top, settings.colours, settings.opacity, panel.heat);
    context.drawImage(panel.heat, 0, 0, canvas.width, canvas.height);
  }
  const patches = panel.readings.length > 1 ? image.together : panel.readings[0].patches;
  if (patches) drawPatches(context, image, patches, settings, to);
  if (settings.marks) drawMarks(context, panel.readings[0].marks, to);
  for (const reading of panel.readings) {
    if (reading.kind !== "measured") continue;
    const gaze = gazeOf(reading);
    const count = reading.timed ? begunBy(gaze, replay.time) : gaze.n;
    if (settings.shown && panel.readings.length === 1) drawShown(context, image, gaze, count, to);
    drawScanpath(context, reading, colourOf(reading), count, settings, to);
    const last = (count - 1) * FIELDS;
    if (settings.fixations && count && reading.timed && replay.time < replay.end && replay.time < gaze.table[last + OFFSET]) {
      drawCurrent(context, reading, count - 1, to);
    }
  }
}

const unitName = () => (viewer.settings.unit === "seconds" ? "seconds of gaze on 1 % of the image" : "% of the gaze on 1 % of the image");

/** Seconds on the image of the readings of all panels, for a colour bar in seconds: their mean. */
function secondsShown() {
  const read = shownReadings();
  return read.length ? read.reduce((sum, reading) => sum + (reading.seconds_on_image ?? 0), 0) / read.length : 0;
}

function drawLegend(top) {
  const canvas = byId("legend");
  const dense = Math.min(2, devicePixelRatio || 1);
  const read = shownReadings();
  canvas.hidden = !read.length;
  if (!read.length) return;
  const width = canvas.clientWidth, height = 44;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  const ink = getComputedStyle(document.body).color;
  context.font = "12px system-ui, sans-serif";
  const circles = read.some((reading) => reading.timed && !reading.samples) && width > 420;
  const bar = Math.min(360, width - (circles ? 190 : 0));
  const table = tables[viewer.settings.colours];
  for (let x = 0; x < bar; x++) {
    const from = 3 * Math.round((255 * x) / (bar - 1));
    context.fillStyle = `rgb(${table[from]}, ${table[from + 1]}, ${table[from + 2]})`;
    context.fillRect(x, 16, 1.5, 10);
  }
  context.fillStyle = ink;
  context.textBaseline = "alphabetic";
  context.fillText(unitName(), 0, 11);
  const factor = viewer.settings.unit === "seconds" ? secondsShown() / 100 : 1;
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => [share, share * top * factor]);
  for (const [share, value] of ticks) {
    const text = (value >= 10 ? value.toFixed(0) : value.toPrecision(2)) + (share === 1 && viewer.settings.scale === "fixed" ? " +" : "");
    context.textAlign = share === 0 ? "left" : share === 1 ? "right" : "center";
    context.fillText(share === 0 ? "0" : text, share * bar, 40);
  }
  const circleText = LEGEND_CIRCLES.map((duration) => `${duration} s`).join(", ");
  canvas.setAttribute("aria-label", `Colour bar: ${unitName()}, from 0 to ${(top * factor).toPrecision(2)}.` + (circles ? ` Circles: area is duration, drawn for ${circleText}.` : ""));
  if (!circles) return;
  const panel = viewer.panels[0].canvas;
  const to = { longer: Math.max(panel.clientWidth, panel.clientHeight) };
  let x = bar + 34;
  context.textAlign = "left";
  context.strokeStyle = ink;
  for (const duration of LEGEND_CIRCLES) {
    const radius = fixationRadius(duration, to);
    context.beginPath();
    context.arc(x + radius, 22, radius, 0, 2 * Math.PI);
    context.stroke();
    context.fillText(`${duration} s`, x + 2 * radius + 3, 26);
    x += 2 * radius + 36;
  }
}

/** Position and gaze under the pointer. */
function hint(panel, event) {
  const image = images[viewer.reading.image];
  const box = panel.canvas.getBoundingClientRect();
  const x = ((event.clientX - box.left) / box.width) * image.width - 0.5;
  const y = ((event.clientY - box.top) / box.height) * image.height - 0.5;
  const texts = [`x ${x.toFixed(0)}, y ${y.toFixed(0)} px`];
  const near = nearestFixation(panel.readings, x, y, (0.03 * Math.max(image.width, image.height)));
  if (near) {
    const g = gazeOf(near.reading).table.subarray(near.k * FIELDS, (near.k + 1) * FIELDS);
    texts.push(`${looksName(near.reading)} ${near.k + 1}: ${g[ONSET].toFixed(2)} s, for ${(g[OFFSET] - g[ONSET]).toFixed(2)} s, ${percent(g[SHARE], 1)} of the gaze`);
  }
  byId("hint").textContent = texts.join("; ");
}

function nearestFixation(group, x, y, within) {
  let found = null, best = within;
  for (const reading of group) {
    if (reading.kind !== "measured" || !reading.timed) continue;
    const gaze = gazeOf(reading);
    for (let k = 0; k < begunBy(gaze, replay.time); k++) {
      const away = Math.hypot(gaze.table[k * FIELDS + X] - x, gaze.table[k * FIELDS + Y] - y);
      if (away < best) [best, found] = [away, { reading, k }];
    }
  }
  return found;
}
