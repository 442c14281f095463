// The sections above the gallery.
const DATA = JSON.parse(document.getElementById("data").textContent);
const EVALUATION = DATA.evaluation;
const CLASSES = EVALUATION.classes;
const AXES = { by_frames: ["frames", "number of frames"], by_days: ["days", "days since first detection"], by_magnitude: ["magnitude", "magnitude of the brightest difference flux so far"], by_bands: ["bands", "bands present"] };
const METRICS = { accuracy: "accuracy", macro_f1: "macro F1", log_loss: "log loss", brier: "Brier score", ece: "class-wise ECE", coverage: "share answered", answered: "accuracy of answered", precision: "precision by class", recall: "recall by class", roc_auc: "ROC area by class", average_precision: "average precision by class", num_objects: "number of objects" };
const byId = (id) => document.getElementById(id);

function header() {
  const counts = EVALUATION.counts, outside = counts.num_outside_taxonomy;
  const never = Object.values(counts.objects_by_truth).reduce((sum, value) => sum + value, 0) - EVALUATION.overall.num_objects;
  byId("subtitle").textContent = `${counts.bundle_ids.join(", ")} · ${counts.num_records} records of ${counts.num_objects} objects, ${EVALUATION.overall.num_objects} of them scored and with a truth in the taxonomy` +
    (never ? ` · ${never} never long enough to be scored` : "") + (outside ? ` · ${outside} outside it (${counts.outside_labels.join(", ")})` : "") + (counts.num_without_truth ? ` · ${counts.num_without_truth} without a truth` : "");
  const overall = EVALUATION.overall, intervals = overall.intervals || {};
  const tile = (name, value, note) => element("div", { class: "tile" }, element("span", {}, name), element("b", {}, value), element("span", {}, note));
  for (const name of ["accuracy", "macro_f1", "log_loss", "brier", "ece"]) {
    const range = intervals[name];
    byId("tiles").append(tile(METRICS[name], number(overall[name]), range ? `${number(range[0])} to ${number(range[1])}` : ""));
  }
  byId("tiles").append(tile("answered", `${number(100 * overall.answered.coverage, 1)} %`, `accuracy there ${number(overall.answered.accuracy)}`));
}

function early(unit) {
  const report = EVALUATION.early, series = [], x = report[unit];
  for (const [name, group] of Object.entries(report.groups)) {
    const common = { color: CLASS_COLORS[name] || "#555", x, group: name };
    series.push({ ...common, name: `${name} stays right`, y: group[`stays_by_${unit}`] });
    series.push({ ...common, name: `${name} has been right`, y: group[`right_by_${unit}`], dash: "3 4" });
  }
  const label = unit === "frames" ? "number of frames" : "days since first detection";
  plot(byId("early-plot"), { series, xLabel: label, yLabel: "share of objects", yRange: [0, 1], xSquare: unit === "days" });
  const text = Object.entries(report.groups).map(([name, group]) => `${name} ${number(group[`right_median_${unit}`])} / ${number(group[`stays_median_${unit}`])}`);
  byId("early-medians").textContent = `Half of all objects have been right / stay right from, in ${unit}: ${text.join(", ")} (– : fewer than half ever).`;
}

function metricSeries(slices, metric) {
  const x = slices.map((_, index) => index);
  if (["precision", "recall", "roc_auc", "average_precision"].includes(metric)) {
    return CLASSES.map((name) => ({ name, color: CLASS_COLORS[name], x, y: slices.map((slice) => slice.classes[name][metric]), points: true }));
  }
  const read = { coverage: (slice) => slice.answered.coverage, answered: (slice) => slice.answered.accuracy }[metric] || ((slice) => slice[metric]);
  const bound = (place) => slices.map((slice) => (slice.intervals && slice.intervals[metric] ? slice.intervals[metric][place] : null));
  return [{ name: METRICS[metric], color: "#1f6fd0", x, y: slices.map(read), low: bound(0), high: bound(1), points: true }];
}

const against = { axis: "by_frames", metric: "accuracy" };
function drawAgainst() {
  const slices = EVALUATION[against.axis], host = byId("against-plot");
  if (!slices.length) { host.replaceChildren(element("p", { class: "note" }, "The records do not say.")); host.spec = null; return; }
  const series = metricSeries(slices, against.metric);
  const lines = against.axis === "by_bands" ? series.map((s) => ({ ...s, points: "only" })) : series;
  const bounded = !["log_loss", "brier", "ece", "num_objects"].includes(against.metric);
  plot(host, {
    series: lines, xLabel: AXES[against.axis][1], yLabel: METRICS[against.metric], xNames: slices.map((slice) => slice.label),
    xRange: [-0.4, slices.length - 0.6], yRange: bounded ? [0, 1.02] : undefined,
    onPick: (_, index) => selectSlice(against.axis, index),
  });
}

function againstControls() {
  const metric = element("select", { "aria-label": "metric", onchange: (event) => { against.metric = event.target.value; drawAgainst(); } });
  for (const [value, text] of Object.entries(METRICS)) metric.append(element("option", { value }, text));
  const axes = Object.entries(AXES).map(([value, [text]]) => [value, text]);
  byId("against-controls").append(metric, "against", choice("axis", axes, against.axis, (axis) => { against.axis = axis; drawAgainst(); }));
}

