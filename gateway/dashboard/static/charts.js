// Two views over uPlot: the map of size against latency, and fifteen minutes of history.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/htm-preact.js";
import { clock, count, megapixels, ms, rate } from "./format.js";

const uPlot = window.uPlot;
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
// Logarithmic axes end at powers of ten and are marked there, by us: left to itself on other ends, uPlot was seen to
// fill a gigabyte with marks.
const decadesAround = (low, high) => (_, from, to) => [10 ** Math.floor(Math.log10(Math.min(low, from || low))), 10 ** Math.ceil(Math.log10(Math.max(high, to || high)) - 1e-9)];
const decades = (_, __, from, to) => {
  const first = Math.round(Math.log10(from));
  return Array.from({ length: Math.min(20, Math.round(Math.log10(to)) - first + 1) }, (_, n) => Number(`1e${first + n}`));
};
const FONT = "11px system-ui, sans-serif";
const axis = (more) => ({
  stroke: () => ink("muted"), font: FONT, grid: { stroke: () => ink("line"), width: 1 }, ticks: { stroke: () => ink("line"), width: 1, size: 4 }, ...more,
});

// A plot that follows its box's width and the theme; `make` gives options, `fill` data.
function Plot({ make, data, height, label, theme }) {
  const box = useRef(null);
  const plot = useRef(null);
  useEffect(() => {
    const made = new uPlot({ ...make(), width: box.current.clientWidth || 320, height }, data, box.current);
    plot.current = made;
    const watch = new ResizeObserver(([entry]) => made.setSize({ width: entry.contentRect.width, height }));
    watch.observe(box.current);
    return () => { watch.disconnect(); made.destroy(); };
  }, [theme]);
  useEffect(() => plot.current?.setData(data), [data]);
  return html`<div ref=${box} role="img" aria-label=${label}></div>`;
}

// ---- history

const COLUMN = { at: 0, light: 1, heavy: 2, errors: 3, refused: 4, light50: 5, light99: 6, heavy50: 7, heavy99: 8, busy: 9, slots: 10, queued: 11 };
// A value between two gaps has no line: it gets a dot, or a quiet fleet would seem to have no latency.
const alone = (plot, index) => plot.data[index].flatMap((value, n, all) => (value !== null && (all[n - 1] ?? null) === null && (all[n + 1] ?? null) === null ? [n] : []));
const line = (color, more = {}) => ({ stroke: () => ink(color), width: 1.5, spanGaps: false, points: { show: true, size: 4, fill: () => ink(color), filter: alone }, ...more });
const area = (color) => line(color, { fill: () => `${ink(color)}38` });
const shade = (color) => line(color, { stroke: () => ink(color), fill: () => ink(color), paths: uPlot?.paths.bars({ size: [1, 12] }), width: 0, points: { show: false } });

const shortMs = (value) => (value >= 1000 ? `${value / 1000} s` : `${value} ms`);
const CHARTS = [
  { title: "Requests per second", show: rate, series: [["light", "light", area("light")], ["heavy", "heavy", area("heavy")]] },
  { title: "Latency p99 (dotted: p50)", show: ms, tick: shortMs, log: true,
    series: [["light99", "light", line("light")], ["heavy99", "heavy", line("heavy")], ["light50", "light p50", line("light", { dash: [2, 3] })], ["heavy50", "heavy p50", line("heavy", { dash: [2, 3] })]] },
  { title: "Errors and refusals per second", show: rate, series: [["refused", "refused", shade("warn-mark")], ["errors", "errors", shade("bad")]], keys: ["warn", "bad"] },
  { title: "Slots busy, of usable; queue", show: count, series: [["slots", "slots", line("muted", { dash: [4, 3] })], ["busy", "busy", area("ok")], ["queued", "queued", line("warn-mark")]] },
];
const WINDOW_SECONDS = 900;
const SYNC = uPlot?.sync("history");
const shortTime = (_, values) => values.map((at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }));

function options(chart, tell) {
  return {
    cursor: { sync: { key: SYNC.key }, y: false, drag: { x: false, y: false } },
    scales: {
      x: { time: true, range: (_, __, last) => [(last ?? 0) - WINDOW_SECONDS, last ?? 0] },
      // With little traffic, an axis that ends at its first request would make a mountain of it.
      y: chart.log ? { distr: 3, range: decadesAround(10, 1000) } : { range: (_, __, top) => [0, Math.max(1, (top ?? 0) * 1.1)] },
    },
    axes: [
      axis({ values: shortTime, space: 60, size: 24 }),
      axis({ size: 52, space: 26, ...(chart.log ? { splits: decades } : {}), values: (_, values) => values.map((value) => (value === null ? "" : (chart.tick ?? chart.show)(value))) }),
    ],
    series: [{}, ...chart.series.map(([, label, style]) => ({ label, ...style }))],
    hooks: { setCursor: [(plot) => tell(plot.cursor.idx)] },
  };
}

const positive = (values, log) => (log ? values.map((value) => value || null) : values);

function Chart({ chart, rows, theme }) {
  const [index, tell] = useState(null);
  const data = useMemo(
    () => [rows.map((row) => row[COLUMN.at]), ...chart.series.map(([name]) => positive(rows.map((row) => row[COLUMN[name]]), chart.log))],
    [rows],
  );
  const at = index ?? rows.length - 1;
  const said = rows.length
    ? `${index === null || index === undefined ? "now" : clock(data[0][at])}: ${chart.series.slice(0, 3).map(([, label], n) => `${label} ${data[n + 1][at] === null ? "–" : chart.show(data[n + 1][at])}`).join(" · ")}`
    : "the first five seconds are not over";
  return html`<div class="chart"><h3>${chart.title}</h3><div class="readout">${said}</div>
    <${Plot} make=${() => options(chart, tell)} data=${data} height=${136} label=${`${chart.title}; ${said}`} theme=${theme} /></div>`;
}

