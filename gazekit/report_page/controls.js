// Inputs: layers, transport, keys, the address. And the start of it all.

const LAYER_KEYS = { x: "show-xray", h: "show-heat", f: "show-fixations", l: "show-path", s: "show-shown", b: "show-marks", g: "show-patches", p: "show-partition" };

function readSettings() {
  const on = (id) => byId(id).checked;
  viewer.settings = {
    xray: on("show-xray"),
    heat: on("show-heat"),
    fixations: on("show-fixations"),
    path: on("show-path"),
    shown: on("show-shown"),
    marks: on("show-marks"),
    patches: on("show-patches"),
    partition: on("show-partition"),
    opacity: Number(byId("opacity").value),
    colours: byId("colours").value,
    unit: byId("unit").value,
    scale: byId("scale").value,
    heatOf: byId("heat-of").value,
    trail: byId("trail").value === "all" ? null : Number(byId("trail").value),
  };
  byId("opacity").setAttribute("aria-valuetext", percent(viewer.settings.opacity));
  changed();
}

/** The time line: a bar for each fixation, a row for each reading, what was said as a line on top. */
function drawStrip() {
  const canvas = byId("strip");
  const read = shownReadings().filter((reading) => reading.timed);
  if (!read.length) return;
  const dense = Math.min(2, devicePixelRatio || 1);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = Math.round(width * dense);
  canvas.height = Math.round(height * dense);
  const context = canvas.getContext("2d");
  context.scale(dense, dense);
  const style = getComputedStyle(document.documentElement);
  const at = (time) => (time / replay.end) * width;
  context.fillStyle = style.getPropertyValue("--muted");
  for (const { onset, offset } of words) context.fillRect(at(onset), 1, Math.max(1, at(offset) - at(onset) - 1), 3);
  const row = (height - 8) / read.length;
  read.forEach((reading, place) => {
    const { table, n } = gazeOf(reading);
    for (let k = 0; k < n; k++) {
      const onset = table[k * FIELDS + ONSET], offset = table[k * FIELDS + OFFSET];
      context.fillStyle = read.length > 1 ? colourOf(reading) : style.getPropertyValue("--accent");
      context.globalAlpha = onset <= replay.time ? 1 : 0.35;
      context.fillRect(at(onset), 7 + place * row, Math.max(1, at(offset) - at(onset) - 1), Math.max(2, row - 3));
    }
  });
  context.globalAlpha = 1;
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

function say(text) {
  byId("said").textContent = text;
}

function togglePlay() {
  if (byId("transport").hidden) return;
  if (replay.playing) pause();
  else play();
  say(replay.playing ? "playing" : `paused at ${seconds(replay.time)}`);
}

function goToReading(step) {
  const at = listed.indexOf(readings.indexOf(viewer.reading)) + step;
  if (at >= 0 && at < listed.length) location.replace(addressOf(readings[listed[at]]));
}

function nextView() {
  const { choices } = viewer;
  setView(choices[(choices.indexOf(viewer.view) + 1) % choices.length]);
  say(byId("views").querySelector("[aria-pressed=true]")?.textContent ?? "");
}

function changeSpeed(step) {
  const select = byId("speed");
  select.selectedIndex = Math.min(select.length - 1, Math.max(0, select.selectedIndex + step));
  replay.speed = Number(select.value);
  say(`speed ${select.value}`);
}

const KEYS = {
  " ": togglePlay,
  ArrowLeft: () => stepFixation(-1, shownReadings()),
  ArrowRight: () => stepFixation(1, shownReadings()),
  Home: () => { pause(); seek(0); },
  End: () => { pause(); seek(replay.end); },
  "[": () => goToReading(-1),
  "]": () => goToReading(1),
  "-": () => changeSpeed(-1),
  "+": () => changeSpeed(1),
  "=": () => changeSpeed(1),
  c: nextView,
  "?": () => { byId("keys").open = !byId("keys").open; byId("keys").scrollIntoView({ block: "nearest" }); },
  Escape: () => { location.hash = ""; },
};

function onKey(event) {
  if (!isOpen() || event.ctrlKey || event.metaKey || event.altKey) return;
  const { target, key } = event;
  const ownKeys = target.matches("select") || (target.matches("input[type=range]") && target.id !== "time");
  if (ownKeys && key !== "Escape") return;
  if (target.matches("button, summary, a, input[type=checkbox]") && (key === " " || key === "Enter")) return;
  if (target.matches(".scroll") && ["Home", "End", " "].includes(key)) return;
  if (key in LAYER_KEYS) {
    const box = byId(LAYER_KEYS[key]);
    box.checked = !box.checked;
    say(`${box.labels[0].firstElementChild.nextSibling.textContent.trim()} ${box.checked ? "shown" : "hidden"}`);
    readSettings();
  } else if (key in KEYS) KEYS[key]();
  else return;
  event.preventDefault();
}

/** The address names the reading that is open, so that back, forward and bookmarks work. */
function followAddress() {
  let wanted = "";
  try {
    wanted = decodeURIComponent(location.hash.slice(1));
  } catch { /* no address of ours */ }
  const reading = readings.find(({ id }) => id === wanted);
  if (reading) {
    const first = !isOpen();
    openReading(reading);
    if (first) {
      scrollTo(0, 0);
      byId("viewer").focus({ preventScroll: true });
    }
    say(`${reading.id}, ${gazeSummary(reading)}`);
  } else if (isOpen()) closeViewer();
}

function start() {
  startGallery();
  for (const name of Object.keys(about.colours)) byId("colours").append(make("option", { text: name, value: name }));
  byId("layers").addEventListener("input", readSettings);
  readSettings();
  replay.listeners.push(changed);
  byId("play").addEventListener("click", togglePlay);
  byId("to-previous").addEventListener("click", KEYS.ArrowLeft);
  byId("to-next").addEventListener("click", KEYS.ArrowRight);
  byId("speed").addEventListener("change", () => changeSpeed(0));
  byId("time").addEventListener("input", () => { pause(); seek(Number(byId("time").value)); });
  byId("back").addEventListener("click", KEYS.Escape);
  byId("previous-reading").addEventListener("click", KEYS["["]);
  byId("next-reading").addEventListener("click", KEYS["]"]);
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", followAddress);
  addEventListener("resize", fitPanels);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  if (innerWidth <= 900) byId("layers").open = false;
  followAddress();
}

start();
