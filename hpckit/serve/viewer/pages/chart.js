// Series of parcels: one diagram for each band, all with one axis of time.

import { DASHES, element, hue, longDay, number } from "./ask.js";

const MARGIN = { left: 46, right: 12, top: 10, bottom: 22 };
const HEIGHT = 168;
const MONTH = new Intl.DateTimeFormat("en-GB", { month: "short", timeZone: "UTC" });

// series: [{zone, time: [ms], state: [], bands: {NDVI: {p25, p50, p75, mean, ...}}, markers: [{marker, band, start, main, ...}]}]
// options: bands, power (set of bands in decibels), peers ({band, day, low, middle, high} or null), chosen(time)
export class Chart {
  constructor(place, options) {
    this.place = place;
    this.options = options;
    this.series = [];
    this.cursor = null;
    this.seen = new ResizeObserver(() => { if (place.clientWidth !== this.width) this.draw(); });
    this.seen.observe(place);
  }

  show(series) {
    this.series = series;
    this.times = [...new Set(series.flatMap((each) => each.time))].sort((a, b) => a - b);
    this.draw();
  }

  close() { this.seen.disconnect(); }

  draw() {
    const width = this.place.clientWidth;
    if (!width || !this.series.length) return;
    this.width = width;
    const [first, last] = this.span();
    this.x = (time) => MARGIN.left + ((time - first) / (last - first || 1)) * (width - MARGIN.left - MARGIN.right);
    const parts = this.options.bands.map((band) => this.diagram(band, [first, last]));
    // A diagram that is drawn again keeps the keyboard.
    const held = [...this.place.children].findIndex((part) => part.contains(document.activeElement));
    this.place.replaceChildren(...parts);
    if (held >= 0) (parts[held] || parts[0]).querySelector("svg").focus({ preventScroll: true });
    this.point(this.cursor);
  }

  span() {
    const padding = 4 * 86400e3;
    return [Math.min(...this.times) - padding, Math.max(...this.times) + padding];
  }

