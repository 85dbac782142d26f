// The page: what is chosen, and which part shows it.

import { ask, element, longDay, number, post, tell, tellFault, theme } from "./ask.js";
import { Flags } from "./flags.js";
import { ZoneMap } from "./map.js";
import { Panel } from "./panel.js";

const at = (id) => document.getElementById(id);
const state = { dataset: null, reduction: null, layer: null, when: null, zones: [], marks: new Map() };
let info = null, map, panel, flags, me, comparing = false;

const page = {
  dataset: () => state.dataset,
  reduction: () => state.reduction,
  layers: () => info.layers,
  marks: () => state.marks,
  can: (action) => info.actions.includes(action),
  choose, changed: remember, refreshMarks,
  comparing: () => comparing,
  compare: () => (comparing = !comparing),
  go: (bounds) => map.fit(bounds),
  shownDay: (time) => { if (time) showDay(new Date(time).toISOString().slice(0, 10)); },
  colour: (colour) => { map.zones(outlined(), colour); legend(colour); },
  closeFlags: () => { at("quality").setAttribute("aria-pressed", "false"); flags.close(); if (state.zones.length) panel.show(state.zones); },
};

async function start() {
  const dark = localStorage.getItem("hpckit-theme");
  if (dark) document.documentElement.dataset.theme = dark;
  me = await ask("api/me");
  document.title = me.title;
  at("title").textContent = me.title;
  at("account").hidden = !me.user;
  document.addEventListener("logged-out", () => { if (me.logins.password || me.logins.oidc.length) login(); });
  at("account").title = me.user ? `Logged in as ${me.user}` : "";
  if (!me.datasets.length) {
    if (me.user === null && (me.logins.password || me.logins.oidc.length)) login();
    else at("hint").textContent = me.user === null ? "Open the address that `hpckit serve` printed; it works once." : "No data set is open to you.";
    return;
  }
  map = new ZoneMap("map", { picked: pick, moved: remember, hovered });
  panel = new Panel(at("panel"), page);
  flags = new Flags(at("panel"), page);
  wire();
  await map.ready;
  const asked = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const names = me.datasets.map((each) => each.name);
  at("dataset").replaceChildren(...me.datasets.map((each) => element("option", { value: each.name }, each.title)));
  at("dataset-pick").hidden = names.length < 2;
  await open(names.includes(asked.d) ? asked.d : names[0], asked);
}

async function open(name, asked = {}) {
  state.dataset = name;
  at("dataset").value = name;
  info = await ask(`api/d/${name}`);
  state.reduction = info.reductions.find((each) => each.name === asked.reduction) || info.reductions.find((each) => each.zones) || info.reductions[0] || null;
  flags.stop();
  reductionList();
  await refreshMarks().catch(() => {});
  map.open(name, outlined(), null);
  layerList();
  state.layer = info.layers.find((each) => each.key === asked.layer) || info.layers[0] || null;
  if (state.layer) at("layer").value = state.layer.key;
  const clearest = [...info.days].reverse().reduce((best, day) => (best === null || (day.cloud ?? 101) < (best.cloud ?? 101) ? day : best), null);
  state.when = asked.day || (state.layer && state.layer.composite ? state.layer.periods[0] : clearest && clearest.day);
  show();
  const bounds = state.reduction && state.reduction.bounds;
  if (asked.at) {
    const [zoom, lat, lon] = asked.at.split("/").map(Number);
    map.map.jumpTo({ center: [lon, lat], zoom });
  } else if (bounds) map.fit(bounds, { animate: false });
  if (asked.bands) panel.bands = asked.bands.split(",");
  choose(asked.zone && state.reduction ? asked.zone.split("\u001f").filter(Boolean) : [], !asked.at && asked.zone);
  tellReduction();
}

// Who may not see outlines has pixels only.
const outlined = () => (page.can("geometry") ? state.reduction : null);

function reductionList() {
  at("reduction").replaceChildren(...info.reductions.map((each) => element("option", { value: each.name }, each.name)));
  at("reduction-pick").hidden = info.reductions.length < 2;
  if (state.reduction) at("reduction").value = state.reduction.name;
  for (const id of ["search", "quality", "marks"]) at(id).disabled = !state.reduction;
  at("hint").textContent = state.reduction ? "Click a parcel to see its series." : "This campaign has no series of parcels.";
}

