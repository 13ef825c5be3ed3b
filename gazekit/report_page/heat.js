// Heat: the sum of clipped Gaussians, as exact means over the cells of a lattice on the image, and its colours.

const LATTICE = 128; // cells on the longer side of the image
const REACH = 5; // sigmas
const HEAT_KEYFRAMES = 16;

/** Abramowitz and Stegun 7.1.26: the normal distribution function, to 1e-7. */
function normalBelow(z) {
  const t = 1 / (1 + 0.3275911 * Math.abs(z) * Math.SQRT1_2);
  const tail = 0.5 * t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    * Math.exp(-z * z / 2);
  return z < 0 ? tail : 1 - tail;
}

/** Mass of one axis of a Gaussian in each of n cells of [-0.5, size - 0.5), inside its clip: first cell and masses. */
function axisMass(centre, sigma, clip0, clip1, size, n) {
  const cell = size / n;
  const low = Math.max(clip0 - 0.5, centre - REACH * sigma), high = Math.min(clip1 - 0.5, centre + REACH * sigma);
  const first = Math.max(0, Math.floor((low + 0.5) / cell)), last = Math.min(n, Math.ceil((high + 0.5) / cell));
  const mass = new Float32Array(Math.max(0, last - first));
  let below = normalBelow((Math.max(first * cell - 0.5, low) - centre) / sigma);
  for (let k = 0; k < mass.length; k++) {
    const next = normalBelow((Math.min((first + k + 1) * cell - 0.5, high) - centre) / sigma);
    mass[k] = next - below;
    below = next;
  }
  return { first, mass };
}

/** The heat of one reading over its image, whole or up to a moment. */
class Heat {
  constructor(gaze, image) {
    const cell = Math.max(image.width, image.height) / LATTICE;
    this.cols = Math.max(1, Math.round(image.width / cell));
    this.rows = Math.max(1, Math.round(image.height / cell));
    this.gaze = gaze;
    const { table, n } = gaze;
    this.across = [];
    this.down = [];
    for (let k = 0; k < n; k++) {
      const g = table.subarray(k * FIELDS, (k + 1) * FIELDS);
      this.across.push(axisMass(g[X], g[SIGMA_X], g[CLIP], g[CLIP + 2], image.width, this.cols));
      this.down.push(axisMass(g[Y], g[SIGMA_Y], g[CLIP + 1], g[CLIP + 3], image.height, this.rows));
    }
    this.byEnd = Array.from({ length: n }, (_, k) => k).sort(
      (a, b) => table[a * FIELDS + OFFSET] - table[b * FIELDS + OFFSET],
    );
    this.ends = Float32Array.from(this.byEnd, (k) => table[k * FIELDS + OFFSET]);
    this.whole = new Float32Array(this.rows * this.cols);
    for (const k of this.byEnd) this.#add(this.whole, k, 1);
  }

  #add(map, k, part) {
    const { first: left, mass: across } = this.across[k], { first: top, mass: down } = this.down[k];
    const share = part * this.gaze.table[k * FIELDS + SHARE];
    for (let r = 0; r < down.length; r++) {
      const scale = share * down[r];
      let at = (top + r) * this.cols + left;
      for (let c = 0; c < across.length; c++) map[at++] += scale * across[c];
    }
  }

  /** Maps of the looks that had ended at even steps, from which any moment is near; made for the first replay. */
  #prepare() {
    const { byEnd } = this;
    this.step = Math.max(16, Math.ceil(byEnd.length / HEAT_KEYFRAMES));
    this.past = new Float32Array(this.whole.length);
    this.now = new Float32Array(this.whole.length);
    this.keyframes = [];
    for (let k = 0; k < byEnd.length; k++) {
      if (k % this.step === 0) this.keyframes.push(this.past.slice());
      this.#add(this.past, byEnd[k], 1);
    }
    this.done = byEnd.length;
  }

  /** Share of the reading's gaze in each cell by a moment; of a look that lasts, the part that has passed. The map is
   * the same array at each call. */
  upTo(time) {
    if (!this.keyframes) this.#prepare();
    const { table, n } = this.gaze;
    const ended = countUpTo(this.ends, time);
    const keyframe = Math.min(this.keyframes.length - 1, Math.floor(ended / this.step));
    if (n && (this.done > ended || this.done < keyframe * this.step)) {
      this.past.set(this.keyframes[keyframe]);
      this.done = keyframe * this.step;
    }
    while (this.done < ended) this.#add(this.past, this.byEnd[this.done++], 1);
    this.now.set(this.past);
    for (let k = ended; k < n; k++) {
      const look = this.byEnd[k] * FIELDS, onset = table[look + ONSET];
      if (onset < time) this.#add(this.now, this.byEnd[k], (time - onset) / (this.ends[k] - onset));
    }
    return this.now;
  }
}

const heats = new WeakMap();

function heatOf(reading) {
  if (!heats.has(reading)) heats.set(reading, new Heat(gazeOf(reading), images[reading.image]));
  return heats.get(reading);
}

/** Mean map of readings, as multiples of an even spread: 3 is 3 % of the gaze on 1 % of the image. */
function heatMap(shown, time) {
  const parts = shown.filter((reading) => reading.kind).map((reading) => {
    const heat = heatOf(reading);
    return { heat, map: time === null ? heat.whole : heat.upTo(time) };
  });
  if (!parts.length) return null;
  const { rows, cols } = parts[0].heat;
  const map = new Float32Array(rows * cols);
  const scale = (rows * cols) / parts.length;
  for (const part of parts) for (let k = 0; k < map.length; k++) map[k] += scale * part.map[k];
  return { rows, cols, map };
}

const tables = Object.fromEntries(Object.entries(about.colours).map(([name, text]) => [name, bytes(text)]));

const HEAT_LEVELS = 1024;
const levels = { key: "", pixels: new Uint32Array(HEAT_LEVELS) };

/** Pixels of even steps of the scale. Opacity is the square root: it shows the low end too, without reordering. */
function heatPixels(colours, opacity) {
  const key = `${colours} ${opacity}`;
  if (levels.key !== key) {
    const table = tables[colours], channels = new Uint8ClampedArray(levels.pixels.buffer);
    for (let k = 0; k < HEAT_LEVELS; k++) {
      const share = k / (HEAT_LEVELS - 1), from = 3 * Math.round(255 * share);
      channels.set([table[from], table[from + 1], table[from + 2], 255 * opacity * Math.sqrt(share)], 4 * k);
    }
    levels.key = key;
  }
  return levels.pixels;
}

/** A map as a small picture, to be drawn stretched over the image. */
function paintHeat(heat, top, colours, opacity, canvas = document.createElement("canvas")) {
  if (canvas.width !== heat.cols || canvas.height !== heat.rows) {
    canvas.width = heat.cols;
    canvas.height = heat.rows;
  }
  const picture = new ImageData(heat.cols, heat.rows);
  const target = new Uint32Array(picture.data.buffer), pixels = heatPixels(colours, opacity);
  const scale = (HEAT_LEVELS - 1) / top;
  for (let k = 0; k < target.length; k++) target[k] = pixels[Math.min(HEAT_LEVELS - 1, Math.round(heat.map[k] * scale))];
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}