  diagram(band, [first, last]) {
    const decibel = this.options.power.has(band);
    const shown = (value) => (value === null || value === undefined ? null : decibel ? 10 * Math.log10(Math.max(value, 1e-5)) : value);
    const lines = this.series.map((one, n) => ({ ...this.points(one, band, shown), n }));
    const peers = this.options.peers && this.options.peers.band === band ? this.options.peers : null;
    const values = lines.flatMap((line) => line.clear.flatMap((p) => [p.low, p.middle, p.high]).concat(line.cloudy.map((p) => p.middle)));
    if (peers) values.push(...peers.low.map(shown), ...peers.high.map(shown));
    const known = values.filter((value) => value !== null);
    const axis = ticks(known.length ? Math.min(...known) : 0, known.length ? Math.max(...known) : 1);
    const y = (value) => HEIGHT - MARGIN.bottom - ((value - axis.low) / (axis.high - axis.low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
    const svg = element("svg", {
      class: "chart", width: this.width, height: HEIGHT, tabindex: 0, role: "img",
      "aria-label": `${band} of ${this.series.map((one) => one.zone).join(", ")} over time; arrow keys move between dates`,
    });
    svg.append(...this.grid(axis, y, [first, last]));
    if (peers) svg.append(...this.peers(peers, shown, y));
    if (this.series.length === 1) svg.append(...this.events((this.series[0].markers || []).filter((event) => event.band === band)));
    for (const line of lines) svg.append(...this.line(line, y));
    svg.append(element("text", { class: "name", x: MARGIN.left + 4, y: MARGIN.top + 10 }, decibel ? `${band}, dB` : band));
    const rule = element("line", { class: "rule", y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom, visibility: "hidden" });
    svg.append(rule);
    svg.rule = rule;
    svg.lines = lines;
    svg.band = band;
    svg.addEventListener("pointermove", (event) => this.point(this.nearest(event.offsetX)));
    svg.addEventListener("pointerleave", () => this.point(this.pinned ?? null));
    svg.addEventListener("click", (event) => this.choose(this.nearest(event.offsetX)));
    svg.addEventListener("keydown", (event) => this.key(event));
    const told = element("div", { class: "told", "aria-live": "off" });
    return element("div", { class: "diagram" }, svg, told);
  }

  points(one, band, shown) {
    const found = { zone: one.zone, clear: [], cloudy: [], masked: [] };
    const data = one.bands[band];
    if (!data) return found;
    const middle = data.p50 || data.mean;
    one.time.forEach((time, k) => {
      const value = shown(middle[k]);
      if (value === null) { if (one.state[k] === "masked") found.masked.push({ time }); return; }
      const low = data.p25 ? shown(data.p25[k]) : value;
      const high = data.p75 ? shown(data.p75[k]) : value;
      const share = data.total[k] ? data.valid[k] / data.total[k] : 0;
      (one.state[k] === "clear" ? found.clear : found.cloudy).push({ time, low, middle: value, high, share });
    });
    return found;
  }

  grid(axis, y, [first, last]) {
    const parts = axis.values.map((value) => element("g", {},
      element("line", { class: "hair", x1: MARGIN.left, x2: this.width - MARGIN.right, y1: y(value), y2: y(value) }),
      element("text", { class: "tick", x: MARGIN.left - 6, y: y(value) + 3.5, "text-anchor": "end" }, number(value, axis.digits))));
    const wide = (last - first) / 86400e3 / 30.4;
    const step = Math.max(1, Math.ceil(wide / ((this.width - 60) / 42)));
    const day = new Date(first);
    let month = Date.UTC(day.getUTCFullYear(), day.getUTCMonth() + 1, 1);
    for (let n = 0; month < last && n < 400; n += 1) {
      const here = new Date(month);
      if (n % step === 0) {
        const label = here.getUTCMonth() === 0 ? String(here.getUTCFullYear()) : MONTH.format(here);
        parts.push(element("line", { class: "hair", x1: this.x(month), x2: this.x(month), y1: MARGIN.top, y2: HEIGHT - MARGIN.bottom }));
        parts.push(element("text", { class: "tick", x: this.x(month), y: HEIGHT - 6, "text-anchor": "middle" }, label));
      }
      month = Date.UTC(here.getUTCFullYear(), here.getUTCMonth() + 1, 1);
    }
    return parts;
  }

  peers(peers, shown, y) {
    const rows = peers.time.map((time, k) => ({ time, low: shown(peers.low[k]), middle: shown(peers.middle[k]), high: shown(peers.high[k]) })).filter((row) => row.middle !== null);
    if (rows.length < 2) return [];
    const up = rows.map((row) => `${this.x(row.time).toFixed(1)},${y(row.high).toFixed(1)}`);
    const down = rows.map((row) => `${this.x(row.time).toFixed(1)},${y(row.low).toFixed(1)}`).reverse();
    return [
      element("polygon", { class: "peer-area", points: [...up, ...down].join(" ") }),
      element("polyline", { class: "peer-line", points: rows.map((row) => `${this.x(row.time).toFixed(1)},${y(row.middle).toFixed(1)}`).join(" ") }),
    ];
  }

  // Markers: the days between the observation before an event and the one that shows it, and its name.
  events(events) {
    const bottom = HEIGHT - MARGIN.bottom;
    return events.map((event) => {
      const [before, after] = [event.start, event.main].map((text) => this.x(Date.parse(text)));
      const about = `${event.marker}: between ${longDay(Date.parse(event.start))} and ${longDay(Date.parse(event.main))}, confidence ${number(event.confidence)}`;
      return element("g", { class: "event" },
        element("title", {}, about),
        element("rect", { x: before, y: MARGIN.top, width: Math.max(after - before, 1), height: bottom - MARGIN.top }),
        element("line", { x1: after, x2: after, y1: MARGIN.top, y2: bottom }),
        element("text", { transform: `translate(${(after + 11).toFixed(1)} ${bottom - 6}) rotate(-90)` }, event.marker));
    });
  }

  line(line, y) {
    const colour = hue(line.n);
    const at = (p) => `${this.x(p.time).toFixed(1)},${y(p.middle).toFixed(1)}`;
    const parts = [];
    if (this.series.length === 1 && line.clear.length > 1) {
      const up = line.clear.map((p) => `${this.x(p.time).toFixed(1)},${y(p.high).toFixed(1)}`);
      const down = line.clear.map((p) => `${this.x(p.time).toFixed(1)},${y(p.low).toFixed(1)}`).reverse();
      parts.push(element("polygon", { class: "quartiles", fill: colour, points: [...up, ...down].join(" ") }));
    }
    parts.push(element("polyline", { class: "series", stroke: colour, "stroke-dasharray": DASHES[line.n % DASHES.length], points: line.clear.map(at).join(" ") }));
    for (const p of line.cloudy) parts.push(element("circle", { class: "cloudy", cx: this.x(p.time), cy: y(p.middle), r: 2.8 }));
    for (const p of line.clear) parts.push(element("circle", { class: "clear", fill: colour, cx: this.x(p.time), cy: y(p.middle), r: 3 }));
    if (line.n === 0) {
      for (const p of line.masked) {
        const x = this.x(p.time);
        parts.push(element("line", { class: "masked", x1: x, x2: x, y1: HEIGHT - MARGIN.bottom - 5, y2: HEIGHT - MARGIN.bottom }));
      }
    }
    return parts;
  }

  nearest(x) {
    let best = null;
    for (const time of this.times) if (best === null || Math.abs(this.x(time) - x) < Math.abs(this.x(best) - x)) best = time;
    return best;
  }

  point(time) {
    this.cursor = time;
    for (const svg of this.place.querySelectorAll("svg.chart")) {
      svg.rule.setAttribute("visibility", time === null ? "hidden" : "visible");
      const told = svg.nextElementSibling;
      if (time === null) { told.textContent = ""; continue; }
      const x = this.x(time);
      svg.rule.setAttribute("x1", x);
      svg.rule.setAttribute("x2", x);
      told.replaceChildren(...this.words(svg, time));
      told.classList.toggle("left", x > this.width / 2);
    }
  }

  words(svg, time) {
    const words = [element("b", {}, longDay(time))];
    svg.lines.forEach((line) => {
      const clear = line.clear.find((p) => p.time === time);
      const cloudy = line.cloudy.find((p) => p.time === time);
      const found = clear || cloudy;
      const masked = line.masked.some((p) => p.time === time);
      const text = found ? number(found.middle) + (clear && found.high > found.low ? ` (${number(found.low)} to ${number(found.high)})` : "") : masked ? "under cloud" : "no data";
      const about = cloudy ? `, ${Math.round(100 * found.share)} % valid` : "";
      words.push(element("span", { style: `--hue:${hue(line.n)}` }, this.series.length > 1 ? `${line.zone}: ` : "", text + about));
    });
    return words;
  }

  pin(time) {
    this.pinned = time;
    this.point(time);
  }

  choose(time) {
    if (time === null) return;
    this.pin(time);
    this.options.chosen(time);
  }

  key(event) {
    const place = this.times.indexOf(this.cursor);
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step) {
      const next = place < 0 ? (step > 0 ? 0 : this.times.length - 1) : Math.min(this.times.length - 1, Math.max(0, place + step));
      this.point(this.times[next]);
      event.preventDefault();
    } else if (event.key === "Enter" && this.cursor !== null) {
      this.choose(this.cursor);
      event.preventDefault();
    }
  }
}

export function ticks(low, high) {
  if (high - low < 1e-9) { high = low + 0.1; low -= 0.1; }
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const start = Math.floor(low / step) * step;
  const values = [];
  for (let value = start; value <= high + step * 0.5 && values.length < 12; value += step) values.push(+value.toPrecision(12));
  return { low: values[0], high: Math.max(values[values.length - 1], high), values, digits: Math.max(0, Math.ceil(-Math.log10(step)) + 1) };
}

// The diagrams as one PNG, drawn by the browser.
export async function chartPicture(place, title) {
  const drawn = [...place.querySelectorAll("svg.chart")];
  const width = drawn[0].clientWidth, height = drawn.length * HEIGHT + 30;
  const canvas = element("canvas", { width: 2 * width, height: 2 * height });
  const pen = canvas.getContext("2d");
  const style = getComputedStyle(document.body);
  pen.scale(2, 2);
  pen.fillStyle = style.getPropertyValue("--card");
  pen.fillRect(0, 0, width, height);
  pen.fillStyle = style.getPropertyValue("--ink");
  pen.font = "600 14px system-ui, sans-serif";
  pen.fillText(title, 12, 20);
  for (const [n, svg] of drawn.entries()) {
    const copy = svg.cloneNode(true);
    inline(svg, copy);
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const picture = new Image();
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
    await picture.decode();
    pen.drawImage(picture, 0, 30 + n * HEIGHT, width, HEIGHT);
  }
  return new Promise((done) => canvas.toBlob(done, "image/png"));
}

function inline(from, to) {
  const style = getComputedStyle(from);
  for (const name of ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "opacity", "font", "visibility"]) to.style.setProperty(name, style.getPropertyValue(name));
  [...from.children].forEach((child, k) => inline(child, to.children[k]));
}
