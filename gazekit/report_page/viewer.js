// One reading, or all of an image, on panels. What is drawn is decided here, how in scene.js.

const PANEL_GAP = 12, CAPTION = 26, BELOW = 20; // pixels between, above and below panels
const FIXED_TOP = 20; // as DENSITY_MAX of gazekit/plots.py

const viewer = {
  reading: null, // that was opened
  view: "one", // "one", "together" or "beside"
  panels: [], // { readings, canvas, figure, to, picture, xray, trails, peak, heat }
  settings: {},
  version: 0, // grows with whatever legends and time line are drawn from
};

const density = () => Math.min(2, devicePixelRatio || 1);

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
  setView(viewer.view);
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
    const button = make("button", { type: "button", text });
    button.addEventListener("click", () => changeView(view));
    return button;
  }));
  viewer.choices = choices.map(([view]) => view);
}

/** Whose gaze is shown, at the moment of the replay that was shown before. */
function changeView(view) {
  const { time, end } = replay;
  setView(view);
  if (time < end) seek(time);
}

function setView(view) {
  viewer.view = view;
  const buttons = byId("views").children;
  viewer.choices.forEach((choice, k) => buttons[k].setAttribute("aria-pressed", String(choice === view)));
  placeAgreement(view);
  offerSeconds();
  showPanels();
}

async function showPanels() {
  const { reading, view } = viewer;
  const image = images[reading.image];
  const groups = view === "one" ? [[reading]] : view === "together" ? [siblings()] : siblings().map((one) => [one]);
  viewer.panels = groups.map((group) => {
    const canvas = make("canvas", { role: "img", "aria-label": described(group, image) });
    const panel = { readings: group, canvas, picture: null, trails: new Map() };
    const caption = make("figcaption", { children: group.map((one) => make("span", {
      children: groups.length > 1 || group.length > 1 ? [swatch(colourOf(one)), nameOf(one), `: ${briefly(one)}`] : [gazeSummary(one)],
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
  const { panels } = viewer; // others may be there when the picture is
  const picture = await pictureOf(image);
  for (const panel of panels) panel.picture = picture;
  changed();
}

/** For a narrow panel: the page has said before whether its gaze is simulated. */
const briefly = (reading) => (reading.kind === "measured" ? `${reading.looks}, ${seconds(reading.seconds)}` : gazeSummary(reading));

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
  const host = byId("panels"), stage = byId("stage");
  const n = viewer.panels.length;
  const wide = innerWidth > 900;
  const perRow = wide ? Math.min(n, n === 4 ? 2 : 3) : 1;
  const rowsOfPanels = Math.ceil(n / perRow);
  const room = (host.clientWidth - PANEL_GAP * (perRow - 1)) / perRow;
  const around = stage.getBoundingClientRect().top + scrollY + stage.clientHeight - host.clientHeight + BELOW;
  const height = wide ? Math.max(240, (innerHeight - around) / Math.min(rowsOfPanels, 2) - CAPTION) : Infinity;
  const scale = Math.min(room / image.width, height / image.height);
  // a window that is being made may have no room at all
  const width = Math.max(1, Math.floor(image.width * scale)), tall = Math.max(1, Math.floor(image.height * scale));
  for (const panel of viewer.panels) {
    const { canvas, figure } = panel;
    figure.style.width = canvas.style.width = `${width}px`;
    canvas.style.height = `${tall}px`;
    canvas.width = Math.round(width * density());
    canvas.height = Math.round(tall * density());
    panel.to = mapping(image, canvas.width, canvas.height, density());
    panel.xray = null;
  }
  stage.classList.toggle("fits", wide && stage.clientHeight < innerHeight - BELOW);
  redraw();
}

/** Colours, sizes or panels are others: nothing that was drawn is of use. */
function redraw() {
  viewer.version += 1;
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
  drawLegends(top);
  showTime();
  drawStrip();
  followTranscript(replay.time);
}

/** Top of the colour scale, in even spreads: the maximum of all panels' whole readings, or the same for every image. */
function scaleTop() {
  if (viewer.settings.scale === "fixed") return FIXED_TOP;
  return Math.max(1e-9, ...viewer.panels.map(peakOf));
}

function peakOf(panel) {
  panel.peak ??= heatMap(panel.readings, null)?.map.reduce((a, b) => Math.max(a, b), 0) ?? 0;
  return panel.peak;
}

const patchesOf = (panel) => (panel.readings.length > 1 ? images[viewer.reading.image].together : panel.readings[0].patches);

function drawPanel(panel, heat, top) {
  const { settings } = viewer;
  const { canvas, picture, to } = panel;
  const image = images[viewer.reading.image];
  const context = canvas.getContext("2d");
  context.fillStyle = "#000000";
  context.fillRect(0, 0, canvas.width, canvas.height);
  if (settings.xray && picture) {
    panel.xray ??= scaledXray(image, picture, to);
    context.drawImage(panel.xray, 0, 0);
  }
  if (heat) {
    panel.heat = paintHeat(heat, top, settings.colours, settings.opacity, panel.heat);
    context.drawImage(panel.heat, 0, 0, canvas.width, canvas.height);
  }
  const patches = patchesOf(panel), several = panel.readings.length > 1;
  if (patches) drawPatches(context, image, patches, settings, to);
  const named = new Set(), placed = [];
  for (const reading of panel.readings) {
    if (settings.marks) drawMarks(context, reading.marks, to, several ? colourOf(reading) : null, named);
  }
  for (const reading of panel.readings) {
    if (reading.kind === "measured") drawReading(context, panel, reading, placed);
  }
}

/** The shown part, the scanpath with numbers beside those that are `placed`, and the fixation of this moment. */
function drawReading(context, panel, reading, placed) {
  const { settings } = viewer, { to } = panel;
  const gaze = gazeOf(reading);
  const count = reading.timed ? begunBy(gaze, replay.time) : gaze.n;
  const first = Math.max(0, settings.trail === null ? 0 : count - settings.trail);
  if (settings.shown && panel.readings.length === 1) drawShown(context, images[reading.image], gaze, count, to);
  if (settings.trail !== null) drawLast(context, reading, colourOf(reading), first, count, settings, to);
  else if (settings.path || settings.fixations) trailOf(panel, reading).draw(context, count);
  if (!settings.fixations || !count) return;
  if (!reading.samples) numberFixations(context, reading, first, count, to, placed);
  const now = reading.timed && replay.time < replay.end && replay.time < gaze.table[(count - 1) * FIELDS + OFFSET];
  if (now) drawCurrent(context, reading, count - 1, to);
}

function trailOf(panel, reading) {
  const kept = panel.trails.get(reading);
  if (kept?.key === Trail.key(viewer.settings, panel.to)) return kept;
  panel.trails.set(reading, new Trail(reading, colourOf(reading), viewer.settings, panel.to));
  return panel.trails.get(reading);
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