function useReduction(name) {
  const seen = at("quality").getAttribute("aria-pressed") === "true";
  state.reduction = info.reductions.find((each) => each.name === name);
  panel.bands = null;
  map.zones(outlined(), null);
  legend(null);
  choose([]);
  refreshMarks().catch(() => {});
  if (state.reduction.bounds) map.fit(state.reduction.bounds);
  tellReduction();
  if (seen) showFlags();
}

function tellReduction() {
  if (state.reduction && state.reduction.fault) tell(state.reduction.fault, "bad");
}

function showFlags() {
  panel.stop();
  at("marks").setAttribute("aria-pressed", "false");
  at("quality").setAttribute("aria-pressed", "true");
  flags.show().then(() => map.map.resize());
}

function layerList() {
  const groups = new Map();
  for (const layer of info.layers) {
    const name = layer.composite ? `Composite ${layer.composite}` : { rgb: "Colours", index: "Indices", band: "Bands", classes: "Classes" }[layer.kind];
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(layer);
  }
  at("layer").closest("label").hidden = !info.layers.length;
  at("layer").replaceChildren(...[...groups].map(([name, layers]) => element("optgroup", { label: name }, layers.map((layer) => element("option", { value: layer.key }, layer.title)))));
}

function moments() {
  if (!state.layer) return [];
  return state.layer.composite ? state.layer.periods.map((period) => ({ day: period, cloud: null })) : info.days;
}

function show() {
  const days = moments();
  if (!days.some((day) => day.day === state.when)) state.when = days.length ? days[days.length - 1].day : null;
  map.pixels(page.can("chips") ? state.layer : null, state.when);
  timeBar(days);
  legend(null);
  remember();
}

function showDay(day) {
  if (state.layer && state.layer.composite) {
    state.layer = info.layers.find((each) => !each.composite && each.kind === state.layer.kind) || info.layers.find((each) => !each.composite) || state.layer;
    at("layer").value = state.layer.key;
  }
  state.when = day;
  show();
}

function timeBar(days) {
  at("time").hidden = days.length < 2;
  const place = days.findIndex((day) => day.day === state.when);
  at("days").replaceChildren(...days.map((day, n) => element("i", {
    class: n === place ? "now" : "", style: `--clear:${day.cloud === null ? 0.6 : Math.max(0.08, 1 - day.cloud / 100)}`, title: words(day),
  })));
  const bar = at("days");
  bar.setAttribute("aria-valuemin", 0);
  bar.setAttribute("aria-valuemax", days.length - 1);
  bar.setAttribute("aria-valuenow", place);
  bar.setAttribute("aria-valuetext", place < 0 ? "" : words(days[place]));
  at("day").textContent = place < 0 ? "" : words(days[place]);
}

function words(day) {
  const name = /^\d{4}-\d{2}-\d{2}$/.test(day.day) ? longDay(day.day) : day.day;
  return day.cloud === null ? name : `${name}, ${Math.round(day.cloud)} % cloud`;
}

function step(by) {
  const days = moments();
  const place = days.findIndex((day) => day.day === state.when);
  const next = days[Math.min(days.length - 1, Math.max(0, place + by))];
  if (next && next.day !== state.when) { state.when = next.day; show(); }
}

function legend(colour) {
  const place = at("legend");
  const layer = state.layer;
  if (colour || !layer || !layer.legend.length) {
    place.replaceChildren(...(colour ? [element("span", { class: "quiet" }, `Parcels: ${colour.title}`)] : []));
  } else if (layer.kind === "classes") {
    place.replaceChildren(element("ul", {}, layer.legend.map(([, hue, text]) => element("li", {}, element("i", { style: `background:${hue}` }), text.replaceAll("_", " ")))));
  } else {
    const first = layer.legend[0], last = layer.legend[layer.legend.length - 1];
    place.replaceChildren(element("div", { class: "ramp" }, element("span", {}, number(first[0])),
      element("i", { style: `background:linear-gradient(90deg, ${layer.legend.map(([, hue]) => hue).join(",")})` }), element("span", {}, number(last[0])),
      layer.unit ? element("span", { class: "quiet" }, layer.unit) : null));
  }
}

function toggled(id) {
  if (state.zones.includes(id)) return state.zones.filter((each) => each !== id);
  if (state.zones.length >= 6) { tell("Six parcels can be compared at a time."); return state.zones; }
  return [...state.zones, id];
}

function pick(id, more = false) {
  choose(more || (comparing && state.zones.length) ? toggled(id) : [id]);
}

