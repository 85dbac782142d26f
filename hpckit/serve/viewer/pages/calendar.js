// The calendar of a parcel: a row a week, a chip for each acquisition.

import { element, longDay, shortDay } from "./ask.js";

const EDGE = 128;

export function calendar(sprite, chosen) {
  const scale = EDGE / Math.max(sprite.width, sprite.height);
  const sheet = sheetSize(sprite);
  const weeks = new Map();
  for (const cell of sprite.cells) {
    const time = Date.parse(cell.time || cell.id);
    const monday = Number.isNaN(time) ? cell.id : mondayOf(time);
    if (!weeks.has(monday)) weeks.set(monday, []);
    weeks.get(monday).push(cell);
  }
  const rows = [];
  let before = null;
  for (const [monday, cells] of weeks) {
    const empty = before !== null && typeof monday === "number" ? Math.round((monday - before) / (7 * 86400e3)) - 1 : 0;
    if (empty > 0) rows.push(element("li", { class: "pause" }, empty === 1 ? "a week without an acquisition" : `${empty} weeks without an acquisition`));
    const label = typeof monday === "number" ? `Week of ${shortDay(monday)}` : "";
    rows.push(element("li", {}, element("span", { class: "week" }, label), element("div", { class: "chips" }, cells.map((cell) => chip(cell, sprite, scale, sheet, chosen)))));
    before = monday;
  }
  return element("ol", { class: "calendar" }, rows);
}

function chip(cell, sprite, scale, sheet, chosen) {
  const width = sprite.width * scale, height = sprite.height * scale;
  const picture = element("span", {
    class: "pixels",
    style: `width:${width}px;height:${height}px;background-image:url(${sprite.sprite});background-size:${sheet.width * scale}px ${sheet.height * scale}px;background-position:-${cell.x * scale}px -${cell.y * scale}px`,
  }, element("svg", { viewBox: `0 0 ${sprite.width} ${sprite.height}`, width, height, "aria-hidden": "true" },
    element("path", { d: sprite.outline, class: "halo" }), element("path", { d: sprite.outline, class: "edge" })));
  const cloud = cell.cloud === null ? null : Math.round(100 * cell.cloud);
  const state = cell.valid === 0 ? "no data" : cloud === null ? "" : cloud === 0 ? "clear" : `${cloud} % cloud`;
  const kind = cell.valid === 0 ? "none" : cloud !== null && cloud >= 50 ? "clouded" : "";
  return element("button", {
    type: "button", class: `chip ${kind}`, title: `${cell.time ? longDay(cell.time) : cell.id}${state ? `, ${state}` : ""}`,
    onclick: () => chosen(cell),
  }, picture, element("span", { class: "when" }, cell.time ? shortDay(cell.time) : cell.id, element("i", {}, state)));
}

function sheetSize(sprite) {
  return {
    width: Math.max(...sprite.cells.map((cell) => cell.x)) + sprite.width,
    height: Math.max(...sprite.cells.map((cell) => cell.y)) + sprite.height,
  };
}

function mondayOf(time) {
  const day = new Date(time);
  const midnight = Date.UTC(day.getUTCFullYear(), day.getUTCMonth(), day.getUTCDate());
  return midnight - ((day.getUTCDay() + 6) % 7) * 86400e3;
}
