// All readings: cards with a thumbnail, search, filters, order, pages, and what was left out of the cache.

const THUMBNAIL = 200;

const searched = readings.map((reading) => {
  const image = images[reading.image];
  const labels = Object.entries(reading.labels).filter(([, value]) => holds(value)).map(([name]) => name);
  const words = reading.transcript.map(([word]) => word).join(" ");
  const marks = reading.marks.flatMap((mark) => mark.names);
  return [reading.id, image.id, reading.reader, image.patient, image.view, words, reading.window?.text, ...labels, ...marks]
    .filter(Boolean).join(" ").toLowerCase();
});

const orders = {
  id: (a, b) => a - b,
  looks: (a, b) => readings[b].looks - readings[a].looks || a - b,
  seconds: (a, b) => readings[b].seconds - readings[a].seconds || a - b,
  off: (a, b) => (readings[b].off_image ?? -1) - (readings[a].off_image ?? -1) || a - b,
};

/** Whether the value of a label says that it is there: REFLACX has certainties, others 1, 0, -1 or lists. */
function holds(value) {
  return Array.isArray(value) ? value.length > 0 : value === true || (typeof value === "number" && value > 0);
}

const flagName = (code) => code.replaceAll("_", " ");
const flagsOf = (reading) => new Set([...reading.flags.map(([code]) => code), ...(reading.kind === "measured" ? [] : [reading.kind ?? "no gaze"])]);
const NO_FLAG = "no flag";

function fillFilter(select, values, anything) {
  const counts = new Map();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  select.append(make("option", { text: anything, value: "" }));
  for (const [value, count] of [...counts].sort(([a], [b]) => String(a).localeCompare(String(b)))) {
    select.append(make("option", { text: `${String(value).replaceAll("_", " ")} (${count})`, value }));
  }
  select.closest("label").hidden = counts.size < 2;
}

const searchWords = () => byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);

function chosenReadings() {
  const words = searchWords();
  const [reader, split, flag] = ["by-reader", "by-split", "by-flag"].map((id) => byId(id).value);
  return readings.map((_, k) => k).filter((k) => {
    const reading = readings[k];
    return words.every((word) => searched[k].includes(word))
      && (!reader || (reading.reader ?? "unknown") === reader)
      && (!split || (images[reading.image].split ?? "none") === split)
      && (!flag || (flag === NO_FLAG ? flagsOf(reading).size === 0 : flagsOf(reading).has(flag)));
  }).sort(orders[byId("order").value]);
}

let listed = [];

function showCards() {
  listed = chosenReadings();
  byId("cards").replaceChildren(...listed.map((k) => cards[k]));
  const all = readings.length;
  const here = about.pages.length > 1 ? ` on this page, ${about.page + 1} of ${about.pages.length}` : "";
  byId("count").textContent = !all ? "There is none to show." : (listed.length === all
    ? `${plural(all, "reading")} of ${plural(images.length, "image")}`
    : listed.length ? `${listed.length} of ${plural(all, "reading")}` : "No reading matches") + (here || (listed.length ? "" : "."));
  showElsewhere();
}

/** Readings of other pages whose ids have the words that are searched for. */
function showElsewhere() {
  const words = searchWords();
  const found = !words.length ? [] : (about.index ?? []).map((entries, page) => ({
    page, ids: page === about.page ? [] : entries.filter((ids) => words.every((word) => ids.join(" ").toLowerCase().includes(word))),
  })).filter(({ ids }) => ids.length);
  const single = found.length === 1 && found[0].ids.length === 1;
  byId("elsewhere").hidden = !found.length;
  byId("elsewhere").replaceChildren("Ids with these words on other pages: ", ...found.flatMap(({ page, ids }, k) => [
    k ? ", " : "",
    make("a", {
      href: encodeURIComponent(about.pages[page]) + (single ? `#${encodeURIComponent(ids[0][1])}` : ""),
      text: single ? ids[0][1] : `${plural(ids.length, "image")} on page ${page + 1}`,
    }),
  ]));
}

