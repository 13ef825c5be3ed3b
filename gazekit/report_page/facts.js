// The side of the viewer: facts, flags, agreement, marks, labels, the table of fixations; and what was said.

const nameOf = (reading) => (reading.reader ? `reader ${reading.reader}` : reading.id);

function showFacts(reading) {
  const image = images[reading.image];
  const rows = [["reading", reading.id], ["image", image.id]];
  const add = (name, value) => value !== null && value !== undefined && value !== "" && rows.push([name, String(value)]);
  add("reader", reading.reader);
  add("patient", image.patient);
  add("split", image.split);
  add("view", image.view);
  add("phase", reading.phase);
  add("image size", `${image.width} \u00d7 ${image.height} px`);
  if (reading.kind === "predicted") add("confidence", (reading.confidence ?? 0).toFixed(2));
  if (reading.kind === "measured") {
    add("gaze", gazeSummary(reading));
    add("off the image", reading.off_image === null || reading.off_image === undefined ? null : percent(reading.off_image));
  }
  if (reading.patches) {
    const relevance = floats(reading.patches.relevance);
    const chosen = [...reading.patches.relevant].map(Number);
    const share = relevance.reduce((sum, value, k) => sum + value * chosen[k], 0);
    const count = chosen.reduce((sum, value) => sum + value, 0);
    add("relevant patches", `${count} of ${chosen.length}, with ${percent(share)} of the gaze`);
  }
  for (const [reason, count] of Object.entries(reading.counts)) add(reason.replaceAll("_", " "), count);
  byId("facts").replaceChildren(...rows.flatMap(([name, value]) => [make("dt", { text: name }), make("dd", { text: value })]));
  byId("flags").replaceChildren(...reading.flags.map(([, text]) => make("li", { text })));
  showAgreement(image);
  showMarked(reading, image);
  showLabels(reading);
  fillTable(reading);
  showTranscript(reading);
}

/** Beside each other readers are compared first; one alone has its own facts first. */
function placeAgreement(view) {
  const agreement = byId("agreement");
  if (view === "one") byId("own").after(agreement);
  else byId("layers").before(agreement);
}

function showAgreement(image) {
  const part = byId("agreement");
  const found = image.agreement;
  const read = image.readings.map((k) => readings[k]).filter((reading) => reading.kind === "measured");
  part.hidden = !found;
  if (!found) return;
  const row = ([head, ...values]) => make("tr", {
    children: [make("th", { children: [head].flat(), scope: "row" }), ...values.map((text) => make("td", { text, class: "number" }))],
  });
  const table = (heads, lines) => make("table", {
    children: [
      make("thead", { children: [make("tr", { children: heads.map((text) => make("th", { text, scope: "col" })) })] }),
      make("tbody", { children: lines.map(row) }),
    ],
  });
  const pairs = read.flatMap((_, i) => read.slice(i + 1).map((_, j) => [i, i + 1 + j]));
  const name = (i) => [swatch(colourOf(read[i])), nameOf(read[i])];
  const mean = (values) => (pairs.reduce((sum, [i, j]) => sum + values[i][j], 0) / pairs.length).toFixed(2);
  part.querySelector("div").replaceChildren(
    make("p", { text: `${plural(pairs.length, "pair")}: mean CC ${mean(found.cc)}, mean SIM ${mean(found.sim)}` }),
    table(["reader", "fix.", "time", "NSS", "AUC"], read.map((reading, i) => [
      name(i), String(reading.looks), seconds(reading.seconds), found.nss[i].toFixed(2), found.auc_judd[i].toFixed(2),
    ])),
    table(["pair", "CC", "SIM"], pairs.map(([i, j]) => [[...name(i), " ", ...name(j)], found.cc[i][j].toFixed(2), found.sim[i][j].toFixed(2)])),
    make("p", { text: "CC and SIM are 1 for equal heat. NSS is 0 and AUC 0.5 where a reader\u2019s fixations fall no better than chance on the others\u2019 heat.", class: "muted" }),
  );
}

