// The gallery and the viewer that a click on an object opens.
const RANKINGS = {
  wrong: ["most wrong", (a, b) => a.given - b.given],
  uncertain: ["most uncertain", (a, b) => b.entropy - a.entropy],
  early: ["earliest right", (a, b) => (a.stays_frames ?? Infinity) - (b.stays_frames ?? Infinity) || (a.stays_days ?? Infinity) - (b.stays_days ?? Infinity) || b.given - a.given],
};
const STAMP = 32;
const gallery = { ranking: "wrong", truth: "", plane: "science", open: 0 };
const microjansky = (flux) => (flux === null ? null : flux / 1000);
const dataUrl = (base64) => `data:image/png;base64,${base64}`;
const chip = (name) => element("span", { class: "chip", style: `background:${CLASS_COLORS[name]}` }, name);

function shownObjects() {
  return DATA.gallery.filter((item) => !gallery.truth || item.truth === gallery.truth).sort(RANKINGS[gallery.ranking][1]);
}

function lastProbabilities(item) {
  return item.records.probabilities.filter((row) => row !== null).at(-1);
}

// the rows from the first to the last band that was observed
function thumbnail(sequence) {
  const seen = sequence.bands.map((_, band) => band).filter((band) => sequence.observed.some((night) => night[band]));
  const first = seen[0], side = Math.min(48, 96 / (seen.at(-1) - first + 1));
  const style = `height:${side * sequence.bands.length}px;margin-top:${-side * first}px`;
  return element("span", { class: "thumb" }, element("img", { src: dataUrl(sequence.pictures.science), alt: "", style }));
}

function card(item, place) {
  const thumb = item.sequence ? thumbnail(item.sequence) : element("span", { class: "thumb none" }, "no stamps kept");
  const bar = element("span", { class: "bar" }, ...lastProbabilities(item).map((p, k) => element("i", { style: `width:${100 * p}%;background:${CLASS_COLORS[CLASSES[k]]}` })));
  const stays = item.stays_frames === null ? "not right at the end" : `right from ${item.stays_frames} frames on`;
  return element("button", { type: "button", class: "card", "data-id": item.id, onclick: () => openViewer(place) },
    thumb, element("b", {}, item.id), element("small", {}, chip(item.truth), " said ", chip(item.said)),
    element("small", {}, `p(true) ${number(item.given)} · entropy ${number(item.entropy)}`), element("small", {}, stays), bar);
}

function drawCards() {
  const items = shownObjects();
  byId("cards").replaceChildren(...items.map(card));
  if (!items.length) byId("cards").append(element("p", { class: "note" }, "No object."));
}

function openViewer(place) {
  const items = shownObjects();
  gallery.open = (place + items.length) % items.length;
  const item = items[gallery.open];
  byId("viewer-title").textContent = item.id;
  byId("viewer-facts").replaceChildren(`${item.survey} · truth `, chip(item.truth), " · said ", chip(item.said), ` with p(true) ${number(item.given)} (${item.status}) · ${item.num_frames} frames · first detection MJD ${item.first_mjd.toFixed(2)} · ` +
    (item.stays_frames === null ? "not right at the end" : `stays right from ${item.stays_frames} frames, ${number(item.stays_days)} days on`));
  if (!byId("viewer").open) byId("viewer").showModal();
  byId("viewer").scrollTop = 0;
  drawViewer(item);
}

function drawViewer(item) {
  const sequence = item.sequence, days = [...item.records.days, ...(sequence ? sequence.curve.days : [])];
  const range = extent(days, 0.03);
  drawStamps(item);
  const hover = (day) => markDay(item, day);
  const host = byId("viewer-curve");
  if (sequence) {
    const bands = [...new Set(sequence.curve.band)];
    const series = bands.map((band) => {
      const kept = sequence.curve.band.flatMap((name, index) => (name === band ? [index] : []));
      const pick = (values) => kept.map((index) => values[index]);
      return { name: band, color: BAND_COLORS[band], x: pick(sequence.curve.days), y: pick(sequence.curve.flux).map(microjansky), error: pick(sequence.curve.error).map(microjansky), points: "only" };
    });
    plot(host, { series, xLabel: "days since first detection", yLabel: "flux (µJy)", xRange: range, onHover: hover });
  } else { host.spec = null; host.replaceChildren(element("p", { class: "note" }, "The stamps of this object were not kept, hence no picture and no light curve.")); }
  const records = item.records;
  const order = records.days.map((_, index) => index).sort((a, b) => records.days[a] - records.days[b] || records.frames[a] - records.frames[b]);
  const lines = CLASSES.map((name, k) => ({
    name, color: CLASS_COLORS[name], points: true, x: order.map((index) => records.days[index]),
    y: order.map((index) => (records.probabilities[index] ? records.probabilities[index][k] : null)), hollow: order.map((index) => records.status[index] === "abstained"),
    text: order.map((index) => `${records.frames[index]} frames, day ${number(records.days[index])}\n${records.status[index]}, p = ${records.probabilities[index] ? number(records.probabilities[index][k]) : "–"}`),
  }));
  plot(byId("viewer-probabilities"), { series: lines, xLabel: "days since first detection (hollow: abstained)", yLabel: "probability", xRange: range, yRange: [0, 1.02], onHover: hover });
}

