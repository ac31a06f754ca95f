// The page: what is looked at, where, and how; every pane shows the same.

import { columnsOf, rowIsLarger, sections, session } from "./first.js";
import { bindGestures } from "./gestures.js";
import { bindKeys } from "./keys.js";
import { Pane } from "./pane.js";
import {
  AXES, middleOf, moved, placeOf, sameGrid, sliceAt, voxelAt, windowOf, zoomed,
} from "./places.js";
import { readState, writeState } from "./state.js";

const find = (id) => document.getElementById(id);
const signed = (n) => (n > 0 ? `+${n}` : `${n}`).replace("-", "\u2212");
const nextFrame = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));

const state = {
  mm: middleOf(session.volumes[0]),
  plane: session.volumes.length > 1 ? "axial" : "all",
  centre: session.windows[0].centre,
  width: session.windows[0].width,
  reference: null,
  limit: session.difference.hu,
  crosshair: true,
  row: null, // as it is larger
  zoom: 1,
  pan: [0, 0, 0],
  ...readState(session),
};
const panes = [];
let loading = ""; // what is on its way

function complain(text) {
  const notice = find("notice");
  notice.hidden = false;
  notice.textContent = text;
}

// What is drawn

let waiting = false;
function redraw() {
  if (waiting) return; // once a frame, however often the window changes
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    try {
      panes.forEach(draw);
      show();
    } catch (error) {
      complain(error.message);
    }
  });
}

function draw(pane) {
  const low = state.centre - state.width / 2;
  pane.draw([low, low + state.width], panes[state.reference] ?? null, state.limit);
}

// What a still picture has to agree with, as long as it stands for a pane.
const looked = () => JSON.stringify(
  [state.mm, state.plane, state.centre, state.width, state.reference, state.zoom, state.pan]);
let atFirst = "";

function show(changes = {}) {
  Object.assign(state, changes);
  for (const pane of panes) pane.show(state);
  if (looked() !== atFirst) document.querySelectorAll(".still").forEach((still) => still.remove());
  tell(state.mm);
  tellSlice();
  writeState(state);
}

const goTo = (mm) => show({ mm });
const scrolled = () => (state.plane === "all" ? "axial" : state.plane);
const goOn = (plane, slices) =>
  goTo(moved(session.volumes[0], state.mm, AXES[plane ?? scrolled()], slices));

function tellSlice() {
  const [at, count] = sliceAt(session.volumes[0], state.mm, scrolled());
  Object.assign(find("slice"), { max: count, value: at });
  find("slice-of").textContent = `${at} of ${count}`;
}

function tell(mm) {
  for (const [index, pane] of panes.entries()) {
    const found = pane.at(mm), section = pane.canvas.closest(".pane");
    const outside = pane.hu ? "outside" : "";
    section.querySelector(".hu").textContent = found ? `${signed(found.hu)} HU` : outside;
    section.querySelector(".delta").textContent =
      found && found.delta !== null ? `difference ${signed(found.delta)} HU` : "";
    pane.canvas.setAttribute("aria-label",
      `${session.volumes[index].name}, ${state.plane}, ${found ? found.hu : "no"} HU`);
  }
  const voxel = voxelAt(session.volumes[0], mm);
  const counted = voxel ? `slice ${voxel[2]}, row ${voxel[1]}, column ${voxel[0]}, counted from 0` : "outside";
  const lies = mm.map((at) => signed(at.toFixed(1))).join(", ");
  find("place").textContent = loading || `${counted} (${lies} mm)`;
}

// Controls

function press(group, chosen) {
  for (const button of group.querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(chosen(button)));
  }
}

function setPlane(plane) {
  state.plane = plane;
  press(find("planes"), (button) => button.dataset.plane === plane);
  for (const pane of panes) pane.setPlane(plane);
  goTo(state.mm);
}

function setWindow(centre, width) {
  state.centre = Math.round(centre);
  state.width = Math.max(1, Math.round(width));
  find("centre").value = state.centre;
  find("width").value = state.width;
  press(find("windows"), (button) => {
    const { centre: c, width: w } = session.windows[button.dataset.window] ?? {};
    return c === state.centre && w === state.width;
  });
  redraw();
}

function setDifference(reference, limit = state.limit) {
  state.reference = reference;
  state.limit = Math.max(1, Math.round(limit));
  find("limit").value = state.limit;
  find("differ").setAttribute("aria-pressed", String(reference !== null));
  if (reference !== null) find("reference").value = reference;
  const legend = find("legend");
  legend.hidden = reference === null;
  find("lowest").textContent = `${signed(-state.limit)} HU`;
  find("highest").textContent = `${signed(state.limit)} HU`;
  find("meaning").textContent =
    reference === null ? "" : `each minus ${session.volumes[reference].name}`;
  redraw();
}

