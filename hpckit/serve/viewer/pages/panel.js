// The panel of a parcel: what it is, its series, its calendar, its peers, its mark.

import { address, ask, DASHES, element, hue, number, post, tell, tellFault } from "./ask.js";
import { calendar } from "./calendar.js";
import { Chart, chartPicture } from "./chart.js";

// A sign of the chart and what it stands for, which are never on two lines.
const sign = (kind, words) => element("span", {}, element("i", { class: kind }), words);

export class Panel {
  // page: {dataset(), reduction(), layers(), can(action), shownDay(time), choose(zones), go(bounds), refresh()}
  constructor(place, page) {
    this.place = place;
    this.page = page;
    this.bands = null;
    this.withPeers = false;
  }

  async show(zones) {
    this.zones = zones;
    this.stop();
    this.running = new AbortController();
    const { signal } = this.running;
    const reduction = this.page.reduction();
    if (!this.bands || !this.bands.every((band) => reduction.bands.includes(band))) this.bands = [reduction.first];
    this.place.hidden = false;
    this.place.replaceChildren(element("p", { class: "waiting" }, "Reading …"));
    try {
      const about = await this.ask("zone", { zone: zones[0] }, signal);
      this.about = about;
      this.place.replaceChildren(this.head(about), this.compared(), this.diagrams(), this.chips(about));
      await this.load(signal);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.place.replaceChildren(this.closing(), element("p", { class: "fault" }, error.message));
    }
  }

  stop() {
    if (this.running) this.running.abort();
    if (this.chart) this.chart.close();
    this.chart = null;
  }

  recolour() {
    if (this.zones && this.zones.length && this.chart) this.show(this.zones);
  }

  close() {
    this.stop();
    this.place.hidden = true;
    this.zones = [];
  }

  ask(path, params, signal) {
    return ask(`api/d/${this.page.dataset()}/${path}`, { reduction: this.page.reduction().name, ...params }, { signal });
  }

  closing() {
    return element("button", { type: "button", class: "icon close", "aria-label": "Close the panel", title: "Close (Esc)", onclick: () => this.page.choose([]) }, "×");
  }

  head(about) {
    const facts = [about.area_m2 >= 10000 ? `${number(about.area_m2 / 10000, 2)} ha` : `${number(about.area_m2, 0)} m²`, `${about.place[1].toFixed(5)}, ${about.place[0].toFixed(5)}`];
    const said = Object.entries(about.attributes || {}).filter(([, value]) => value !== null && value !== "");
    facts.push(...said.map(([name, value]) => `${name}: ${value}`));
    return element("header", { class: "zone" }, this.closing(),
      element("h2", {}, `Parcel ${about.id}`),
      element("p", { class: "facts" }, about.label ? element("b", {}, about.label) : null, facts.map((fact) => element("span", {}, fact)),
        element("button", { type: "button", class: "link", onclick: () => this.page.go(about.bounds) }, "Show on the map")),
      this.page.can("mark") ? this.mark(about) : null);
  }

  mark(about) {
    const now = this.page.marks().get(about.id);
    const note = element("textarea", { rows: 2, maxLength: 2000, "aria-label": "Note", placeholder: "Note for the follow-up" });
    note.value = now ? now.note : "";
    const state = element("select", { "aria-label": "State of the follow-up" }, ["follow-up", "visit", "done"].map((name) => element("option", { value: name, selected: now && now.state === name }, name)));
    const save = async (event) => {
      event.preventDefault();
      try {
        await post(`api/d/${this.page.dataset()}/marks?reduction=${encodeURIComponent(this.page.reduction().name)}`, { zone: about.id, state: state.value, note: note.value });
        tell(`Parcel ${about.id} is marked: ${state.value}.`);
        await this.page.refreshMarks();
        box.querySelector("summary").textContent = `Marked: ${state.value}`;
      } catch (error) { tellFault(error); }
    };
    const remove = async () => {
      try {
        await ask(`api/d/${this.page.dataset()}/marks`, { zone: about.id, reduction: this.page.reduction().name }, { method: "DELETE" });
        tell(`Parcel ${about.id} is not marked any more.`);
        note.value = "";
        await this.page.refreshMarks();
        box.querySelector("summary").textContent = "Mark for follow-up";
      } catch (error) { tellFault(error); }
    };
    const box = element("details", { class: "mark" }, element("summary", {}, now ? `Marked: ${now.state}` : "Mark for follow-up"),
      element("form", { onsubmit: save }, note, element("div", { class: "row" }, state, element("button", { class: "main", type: "submit" }, "Save"),
        element("button", { type: "button", onclick: remove }, "Remove"))));
    return box;
  }

  compared() {
    const chips = this.zones.map((zone, n) => element("span", { class: "compared", style: `--hue:${hue(n)}` },
      element("svg", { width: 22, height: 8, "aria-hidden": "true" }, element("line", { x1: 0, x2: 22, y1: 4, y2: 4, stroke: hue(n), "stroke-width": 2.5, "stroke-dasharray": DASHES[n % DASHES.length] })),
      zone, this.zones.length > 1 ? element("button", { type: "button", "aria-label": `Leave ${zone} out`, onclick: () => this.page.choose(this.zones.filter((each) => each !== zone)) }, "×") : null));
    const more = element("button", {
      type: "button", class: "pill", "aria-pressed": String(this.page.comparing()), title: "The next parcel that is clicked or found is shown beside (on the map also: Shift and click)",
      onclick: (event) => event.currentTarget.setAttribute("aria-pressed", String(this.page.compare())),
    }, "Compare");
    return element("div", { class: "row compare" }, chips, more);
  }