function choose(zones, go = false) {
  comparing = false;
  state.zones = zones;
  map.choose(zones);
  flags.stop();
  at("quality").setAttribute("aria-pressed", "false");
  at("marks").setAttribute("aria-pressed", "false");
  at("hint").hidden = zones.length > 0;
  remember();
  if (!zones.length) { panel.close(); map.map.resize(); return; }
  const shown = panel.show(zones);
  map.map.resize();
  shown.then(() => { if (go && panel.about) map.fit(panel.about.bounds); });
}

async function refreshMarks() {
  const found = await ask(`api/d/${state.dataset}/marks`, { reduction: state.reduction?.name });
  state.marks = new Map(found.marks.map((mark) => [mark.zone, mark]));
  at("marks").textContent = state.marks.size ? `Marked (${state.marks.size})` : "Marked";
  if (info && map.map.getSource("zones")) map.zones(outlined(), null);
}

function markList() {
  const on = at("marks").getAttribute("aria-pressed") !== "true";
  at("marks").setAttribute("aria-pressed", String(on));
  if (!on) { choose(state.zones); return; }
  panel.stop();
  flags.stop();
  at("quality").setAttribute("aria-pressed", "false");
  const rows = [...state.marks.values()].reverse().map((mark) => element("li", {},
    element("button", { type: "button", class: "link", onclick: () => { at("marks").setAttribute("aria-pressed", "false"); choose([mark.zone], true); } }, `Parcel ${mark.zone}`),
    element("span", { class: "tag" }, mark.state), element("p", {}, mark.note), element("small", {}, `${mark.user}, ${longDay(mark.time)}`)));
  const file = (format) => element("a", { href: `api/d/${state.dataset}/export?marked=1&format=${format}&reduction=${encodeURIComponent(state.reduction.name)}`, download: "" }, format === "csv" ? "CSV" : "GeoPackage");
  at("panel").hidden = false;
  at("panel").replaceChildren(element("header", { class: "zone" }, element("button", { type: "button", class: "icon close", "aria-label": "Close", onclick: markList }, "×"), element("h2", {}, "Marked for follow-up")),
    rows.length ? element("ul", { class: "marks" }, rows) : element("p", { class: "quiet part" }, "No parcel is marked. Open a parcel and write a note."),
    rows.length && page.can("export") ? element("p", { class: "row files part" }, element("span", { class: "quiet" }, "Save as"), file("csv"), file("gpkg")) : "");
  map.map.resize();
}

const tip = element("div", { class: "tip", hidden: true });
function hovered(zone, point) {
  tip.hidden = !zone;
  if (!zone) return;
  tip.replaceChildren(element("b", {}, zone.id), zone.label ? ` ${zone.label}` : "", zone.value !== undefined ? `: ${number(zone.value)}` : "");
  tip.style.transform = `translate(${point.x + 12}px, ${point.y + 12}px)`;
}

let finding = 0;
async function find(text) {
  const turn = ++finding;
  const list = at("found");
  if (!text.trim()) { close(); return; }
  const place = text.match(/^\s*(-?\d+(?:\.\d+)?)\s*[,; ]\s*(-?\d+(?:\.\d+)?)\s*$/);
  const params = place ? { lat: place[1], lon: place[2] } : { q: text.trim() };
  try {
    const { zones } = await ask(`api/d/${state.dataset}/zones`, { ...params, reduction: state.reduction.name });
    if (turn !== finding) return;
    list.replaceChildren(...(zones.length ? zones.map((zone, n) => element("li", { role: "option", id: `found-${n}`, "aria-selected": "false", onpointerdown: (event) => { event.preventDefault(); take(zone); } },
      element("b", {}, zone.id), zone.label ? element("span", { class: "quiet" }, zone.label) : null)) : [element("li", { class: "quiet" }, place ? "No parcel at this place." : "No parcel found.")]));
    list.zones = zones;
    list.hidden = false;
    at("search").setAttribute("aria-expanded", "true");
    if (place && !zones.length) map.map.easeTo({ center: [+place[2], +place[1]], zoom: 13 });
  } catch (error) { if (turn === finding) { close(); tellFault(error); } }
}

function close() {
  at("found").hidden = true;
  at("search").setAttribute("aria-expanded", "false");
  at("search").removeAttribute("aria-activedescendant");
}

function take(zone) {
  close();
  at("search").value = "";
  at("search").blur();
  pick(zone.id);
  map.fit(zone.bounds);
}

