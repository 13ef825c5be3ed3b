// The time line below the picture: a bar for each fixation, a row for each reading, what was said as a line on top.

let stripOf = 0; // version of the viewer that it was drawn for

/** Two pictures of it, the bright one cut off at the moment of the replay. */
function drawStrip() {
  const read = shownReadings().filter((reading) => reading.timed);
  if (!read.length) return;
  if (stripOf !== viewer.version) {
    stripOf = viewer.version;
    drawBars(byId("strip"), read, 0.35);
    drawBars(byId("strip-past"), read, 1);
  }
  byId("strip-past").style.clipPath = `inset(0 ${100 * (1 - replay.time / replay.end)}% 0 0)`;
}

function drawBars(canvas, read, opacity) {
  const dense = density(), width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  const style = getComputedStyle(document.documentElement);
  const at = (time) => (time / replay.end) * width;
  context.fillStyle = style.getPropertyValue("--muted");
  for (const { onset, offset } of words) context.fillRect(at(onset), 1, Math.max(1, at(offset) - at(onset) - 1), 3);
  const row = (height - 8) / read.length;
  context.globalAlpha = opacity;
  read.forEach((reading, place) => {
    const { table, n } = gazeOf(reading);
    context.fillStyle = read.length > 1 ? colourOf(reading) : style.getPropertyValue("--accent");
    for (let k = 0; k < n; k++) {
      const onset = table[k * FIELDS + ONSET], offset = table[k * FIELDS + OFFSET];
      context.fillRect(at(onset), 7 + place * row, Math.max(1, at(offset) - at(onset) - 1), Math.max(2, row - 3));
    }
  });
}

function showTime() {
  const input = byId("time");
  input.max = replay.end || 1;
  input.value = replay.time;
  const text = `${replay.time.toFixed(1)} of ${seconds(replay.end)}`;
  const one = viewer.panels.length === 1 && viewer.panels[0].readings.length === 1 ? viewer.panels[0].readings[0] : null;
  const counted = one?.timed ? `, ${looksName(one)} ${begunBy(gazeOf(one), replay.time)} of ${gazeOf(one).n}` : "";
  byId("now").textContent = text;
  input.setAttribute("aria-valuetext", text + counted);
  byId("play").textContent = replay.playing ? "Pause" : "Play";
}