  diagrams() {
    const reduction = this.page.reduction();
    const choices = reduction.bands.map((band) => element("button", {
      type: "button", class: "band", "aria-pressed": String(this.bands.includes(band)), title: reduction.indices[band] || band,
      onclick: (event) => this.toggle(band, event.currentTarget),
    }, band));
    this.peerButton = element("button", { type: "button", class: "band peers", "aria-pressed": String(this.withPeers), title: "Quartiles of the nearest parcels with the same label", onclick: () => this.togglePeers() }, "Peers");
    this.chartPlace = element("div", { class: "charts" });
    this.peerWords = element("p", { class: "quiet", hidden: true });
    this.signs = {
      clear: sign("dot", reduction.power.length ? "with quartiles" : "clear, with quartiles"), cloudy: sign("dot hollow", "partly cloudy"),
      masked: sign("stroke", "under cloud"), event: sign("span", "event that a rule found"),
    };
    const files = this.page.can("export") ? [
      element("a", { href: address(`api/d/${this.page.dataset()}/export`, { zone: this.zones, reduction: reduction.name, format: "csv" }), download: "" }, "CSV"),
      element("a", { href: address(`api/d/${this.page.dataset()}/export`, { zone: this.zones, reduction: reduction.name, format: "gpkg" }), download: "" }, "GeoPackage"),
    ] : [];
    return element("section", { class: "part" }, element("h3", {}, "Series"),
      element("div", { class: "row bands", role: "group", "aria-label": "Bands and indices" }, choices, this.peerButton),
      this.chartPlace, this.peerWords,
      element("p", { class: "key" }, Object.values(this.signs)),
      element("p", { class: "row files" }, element("span", { class: "quiet" }, "Save as"), files, element("button", { type: "button", class: "link", onclick: () => this.picture() }, "PNG")));
  }

  toggle(band, button) {
    const shown = !this.bands.includes(band);
    if (!shown && this.bands.length === 1) return;
    this.bands = shown ? [...this.bands, band] : this.bands.filter((each) => each !== band);
    button.setAttribute("aria-pressed", String(shown));
    this.load(this.running.signal).catch(tellFault);
    this.page.changed();
  }

  togglePeers() {
    this.withPeers = !this.withPeers;
    this.peerButton.setAttribute("aria-pressed", String(this.withPeers));
    this.load(this.running.signal).catch(tellFault);
  }

  async load(signal) {
    const bands = this.bands.join(",");
    const [peers, ...series] = await Promise.all([
      this.withPeers ? this.ask("peers", { zone: this.zones[0], band: this.bands[0] }, signal) : null,
      ...this.zones.map((zone) => this.ask("series", { zone, bands }, signal)),
    ]);
    const shown = series.map((one) => ({ ...one, time: one.time.map((text) => Date.parse(text)) }));
    if (shown.every((one) => !one.time.length)) {
      this.chartPlace.replaceChildren(element("p", { class: "quiet" }, "No acquisition has shown this parcel yet."));
      return;
    }
    const states = new Set(shown.flatMap((one) => [...one.state, ...(one.markers || []).map(() => "event")]));
    for (const [state, each] of Object.entries(this.signs)) each.hidden = !states.has(state);
    this.peerWords.hidden = !peers;
    if (peers) this.peerWords.textContent = peers.peers.length ? `Grey: quartiles of ${peers.peers.length} parcels of ${peers.label || "the same kind"} within ${number(Math.max(...peers.peers.map((each) => each.distance_m)) / 1000, 1)} km.` : "There is no parcel of the same kind near.";
    if (this.chart) this.chart.close();
    this.chart = new Chart(this.chartPlace, {
      bands: this.bands, power: new Set(this.page.reduction().power), chosen: (time) => this.page.shownDay(time),
      peers: peers && peers.peers.length ? { band: this.bands[0], time: peers.day.map((text) => Date.parse(text)), low: peers.p25, middle: peers.p50, high: peers.p75 } : null,
    });
    this.chart.show(shown);
    this.times = shown[0].time;
  }

  chips(about) {
    const usable = this.page.layers().filter((layer) => !layer.composite);
    if (!usable.length || !this.page.can("chips")) return element("span");
    const place = element("div", { class: "weeks" }, element("p", { class: "waiting" }, "Drawing …"));
    const choice = element("select", { "aria-label": "Layer of the calendar", onchange: () => draw() }, usable.map((layer) => element("option", { value: layer.key, selected: layer.key === this.calendarLayer }, layer.title)));
    const draw = async () => {
      this.calendarLayer = choice.value;
      try {
        const sprite = await this.ask("calendar", { zone: about.id, layer: choice.value }, this.running.signal);
        const parts = [calendar(sprite, (cell) => cell.time && this.picked(cell))];
        if (sprite.notes.length) parts.push(element("p", { class: "quiet" }, sprite.notes.join("; ")));
        place.replaceChildren(...parts);
      } catch (error) {
        if (error.name !== "AbortError") place.replaceChildren(element("p", { class: "fault" }, error.message));
      }
    };
    draw();
    return element("section", { class: "part" }, element("div", { class: "row" }, element("h3", {}, "Calendar"), choice), place);
  }

  picked(cell) {
    const time = Date.parse(cell.time);
    this.page.shownDay(time);
    if (this.chart && this.times) this.chart.pin(this.times.reduce((best, each) => (Math.abs(each - time) < Math.abs(best - time) ? each : best), this.times[0]));
  }

  async picture() {
    try {
      const picture = await chartPicture(this.chartPlace, `Parcel ${this.zones.join(", ")}`);
      const link = element("a", { href: URL.createObjectURL(picture), download: `${this.page.dataset()}-${this.zones[0]}.png`.replace(/[^\w.-]+/g, "_") });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    } catch (error) { tellFault(error); }
  }
}