function sliceControls() {
  const select = element("select", { id: "slice-select", "aria-label": "slice", onchange: (event) => {
    const [axis, index] = event.target.value.split("/");
    drawSlice(axis === "overall" ? EVALUATION.overall : EVALUATION[axis][Number(index)], event.target.selectedOptions[0].textContent);
  } }, element("option", { value: "overall/0" }, EVALUATION.overall.label));
  for (const [axis, [name]] of Object.entries(AXES)) {
    const group = element("optgroup", { label: name });
    EVALUATION[axis].forEach((slice, index) => group.append(element("option", { value: `${axis}/${index}` }, `${name}: ${slice.label}`)));
    if (group.children.length) select.append(group);
  }
  byId("slice-controls").append(select);
}

function selectSlice(axis, index) {
  const select = byId("slice-select");
  select.value = `${axis}/${index}`;
  select.dispatchEvent(new Event("change"));
  byId("slice").scrollIntoView();
}

// at first only the most probable class: few objects a bin make five lines a thicket; a legend entry brings one back
const calibrationHidden = new Set(CLASSES);
function drawSlice(slice, name) {
  byId("slice-name").textContent = `${name} (${slice.num_objects} objects)`;
  const head = element("tr", {}, element("th"), ...CLASSES.map((label) => element("th", {}, label)));
  const rows = slice.confusion.map((row, truth) => {
    const total = row.reduce((sum, value) => sum + value, 0);
    const cells = row.map((value, said) => {
      const share = total ? value / total : 0, hue = truth === said ? "31,110,208" : "205,80,40";
      const color = share > 0.55 ? "#fff" : "inherit";
      return element("td", { style: `background:rgba(${hue},${(0.06 + 0.9 * share).toFixed(2)});color:${color}` }, String(value), element("small", {}, `${Math.round(100 * share)} %`));
    });
    return element("tr", {}, element("th", {}, CLASSES[truth]), ...cells);
  });
  byId("confusion").replaceChildren(element("div", { class: "scroll" }, element("table", { class: "confusion" }, element("thead", {}, head), element("tbody", {}, ...rows))));
  const columns = { support: "objects", precision: "precision", recall: "recall", f1: "F1", roc_auc: "ROC area", average_precision: "av. prec." };
  byId("class-table").replaceChildren(simpleTable(["", ...Object.values(columns)], CLASSES.map((label) => [label, ...Object.keys(columns).map((key) => number(slice.classes[label][key]))])));
  const empty = "objects of two classes are needed";
  const curves = (kind) => CLASSES.filter((label) => slice.classes[label][kind]).map((label) => ({ name: label, color: CLASS_COLORS[label], ...slice.classes[label][kind] }));
  plot(byId("roc"), { series: curves("roc"), xLabel: "false positive rate", yLabel: "true positive rate", xRange: [0, 1], yRange: [0, 1.02], diagonal: true, empty });
  plot(byId("pr"), { series: curves("pr"), xLabel: "recall", yLabel: "precision", xRange: [0, 1], yRange: [0, 1.02], empty });
  const reliability = (label, color, bins) => ({ name: label, color, x: bins.map((bin) => bin.probability), y: bins.map((bin) => bin.frequency), text: bins.map((bin) => `said ${number(bin.probability)}, true ${number(bin.frequency)}\n${bin.count} objects`), points: true });
  const perClass = CLASSES.map((label) => reliability(label, CLASS_COLORS[label], slice.classes[label].calibration));
  plot(byId("calibration"), { series: [reliability("most probable", "#7a8796", slice.calibration), ...perClass], xLabel: "probability said", yLabel: "share true", xRange: [0, 1], yRange: [0, 1.02], diagonal: true, hidden: calibrationHidden });
  const trade = slice.abstention, lowest = Math.min(1, ...[...trade.accuracy, slice.answered.accuracy].filter((value) => value !== null));
  plot(byId("abstention"), { series: [{ name: "answered above a confidence", color: "#1f6fd0", x: trade.coverage, y: trade.accuracy, text: trade.coverage.map((share, i) => `answers ${number(100 * share, 1)} %, accuracy ${number(trade.accuracy[i])}\nfrom confidence ${number(trade.threshold[i])}`) },
    ...(slice.answered.accuracy === null ? [] : [{ name: "the ensemble's own rule", color: "#d55e00", x: [slice.answered.coverage], y: [slice.answered.accuracy], points: "only" }])], xLabel: "share answered", yLabel: "accuracy", xRange: [0, 1.02], yRange: [Math.max(0, lowest - 0.1), 1.02] });
}

function simpleTable(head, rows) {
  const line = (cells, tag) => element("tr", {}, ...cells.map((cell, index) => element(index ? tag : "th", {}, cell)));
  return element("div", { class: "scroll" }, element("table", {}, element("thead", {}, line(head, "th")), element("tbody", {}, ...rows.map((row) => line(row, "td")))));
}

