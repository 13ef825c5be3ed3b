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
  redraw();
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
  changeView(choices[(choices.indexOf(viewer.view) + 1) % choices.length]);
  say(byId("views").querySelector("[aria-pressed=true]")?.textContent ?? "");
}

function changeSpeed(step) {
  const select = byId("speed");
  select.selectedIndex = Math.min(select.length - 1, Math.max(0, select.selectedIndex + step));
  replay.speed = Number(select.value);
  say(`speed ${select.value}`);
}

function changeHeatOf() {
  const select = byId("heat-of");
  select.value = select.value === "now" ? "all" : "now";
  readSettings();
  say(`heat of ${select.selectedOptions[0].textContent}`);
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
  w: changeHeatOf,
  Escape: () => { location.hash = ""; },
};

const GRID_KEYS = {
  "/": () => byId("search").focus(),
  ArrowLeft: () => moveAmongCards(-1),
  ArrowRight: () => moveAmongCards(1),
  ArrowUp: () => moveAmongCards(-cardsInARow()),
  ArrowDown: () => moveAmongCards(cardsInARow()),
  Home: () => moveAmongCards(-Infinity),
  End: () => moveAmongCards(Infinity),
};

/** Whether an element has a use of its own for a key, which is then left to it. */
function usesKey(target, key) {
  if (target.matches("input[type=search]")) return !["ArrowDown", "Escape"].includes(key);
  if (target.matches("select") || (target.matches("input[type=range]") && target.id !== "time")) return key !== "Escape";
  if (target.matches("button, summary, a, input[type=checkbox]") && (key === " " || key === "Enter")) return true;
  return target.matches(".scroll") && ["Home", "End", " ", "ArrowUp", "ArrowDown"].includes(key);
}

function onKey(event) {
  const { target, key } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || usesKey(target, key)) return;
  const help = byId("help"), keys = isOpen() ? KEYS : GRID_KEYS;
  if (key === "?") {
    if (help.open) help.close();
    else help.showModal();
  } else if (help.open) return;
  else if (isOpen() && key in LAYER_KEYS) {
    const box = byId(LAYER_KEYS[key]);
    box.checked = !box.checked;
    say(`${box.labels[0].firstElementChild.nextSibling.textContent.trim()} ${box.checked ? "shown" : "hidden"}`);
    readSettings();
  } else if (key in keys) {
    if (keys[key]() === false) return;
  } else return;
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
  } else if (!goToOtherPage(wanted) && isOpen()) closeViewer();
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
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // as an address, #main would be no reading, and close the one that is open
    byId(isOpen() ? "viewer" : "main").focus();
  });
  document.addEventListener("keydown", onKey);
  addEventListener("hashchange", followAddress);
  for (const button of document.querySelectorAll(".ask")) button.addEventListener("click", () => byId("help").showModal());
  byId("help-close").addEventListener("click", () => byId("help").close());
  byId("help").addEventListener("click", ({ target, currentTarget }) => { if (target === currentTarget) currentTarget.close(); });
  addEventListener("resize", fitPanels);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  if (innerWidth <= 900) byId("layers").open = false;
  followAddress();
}

start();
