// Heat: the sum of clipped Gaussians, as exact means over the cells of a lattice on the image, and its colours.

const LATTICE = 128; // cells on the longer side of the image
const REACH = 5; // sigmas

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
    this.done = 0;
    this.past = new Float32Array(this.rows * this.cols);
    this.whole = new Float32Array(this.rows * this.cols);
    for (let k = 0; k < n; k++) this.#add(this.whole, k, 1);
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

  /** Share of the reading's gaze in each cell by a moment; of a look that lasts, the part that has passed. */
  upTo(time) {
    const { table, n } = this.gaze;
    const ends = (k) => table[this.byEnd[k] * FIELDS + OFFSET];
    if (this.done > 0 && ends(this.done - 1) > time) {
      this.past.fill(0);
      this.done = 0;
    }
    while (this.done < n && ends(this.done) <= time) this.#add(this.past, this.byEnd[this.done++], 1);
    const map = this.past.slice();
    for (let k = this.done; k < n; k++) {
      const look = this.byEnd[k] * FIELDS, onset = table[look + ONSET];
      if (onset < time) this.#add(map, this.byEnd[k], (time - onset) / (table[look + OFFSET] - onset));
    }
    return map;
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

/** Opacity of heat at a share of the scale: the square root shows the low end too, without reordering anything. */
const heatAlpha = (share, opacity) => 255 * opacity * Math.sqrt(share);

/** A map as a small picture, to be drawn stretched over the image. */
function paintHeat(heat, top, colours, opacity, canvas = document.createElement("canvas")) {
  canvas.width = heat.cols;
  canvas.height = heat.rows;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(heat.cols, heat.rows);
  const table = tables[colours];
  for (let k = 0; k < heat.map.length; k++) {
    const share = Math.min(1, heat.map[k] / top);
    const from = 3 * Math.round(255 * share);
    picture.data[4 * k] = table[from];
    picture.data[4 * k + 1] = table[from + 1];
    picture.data[4 * k + 2] = table[from + 2];
    picture.data[4 * k + 3] = heatAlpha(share, opacity);
  }
  context.putImageData(picture, 0, 0);
  return canvas;
}
