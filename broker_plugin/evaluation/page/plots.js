"use strict";
// Small SVG plots: lines, intervals, points with errors, a legend that toggles, the nearest point under the pointer.
const CLASS_COLORS = { AGN: "#0072b2", SNIa: "#d55e00", SNOther: "#b8579b", Variable: "#009e73", all: "#7a8796" };
const BAND_COLORS = { u: "#7b52c7", g: "#2a9d55", r: "#d1495b", i: "#c98a16", z: "#8c564b", y: "#5b6776" };

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

function svg(tag, attributes, parent, text) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  if (parent) parent.append(node);
  return node;
}

function number(value, digits = 3) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return value.toExponential(2);
  return String(Number(value.toFixed(size >= 100 ? 1 : digits)));
}

function showTip(text, event) {
  const tip = document.getElementById("tip");
  // a modal dialog lies above everything outside it
  (document.querySelector("dialog[open]") || document.body).append(tip);
  tip.textContent = text;
  tip.style.opacity = text ? 1 : 0;
  if (!text) return;
  const x = Math.min(event.clientX + 14, window.innerWidth - tip.offsetWidth - 8);
  const above = event.clientY + 18 + tip.offsetHeight > window.innerHeight;
  tip.style.left = `${Math.max(4, x)}px`;
  tip.style.top = `${above ? event.clientY - tip.offsetHeight - 10 : event.clientY + 18}px`;
}

function niceTicks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= raw);
  const ticks = [];
  for (let tick = Math.ceil(low / step) * step; tick <= high + step * 1e-6; tick += step) ticks.push(Number(tick.toPrecision(10)));
  return ticks;
}

function extent(values, pad) {
  let low = Infinity, high = -Infinity;
  for (const value of values) if (value !== null && Number.isFinite(value)) { low = Math.min(low, value); high = Math.max(high, value); }
  if (low > high) return [0, 1];
  if (low === high) return [low - 0.5, high + 0.5];
  return [low - pad * (high - low), high + pad * (high - low)];
}

// spec: series [{name, color, x, y, low, high, error, dash, points, hollow, text}], xLabel, yLabel, xRange, yRange,
// xSquare (square-root axis), xNames (labels of whole numbers), diagonal, onPick(series, index), noLegend,
// empty (what to say where there is no series)
function plot(host, spec) {
  host.spec = spec;
  spec.hidden = spec.hidden || new Set();
  host.replaceChildren();
  if (!spec.noLegend && spec.series.length > 1) host.append(legend(host, spec));
  const legendHeight = host.firstChild ? host.firstChild.offsetHeight + 4 : 0;
  const width = Math.max(240, host.clientWidth), height = host.clientHeight - legendHeight;
  const shown = spec.series.filter((series) => !spec.hidden.has(series.name));
  const all = (key) => shown.flatMap((series) => series[key] || []);
  const withErrors = shown.flatMap((s) => (s.error ? s.y.flatMap((y, i) => (y === null ? [] : [y - (s.error[i] || 0), y + (s.error[i] || 0)])) : []));
  const [x0, x1] = spec.xRange || extent(all("x"), 0.03);
  const [y0, y1] = spec.yRange || extent([...all("y"), ...all("low"), ...all("high"), ...withErrors], 0.08);
  // room for the label and the longest tick
  const longest = Math.max(...niceTicks(y0, y1, 5).map((tick) => number(tick).length));
  const margin = { left: Math.max(44, 30 + 6.8 * longest), right: 14, top: 8, bottom: 40 };
  const bend = spec.xSquare ? (value) => Math.sqrt(Math.max(0, value)) : (value) => value;
  const toX = (x) => margin.left + ((bend(x) - bend(x0)) / (bend(x1) - bend(x0))) * (width - margin.left - margin.right);
  const toY = (y) => height - margin.bottom - ((y - y0) / (y1 - y0)) * (height - margin.top - margin.bottom);
  const frame = svg("svg", { width, height, role: "img", "aria-label": `${spec.yLabel} against ${spec.xLabel}` });
  host.append(frame);
  drawAxes(frame, spec, { x0, x1, y0, y1, toX, toY, width, height, margin });
  if (spec.diagonal) svg("line", { x1: toX(0), y1: toY(0), x2: toX(1), y2: toY(1), class: "guide" }, frame);
  if (!spec.series.length) svg("text", { x: (margin.left + width - margin.right) / 2, y: height / 2 - 16, "text-anchor": "middle" }, frame, spec.empty || "nothing to draw");
  const targets = [];
  for (const series of shown) drawSeries(frame, series, toX, toY, targets);
  const cursor = svg("line", { y1: margin.top, y2: height - margin.bottom, class: "cursor", visibility: "hidden" }, frame);
  const ring = svg("circle", { r: 6, fill: "none", "stroke-width": 2, visibility: "hidden" }, frame);
  host.mark = (x) => {
    cursor.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x !== null) { cursor.setAttribute("x1", toX(x)); cursor.setAttribute("x2", toX(x)); }
  };
  attachPointer(frame, spec, targets, ring);
}