function searchKey(event) {
  const list = at("found");
  const options = [...list.querySelectorAll("[role=option]")];
  if (event.key === "Escape") { close(); event.stopPropagation(); return; }
  if (event.key === "Enter" && !list.hidden && options.length) {
    const place = Math.max(0, options.findIndex((each) => each.getAttribute("aria-selected") === "true"));
    take(list.zones[place]);
    event.preventDefault();
  }
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || !options.length) return;
  const now = options.findIndex((each) => each.getAttribute("aria-selected") === "true");
  const next = options[(now + by + options.length) % options.length];
  options.forEach((each) => each.setAttribute("aria-selected", String(each === next)));
  at("search").setAttribute("aria-activedescendant", next.id);
  next.scrollIntoView({ block: "nearest" });
  event.preventDefault();
}

function remember() {
  if (!info) return;
  const center = map.map.getCenter();
  const what = { d: state.dataset, at: `${map.map.getZoom().toFixed(2)}/${center.lat.toFixed(5)}/${center.lng.toFixed(5)}` };
  if (state.reduction && info.reductions.length > 1) what.reduction = state.reduction.name;
  if (state.layer) what.layer = state.layer.key;
  if (state.when) what.day = state.when;
  if (state.zones.length) what.zone = state.zones.join("\u001f");
  if (panel && panel.bands && state.zones.length) what.bands = panel.bands.join(",");
  history.replaceState(null, "", `#${new URLSearchParams(what)}`);
}

function login() {
  const box = at("login");
  if (box.open) return;
  at("passwords").hidden = !me.logins.password;
  at("passwords").querySelectorAll("input").forEach((field) => { field.disabled = !me.logins.password; });
  at("providers").replaceChildren(...me.logins.oidc.map((each) => element("a", { class: "provider", href: `login/oidc/${encodeURIComponent(each.name)}?to=${encodeURIComponent(location.pathname + location.hash)}` }, `Log in with ${each.title}`)));
  at("login-form").onsubmit = async (event) => {
    event.preventDefault();
    const fields = new FormData(at("login-form"));
    try {
      await ask("login", {}, { method: "POST", body: new URLSearchParams(fields) });
      location.reload();
    } catch (error) { at("login-fault").textContent = error.message; }
  };
  box.addEventListener("cancel", (event) => event.preventDefault());
  box.showModal();
}

function wire() {
  at("stage").append(tip);
  at("dataset").onchange = () => open(at("dataset").value).catch(tellFault);
  at("reduction").onchange = () => useReduction(at("reduction").value);
  at("layer").onchange = () => { state.layer = info.layers.find((each) => each.key === at("layer").value); show(); };
  at("outlines").onchange = () => map.outlines(at("outlines").checked);
  at("earlier").onclick = () => step(-1);
  at("later").onclick = () => step(1);
  at("days").onclick = (event) => {
    const place = [...at("days").children].indexOf(event.target.closest("i"));
    if (place >= 0) { state.when = moments()[place].day; show(); }
  };
  at("days").onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10, Home: -1e6, End: 1e6 }[event.key];
    if (by) { step(by); event.preventDefault(); }
  };
  let typing;
  at("search").oninput = () => { clearTimeout(typing); typing = setTimeout(() => find(at("search").value), 160); };
  at("search").onkeydown = searchKey;
  at("search").onblur = () => setTimeout(close, 150);
  at("quality").onclick = () => {
    const on = at("quality").getAttribute("aria-pressed") !== "true";
    if (!on) { page.closeFlags(); if (!state.zones.length) at("panel").hidden = true; map.map.resize(); return; }
    showFlags();
  };
  at("marks").onclick = markList;
  at("share").onclick = async () => {
    remember();
    try { await navigator.clipboard.writeText(location.href); tell("The address is copied."); } catch { prompt("Address of what is shown", location.href); }
  };
  at("theme").onclick = () => {
    document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
    localStorage.setItem("hpckit-theme", document.documentElement.dataset.theme);
    map.repaint();
    panel.recolour();
  };
  at("account").onclick = async () => {
    if (!confirm(`Log ${me.user} out?`)) return;
    await post("logout", {});
    location.reload();
  };
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select, dialog")) return;
    if (event.key === "Escape" && state.zones.length) choose([]);
    if (event.key === "," || event.key === "<") step(-1);
    if (event.key === "." || event.key === ">") step(1);
    if (event.key === "/") { at("search").focus(); event.preventDefault(); }
  });
  map.failed = (error) => { if (error && error.status && error.status !== 404) tell(error.status === 429 ? "Too many requests; wait a moment." : "A part of the map could not be drawn.", "bad"); };
}

start().catch((error) => { tellFault(error); at("hint").textContent = error.message; });
