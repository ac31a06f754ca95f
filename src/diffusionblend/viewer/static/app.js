// Volumes side by side. One pane is one NiiVue; what is common to all is in `view`, and each change
// goes through `draw`. All panes look at one place, in millimetres.

const { Niivue, NVImage, SLICE_TYPE } = window.niivue;
const WINDOWS = { lung: [-600, 1500], soft: [40, 400], bone: [400, 1800], chest: [-300, 1400] };
const PLANES = {
  axial: SLICE_TYPE.AXIAL, coronal: SLICE_TYPE.CORONAL, sagittal: SLICE_TYPE.SAGITTAL,
  all: SLICE_TYPE.MULTIPLANAR,
};
// What slices of a plane are counted along: the axis of voxels, and where that begins.
const ALONG = {
  axial: ["axial", 2, "the foot"], coronal: ["coronal", 1, "the back"],
  sagittal: ["sagittal", 0, "the left"], all: ["axial", 2, "the foot"],
};
const KEYS = {
  a: () => setPlane("axial"), c: () => setPlane("coronal"), s: () => setPlane("sagittal"),
  m: () => setPlane("all"),
  1: () => setWindow(WINDOWS.lung), 2: () => setWindow(WINDOWS.soft),
  3: () => setWindow(WINDOWS.bone), 4: () => setWindow(WINDOWS.chest),
  d: nextReference, "[": () => moveStep(-1), "]": () => moveStep(1), "?": () => open("help"),
  ArrowUp: () => moveSlice(1), ArrowDown: () => moveSlice(-1),
  PageUp: () => moveSlice(10), PageDown: () => moveSlice(-10),
};

const $ = (id) => document.getElementById(id);
const panes = [];
const view = { plane: "axial", window: WINDOWS.chest, reference: null, step: null };
let facts;

class Pane {
  constructor(index, volume) {
    this.index = index;
    this.facts = volume;
    this.wanted = null; // the address of what is asked for
    this.shows = {}; // what is there
    this.box = document.createElement("section");
    this.box.className = "pane";
    this.box.setAttribute("aria-label", volume.name);
    this.name = this.box.appendChild(document.createElement("p"));
    this.name.className = "name";
    this.value = this.box.appendChild(document.createElement("p"));
    this.value.className = "value";
    this.canvas = this.box.appendChild(document.createElement("canvas"));
    this.canvas.tabIndex = 0;
    $("panes").append(this.box);
  }

  async start() {
    this.nv = new Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [0.42, 0.66, 0.96, 0.7], crosshairWidth: 1,
      isOrientCube: false, multiplanarShowRender: 0, dragAndDropEnabled: false,
      show3Dcrosshair: false, isRadiologicalConvention: true, logLevel: "silent",
    });
    this.nv.opts.sliceType = PLANES[view.plane];
    this.nv.addColormap("difference", colormap(facts.difference.colours));
    this.nv.onLocationChange = () => follow(this);
    await this.nv.attachToCanvas(this.canvas);
    this.nv.setInterpolation(true); // voxels as they are
    this.canvas.addEventListener("webglcontextlost", () =>
      tell("The browser has no memory left for these pictures. Show fewer volumes at once."));
    this.canvas.addEventListener("mousemove", (event) => point(this, event));
    this.canvas.addEventListener("mouseleave", () => report(this, crosshair(this)));
  }

  // What is to be shown: its address, its name, whether it is a difference.
  get asked() {
    const { index, facts: { name, alike, steps } } = this;
    if (view.reference !== null && alike.includes(view.reference)) {
      const from = facts.volumes[view.reference].name;
      return { address: `difference/${index}/${view.reference}.nii`, name: `${name} − ${from}`, difference: true };
    }
    if (steps.includes(view.step))
      return { address: `step/${index}/${view.step}.nii`, name: `${name}, step ${view.step}` };
    return { address: `volume/${index}.nii`, name };
  }

  async load() {
    const { asked, asked: { address } } = this;
    if (this.wanted === address) return;
    this.wanted = address;
    const place = this.nv.volumes.length ? crosshair(this) : null;
    const answer = await fetch(address);
    if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
    const buffer = await answer.arrayBuffer();
    const image = await NVImage.loadFromUrl({ url: buffer, name: "volume.nii", ...look(asked) });
    if (this.wanted !== address) return; // another was asked for meanwhile
    while (this.nv.volumes.length) this.nv.removeVolume(this.nv.volumes[0]);
    this.nv.addVolume(image);
    this.shows = asked;
    if (place) setCrosshair(this, place);
  }

  draw() {
    const volume = this.nv.volumes[0];
    const { cal_min, cal_max } = look(this.shows);
    if (volume.cal_min !== cal_min || volume.cal_max !== cal_max) {
      Object.assign(volume, { cal_min, cal_max });
      this.nv.updateGLVolume();
    }
    if (this.nv.opts.sliceType !== PLANES[view.plane]) this.nv.setSliceType(PLANES[view.plane]);
    this.name.textContent = this.shows.name;
  }

  // HU at a place in mm; null outside.
  at(mm) {
    const volume = this.nv.volumes[0];
    const voxel = Array.from(volume.mm2vox(mm)).slice(0, 3);
    const sizes = volume.dimsRAS.slice(1, 4);
    const inside = voxel.every((v, axis) => v >= 0 && v < sizes[axis]);
    return inside ? { hu: volume.getValue(...voxel), voxel } : null;
  }
}

