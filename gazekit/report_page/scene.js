// One panel: an X-ray and the layers over it. Coordinates are original pixels, whose centres are whole numbers.

const SECOND_RADIUS = 0.04; // radius of a fixation of one second, as a share of the longer side; area is duration
const RADII = [0.006, 0.09];
const NUMBERED = 60; // numbers at once: more hide the picture

const MARK_COLOURS = { box: "#8fd0ff", ellipse: "#ffcf5c" };

/** Original pixels to those of a canvas that shows the whole image, `dense` of them to a pixel of the style. */
function mapping(image, width, height, dense = 1) {
  const scaleX = width / image.width, scaleY = height / image.height;
  return {
    width,
    height,
    x: (x) => (x + 0.5) * scaleX,
    y: (y) => (y + 0.5) * scaleY,
    scaleX,
    scaleY,
    dense,
    longer: Math.max(width, height),
  };
}

function fixationRadius(duration, to) {
  const radius = SECOND_RADIUS * Math.sqrt(Math.max(0, duration));
  return Math.min(RADII[1], Math.max(RADII[0], radius)) * to.longer;
}

function drawXray(context, image, picture, to) {
  const [scaleX, scaleY, offsetX, offsetY] = image.frame;
  // the valid part of the stored square, between the edges of its first and last pixels
  const left = -0.5 * scaleX + offsetX + 0.5, top = -0.5 * scaleY + offsetY + 0.5;
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, left, top, image.width * scaleX, image.height * scaleY, 0, 0, to.width, to.height);
}

/** The X-ray at the size of a panel: scaled once, not in each frame. */
function scaledXray(image, picture, to) {
  const canvas = make("canvas", { width: to.width, height: to.height });
  drawXray(canvas.getContext("2d"), image, picture, to);
  return canvas;
}

/** Edges of the patches of the stored square, in original pixels. */
function patchEdges(image) {
  const [rows, cols] = about.grid;
  const [scaleX, scaleY, offsetX, offsetY] = image.frame;
  const edge = (k, n, offset, scale) => ((k / n) * image.stored - 0.5 - offset) / scale;
  return {
    x: Array.from({ length: cols + 1 }, (_, k) => edge(k, cols, offsetX, scaleX)),
    y: Array.from({ length: rows + 1 }, (_, k) => edge(k, rows, offsetY, scaleY)),
  };
}

function drawPatches(context, image, patches, settings, to) {
  const [rows, cols] = about.grid;
  const edges = patchEdges(image);
  const x = edges.x.map(to.x), y = edges.y.map(to.y);
  const relevance = floats(patches.relevance);
  const chosen = (r, c) => r >= 0 && c >= 0 && r < rows && c < cols && patches.relevant[r * cols + c] === "1";
  if (settings.patches) {
    const most = Math.max(...relevance);
    const table = tables.viridis;
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) {
        const share = Math.sqrt(relevance[r * cols + c] / most);
        const from = 3 * Math.round(255 * share);
        context.fillStyle = `rgba(${table[from]}, ${table[from + 1]}, ${table[from + 2]}, ${0.62 * share})`;
        context.fillRect(x[c], y[r], x[c + 1] - x[c], y[r + 1] - y[r]);
      }
    }
    context.strokeStyle = "rgba(255, 255, 255, 0.22)";
    context.lineWidth = 1;
    context.beginPath();
    for (const at of x) { context.moveTo(at, y[0]); context.lineTo(at, y[rows]); }
    for (const at of y) { context.moveTo(x[0], at); context.lineTo(x[cols], at); }
    context.stroke();
  }
  if (settings.partition) {
    context.fillStyle = "rgba(0, 0, 0, 0.45)";
    context.beginPath();
    for (let r = 0; r < rows; r++) {
      for (let c = 0; c < cols; c++) if (!chosen(r, c)) context.rect(x[c], y[r], x[c + 1] - x[c], y[r + 1] - y[r]);
    }
    context.fill();
    context.beginPath();
    for (let r = 0; r <= rows; r++) {
      for (let c = 0; c <= cols; c++) {
        if (c < cols && chosen(r, c) !== chosen(r - 1, c)) { context.moveTo(x[c], y[r]); context.lineTo(x[c + 1], y[r]); }
        if (r < rows && chosen(r, c) !== chosen(r, c - 1)) { context.moveTo(x[c], y[r]); context.lineTo(x[c], y[r + 1]); }
      }
    }
    context.strokeStyle = "#7dffa8";
    context.lineWidth = Math.max(2 * to.dense, to.longer / 320);
    context.stroke();
  }
}

