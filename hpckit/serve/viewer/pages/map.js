// The map: pixels of a layer below, zones above.

import { base, hue, theme } from "./ask.js";

const FLAT = { light: "#eef1f3", dark: "#12171c" };
const CHOSEN = "#e05d00";
const LINE = { light: "#16313f", dark: "#e8eef2" };

// Cividis, which reads the same for every kind of colour vision.
export const RAMP = ["#00224e", "#35456c", "#666970", "#948e77", "#c8b866", "#fee838"];

export class ZoneMap {
  constructor(place, { picked, moved, hovered }) {
    this.map = new maplibregl.Map({
      container: place,
      style: { version: 8, sources: {}, layers: [{ id: "flat", type: "background", paint: { "background-color": FLAT[theme()] } }] },
      attributionControl: false,
      dragRotate: false,
      pitchWithRotate: false,
      maxZoom: 19,
      fadeDuration: 120,
      keyboard: true,
    });
    this.map.touchZoomRotate.disableRotation();
    this.map.addControl(new maplibregl.NavigationControl({ showCompass: false }), "top-left");
    this.map.addControl(new maplibregl.ScaleControl({ maxWidth: 110 }), "bottom-left");
    this.ready = new Promise((done) => this.map.once("load", done));
    this.chosen = [];
    this.map.on("click", async (event) => {
      const at = this.map.getLayer("zones-fill") ? this.map.queryRenderedFeatures(event.point, { layers: ["zones-fill"] }) : [];
      if (at.length) picked(at[0].properties.id, event.originalEvent.shiftKey || event.originalEvent.ctrlKey || event.originalEvent.metaKey);
      else if (this.map.getLayer("counts") && this.map.queryRenderedFeatures(event.point, { layers: ["counts"] }).length) {
        this.map.easeTo({ center: event.lngLat, zoom: this.map.getZoom() + 2 });
      }
    });
    this.map.on("moveend", () => moved(this.map.getZoom(), this.map.getCenter()));
    this.map.on("mousemove", (event) => {
      if (!this.map.getLayer("zones-fill")) return;
      const at = this.map.queryRenderedFeatures(event.point, { layers: ["zones-fill"] })[0];
      this.map.getCanvas().style.cursor = at ? "pointer" : "";
      hovered(at ? at.properties : null, event.point);
    });
    this.map.on("error", (event) => this.failed && this.failed(event.error));
  }

  open(dataset, reduction, colour) {
    this.dataset = dataset;
    for (const id of ["pixels", "counts", "zones-fill", "zones-case", "zones-line", "zones-mark", "zones-halo", "zones-chosen"]) if (this.map.getLayer(id)) this.map.removeLayer(id);
    for (const id of ["pixels", "zones"]) if (this.map.getSource(id)) this.map.removeSource(id);
    this.zones(reduction, colour);
  }

