// What is there before NiiVue, which takes seconds without a graphics card: a pane for each volume,
// with a still picture of the slice that is shown first.

import { middleOf } from "./places.js";
import { readState } from "./state.js";

const panes = document.getElementById("panes");

export const session = await (await fetch("session.json")).json();

export const columnsOf = (row) =>
  row ? session.volumes.length : Math.ceil(Math.sqrt(session.volumes.length));

// Whether square pictures are larger in one row.
export function rowIsLarger() {
  const { clientWidth, clientHeight } = panes, count = session.volumes.length;
  const pane = document.querySelector(".pane"), picture = pane.querySelector(".picture");
  const lines = pane.clientHeight - picture.clientHeight; // of text, above and below the picture
  const [grid, row] = [false, true].map(columnsOf).map((columns) =>
    Math.min(clientWidth / columns, clientHeight / Math.ceil(count / columns) - lines));
  return row > grid;
}

// Whether what is looked at first is what the still pictures show: a bookmark may lead elsewhere, a
// reload keeps its place.
function beginsAsStill(state) {
  const { centre, width } = session.windows[0], middle = middleOf(session.volumes[0]);
  const begins = { mm: middle, plane: "axial", centre, width, zoom: 1, reference: null, ...state };
  return begins.plane === "axial" && begins.centre === centre
    && begins.width === width && begins.zoom === 1 && begins.reference === null
    && begins.mm.every((at, axis) => Math.abs(at - middle[axis]) < 0.01);
}

const withStill = beginsAsStill(readState(session));
export const sections = session.volumes.map((shown) => {
  const section = document.getElementById("pane").content.cloneNode(true).firstElementChild;
  section.querySelector("h2").textContent = shown.name;
  section.querySelector("h2").title = shown.name;
  const still = section.querySelector(".still");
  if (shown.still && withStill) still.src = shown.still;
  else still.remove();
  panes.append(section);
  return section;
});
panes.dataset.columns = columnsOf(readState(session).row ?? rowIsLarger());
