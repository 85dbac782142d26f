// Quality of observations: which parcels have gaps, are too small, half outside or heterogeneous.

import { address, ask, element, number, tellFault } from "./ask.js";
import { RAMP } from "./map.js";

const FLAGS = { gap: "Long gaps", small: "Too small", outside: "Half outside", heterogeneous: "Heterogeneous" };
const COLOURS = {
  clear: { title: "Clear observations", low: 0, high: null },
  gap_days: { title: "Longest gap, days", low: 0, high: 90 },
  pixels: { title: "Pixels", low: 0, high: 500 },
  std: { title: "Standard deviation", low: 0, high: 0.25 },
  inside: { title: "Share seen", low: 0, high: 1 },
};

const counted = (count, name) => `${count} ${name}${count === 1 ? "" : "s"}`;

export class Flags {
  // page: {dataset(), reduction(), colour(name or null), choose(zones), can(action)}
  constructor(place, page) {
    this.place = place;
    this.page = page;
    this.bounds = { gap_days: 30, pixels: 30, std: 0.1, inside: 0.5 };
    this.wanted = new Set(Object.keys(FLAGS));
    this.colour = "gap_days";
  }

  params() {
    return { reduction: this.page.reduction().name, ...this.bounds, start: this.start, end: this.end };
  }

  async show() {
    const turn = this.turn = (this.turn || 0) + 1;
    this.place.hidden = false;
    this.place.replaceChildren(element("p", { class: "waiting" }, "Assessing the observations of all parcels …"));
    let found;
    try {
      found = await ask(`api/d/${this.page.dataset()}/flags`, { ...this.params(), flags: [...this.wanted].join(",") });
    } catch (error) {
      // The fields stay, so that a value that makes no sense can become another one.
      if (turn === this.turn) this.place.replaceChildren(this.head(), element("p", { class: "fault part", role: "alert" }, error.message), this.found ? this.filters() : "");
      return;
    }
    if (turn !== this.turn) return;
    this.found = this.wanted.size ? found : { ...found, flagged: 0, rows: [] };
    this.place.replaceChildren(this.head(), this.filters(), this.colours(), this.table());
    this.paint();
  }

  // What is still being assessed is not shown: something else is.
  stop() { this.turn = (this.turn || 0) + 1; }

  close() {
    this.stop();
    this.place.hidden = true;
    this.page.colour(null);
  }

  paint() {
    const { low, high, title } = COLOURS[this.colour];
    const most = high ?? Math.max(1, this.found.acquisitions);
    this.page.colour({ title, low, high: most, params: { colour: this.colour, ...Object.fromEntries(Object.entries(this.params()).filter(([, value]) => value)) } });
  }

  head() {
    return element("header", { class: "zone" },
      element("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: () => this.page.closeFlags() }, "×"),
      element("h2", {}, "Quality of the observations"),
      this.found ? element("p", { class: "facts" }, element("span", {}, counted(this.found.zones, "parcel")), element("span", {}, counted(this.found.acquisitions, "acquisition")), element("span", {}, `${this.found.flagged} flagged`)) : null);
  }

  filters() {
    const field = (name, label, step) => {
      const input = element("input", { type: "number", value: this.bounds[name], step, min: name === "gap_days" ? 1 : 0, max: name === "inside" ? 1 : undefined, "aria-label": label, onchange: () => { if (input.value !== "") { this.bounds[name] = +input.value; this.show(); } } });
      return input;
    };
    const row = (flag, words, input) => element("label", { class: "flag" },
      element("input", { type: "checkbox", checked: this.wanted.has(flag), onchange: (event) => { this.wanted[event.target.checked ? "add" : "delete"](flag); this.show(); } }),
      element("span", {}, element("b", {}, FLAGS[flag]), element("small", {}, words)), input, element("output", {}, String(this.found.counts[flag])));
    const day = (name, label) => element("label", {}, element("span", { class: "quiet" }, label), element("input", { type: "date", value: this[name] || "", onchange: (event) => { this[name] = event.target.value || undefined; this.show(); } }));
    return element("section", { class: "part" },
      element("div", { class: "row period" }, day("start", "From"), day("end", "To")),
      row("gap", "days without a clear observation, more than", field("gap_days", "Days", 1)),
      row("small", "pixels, fewer than", field("pixels", "Pixels", 1)),
      row("outside", "share of the parcel that is seen, less than", field("inside", "Share", 0.05)),
      row("heterogeneous", "standard deviation, above", field("std", "Standard deviation", 0.01)));
  }

  colours() {
    const choice = element("select", { "aria-label": "Colour of the map", onchange: () => { this.colour = choice.value; this.paint(); bar.replaceWith(bar = this.bar()); } },
      Object.entries(COLOURS).map(([name, { title }]) => element("option", { value: name, selected: name === this.colour }, title)));
    let bar = this.bar();
    return element("section", { class: "part" }, element("div", { class: "row" }, element("h3", {}, "Colour"), choice), bar);
  }

  bar() {
    const { low, high } = COLOURS[this.colour];
    return element("div", { class: "ramp" }, element("span", {}, number(low)), element("i", { style: `background:linear-gradient(90deg, ${RAMP.join(",")})` }), element("span", {}, number(high ?? this.found.acquisitions)));
  }

  table() {
    const columns = { zone: "Parcel", clear: "Clear", gap_days: "Gap", pixels: "Pixels", std: "Std" };
    const rows = this.found.rows.slice(0, 200).map((row) => element("tr", {}, Object.keys(columns).map((name, n) => element(n ? "td" : "th", n ? {} : { scope: "row" },
      n ? number(row[name]) : element("button", { type: "button", class: "link", onclick: () => this.page.choose([row.zone], true) }, row.zone)))));
    const csv = address(`api/d/${this.page.dataset()}/flags`, { ...this.params(), format: "csv" });
    return element("section", { class: "part" },
      element("div", { class: "row" }, element("h3", {}, "Parcels"), element("a", { href: csv, download: "" }, "All as CSV")),
      rows.length ? element("table", {}, element("thead", {}, element("tr", {}, Object.values(columns).map((title) => element("th", { scope: "col" }, title)))), element("tbody", {}, rows)) : element("p", { class: "quiet" }, "No parcel has one of these flags."),
      this.found.flagged > rows.length ? element("p", { class: "quiet" }, `The first ${rows.length} of ${this.found.flagged}.`) : null);
  }
}