function toggleDifference() {
  if (find("differ").disabled) return;
  setDifference(state.reference === null ? Number(find("reference").value) : null);
}

function nextReference() {
  if (state.reference !== null) setDifference((state.reference + 1) % panes.length);
}

function setCrosshair(crosshair) {
  find("crosshair").setAttribute("aria-pressed", String(crosshair));
  show({ crosshair });
}

const inRow = () => state.row ?? rowIsLarger();

function arrange() {
  find("layout").setAttribute("aria-pressed", String(inRow()));
  find("panes").dataset.columns = columnsOf(inRow());
}

function toggleLayout() {
  state.row = !inRow();
  arrange();
  show();
}

function windowOfData() {
  if (!panes[0].hu) return;
  const { centre, width } = windowOf(panes[0].hu);
  setWindow(centre, width);
}

const gestures = {
  place: (mm) => goTo(mm),
  slices: goOn,
  window: (right, down) => setWindow(state.centre + 2 * down, state.width + 4 * right),
  zoom: (factor, mm) => show(zoomed(state, factor, mm)),
  pan: (from, to) => state.zoom > 1 && show({
    pan: state.pan.map((at, axis) => at + state.zoom * (to[axis] - from[axis])),
  }),
  whole: () => show({ zoom: 1, pan: [0, 0, 0] }),
};

function makeControls() {
  for (const [index, { name, centre, width }] of session.windows.entries()) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: name });
    button.title = `${centre} / ${width} HU (${index + 1})`;
    button.dataset.window = index;
    button.addEventListener("click", () => setWindow(centre, width));
    find("windows").append(button);
  }
  find("windows").append(find("data"));
  find("data").addEventListener("click", windowOfData);
  find("crosshair").addEventListener("click", () => setCrosshair(!state.crosshair));
  find("layout").addEventListener("click", toggleLayout);
  find("layout").hidden = session.volumes.length < 3;
  find("slice").addEventListener("input", ({ target }) => {
    const [at] = sliceAt(session.volumes[0], state.mm, scrolled());
    goOn(scrolled(), target.value - at);
  });
  for (const button of find("planes").querySelectorAll("button")) {
    button.addEventListener("click", () => setPlane(button.dataset.plane));
  }
  for (const [index, { name }] of session.volumes.entries()) {
    find("reference").append(new Option(name, index));
  }
  find("reference").value = session.reference;
  const changed = (id, use) => find(id).addEventListener("change", (event) => {
    if (event.target.value !== "" && event.target.checkValidity()) use(Number(event.target.value));
  });
  changed("centre", (centre) => setWindow(centre, state.width));
  changed("width", (width) => setWindow(state.centre, width));
  changed("limit", (limit) => setDifference(state.reference, limit));
  changed("reference", (index) => state.reference !== null && setDifference(index));
  find("differ").addEventListener("click", toggleDifference);
  const bar = find("bar").getContext("2d");
  for (const [index, colour] of session.difference.colours.entries()) {
    bar.fillStyle = `rgb(${colour.join()})`;
    bar.fillRect(index, 0, 1, 1);
  }
}

function allowDifference() {
  const [first, ...others] = session.volumes;
  const alike = others.every((other) => sameGrid(first, other));
  const allowed = others.length > 0 && alike;
  find("difference").hidden = others.length === 0;
  for (const control of find("difference").querySelectorAll("button, select, input")) {
    control.disabled = !allowed;
  }
  if (!allowed) state.reference = null;
  const remarks = [];
  if (!alike) {
    remarks.push("The volumes lie on different grids: they move together in mm, and there is no "
      + "difference.");
  }
  if (session.shrink > 1) {
    remarks.push(`Each pixel is the mean of ${session.shrink} x ${session.shrink}.`);
  }
  find("remark").hidden = remarks.length === 0;
  find("remark").textContent = remarks.join(" ");
}

function offerScan() {
  if (!session.scan) return;
  const dialog = find("drawing"), { name, file } = session.scan;
  find("scan").hidden = false;
  find("drawing-title").textContent = name;
  const image = dialog.querySelector("img");
  image.alt = `Where the views of ${name} come from, and its sinogram`;
  image.src = file;
  find("scan").addEventListener("click", () => dialog.showModal());
}