function novelty() {
  const report = EVALUATION.novelty, body = byId("novelty-body");
  if (report.roc_auc === null) { byId("novelty").hidden = true; return; }
  body.append(element("p", { class: "note" }, `${report.num_outside} objects outside the taxonomy, ${report.num_inside} in it. ROC area ${number(report.roc_auc)}, average precision ${number(report.average_precision)}. The ensemble abstains on ${number(100 * report.outside_abstained, 1)} % of those outside and ${number(100 * report.inside_abstained, 1)} % of those in it.`));
  const [roc, histogram, frames] = ["ROC of the novelty score", "Novelty score", "ROC area against frames"].map((caption) => {
    const host = element("div", { class: "plot" });
    return [host, element("figure", {}, element("figcaption", {}, caption), host)];
  });
  body.append(element("div", { class: "grid" }, roc[1], histogram[1], frames[1]));
  plot(roc[0], { series: [{ name: "outside against in", color: "#8250c4", ...report.roc }], xLabel: "false positive rate", yLabel: "true positive rate", xRange: [0, 1], yRange: [0, 1.02], diagonal: true });
  const middles = report.histogram.edges.slice(1).map((edge, index) => (edge + report.histogram.edges[index]) / 2);
  const share = (counts) => { const total = counts.reduce((sum, value) => sum + value, 0); return counts.map((value) => value / total); };
  plot(histogram[0], { series: [{ name: "in taxonomy", color: "#0072b2", x: middles, y: share(report.histogram.inside) }, { name: "outside", color: "#d55e00", x: middles, y: share(report.histogram.outside) }], xLabel: "novelty", yLabel: "share of objects" });
  plot(frames[0], { series: [{ name: "ROC area", color: "#8250c4", x: report.by_frames.map((_, index) => index), y: report.by_frames.map((slice) => slice.roc_auc), points: true }], xNames: report.by_frames.map((slice) => slice.label), xLabel: "number of frames", yLabel: "ROC area", yRange: [0, 1.02] });
}

function timing() {
  const report = EVALUATION.timing;
  if (!report) { byId("timing").hidden = true; return; }
  const body = byId("timing-body"), latency = report.latency_s, ms = (seconds) => `${number(1000 * seconds, 1)} ms`;
  const rate = report.records_per_s === null ? "" : `${report.num_records} records, ${number(report.records_per_s, 1)} a second. `;
  if (latency) body.append(simpleTable(["", "median", "90 %", "99 %", "longest"], [["ingest to publish", ms(latency.p50), ms(latency.p90), ms(latency.p99), ms(latency.p100)]]));
  const why = "These records have no time of ingest, so no latency is given: in an offline replay packets wait for their batch, which says nothing of a live stream. A worker measures its latency as convention_publish_latency_seconds.";
  body.append(element("p", { class: "note" }, rate + (latency ? "" : why)));
  if (!latency) document.querySelector("#timing h2").textContent = "Throughput";
}

function comparison() {
  const report = DATA.comparison;
  if (!report) { byId("compare").hidden = true; document.querySelector('nav a[href="#compare"]').hidden = true; return; }
  const names = ["accuracy", "macro_f1", "log_loss", "brier", "ece"];
  const range = (bounds) => (bounds ? `${number(bounds[0])} to ${number(bounds[1])}` : "–");
  const host = element("div", { class: "plot" });
  const body = byId("compare-body");
  body.append(element("p", { class: "note" }, `Champion ${report.bundle_ids.champion.join(", ")}, challenger ${report.bundle_ids.challenger.join(", ")}; ${report.overall.num_objects} objects scored by both, the same most probable class for ${number(100 * report.overall.agreement, 1)} %. Paired bootstrap by object.`),
    simpleTable(["", "champion", "challenger", "difference", "95 %", "challenger better"], names.map((name) => {
      const entry = report.overall.metrics[name];
      return [METRICS[name], number(entry.champion), number(entry.challenger), number(entry.difference, 4), range(entry.interval), entry.challenger_better === null ? "–" : `${number(100 * entry.challenger_better, 1)} %`];
    })), element("h3", {}, "Difference by number of frames"));
  const draw = (name) => plot(host, { series: [{ name: METRICS[name], color: "#1f6fd0", x: report.by_frames.map((_, i) => i), y: report.by_frames.map((slice) => slice.metrics[name].difference), low: report.by_frames.map((slice) => (slice.metrics[name].interval || [null])[0]), high: report.by_frames.map((slice) => (slice.metrics[name].interval || [null, null])[1]), points: true }], xNames: report.by_frames.map((slice) => slice.label), xLabel: "number of frames", yLabel: "challenger − champion" });
  body.append(choice("metric", names.map((name) => [name, METRICS[name]]), "accuracy", draw), host);
  draw("accuracy");
}

header();
byId("early-controls").append(choice("against", [["frames", "number of frames"], ["days", "days since first detection"]], "frames", early));
early("frames");
againstControls();
drawAgainst();
sliceControls();
drawSlice(EVALUATION.overall, EVALUATION.overall.label);
novelty();
if (byId("novelty").hidden) document.querySelector('nav a[href="#novelty"]').hidden = true;
timing();
comparison();