/** Leads to the page of a reading that is not on this one; false where there is none. */
function goToOtherPage(id) {
  const page = (about.index ?? []).findIndex((entries, k) => k !== about.page && entries.some(([, ...own]) => own.includes(id)));
  if (!id || page < 0) return false;
  location.replace(`${encodeURIComponent(about.pages[page])}#${encodeURIComponent(id)}`);
  return true;
}

function cardsInARow() {
  const shown = [...byId("cards").children];
  const row = shown.findIndex((card) => card.offsetTop > shown[0].offsetTop);
  return row < 0 ? shown.length : row;
}

/** Focus moves among the cards; false where it stays. */
function moveAmongCards(step) {
  const links = [...byId("cards").querySelectorAll("a")];
  const at = links.indexOf(document.activeElement);
  if (at < 0 && !Number.isFinite(step)) return false; // Home and End are the page's own
  const to = at < 0 ? 0 : Math.max(0, Math.min(links.length - 1, at + step));
  if (to === at || !links.length) return false;
  links[to].focus();
  return true;
}

function gazeSummary(reading) {
  if (!reading.kind) return "no gaze";
  if (reading.kind === "predicted") return `predicted gaze, confidence ${(reading.confidence ?? 0).toFixed(2)}`;
  const name = (about.simulated ? "simulated " : "") + looksName(reading);
  return `${plural(reading.looks, name)}, ${seconds(reading.seconds)}`;
}

function makeCard(reading, k) {
  const image = images[reading.image];
  const canvas = make("canvas", { width: THUMBNAIL, height: THUMBNAIL });
  const about = [make("b", { text: reading.id }), make("span", { text: gazeSummary(reading) })];
  if (reading.window) about.push(make("span", { text: `\u201c${reading.window.text}\u201d` }));
  const facts = [reading.reader && `reader ${reading.reader}`, image.split, image.view].filter(Boolean).join(" \u00b7 ");
  if (facts) about.push(make("span", { text: facts }));
  if (reading.flags.length) {
    const names = [...new Set(reading.flags.map(([code]) => flagName(code)))];
    about.push(make("span", { text: names.slice(0, 2).join(", ") + (names.length > 2 ? `, ${names.length - 2} more` : ""), class: "flag" }));
  }
  const link = make("a", { href: addressOf(reading), children: [canvas, make("span", { children: about, class: "about" })] });
  const card = make("li", { children: [link] });
  thumbnails.observe(canvas);
  drawings.set(canvas, () => drawThumbnail(canvas, reading));
  return card;
}

const addressOf = (reading) => `#${encodeURIComponent(reading.id)}`;

const drawings = new WeakMap();
const thumbnails = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (!isIntersecting) continue;
    thumbnails.unobserve(target);
    drawings.get(target)();
  }
}, { rootMargin: "300px" });

async function drawThumbnail(canvas, reading) {
  const image = images[reading.image];
  const picture = await pictureOf(image);
  const scale = THUMBNAIL / Math.max(image.width, image.height);
  const to = mapping(image, image.width * scale, image.height * scale);
  const context = canvas.getContext("2d");
  context.translate((THUMBNAIL - to.width) / 2, (THUMBNAIL - to.height) / 2);
  if (picture) drawXray(context, image, picture, to);
  const heat = heatMap([reading], null);
  if (heat) context.drawImage(paintHeat(heat, Math.max(...heat.map), "inferno", 0.75), 0, 0, to.width, to.height);
}

function showPages() {
  const { pages, page } = about;
  if (pages.length < 2) return;
  const here = byId("pages");
  const link = (k, text) => make("a", { href: encodeURIComponent(pages[k]), text, "aria-current": k === page ? "page" : null });
  if (page > 0) here.append(link(page - 1, "Previous page"));
  pages.forEach((_, k) => {
    const near = Math.abs(k - page) <= 3 || k === 0 || k === pages.length - 1;
    if (near) here.append(link(k, String(k + 1)));
    else if (Math.abs(k - page) === 4) here.append(make("span", { text: "\u2026" }));
  });
  if (page < pages.length - 1) here.append(link(page + 1, "Next page"));
  here.hidden = false;
}