export function History({ rows, theme }) {
  return html`<section class="card" aria-labelledby="history-title">
    <div class="head"><h2 id="history-title">The last 15 minutes</h2><span class="grow"></span>
      <span class="key"><span class="k-light">light</span><span class="k-heavy square">heavy</span><span class="k-bad">errors</span><span class="k-warn">refused, queued</span></span></div>
    <div class="charts">${CHARTS.map((chart) => html`<${Chart} key=${chart.title} chart=${chart} rows=${rows} theme=${theme} />`)}</div>
  </section>`;
}

// ---- the map: is the threshold where cost starts to hurt?

const SHAPES = { light: "circle", heavy: "square" };

function mark(context, shape, x, y, size, hollow) {
  context.beginPath();
  if (shape === "circle") context.arc(x, y, size / 2, 0, 2 * Math.PI);
  else context.rect(x - size / 2, y - size / 2, size, size);
  if (hollow) context.stroke();
  else context.fill();
}

// Each dot: colour by the pool that answered, shape by size class, hollow where these differ.
const drawDots = (shape) => (plot, index) => {
  const ratio = devicePixelRatio;
  const [xs, ys, pools] = plot.data[index];
  const context = plot.ctx;
  const colors = { light: ink("light"), heavy: ink("heavy") };
  context.save();
  context.globalAlpha = 0.6;
  context.lineWidth = 1.5 * ratio;
  for (let n = 0; n < xs.length; n++) {
    context.fillStyle = context.strokeStyle = colors[pools[n]] ?? colors.light;
    mark(context, shape, plot.valToPos(xs[n], "x", true), plot.valToPos(ys[n], "y", true), 6 * ratio, SHAPES[pools[n]] !== shape);
  }
  context.restore();
  return null;
};

function drawThreshold(plot, megapixelsAt) {
  const x = plot.valToPos(megapixelsAt, "x", true);
  const { left, top, width, height } = plot.bbox;
  if (x < left || x > left + width) return;
  const context = plot.ctx;
  context.save();
  context.strokeStyle = context.fillStyle = ink("ink");
  context.lineWidth = 1.5 * devicePixelRatio;
  context.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
  context.beginPath();
  context.moveTo(x, top);
  context.lineTo(x, top + height);
  context.stroke();
  context.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  const text = `threshold ${megapixels(megapixelsAt * 1e6)}`;
  const right = x + context.measureText(text).width + 10 * devicePixelRatio < left + width;
  context.textAlign = right ? "left" : "right";
  context.fillText(text, x + (right ? 6 : -6) * devicePixelRatio, top + 14 * devicePixelRatio);
  context.restore();
}

const facet = [{ scale: "x", auto: true }, { scale: "y", auto: true }];
function mapOptions(threshold) {
  return {
    mode: 2,
    cursor: { show: false },
    legend: { show: false },
    scales: { x: { time: false, distr: 3, range: decadesAround(0.1, 100) }, y: { distr: 3, range: decadesAround(10, 1000) } },
    axes: [
      axis({ scale: "x", splits: decades, size: 24, values: (_, values) => values.map((value) => `${value} MP`) }),
      axis({ scale: "y", splits: decades, size: 52, values: (_, values) => values.map(shortMs) }),
    ],
    series: [null, { label: "light", facets: facet, paths: drawDots("circle") }, { label: "heavy", facets: facet, paths: drawDots("square") }],
    hooks: { draw: [(plot) => drawThreshold(plot, threshold.current / 1e6)] },
  };
}

const columns = (dots) => [dots.map((dot) => Math.min(Math.max(dot[0] / 1e6, 0.01), 1000)), dots.map((dot) => Math.max(dot[1], 0.3)), dots.map((dot) => dot[3])];

export function SizeMap({ light, heavy, rules, theme, actions, act }) {
  const threshold = useRef(rules.oversize_pixels);
  threshold.current = rules.oversize_pixels;
  const data = useMemo(() => [null, columns(light), columns(heavy)], [light, heavy, rules.oversize_pixels]);
  const spilled = [...light, ...heavy].filter((dot) => dot[2] !== dot[3]).length;
  return html`<section class="card" aria-labelledby="map-title">
    <div class="head"><h2 id="map-title">Size against latency <span class="aside">recent answers, after upload</span></h2><span class="grow"></span>
      <span class="key"><span class="k-light">light</span><span class="k-heavy square">heavy</span><span>hollow: answered by the other pool</span></span></div>
    <${Plot} make=${() => mapOptions(threshold)} data=${data} height=${308} theme=${theme}
      label=${`${light.length} light and ${heavy.length} heavy answers; the threshold stands at ${megapixels(rules.oversize_pixels)}`} />
    <p class="muted">More than <b>${megapixels(rules.oversize_pixels)}</b>${rules.oversize_ms ? html` or <b>${ms(rules.oversize_ms)}</b>` : ""} is heavy.
      Policy <b>${rules.policy}</b>. ${spilled ? `${spilled} of these answers came from the other pool. ` : ""}
      ${actions && html`<button onClick=${() => act({ routing: true })}>Change…</button>`}</p>
  </section>`;
}