// Colours of what is shown, by NiiVue's names.
function look({ difference }) {
  const [level, width] = difference ? [0, 2 * facts.difference.hu] : view.window;
  const colormap = difference ? "difference" : "gray";
  return { colormap, cal_min: level - width / 2, cal_max: level + width / 2 };
}

function colormap(colours) {
  const channel = (k) => colours.map((colour) => colour[k]);
  return { R: channel(0), G: channel(1), B: channel(2), A: colours.map(() => 255), I: colours.map((_, i) => i) };
}

// Where all look

const crosshair = (pane) => Array.from(pane.nv.frac2mm(pane.nv.scene.crosshairPos)).slice(0, 3);

function setCrosshair(pane, mm) {
  pane.nv.scene.crosshairPos = pane.nv.mm2frac(mm);
  pane.nv.drawScene();
}

function follow(pane) {
  if (!ready()) return;
  const mm = crosshair(pane);
  for (const other of panes) if (other !== pane) setCrosshair(other, mm);
  report(pane, mm);
}

function point(pane, event) {
  if (!ready()) return;
  const ratio = pane.canvas.width / pane.canvas.clientWidth;
  const frac = pane.nv.canvasPos2frac([event.offsetX * ratio, event.offsetY * ratio]);
  if (frac[0] >= 0) report(pane, Array.from(pane.nv.frac2mm(frac)).slice(0, 3));
}

function report(pane, mm) {
  for (const each of panes) {
    const found = each.at(mm);
    each.value.textContent = found === null ? "outside" : `${Math.round(found.hu)} HU`;
  }
  const [name, axis, side] = ALONG[view.plane];
  const voxel = pane.at(mm)?.voxel;
  const count = pane.nv.volumes[0].dimsRAS[axis + 1];
  const slice = voxel ? `, ${name} slice ${voxel[axis] + 1} of ${count} from ${side}` : "";
  $("place").textContent = `x ${mm[0].toFixed(1)}, y ${mm[1].toFixed(1)}, z ${mm[2].toFixed(1)} mm${slice}`;
}

const ready = () => panes.every((pane) => pane.nv?.volumes.length);

function moveSlice(by) {
  if (!ready()) return;
  const steps = [0, 0, 0];
  steps[ALONG[view.plane][1]] = by;
  panes[0].nv.moveCrosshairInVox(...steps);
  follow(panes[0]);
}

// What all show

function setPlane(plane) { view.plane = plane; draw(); }
function setWindow(window) { view.window = window; draw(); }
async function setReference(reference) { view.reference = reference; await load(); }
async function setStep(step) { view.step = step; await load(); }

function nextReference() {
  const able = facts.volumes.map((_, i) => i).filter((i) => facts.volumes.some((v) => v.alike.includes(i)));
  const next = able[able.indexOf(view.reference) + 1];
  return setReference(view.reference === null ? able[0] ?? null : next ?? null);
}

const stepsOf = () => [...new Set(facts.volumes.flatMap((v) => v.steps))].sort((a, b) => a - b);

function moveStep(by) {
  const steps = [...stepsOf(), null];
  const now = steps.indexOf(view.step);
  return setStep(steps[Math.min(Math.max(now + by, 0), steps.length - 1)]);
}

