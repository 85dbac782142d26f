// Questions to the server, and small tools that all parts of the page need.

export const base = new URL(".", document.baseURI).href;

export class Fault extends Error {
  constructor(status, problem) {
    super(problem.detail || `the server answered ${status}`);
    this.status = status;
    this.code = problem.code;
    this.hint = problem.hint;
  }
}

export function address(path, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== undefined && each !== null && each !== "") query.append(name, each);
    }
  }
  const text = query.toString();
  return base + path + (text ? `?${text}` : "");
}

export async function ask(path, params = {}, options = {}) {
  let answer;
  try {
    answer = await fetch(address(path, params), { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault(0, { detail: "The server does not answer.", code: "away" });
  }
  if (answer.status === 401 && path !== "login") document.dispatchEvent(new Event("logged-out"));
  if (!answer.ok) throw new Fault(answer.status, await answer.json().catch(() => ({})));
  return answer.status === 204 ? null : answer.json();
}

export function post(path, body, method = "POST") {
  return ask(path, {}, { method, headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
}

export function element(name, attributes = {}, ...children) {
  const svg = SVG.has(name);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (key === "class") made.setAttribute("class", value);
    else if (key in made && !svg && key !== "list" && key !== "style") made[key] = value;
    else made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return made;
}

const SVG = new Set(["svg", "path", "line", "circle", "rect", "text", "g", "title", "polyline", "polygon", "clipPath", "defs"]);

let hiding;
export function tell(text, kind = "") {
  const place = document.getElementById("told");
  place.textContent = text;
  place.className = `shown ${kind}`;
  clearTimeout(hiding);
  hiding = setTimeout(() => { place.className = ""; }, kind === "bad" ? 8000 : 3500);
}

export function tellFault(error) {
  if (error.name === "AbortError") return;
  tell(error.hint ? `${error.message} (${error.hint})` : error.message, "bad");
}

const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const DATE = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", timeZone: "UTC" });
export const shortDay = (time) => DAY.format(new Date(time));
export const longDay = (time) => DATE.format(new Date(time));

export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  const size = Math.abs(value);
  return size !== 0 && (size >= 1e5 || size < 1e-3) ? value.toExponential(2) : String(+value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : digits));
}

// Colours that stay apart for every kind of colour vision (after Okabe and Ito), and dashes for those who see none.
const LIGHT = ["#0b7a5e", "#c8500a", "#0072b2", "#b4518f", "#8a6800", "#3a8fc4"];
const DARK = ["#45c49f", "#ff9d5c", "#6db9f2", "#e79ac2", "#e0b840", "#a9dcf7"];
export const DASHES = ["", "7 3", "2 3", "9 3 2 3", "12 4", "1 4"];

export function theme() {
  return document.documentElement.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
}

export const hue = (n) => (theme() === "dark" ? DARK : LIGHT)[n % LIGHT.length];