// Steps of the sampling

function offerSteps(pane, section) {
  const { steps, file } = pane.shown, slider = section.querySelector(".steps input");
  if (!steps.length) return;
  const files = [...steps.map((step) => step.file), file];
  section.querySelector(".steps").hidden = false;
  slider.max = steps.length;
  slider.disabled = true; // until the volume itself is there
  slider.value = steps.length;
  const output = section.querySelector(".steps output");
  const name = (at) => {
    if (at === steps.length) return "result";
    return `${steps[at].name}, residual ${steps[at].residual.toPrecision(2)}`;
  };
  output.textContent = name(steps.length);
  let busy = false;
  slider.addEventListener("input", async () => {
    output.textContent = `${name(Number(slider.value))} ...`;
    if (busy) return; // the last place of the slider is loaded afterwards
    busy = true;
    try {
      for (let at = -1; at !== Number(slider.value);) {
        at = Number(slider.value);
        await pane.load(files[at]);
        output.textContent = name(at);
      }
    } catch (error) {
      complain(error.message);
    }
    busy = false;
    redraw();
  });
}

// What the record of a volume warns of

function listWarnings({ warnings, grave }, section) {
  const details = section.querySelector(".warnings"), summary = details.querySelector("summary");
  details.hidden = warnings.length === 0;
  summary.textContent = warnings.length === 1 ? "1 warning" : `${warnings.length} warnings`;
  if (grave) summary.title = "something may be wrong";
  summary.classList.toggle("grave", grave > 0);
  for (const [index, text] of warnings.entries()) {
    const item = document.createElement("li");
    item.textContent = text;
    item.classList.toggle("grave", index < grave);
    details.querySelector("ul").append(item);
  }
}

// Beginning

function makePane(shown, index) {
  const section = sections[index];
  const pane = new Pane(section.querySelector("canvas"), shown, session.difference.colours, {
    point: (mm) => tell(mm ?? state.mm),
    leave: () => tell(state.mm),
    lost: () => complain("The graphics of this browser gave up, probably for lack of memory. Close "
      + "other pages and reload; or view fewer volumes, or start the viewer with a shrink of 2."),
  });
  bindGestures(pane, gestures);
  offerSteps(pane, section);
  listWarnings(shown, section);
  return pane;
}

async function begin() {
  if (!document.createElement("canvas").getContext("webgl2")) {
    throw new Error("This browser has no WebGL2, which the viewer draws with. Switch its hardware "
      + "acceleration on, or open the address in another browser.");
  }
  makeControls();
  allowDifference();
  offerScan();
  panes.push(...session.volumes.map(makePane));
  arrange();
  window.addEventListener("resize", arrange);
  listen();
  const first = session.volumes[0];
  state.mm = placeOf(first,
    voxelAt(first, state.mm) ?? first.shape.map((n) => Math.floor(n / 2)));
  atFirst = looked();
  setCrosshair(state.crosshair);
  setPlane(state.plane);
  setWindow(state.centre, state.width);
  setDifference(state.reference, state.limit);
  for (const index of panes.keys()) await fill(index);
  loading = "";
  show();
  await nextFrame();
  document.documentElement.dataset.ready = "yes";
}

// Load a volume, and draw it as the others are by now.
async function fill(index) {
  const pane = panes[index], section = sections[index], bar = section.querySelector("progress");
  loading = `loading ${pane.shown.name} (${index + 1} of ${panes.length})`;
  find("place").textContent = loading;
  await nextFrame();
  await pane.attach();
  await pane.load(pane.shown.file, (share) => { bar.value = share; });
  bar.remove();
  section.querySelector(".steps input").disabled = false;
  panes.forEach(draw);
  show();
  section.querySelector(".still")?.remove();
}

function listen() {
  const first = session.volumes[0];
  bindKeys({
    move: (slices) => goOn(null, slices),
    ends: (sign) => goOn(null, sign * Math.max(...first.shape)),
    plane: setPlane,
    window: (index) => setWindow(session.windows[index].centre, session.windows[index].width),
    difference: toggleDifference,
    reference: nextReference,
    data: windowOfData,
    crosshair: () => setCrosshair(!state.crosshair),
    layout: () => session.volumes.length > 2 && toggleLayout(),
    zoom: (factor) => gestures.zoom(factor, state.mm),
    middle: () => show({ mm: middleOf(first), zoom: 1, pan: [0, 0, 0] }),
    scan: () => session.scan && find("drawing").showModal(),
  });
}

begin().catch((error) => complain(error.message));
