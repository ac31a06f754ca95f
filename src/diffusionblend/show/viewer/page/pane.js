// One volume on one canvas, drawn by NiiVue.

import { Niivue, NVImage } from "./niivue/index.js";
import { valueAt, voxelAt } from "./places.js";

const HEADER_BYTES = 352;
const SLICE_TYPES = { axial: 0, coronal: 1, sagittal: 2, all: 3 };
const PLANES = ["axial", "coronal", "sagittal"]; // in NiiVue's order
const OPTIONS = {
  logLevel: "error",
  dragAndDropEnabled: false,
  interactive: false, // its gestures change one pane alone; ours are in gestures.js
  isNearestInterpolation: true, // a voxel is a voxel: smoothing would hide noise and jumps along z
  isRadiologicalConvention: true,
  sagittalNoseLeft: true, // as in the report
  isAntiAlias: false,
  multiplanarShowRender: 0,
  multiplanarPadPixels: 2,
  crosshairColor: [0.98, 0.72, 0.2, 0.9],
  crosshairWidthUnit: "percent",
  fontColor: [0.75, 0.78, 0.82, 1],
  loadingText: "",
};
const CROSSHAIR_PERCENT = 0.6;
const GREY = { R: [0, 255], G: [0, 255], B: [0, 255], A: [255, 255], I: [0, 255] };
const OUT_OF_MEMORY = 0x0505;
const GRADIENT_UNITS = [33990, 33992]; // of NiiVue's textures for light on surfaces

export class Pane {
  #nv = new Niivue(OPTIONS);
  #image = null;
  #drawn = "";
  #colours;

  // shown: what session.json says of the volume; on: {point, leave, lost}, called with mm.
  constructor(canvas, shown, colours, on) {
    Object.assign(this, { canvas, shown, hu: null, difference: null });
    this.#colours = colours;
    withoutGradients(this.#nv);
    canvas.addEventListener("mousemove", (event) =>
      on.point(this.placeAt([event.offsetX, event.offsetY])));
    canvas.addEventListener("mouseleave", () => on.leave());
    canvas.addEventListener("webglcontextlost", () => on.lost());
  }

  async attach() {
    await this.#nv.attachToCanvas(this.canvas, false);
    this.#nv.addColormap("grey-window", GREY);
    this.#nv.addColormap("difference", difference(this.#colours));
    const most = this.#nv.gl.getParameter(this.#nv.gl.MAX_3D_TEXTURE_SIZE);
    if (Math.max(...this.shown.shape) > most) {
      throw new Error(`${this.shown.name} has ${this.shown.shape.join(" x ")} voxels; the graphics `
        + `of this browser take ${most} a side; start the viewer with a shrink of 2 or more`);
    }
  }

  // Load a file of the server: the volume itself, or that of a step, on the same grid.
  // came: is told the share that has come.
  async load(file, came = () => {}) {
    const response = await fetch(file);
    if (!response.ok) throw new Error(`${this.shown.name}: ${(await response.text()).trim()}`);
    const buffer = await whole(response, came);
    this.hu = new Int16Array(buffer, HEADER_BYTES);
    this.file = file;
    this.#image ??= await NVImage.new(buffer, `${this.shown.name}.nii`, "grey-window");
  }

  // Draw the values in a window, or their difference from a reference; ranges [low, high] in HU.
  draw(range, reference, limit) {
    if (!this.#image) return;
    const differs = reference !== null && reference !== this;
    if (differs && !reference.hu) return; // it has not come yet
    const [low, high] = differs ? [-limit, limit] : range;
    const drawn = [this.file, differs ? reference.file : "", low, high].join();
    if (drawn === this.#drawn) return;
    this.difference = differs ? minus(this.hu, reference.hu) : null;
    Object.assign(this.#image, {
      img: this.difference ?? this.hu,
      colormap: differs ? "difference" : "grey-window",
      cal_min: low,
      cal_max: high,
    });
    if (this.#drawn) this.#nv.updateGLVolume();
    else this.#nv.addVolume(this.#image);
    this.#drawn = drawn;
    if (this.#nv.gl.getError() === OUT_OF_MEMORY) {
      throw new Error(`${this.shown.name}: the graphics of this browser have no memory left; `
        + "view fewer volumes, or start the viewer with a shrink of 2");
    }
  }

  setPlane(plane) {
    this.#nv.setSliceType(SLICE_TYPES[plane]);
  }

  // Show a place, with or without lines through it: x mm lie at zoom * x + pan.
  show({ mm, crosshair, zoom, pan }) {
    if (!this.#drawn) return;
    this.#nv.opts.crosshairWidth = crosshair ? CROSSHAIR_PERCENT : 0;
    this.#nv.scene.crosshairPos = this.#nv.mm2frac(mm);
    this.#nv.setPan2Dxyzmm([...pan, zoom]); // and draws
  }

  // HU, difference in HU if one is drawn, and voxel at a place; null outside.
  at(mm) {
    const voxel = this.hu && voxelAt(this.shown, mm);
    if (!voxel) return null;
    const delta = this.difference && valueAt(this.shown, this.difference, voxel);
    return { hu: valueAt(this.shown, this.hu, voxel), delta, voxel };
  }

  // The place in mm under a pixel [right, down] of the canvas; null beside the slices.
  placeAt(pixel) {
    if (!this.#drawn) return null;
    const frac = this.#nv.canvasPos2frac(this.#onCanvas(pixel));
    return frac[0] < 0 ? null : [...this.#nv.frac2mm(frac)].slice(0, 3);
  }

  // The plane that is drawn at a pixel; null beside the slices.
  planeAt(pixel) {
    const tile = this.#nv.tileIndex(...this.#onCanvas(pixel));
    return tile < 0 ? null : PLANES[this.#nv.screenSlices[tile].axCorSag];
  }

  #onCanvas([right, down]) {
    return [right * this.#nv.uiData.dpr, down * this.#nv.uiData.dpr];
  }
}

// All bytes of an answer; came is told the share that is there.
async function whole(response, came) {
  const all = new Uint8Array(Number(response.headers.get("Content-Length")));
  const reader = response.body.getReader();
  for (let length = 0; ;) {
    const { done, value } = await reader.read();
    if (done) return all.buffer;
    all.set(value, length);
    length += value.length;
    came(length / all.length);
  }
}

// NiiVue computes gradients of every volume, for light on surfaces, which slices do not have: two
// textures as large as the volume, and two thirds of the time. Let them have one pixel a slice.
function withoutGradients(nv) {
  const make = nv.rgbaTex.bind(nv);
  nv.rgbaTex = (texture, unit, dims, clear) =>
    make(texture, unit, GRADIENT_UNITS.includes(unit) ? [dims[0], 1, 1, dims[3]] : dims, clear);
}

function minus(values, reference) {
  const result = new Int16Array(values.length);
  for (let i = 0; i < values.length; i++) {
    result[i] = Math.min(Math.max(values[i] - reference[i], -32768), 32767);
  }
  return result;
}

function difference(colours) {
  const parts = [0, 1, 2].map((part) => colours.map((colour) => colour[part]));
  const places = colours.map((_, index) => Math.round((index * 255) / (colours.length - 1)));
  return { R: parts[0], G: parts[1], B: parts[2], A: colours.map(() => 255), I: places };
}