function drawStamps(item) {
  const sequence = item.sequence, host = byId("viewer-stamps");
  byId("viewer-controls").replaceChildren();
  if (!sequence) { host.replaceChildren(); return; }
  byId("viewer-controls").append(choice("plane", [["science", "science"], ["difference", "difference"]], gallery.plane, (plane) => { gallery.plane = plane; drawStamps(item); }),
    element("span", { class: "note" }, `rows: bands, columns: nights; black: not observed; dark red: masked${sequence.is_full ? `; the newest ${sequence.curve.days.length} frames` : ""}`));
  const nights = sequence.days.length, scale = Math.max(1, Math.min(2, Math.floor(960 / (nights * STAMP)) || 1)), side = STAMP * scale;
  const image = element("img", { src: dataUrl(sequence.pictures[gallery.plane]), width: nights * side, height: sequence.bands.length * side, alt: `${gallery.plane} stamps of ${item.id}` });
  const mark = element("span", { class: "mark", style: `width:${side}px` });
  const film = element("div", { class: "film", tabindex: "0" }, image, mark);
  film.addEventListener("pointermove", (event) => {
    const night = Math.floor((event.clientX - image.getBoundingClientRect().left) / side);
    if (night < 0 || night >= nights) return;
    markDay(item, sequence.days[night]);
    showTip(`day ${number(sequence.days[night])}\n${sequence.bands.filter((_, band) => sequence.observed[night][band]).join(" ")}`, event);
  });
  film.addEventListener("pointerleave", (event) => { markDay(item, null); showTip("", event); });
  host.replaceChildren(element("div", { class: "stamps" }, element("div", { class: "rows" }, ...sequence.bands.map((band) => element("span", { style: `height:${side}px;color:${BAND_COLORS[band]}` }, band))), film));
  host.mark = (day) => {
    mark.style.display = day === null ? "none" : "block";
    if (day === null) return;
    let night = 0;
    sequence.days.forEach((other, index) => { if (Math.abs(other - day) < Math.abs(sequence.days[night] - day)) night = index; });
    mark.style.left = `${night * side}px`;
  };
}

function markDay(item, day) {
  if (item.sequence) byId("viewer-stamps").mark(day);
  for (const id of ["viewer-curve", "viewer-probabilities"]) if (byId(id).spec) byId(id).mark(day);
}

function galleryControls() {
  const filter = element("select", { "aria-label": "true class", onchange: (event) => { gallery.truth = event.target.value; drawCards(); } }, element("option", { value: "" }, "all classes"));
  for (const name of CLASSES) filter.append(element("option", { value: name }, name));
  byId("gallery-controls").append("sorted by", choice("sorted by", Object.entries(RANKINGS).map(([value, [text]]) => [value, text]), gallery.ranking, (ranking) => { gallery.ranking = ranking; drawCards(); }), filter);
  byId("previous").addEventListener("click", () => openViewer(gallery.open - 1));
  byId("next").addEventListener("click", () => openViewer(gallery.open + 1));
  byId("close").addEventListener("click", () => byId("viewer").close());
  document.addEventListener("keydown", (event) => {
    // in the film strip the arrows scroll
    if (!byId("viewer").open || event.target.classList.contains("film")) return;
    if (event.key === "ArrowLeft") openViewer(gallery.open - 1);
    if (event.key === "ArrowRight") openViewer(gallery.open + 1);
  });
  byId("viewer").addEventListener("click", (event) => { if (event.target === byId("viewer")) byId("viewer").close(); });
}

galleryControls();
drawCards();