  zones(reduction, colour) {
    for (const id of ["counts", "zones-fill", "zones-case", "zones-line", "zones-mark", "zones-halo", "zones-chosen"]) if (this.map.getLayer(id)) this.map.removeLayer(id);
    if (this.map.getSource("zones")) this.map.removeSource("zones");
    if (!reduction || !reduction.bounds) return;
    const query = new URLSearchParams({ reduction: reduction.name, ...(colour ? colour.params : {}) });
    const [west, south, east, north] = reduction.bounds;
    this.map.addSource("zones", {
      type: "vector", tiles: [`${base}api/d/${this.dataset}/tiles/zones/{z}/{x}/{y}?${query}`], minzoom: 0, maxzoom: 15,
      bounds: [Math.max(-180, west - 0.01), Math.max(-85, south - 0.01), Math.min(180, east + 0.01), Math.min(85, north + 0.01)], promoteId: "id",
    });
    const line = LINE[theme()];
    this.map.addLayer({ id: "counts", type: "fill", source: "zones", "source-layer": "counts", paint: {
      "fill-color": hue(0), "fill-outline-color": "rgba(0,0,0,0)",
      "fill-opacity": ["interpolate", ["linear"], ["ln", ["+", 1, ["get", "zones"]]], 0, 0.08, 8, 0.75] } });
    this.map.addLayer({ id: "zones-fill", type: "fill", source: "zones", "source-layer": "zones", paint: {
      "fill-color": colour ? ramp(colour) : line, "fill-opacity": colour ? 0.82 : 0.01 } });
    // A dark line under the light one: one of the two is seen on any pixels.
    this.map.addLayer({ id: "zones-case", type: "line", source: "zones", "source-layer": "zones", paint: {
      "line-color": "#0d1a22", "line-opacity": ["interpolate", ["linear"], ["zoom"], 10, 0.15, 13, 0.45],
      "line-width": ["interpolate", ["linear"], ["zoom"], 10, 0.5, 13, 1.8, 16, 3.2] } });
    this.map.addLayer({ id: "zones-line", type: "line", source: "zones", "source-layer": "zones", paint: {
      "line-color": colour ? line : "#ffffff", "line-opacity": ["interpolate", ["linear"], ["zoom"], 10, 0.35, 14, 0.9],
      "line-width": ["interpolate", ["linear"], ["zoom"], 10, 0.3, 13, 0.8, 16, 1.6] } });
    this.map.addLayer({ id: "zones-mark", type: "line", source: "zones", "source-layer": "zones", filter: ["has", "mark"], paint: {
      "line-color": ["match", ["get", "mark"], 2, hue(0), CHOSEN], "line-width": 2.5, "line-dasharray": [2, 1.4] } });
    const chosen = ["in", ["get", "id"], ["literal", []]];
    this.map.addLayer({ id: "zones-halo", type: "line", source: "zones", "source-layer": "zones", filter: chosen, paint: { "line-color": "#ffffff", "line-width": 6, "line-opacity": 0.9 } });
    this.map.addLayer({ id: "zones-chosen", type: "line", source: "zones", "source-layer": "zones", filter: chosen, paint: { "line-color": CHOSEN, "line-width": 3 } });
    this.choose(this.chosen);
    this.outlines(this.outlined ?? true);
  }

  pixels(layer, when) {
    if (this.map.getLayer("pixels")) this.map.removeLayer("pixels");
    if (this.map.getSource("pixels")) this.map.removeSource("pixels");
    if (!layer || (!layer.composite && !when)) return;
    const query = new URLSearchParams({ layer: layer.key, ...(layer.composite ? { period: when || "" } : { day: when }) });
    this.map.addSource("pixels", { type: "raster", tileSize: 256, tiles: [`${base}api/d/${this.dataset}/tiles/raster/{z}/{x}/{y}?${query}`], maxzoom: 17 });
    const above = ["counts", "zones-fill"].find((id) => this.map.getLayer(id));
    this.map.addLayer({ id: "pixels", type: "raster", source: "pixels", paint: { "raster-resampling": "nearest", "raster-fade-duration": 120 } }, above);
  }

  choose(zones) {
    this.chosen = zones;
    if (!this.map.getLayer("zones-chosen")) return;
    const filter = ["in", ["get", "id"], ["literal", zones]];
    this.map.setFilter("zones-halo", filter);
    this.map.setFilter("zones-chosen", ["all", filter]);
    const hues = zones.flatMap((zone, n) => [zone, hue(n)]);
    this.map.setPaintProperty("zones-chosen", "line-color", zones.length > 1 ? ["match", ["get", "id"], ...hues, CHOSEN] : CHOSEN);
  }

  outlines(shown) {
    this.outlined = shown;
    for (const id of ["zones-case", "zones-line"]) {
      if (this.map.getLayer(id)) this.map.setLayoutProperty(id, "visibility", shown ? "visible" : "none");
    }
  }

  fit([west, south, east, north], { zoom = 16, animate = true } = {}) {
    // Below are the days, and on small screens the layers above.
    this.map.fitBounds([[west, south], [east, north]], { padding: { top: 48, bottom: 84, left: 40, right: 40 }, maxZoom: zoom, animate: animate && !matchMedia("(prefers-reduced-motion: reduce)").matches });
  }

  repaint() {
    this.map.setPaintProperty("flat", "background-color", FLAT[theme()]);
    this.choose(this.chosen);
  }
}

function ramp({ low, high }) {
  const stops = RAMP.flatMap((hue, n) => [low + ((high - low) * n) / (RAMP.length - 1), hue]);
  return ["case", ["has", "value"], ["interpolate", ["linear"], ["get", "value"], ...stops], "#9aa4ad"];
}