async function load() {
  // One after another: two volumes at once would need twice the memory.
  for (const pane of panes) await pane.load();
  draw();
}

function draw() {
  if (!ready()) return;
  for (const pane of panes) pane.draw();
  report(panes[0], crosshair(panes[0]));
  for (const button of document.querySelectorAll("[data-plane]"))
    button.setAttribute("aria-pressed", button.dataset.plane === view.plane);
  for (const button of document.querySelectorAll("[data-window]"))
    button.setAttribute("aria-pressed", String(WINDOWS[button.dataset.window]) === String(view.window));
  [$("level").value, $("width").value] = view.window;
  $("reference").value = view.reference ?? "";
  $("scale").hidden = view.reference === null;
  const steps = [...stepsOf(), null];
  $("step").value = steps.indexOf(view.step);
  $("step-name").textContent = view.step ?? "end";
  document.body.dataset.state = "drawn";
}

// The page

function tell(problem) {
  $("problem").textContent = problem;
  $("problem").hidden = false;
}

function open(name) {
  const dialog = $(`${name}-dialog`);
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

function listen() {
  for (const button of document.querySelectorAll("[data-plane]"))
    button.addEventListener("click", () => setPlane(button.dataset.plane));
  for (const button of document.querySelectorAll("[data-window]"))
    button.addEventListener("click", () => setWindow(WINDOWS[button.dataset.window]));
  for (const id of ["level", "width"])
    $(id).addEventListener("change", () => {
      const [level, width] = [Number($("level").value), Number($("width").value)];
      if (Number.isFinite(level) && width > 0) setWindow([level, width]);
    });
  $("reference").addEventListener("change", (event) =>
    setReference(event.target.value === "" ? null : Number(event.target.value)).catch(failed));
  $("step").addEventListener("input", (event) =>
    setStep([...stepsOf(), null][event.target.value]).catch(failed));
  for (const name of ["scan", "help"]) $(`${name}-button`).addEventListener("click", () => open(name));
  // Before NiiVue, which has keys of its own.
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    const act = KEYS[event.key];
    if (typing || !act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    Promise.resolve(act()).catch(failed);
  }, { capture: true });
}

function furnish() {
  facts.volumes.forEach((volume, index) => {
    if (facts.volumes.some((other) => other.alike.includes(index)))
      $("reference").append(new Option(volume.name, index));
  });
  $("reference").closest(".group").hidden = $("reference").options.length < 2;
  $("sampling").hidden = stepsOf().length === 0;
  $("step").max = stepsOf().length;
  $("scan-button").hidden = !facts.scan;
  if (facts.scan) $("scan-picture").src = "scan.png";
  const { hu, colours } = facts.difference;
  [$("scale-low").textContent, $("scale-high").textContent] = [`−${hu}`, `+${hu} HU`];
  const context = $("scale-bar").getContext("2d");
  colours.forEach((colour, x) => {
    context.fillStyle = `rgb(${colour.join(",")})`;
    context.fillRect(x, 0, 1, 1);
  });
}

function failed(error) {
  tell(`A volume could not be shown (${error.message}). Show fewer volumes at once, or look at the terminal.`);
}

// Say why before the browser fails.
function able() {
  const context = document.createElement("canvas").getContext("webgl2");
  if (!context) return "This browser has no WebGL 2. Take another, or switch graphics acceleration on.";
  const most = context.getParameter(context.MAX_3D_TEXTURE_SIZE);
  context.getExtension("WEBGL_lose_context")?.loseContext();
  const large = facts.volumes.find((volume) => Math.max(...volume.shape) > most);
  return large ? `${large.name} has more than ${most} voxels a side, the most that this browser shows.` : null;
}

async function start() {
  facts = await (await fetch("facts.json")).json();
  const problem = able();
  if (problem) return tell(problem);
  const count = facts.volumes.length;
  $("panes").style.setProperty("--columns", count < 4 ? count : Math.ceil(count / 2));
  furnish();
  listen();
  facts.volumes.forEach((volume, index) => panes.push(new Pane(index, volume)));
  for (const pane of panes) await pane.start();
  await load();
}

window.viewer = { panes, view, report }; // for those who look under the bonnet, and for tests
start().catch(failed);
