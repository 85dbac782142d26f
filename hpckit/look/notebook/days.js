// A page with days that can be clicked: the one that was clicked is `day` of the model.

function render({ model, el }) {
  const mark = () => {
    for (const part of el.querySelectorAll("[data-day]")) {
      const isChosen = part.dataset.day === model.get("day");
      part.classList.toggle("chosen", isChosen);
      part.setAttribute("aria-pressed", String(isChosen));
    }
  };
  const show = () => {
    el.innerHTML = model.get("html"); // made by hpckit, with all names escaped
    for (const part of el.querySelectorAll("[data-day]")) {
      part.setAttribute("role", "button");
      part.setAttribute("tabindex", "0");
    }
    mark();
  };
  const choose = (event) => {
    const part = event.target.closest?.("[data-day]");
    if (!part || (event.type === "keydown" && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    event.stopPropagation();
    model.set("day", part.dataset.day);
    model.save_changes();
  };
  el.addEventListener("click", choose);
  el.addEventListener("keydown", choose);
  model.on("change:html", show);
  model.on("change:day", mark);
  show();
  return () => {
    model.off("change:html", show);
    model.off("change:day", mark);
    el.removeEventListener("click", choose);
    el.removeEventListener("keydown", choose);
  };
}

export default { render };