function showMarked(reading, image) {
  const part = byId("marked");
  part.hidden = !reading.marks.length;
  part.querySelector("ul").replaceChildren(...reading.marks.map((mark) => {
    const [x0, y0, x1, y1] = mark.box.map((value) => Math.round(value));
    const sure = mark.certainty === null || mark.certainty === undefined ? "" : `, certainty ${mark.certainty}`;
    return make("li", { text: `${mark.names.join(", ")}${sure}: ${mark.shape}, x ${x0} to ${x1}, y ${y0} to ${y1}` });
  }));
}

function showLabels(reading) {
  const found = Object.entries(reading.labels).filter(([, value]) => holds(value));
  byId("labelled").hidden = !Object.keys(reading.labels).length;
  const text = ([name, value]) => (value === true || value === 1 ? name : `${name}: ${Array.isArray(value) ? value.join(", ") : value}`);
  byId("labelled").querySelector("ul").replaceChildren(
    ...(found.length ? found.map((entry) => make("li", { text: text(entry) })) : [make("li", { text: "none" })]),
  );
}

/** Filled when it is opened: a long reading has a thousand rows. */
function fillTable(reading) {
  const part = byId("table");
  part.hidden = !reading.kind || !reading.timed;
  const merged = reading.samples && gazeOf(reading).n < reading.looks;
  const listed = merged ? "Groups of samples" : reading.samples ? "Samples" : "Fixations";
  part.querySelector("summary").textContent = `${listed} as a table`;
  part.querySelector(".scroll").setAttribute("aria-label", listed);
  const fill = () => {
    if (!part.open) return;
    const { table, n } = gazeOf(reading);
    part.querySelector("tbody").replaceChildren(...Array.from({ length: n }, (_, k) => {
      const g = table.subarray(k * FIELDS, (k + 1) * FIELDS);
      const values = [k + 1, g[ONSET].toFixed(2), (g[OFFSET] - g[ONSET]).toFixed(2), g[X].toFixed(0), g[Y].toFixed(0), percent(g[SHARE], 1)];
      return make("tr", { children: values.map((text) => make("td", { text, class: "number" })) });
    }));
  };
  part.ontoggle = fill;
  fill();
}

let words = []; // of the reading that is open: element, onset, offset

/** Sentences are buttons that lead to their moment; a click on a word leads to the word's. */
function showTranscript(reading) {
  words = [];
  const sentences = [[]];
  for (const word of reading.transcript) {
    sentences.at(-1).push(word);
    if (word[0].endsWith(".")) sentences.push([]);
  }
  const lines = sentences.filter((sentence) => sentence.length).map((sentence) => {
    const spans = sentence.map(([text, onset, offset]) => {
      const span = make("span", { text, class: "word" });
      words.push({ span, onset, offset });
      return span;
    });
    const button = make("button", { type: "button", title: `at ${seconds(sentence[0][1])}` });
    spans.forEach((span, k) => button.append(k && !/^[.,/]$/.test(span.textContent) ? " " : "", span));
    button.addEventListener("click", (event) => {
      const word = words.find(({ span }) => span === event.target);
      pause();
      seek(word ? word.onset : sentence[0][1]);
    });
    return make("li", { children: [button] });
  });
  byId("transcript").replaceChildren(...lines);
  byId("transcript").scrollTop = 0;
  byId("speech-title").textContent = siblings().length > 1 ? `What ${nameOf(reading)} said` : "What was said";
  byId("speech").hidden = !lines.length;
}

/** Marks the words of this moment, and those that were said before it; the box of the text follows them. */
function followTranscript(time) {
  const whole = time >= replay.end;
  for (const { span, onset, offset } of words) {
    const now = !whole && onset <= time && time < offset;
    if (now && !span.classList.contains("now")) keepInView(span, byId("transcript"));
    span.classList.toggle("now", now);
    span.classList.toggle("later", !whole && onset > time);
  }
}

/** Scrolls a box, and nothing else of the page, so that something inside it is seen. */
function keepInView(element, box) {
  const inside = element.getBoundingClientRect(), outside = box.getBoundingClientRect();
  if (inside.top < outside.top) box.scrollTop -= outside.top - inside.top;
  else if (inside.bottom > outside.bottom) box.scrollTop += inside.bottom - outside.bottom;
}