/** `colour` of the reader, or null where boxes and ellipses have colours of their own; a name of `named` is there. */
function drawMarks(context, marks, to, colour, named) {
  const size = Math.max(11 * to.dense, to.longer / 58);
  context.lineWidth = Math.max(1.5 * to.dense, to.longer / 480);
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  for (const mark of marks) {
    const [x0, y0, x1, y1] = [to.x(mark.box[0]), to.y(mark.box[1]), to.x(mark.box[2]), to.y(mark.box[3])];
    context.strokeStyle = colour ?? MARK_COLOURS[mark.shape];
    context.setLineDash(mark.shape === "box" ? [6 * to.dense, 4 * to.dense] : []);
    context.beginPath();
    if (mark.shape === "box") context.rect(x0, y0, x1 - x0, y1 - y0);
    else context.ellipse((x0 + x1) / 2, (y0 + y1) / 2, Math.abs(x1 - x0) / 2, Math.abs(y1 - y0) / 2, 0, 0, 2 * Math.PI);
    context.stroke();
    const text = mark.names.join(", ");
    if (named.has(text)) continue;
    if (colour) named.add(text); // of one reader, two marks may have one name
    outlined(context, text, Math.max(2, x0), Math.max(size + 2, y0 - 2), colour ?? MARK_COLOURS[mark.shape], to);
  }
  context.setLineDash([]);
}

function outlined(context, text, x, y, colour, to) {
  context.lineJoin = "round";
  const before = [context.strokeStyle, context.lineWidth];
  context.strokeStyle = "rgba(0, 0, 0, 0.75)";
  context.lineWidth = 3 * to.dense;
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
  [context.strokeStyle, context.lineWidth] = before;
}

/** The part of the image that was on the screen at a moment; nothing where it was all of it. */
function drawShown(context, image, gaze, count, to) {
  if (!count) return;
  const [x0, y0, x1, y1] = gaze.table.subarray((count - 1) * FIELDS + CLIP, (count - 1) * FIELDS + CLIP + 4);
  const left = to.x(x0 - 0.5), top = to.y(y0 - 0.5), width = (x1 - x0) * to.scaleX, height = (y1 - y0) * to.scaleY;
  context.fillStyle = "rgba(0, 0, 0, 0.5)";
  context.beginPath();
  context.rect(0, 0, to.width, to.height);
  context.rect(left, top, width, height);
  context.fill("evenodd");
  context.strokeStyle = "#ffffff";
  context.lineWidth = Math.max(2 * to.dense, to.longer / 400);
  context.setLineDash([10, 5]);
  context.strokeRect(left + 1, top + 1, width - 2, height - 2);
  context.setLineDash([]);
}

const DISC_OPACITY = 0.3;
const outlineWidth = (to) => Math.max(1.2 * to.dense, to.longer / 560);

/** Outlines of fixations `from` to `stop`, one path. */
function circlesOf(reading, from, stop, to) {
  const { table } = gazeOf(reading), circles = new Path2D();
  for (let k = from; k < stop; k++) {
    const at = k * FIELDS, x = to.x(table[at + X]), y = to.y(table[at + Y]);
    const radius = reading.samples ? Math.max(1.5 * to.dense, to.longer / 400) : fixationRadius(table[at + OFFSET] - table[at + ONSET], to);
    circles.moveTo(x + radius, y);
    circles.arc(x, y, radius, 0, 2 * Math.PI);
  }
  return circles;
}

/** Lines from fixation to fixation. */
function drawPath(context, reading, from, stop, to) {
  const { table } = gazeOf(reading);
  context.beginPath();
  for (let k = from; k < stop; k++) context.lineTo(to.x(table[k * FIELDS + X]), to.y(table[k * FIELDS + Y]));
  context.strokeStyle = "rgba(255, 255, 255, 0.6)";
  context.lineWidth = Math.max(to.dense, to.longer / 700);
  context.lineJoin = "round";
  context.stroke();
}

/** The few fixations before a moment, for a trail that fades out. */
function drawLast(context, reading, colour, first, count, settings, to) {
  if (settings.path) drawPath(context, reading, first, count, to);
  if (!settings.fixations) return;
  const circles = circlesOf(reading, first, count, to);
  context.globalAlpha = DISC_OPACITY;
  context.fillStyle = colour;
  context.fill(circles);
  context.globalAlpha = 1;
  context.strokeStyle = colour;
  context.lineWidth = outlineWidth(to);
  context.stroke(circles);
}

/** Numbers in the circles, the newest first, each only where it does not lie on one that is `placed`. */
function numberFixations(context, reading, first, count, to, placed = []) {
  const { table } = gazeOf(reading), size = Math.max(10 * to.dense, to.longer / 62);
  const most = placed.length + NUMBERED;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  for (let k = count - 1; k >= first && placed.length < most; k--) {
    const text = String(k + 1), half = 0.34 * size * text.length;
    const x = to.x(table[k * FIELDS + X]), y = to.y(table[k * FIELDS + Y]);
    if (x < 0 || y < 0 || x > to.width || y > to.height) continue;
    if (placed.some((other) => Math.abs(other.x - x) < other.half + half && Math.abs(other.y - y) < 0.9 * size)) continue;
    outlined(context, text, x, y, "#ffffff", to);
    placed.push({ x, y, half });
  }
  context.textAlign = "start";
}

/** A ring around the fixation of this very moment. */
function drawCurrent(context, reading, k, to) {
  const { table } = gazeOf(reading), at = k * FIELDS;
  const radius = fixationRadius(table[at + OFFSET] - table[at + ONSET], to) + to.longer / 110;
  context.beginPath();
  context.arc(to.x(table[at + X]), to.y(table[at + Y]), radius, 0, 2 * Math.PI);
  context.strokeStyle = "#ffffff";
  context.lineWidth = Math.max(2 * to.dense, to.longer / 300);
  context.stroke();
}
