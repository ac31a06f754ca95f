"use strict";
/* Sorts tables by a click on a heading, and enlarges pictures: all of a plane in step. */

const HELP = "Wheel, + and \u2212: larger, smaller. Drag, arrow keys: move. 0: whole. 1, 2, 3: window. Click, Enter: one alone, or all.";
const range = (value, low, high) => Math.min(high, Math.max(low, value));

function make(tag, facts, ...content) {
  const element = Object.assign(document.createElement(tag), facts);
  element.append(...content);
  return element;
}

/* Tables: a cell has what it is sorted by in data-order, if it is a number. */
const real = (cell) => Number(cell.dataset.order.replace("inf", "Infinity"));
function sort(head, column) {
  const body = head.closest("table").tBodies[0];
  const rows = [...body.rows];
  const numbers = rows.some((row) => row.cells[column].dataset.order);
  const ways = numbers ? ["descending", "ascending"] : ["ascending", "descending"];
  const way = ways[head.ariaSort === ways[0] ? 1 : 0];
  for (const each of head.parentNode.cells) each.ariaSort = each === head ? way : null;
  const sign = way === "ascending" ? 1 : -1;
  body.append(...rows.sort((one, other) => {
    const [a, b] = [one.cells[column], other.cells[column]];
    if (!numbers) return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
    // A missing number is last, either way.
    return !a.dataset.order - !b.dataset.order || sign * ((real(a) > real(b)) - (real(a) < real(b)));
  }));
}

for (const table of document.querySelectorAll("table.figures")) {
  [...[...table.tHead.rows].at(-1).cells].forEach((head, column) => {
    head.append(make("button", {}, ...head.childNodes));
    head.firstChild.addEventListener("click", () => sort(head, column));
  });
}

/* Pictures: one place, scale and shift in shares of a picture, holds for all panes. */
const place = { s: 1, x: 0, y: 0 };
const dialog = document.querySelector("main").appendChild(make("dialog", { className: "zoom" }));

function show(s, x, y) {
  Object.assign(place, { s, x: range(x, 1 - s, 0), y: range(y, 1 - s, 0) });
  for (const key in place) dialog.style.setProperty(`--${key}`, place[key]);
}

function zoom(factor, x = 0.5, y = 0.5) {
  const s = range(place.s * factor, 1, 32);
  show(s, x - ((x - place.x) * s) / place.s, y - ((y - place.y) * s) / place.s);
}

function pane(view) {
  const box = make("div", { className: "pane", tabIndex: 0 }, view.cloneNode(true));
  const caption = view.parentNode.querySelector("figcaption");
  const figure = make("figure", {}, caption?.cloneNode(true) ?? "", box);
  const { width, height } = view.querySelector("img");
  Object.assign(box.firstChild, { tabIndex: -1, role: null }); // the pane is what has the focus
  figure.style.setProperty("--ratio", width / height);
  return figure;
}

function open(view) {
  const alike = `[data-kind=${view.dataset.kind}]`;
  const views = [...(view.closest(".panels") ?? view.parentNode).querySelectorAll(alike)];
  const panes = make("div", { className: "panes" }, ...views.map(pane));
  const close = make("button", { onclick: () => dialog.close() }, "Close (Escape)");
  dialog.replaceChildren(make("header", {}, HELP, close), panes);
  show(1, 0, 0);
  dialog.showModal();
  choose(panes.children[views.indexOf(view)].lastChild);
}

function choose(box) {
  for (const each of box.closest(".panes").children) {
    each.classList.toggle("alone", each === box.parentNode && !each.matches(".alone"));
  }
  box.focus();
}
let drag = null; // where the pointer went down, and whether it has moved since
const paneAt = (event) => event.target.closest(".pane");
dialog.addEventListener("wheel", (event) => {
  const box = paneAt(event)?.getBoundingClientRect();
  if (!box) return;
  event.preventDefault(); // the page stays where it is
  const at = [(event.clientX - box.x) / box.width, (event.clientY - box.y) / box.height];
  zoom(Math.exp(-event.deltaY / 300), ...at);
}, { passive: false });
dialog.addEventListener("pointerdown", (event) => {
  drag = paneAt(event) && { box: paneAt(event), at: [event.clientX, event.clientY], ...place, moved: false };
});
dialog.addEventListener("pointermove", (event) => {
  if (!drag || !event.buttons) return;
  const [x, y] = [event.clientX - drag.at[0], event.clientY - drag.at[1]];
  drag.moved ||= Math.hypot(x, y) > 4;
  show(place.s, drag.x + x / drag.box.clientWidth, drag.y + y / drag.box.clientHeight);
});
dialog.addEventListener("click", (event) => paneAt(event) && !drag?.moved && choose(paneAt(event)));
const move = (x, y) => () => show(place.s, place.x + x, place.y + y);
const KEYS = {
  "+": () => zoom(1.25), "=": () => zoom(1.25), "-": () => zoom(0.8), "0": () => show(1, 0, 0),
  ArrowLeft: move(0.1, 0), ArrowRight: move(-0.1, 0), ArrowUp: move(0, 0.1), ArrowDown: move(0, -0.1),
  Enter: (event) => paneAt(event) && choose(paneAt(event)),
};
document.addEventListener("keydown", (event) => {
  const choice = document.querySelectorAll("[name=window]")[event.key - 1];
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (choice) choice.checked = true;
  const view = event.target.matches(".view") && [" ", "Enter"].includes(event.key) && event.target;
  if (!view && (!dialog.open || event.target.matches("button") || !(event.key in KEYS))) return;
  event.preventDefault();
  view ? open(view) : KEYS[event.key](event);
});
for (const here of document.querySelectorAll(".slides > .here")) here.parentNode.scrollLeft = here.offsetLeft - here.parentNode.offsetLeft;
for (const view of document.querySelectorAll(".view:not(.slides .view)")) {
  view.tabIndex = 0;
  view.role = "button";
  view.ariaLabel = `Enlarge: ${view.querySelector("img").alt.replace(/, [a-z-]+ window$/, "")}`;
  view.addEventListener("click", () => open(view));
}
