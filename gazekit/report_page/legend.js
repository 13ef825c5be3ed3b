// Colour bars of the heat and of the patches, and the sizes of circles. Drawn anew only where something of it changed.

const LEGEND_CIRCLES = [0.1, 0.2, 0.4];
const LEGEND_HEIGHT = 44;
let legendsOf = 0; // version of the viewer that they were drawn for

const unitName = () => (viewer.settings.unit === "seconds" ? "seconds of gaze on 1 % of the image" : "% of the gaze on 1 % of the image");

/** Seconds on the image of the readings of all panels, for a colour bar in seconds: their mean. */
function secondsShown() {
  const read = shownReadings();
  return read.length ? read.reduce((sum, reading) => sum + (reading.seconds_on_image ?? 0), 0) / read.length : 0;
}

/** Round values from 0 to below a maximum, some three to six. */
function ticksTo(top) {
  const rough = top / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  return Array.from({ length: Math.floor((top / step) * (1 + 1e-9)) + 1 }, (_, k) => Number((k * step).toPrecision(6)));
}

function drawLegends(top) {
  if (legendsOf === viewer.version) return;
  legendsOf = viewer.version;
  const { settings } = viewer;
  const read = shownReadings();
  const factor = settings.unit === "seconds" ? secondsShown() / 100 : 1;
  const name = unitName() + (settings.scale === "fixed" ? ", the same scale everywhere" : "");
  legend("legend", read.length > 0 && settings.heat && top * factor > 0, (canvas) => {
    drawBar(canvas, tables[settings.colours], top * factor, name, (share) => share);
  });
  const patches = patchesOf(viewer.panels[0]);
  const most = patches ? Math.max(...floats(patches.relevance)) : 0;
  legend("legend-patches", settings.patches && most > 0, (canvas) => {
    drawBar(canvas, tables.viridis, 100 * most, "% of the gaze on a patch", Math.sqrt);
  });
  const circles = settings.fixations && read.some((reading) => reading.timed && !reading.samples);
  const { clientWidth, clientHeight } = viewer.panels[0].canvas;
  const to = { longer: Math.max(clientWidth, clientHeight) };
  legend("legend-circles", circles, (canvas) => drawCircles(canvas, to));
}

/** One of the legends, hidden or drawn. */
function legend(id, shown, draw) {
  const canvas = byId(id);
  canvas.hidden = !shown;
  if (!shown) return;
  canvas.width = Math.round(canvas.clientWidth * density());
  canvas.height = Math.round(LEGEND_HEIGHT * density());
  const context = canvas.getContext("2d");
  context.scale(density(), density());
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = context.strokeStyle = getComputedStyle(document.body).color;
  draw(canvas);
}

/** `level` is where in the colour table a share of the maximum lies. */
function drawBar(canvas, table, top, name, level) {
  const context = canvas.getContext("2d");
  const ink = context.fillStyle, width = canvas.clientWidth - 2;
  context.fillText(name, 0, 11);
  for (let x = 0; x < width; x++) {
    const from = 3 * Math.round(255 * level(x / (width - 1)));
    context.fillStyle = `rgb(${table[from]}, ${table[from + 1]}, ${table[from + 2]})`;
    context.fillRect(x, 16, 1.5, 10);
  }
  context.fillStyle = ink;
  for (const value of ticksTo(top)) {
    const x = (value / top) * (width - 1);
    context.fillRect(Math.min(width - 1, x), 26, 1, 3);
    context.textAlign = x < 8 ? "left" : x > width - 12 ? "right" : "center";
    context.fillText(String(value), x < 8 ? 0 : Math.min(width, x), 40);
  }
  canvas.setAttribute("aria-label", `Colour bar: ${name}, from 0 to ${top.toPrecision(2)}.`);
}

function drawCircles(canvas, to) {
  const context = canvas.getContext("2d");
  let x = 1;
  for (const length of LEGEND_CIRCLES) {
    const radius = fixationRadius(length, to);
    context.beginPath();
    context.arc(x + radius, 22, radius, 0, 2 * Math.PI);
    context.stroke();
    context.fillText(`${length} s`, x + 2 * radius + 3, 26);
    x += 2 * radius + 36;
  }
  canvas.setAttribute("aria-label", `Circles: area is duration, drawn for ${LEGEND_CIRCLES.map((length) => `${length} s`).join(", ")}.`);
}
