// Colour bars of the heat and of the patches, and the sizes of circles. Drawn anew only where something of it changed.

const LEGEND_CIRCLES = [0.1, 0.2, 0.4];
const LEGEND_HEIGHT = 44, CIRCLE_TEXT = 36; // px of a legend's height, and of the words beside a circle
let legendsOf = 0; // version of the viewer that they were drawn for

const unitName = () => (viewer.settings.unit === "seconds" ? "seconds of gaze on 1 % of the image" : "% of the gaze on 1 % of the image");

/** Maps share one scale of colours, and readings last differently: only the colours of one reading stand for seconds. */
function offerSeconds() {
  const unit = byId("unit");
  unit.disabled = viewer.view !== "one";
  unit.title = unit.disabled ? "Seconds are of one reading: choose This reading" : "";
  if (unit.disabled) unit.value = viewer.settings.unit = "share";
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
  const factor = settings.unit === "seconds" ? (viewer.reading.seconds_on_image ?? 0) / 100 : 1;
  const name = unitName() + (settings.scale === "fixed" ? ", same scale everywhere" : "");
  legend("legend", read.length > 0 && settings.heat && top * factor > 0, (canvas) => {
    drawBar(canvas, tables[settings.colours], top * factor, name, (share) => share);
  });
  const patches = patchesOf(viewer.panels[0]);
  const most = patches ? Math.max(...floats(patches.relevance)) : 0;
  legend("legend-patches", settings.patches && most > 0, (canvas) => {
    drawBar(canvas, tables.viridis, 100 * most, "% of the gaze on a patch", Math.sqrt);
  });
  const { clientWidth, clientHeight } = viewer.panels[0].canvas;
  const circles = circlesThatFit({ longer: Math.max(clientWidth, clientHeight) });
  const timed = settings.fixations && read.some((reading) => reading.timed && !reading.samples);
  byId("legend-circles").style.width = `${circles.reduce((sum, { radius }) => sum + 2 * radius + CIRCLE_TEXT, 1)}px`;
  legend("legend-circles", timed && circles.length > 0, (canvas) => drawCircles(canvas, circles));
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
  context.fillText(name, 0, 11, width); // closer letters where the window is narrow
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

/** Lengths whose circle, as large as on the picture, is no higher than the legend. */
function circlesThatFit(to) {
  return LEGEND_CIRCLES.map((length) => ({ length, radius: fixationRadius(length, to) }))
    .filter(({ radius }) => radius < LEGEND_HEIGHT / 2);
}

function drawCircles(canvas, circles) {
  const context = canvas.getContext("2d"), middle = LEGEND_HEIGHT / 2;
  let x = 1;
  for (const { length, radius } of circles) {
    context.beginPath();
    context.arc(x + radius, middle, radius, 0, 2 * Math.PI);
    context.stroke();
    context.fillText(`${length} s`, x + 2 * radius + 3, middle + 4);
    x += 2 * radius + CIRCLE_TEXT;
  }
  canvas.setAttribute("aria-label", `Circles: area is duration, drawn for ${circles.map(({ length }) => `${length} s`).join(", ")}.`);
}
