// The scanpath of one reading on one panel, as two pictures to which each fixation is added once: a frame of the replay
// draws the few that are new, or goes back to a kept picture that is near.

const TRAIL_KEYFRAMES = 10;
const FEW = 64; // fixations that are redrawn within a frame, so that no picture need be kept

class Trail {
  /** `to` is the panel's mapping; of `settings` only path and fixations count. */
  constructor(reading, colour, settings, to) {
    this.key = Trail.key(settings, to);
    Object.assign(this, { reading, colour, to, path: settings.path, circles: settings.fixations });
    this.discs = layer(to); // opaque, so that discs that overlap are one area when they are laid over the X-ray
    this.lines = layer(to); // outlines, and the path below them
    this.done = 0;
    this.step = Math.max(FEW, Math.ceil(gazeOf(reading).n / TRAIL_KEYFRAMES));
    this.keyframes = [];
  }

  static key(settings, to) {
    return [settings.path, settings.fixations, to.width, to.height].join();
  }

  /** Draws the first `count` fixations. */
  draw(context, count) {
    this.#goTo(count);
    context.globalAlpha = DISC_OPACITY;
    context.drawImage(this.discs.canvas, 0, 0);
    context.globalAlpha = 1;
    context.drawImage(this.lines.canvas, 0, 0);
  }

  #goTo(count) {
    const near = Math.min(this.keyframes.length, Math.floor(count / this.step));
    if (count < this.done || near * this.step > this.done) {
      const kept = near ? this.keyframes[near - 1] : null;
      for (const name of ["discs", "lines"]) {
        this[name].clearRect(0, 0, this.to.width, this.to.height);
        if (kept) this[name].drawImage(kept[name], 0, 0);
      }
      this.done = near * this.step;
    }
    while (this.done < count) {
      const next = Math.min(count, (Math.floor(this.done / this.step) + 1) * this.step);
      this.#add(this.done, next);
      this.done = next;
      if (next % this.step === 0 && next / this.step > this.keyframes.length) this.keyframes.push(this.#copy());
    }
  }

  #add(from, stop) {
    const { discs, lines, to, reading, colour } = this;
    const circles = this.circles ? circlesOf(reading, from, stop, to) : null;
    if (circles) {
      discs.fillStyle = colour;
      discs.fill(circles);
      lines.strokeStyle = colour;
      lines.lineWidth = outlineWidth(to);
      lines.stroke(circles);
    }
    if (this.path) {
      lines.globalCompositeOperation = "destination-over";
      drawPath(lines, reading, Math.max(0, from - 1), stop, to);
      lines.globalCompositeOperation = "source-over";
    }
  }

  #copy() {
    const copy = (name) => {
      const kept = layer(this.to);
      kept.drawImage(this[name].canvas, 0, 0);
      return kept.canvas;
    };
    return { discs: copy("discs"), lines: copy("lines") };
  }
}

/** An empty picture of a panel's size, as its context. */
function layer(to) {
  return make("canvas", { width: to.width, height: to.height }).getContext("2d");
}
