// Mouse, wheel and fingers on a pane. All of them act on every pane at once; NiiVue's own gestures,
// which change one pane alone, are switched off (`interactive: false` in pane.js).

const LEFT = 1, RIGHT = 2, MIDDLE = 4;
const NOTCH_PX = 50, LINE_PX = 34; // of the wheel: a slice, and what browsers call a line
const ZOOM_PER_PX = 1 / 300;

// actions, with places in mm and lengths in pixels:
//   {place(mm), slices(plane, count), window(right, down), zoom(factor, mm), pan(from, to), whole()}
export function bindGestures(pane, actions) {
  const { canvas } = pane, fingers = new Map();
  let turned = 0;

  const middle = () => {
    const all = [...fingers.values()];
    return [0, 1].map((axis) => all.reduce((sum, at) => sum + at[axis], 0) / all.length);
  };
  const apart = () => {
    const [a, b] = fingers.values();
    return Math.hypot(a[0] - b[0], a[1] - b[1]);
  };
  const at = (event) => [event.offsetX, event.offsetY];
  const moveCrosshair = (event) => {
    const mm = pane.placeAt(at(event));
    if (mm) actions.place(mm);
  };
  const pan = (from, to) => {
    const [a, b] = [pane.placeAt(from), pane.placeAt(to)];
    if (a && b) actions.pan(a, b);
  };
  const pinch = (event) => {
    const [before, distance] = [middle(), apart()];
    fingers.set(event.pointerId, at(event));
    pan(before, middle());
    const mm = pane.placeAt(middle());
    if (mm && distance > 0) actions.zoom(apart() / distance, mm);
  };

  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, at(event));
    if (event.button === 1) event.preventDefault(); // no scrolling by itself
    if (event.buttons === LEFT && !event.shiftKey && fingers.size === 1) moveCrosshair(event);
  });
  canvas.addEventListener("pointermove", (event) => {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    if (fingers.size === 2) return pinch(event);
    const now = at(event);
    fingers.set(event.pointerId, now);
    if (event.buttons & RIGHT) actions.window(now[0] - before[0], now[1] - before[1]);
    else if (event.buttons & MIDDLE || (event.buttons & LEFT && event.shiftKey)) pan(before, now);
    else if (event.buttons & LEFT) moveCrosshair(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (!event.buttons) fingers.delete(event.pointerId);
    });
  }
  canvas.addEventListener("dblclick", () => actions.whole());
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const down = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? LINE_PX : 1);
    if (event.ctrlKey) { // which is also what a pinch on a touch pad is told as
      const mm = pane.placeAt(at(event));
      if (mm) actions.zoom(Math.exp(-down * ZOOM_PER_PX), mm);
      return;
    }
    turned += down;
    if (Math.abs(turned) < NOTCH_PX) return;
    actions.slices(pane.planeAt(at(event)), -Math.sign(turned)); // down is towards the feet
    turned = 0;
  }, { passive: false });
}