function attachPointer(frame, spec, targets, ring) {
  const nearest = (event) => {
    const box = frame.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
    let best = null, distance = 40 * 40;
    for (const target of targets) {
      const d = (target.x - px) ** 2 + (target.y - py) ** 2;
      if (d < distance) { distance = d; best = target; }
    }
    return best;
  };
  frame.addEventListener("pointermove", (event) => {
    const target = nearest(event);
    ring.setAttribute("visibility", target ? "visible" : "hidden");
    if (target) { ring.setAttribute("cx", target.x); ring.setAttribute("cy", target.y); ring.setAttribute("stroke", target.series.color); }
    frame.style.cursor = target && spec.onPick ? "pointer" : "default";
    showTip(target ? describe(spec, target) : "", event);
    if (spec.onHover) spec.onHover(target ? target.series.x[target.index] : null);
  });
  frame.addEventListener("pointerleave", (event) => {
    ring.setAttribute("visibility", "hidden");
    showTip("", event);
    if (spec.onHover) spec.onHover(null);
  });
  frame.addEventListener("click", (event) => { const target = nearest(event); if (target && spec.onPick) spec.onPick(target.series, target.index); });
}

function describe(spec, { series, index }) {
  if (series.text) return `${series.name}\n${series.text[index]}`;
  const x = spec.xNames ? spec.xNames[series.x[index]] : number(series.x[index]);
  const range = series.low && series.low[index] !== null ? ` (${number(series.low[index])} to ${number(series.high[index])})` : "";
  return `${series.name}\n${spec.xLabel}: ${x}\n${spec.yLabel}: ${number(series.y[index])}${range}`;
}

function drawAxes(frame, spec, box) {
  const { x0, x1, y0, y1, toX, toY, width, height, margin } = box;
  for (const tick of niceTicks(y0, y1, 5)) {
    svg("line", { x1: margin.left, x2: width - margin.right, y1: toY(tick), y2: toY(tick), class: "axis" }, frame);
    svg("text", { x: margin.left - 7, y: toY(tick) + 4, "text-anchor": "end" }, frame, number(tick));
  }
  let ticks = niceTicks(x0, x1, Math.max(3, Math.min(8, width / 90)));
  if (spec.xSquare) ticks = [0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000].filter((tick) => tick >= x0 && tick <= x1);
  if (spec.xNames) ticks = spec.xNames.map((_, index) => index);
  let free = -Infinity;
  for (const tick of ticks) {
    const label = spec.xNames ? spec.xNames[tick] : number(tick);
    svg("line", { x1: toX(tick), x2: toX(tick), y1: height - margin.bottom, y2: height - margin.bottom + 4, class: "axis" }, frame);
    if (toX(tick) - label.length * 3.4 < free) continue;
    svg("text", { x: toX(tick), y: height - margin.bottom + 17, "text-anchor": "middle" }, frame, label);
    free = toX(tick) + label.length * 3.4 + 4;
  }
  svg("text", { x: (margin.left + width - margin.right) / 2, y: height - 5, "text-anchor": "middle" }, frame, spec.xLabel);
  const middle = (margin.top + height - margin.bottom) / 2;
  svg("text", { x: 13, y: middle, "text-anchor": "middle", transform: `rotate(-90 13 ${middle})` }, frame, spec.yLabel);
}

function drawSeries(frame, series, toX, toY, targets) {
  const known = series.x.map((_, index) => index).filter((index) => series.y[index] !== null && series.y[index] !== undefined);
  const at = (index, values) => `${toX(series.x[index]).toFixed(1)},${toY(values[index]).toFixed(1)}`;
  if (series.low) {
    const ranged = known.filter((index) => series.low[index] !== null);
    const edge = [...ranged.map((index) => at(index, series.high)), ...ranged.reverse().map((index) => at(index, series.low))];
    if (edge.length) svg("polygon", { points: edge.join(" "), fill: series.color, opacity: 0.16 }, frame);
  }
  if (series.points !== "only") {
    const line = { points: known.map((index) => at(index, series.y)).join(" "), fill: "none", stroke: series.color, "stroke-width": 2, "stroke-linejoin": "round" };
    if (series.dash) line["stroke-dasharray"] = series.dash;
    svg("polyline", line, frame);
  }
  for (const index of known) {
    const x = toX(series.x[index]), y = toY(series.y[index]);
    targets.push({ x, y, series, index });
    if (series.error && series.error[index]) {
      const [low, high] = [toY(series.y[index] - series.error[index]), toY(series.y[index] + series.error[index])];
      svg("line", { x1: x, x2: x, y1: low, y2: high, stroke: series.color, opacity: 0.6 }, frame);
    }
    if (!series.points) continue;
    const hollow = series.hollow && series.hollow[index];
    svg("circle", { cx: x, cy: y, r: 3.4, fill: hollow ? "var(--paper)" : series.color, stroke: series.color, "stroke-width": 1.5 }, frame);
  }
}

function legend(host, spec) {
  const names = [...new Map(spec.series.map((series) => [series.group || series.name, series.color]))];
  const members = (name) => spec.series.filter((series) => (series.group || series.name) === name).map((series) => series.name);
  return element("div", { class: "legend" }, ...names.map(([name, color]) => {
    const off = members(name).every((member) => spec.hidden.has(member));
    const toggle = () => { for (const member of members(name)) off ? spec.hidden.delete(member) : spec.hidden.add(member); plot(host, spec); };
    return element("button", { type: "button", "aria-pressed": String(!off), onclick: toggle }, element("i", { style: `background:${color}` }), name);
  }));
}

// one of several, as a row of buttons
function choice(label, options, chosen, pick) {
  const group = element("span", { class: "choice", role: "group", "aria-label": label });
  for (const [value, text] of options) {
    group.append(element("button", { type: "button", "data-value": value, "aria-pressed": String(value === chosen), onclick: () => {
      for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === value));
      pick(value);
    } }, text));
  }
  return group;
}

let pending = 0;
window.addEventListener("resize", () => {
  cancelAnimationFrame(pending);
  pending = requestAnimationFrame(() => { for (const host of document.querySelectorAll(".plot")) if (host.spec && host.clientWidth) plot(host, host.spec); });
});