function showFailures() {
  const { failures, failed, reasons } = about;
  if (!failed) return;
  const part = byId("failures");
  part.querySelector("summary").textContent = `${plural(failed, "record")} left out of the cache`
    + (failures.length < failed ? `, the first ${failures.length} below; failures.csv beside the cache has all` : "");
  part.querySelector("tbody").append(...failures.map((failure) => make("tr", {
    children: [
      make("td", { text: failure.id }),
      make("td", { text: failure.reason }),
      make("td", { text: failure.message }),
    ],
  })));
  byId("reasons").replaceChildren(...Object.entries(reasons).flatMap(([reason, text]) => [make("dt", { text: reason }), make("dd", { text })]));
  part.open = !readings.length;
  part.hidden = false;
  byId("figures").querySelector("a")?.addEventListener("click", () => { part.open = true; });
}

/** Heading, what a reader must know before believing a picture, and the figures of the whole cache. */
function showHead() {
  const { parameters } = about;
  byId("title").textContent = about.title;
  const sort = parameters.per === "reading" ? "a row a reading" : "a row an image";
  byId("lead").textContent = `Gaze of ${parameters.dataset ?? "an unnamed data set"} on chest X-rays: heat of `
    + `${parameters.sigma_dva ?? "?"}\u00b0 around each ${parameters.gaze === "samples" ? "sample" : "fixation"}, `
    + `${about.grid[0]} \u00d7 ${about.grid[1]} patches, ${sort}${parameters.window === "sentences" ? " and sentence" : ""}.`;
  const notes = [];
  if (!about.rows) notes.push(about.failed
    ? "This cache has no reading: everything was left out while it was built. The reasons are below."
    : "This cache is empty: it has no image and no reading.");
  if (about.simulated) notes.push("The gaze is simulated: its ids begin with 99, its data set is called simulated, or a model predicted it that was fitted to such gaze. No person’s gaze is in it, and nothing here says anything about radiologists.");
  if (about.predicted) notes.push(`${plural(about.predicted, "row")} of this cache ${about.predicted === 1 ? "has" : "have"} predicted gaze: what a model expects, looked at by nobody.`);
  if (about.shown < about.rows) notes.push(`${about.shown} of the ${plural(about.rows, "row")} of this cache ${about.shown === 1 ? "is" : "are"} shown.`);
  byId("notes").append(...notes.map((text) => make("p", { text })));
  byId("notes").hidden = !notes.length;
  if (!about.rows) return;
  const tiles = [
    [about.images.toLocaleString("en"), about.images === 1 ? "image" : "images"],
    [about.readings.toLocaleString("en"), about.readings === 1 ? "reading with gaze" : "readings with gaze"],
    [about.looks.toLocaleString("en"), parameters.gaze === "samples" ? "samples" : "fixations"],
    [duration(about.seconds), "of gaze"],
    [about.failed.toLocaleString("en"), about.failed === 1 ? "record left out" : "records left out"],
  ];
  byId("figures").append(...tiles.map(([value, what], k) => make("div", {
    class: "tile",
    children: [
      make("dt", { text: what }),
      make("dd", { children: [k === tiles.length - 1 && about.failed ? make("a", { href: "#failures", text: value }) : value] }),
    ],
  })));
}

const cards = readings.map(makeCard);

function startGallery() {
  showHead();
  fillFilter(byId("by-reader"), readings.map((reading) => reading.reader ?? "unknown"), "any");
  fillFilter(byId("by-split"), readings.map((reading) => images[reading.image].split ?? "none"), "any");
  fillFilter(byId("by-flag"), readings.flatMap((reading) => (flagsOf(reading).size ? [...flagsOf(reading)] : [NO_FLAG])), "any");
  byId("filters").hidden = !readings.length;
  byId("filters").addEventListener("input", showCards);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  showCards();
  showPages();
  showFailures();
}
