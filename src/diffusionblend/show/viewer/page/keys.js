// The keyboard, and the list of it under `?`.

const PLANES = { m: "all", a: "axial", c: "coronal", s: "sagittal" };
const LIST = [
  ["Up, Right", "next slice: to the head, the front or the right"],
  ["Down, Left", "previous slice"],
  ["PageUp, PageDown", "ten slices forward, back"],
  ["Home, End", "first slice, last slice"],
  ["m", "all three planes (multi)"],
  ["a, c, s", "axial, coronal, sagittal"],
  ["1, 2, 3", "lung, soft tissue, bone"],
  ["4", "window fitted to the values of the first volume"],
  ["+, -", "zoom in, zoom out"],
  ["x", "crosshair on, off"],
  ["l", "three volumes or more: in one row, or in several"],
  ["d", "difference on, off"],
  ["r", "difference from the next volume"],
  ["0", "crosshair to the middle, and the whole picture"],
  ["g", "the scan: geometry and sinogram"],
  ["?", "these keys"],
  ["Esc", "close"],
];

// actions: {move, ends, plane, window, data, zoom, crosshair, layout, difference, reference,
// middle, scan}.
export function bindKeys(actions) {
  const dialog = document.getElementById("keys"), table = dialog.querySelector("table");
  for (const [keys, meaning] of LIST) {
    const row = table.insertRow(), head = document.createElement("th");
    head.textContent = keys;
    row.append(head);
    row.insertCell().textContent = meaning;
  }
  const help = () => dialog.showModal();
  document.getElementById("help").addEventListener("click", help);
  const does = {
    ArrowUp: () => actions.move(1), ArrowRight: () => actions.move(1),
    ArrowDown: () => actions.move(-1), ArrowLeft: () => actions.move(-1),
    PageUp: () => actions.move(10), PageDown: () => actions.move(-10),
    Home: () => actions.ends(-1), End: () => actions.ends(1),
    1: () => actions.window(0), 2: () => actions.window(1), 3: () => actions.window(2),
    4: actions.data, x: actions.crosshair, l: actions.layout,
    "+": () => actions.zoom(1.25), "=": () => actions.zoom(1.25), "-": () => actions.zoom(0.8),
    d: actions.difference, r: actions.reference, 0: actions.middle, g: actions.scan, "?": help,
  };
  for (const [key, plane] of Object.entries(PLANES)) does[key] = () => actions.plane(plane);
  const moves = (key) => /^(Arrow|Page|Home|End)/.test(key);
  const types = ({ target, key }) =>
    target.matches("input[type=range]") ? moves(key) : target.matches("input, select, dialog *");
  window.addEventListener("keydown", (event) => {
    if (["Enter", "Escape"].includes(event.key) && event.target.matches("input")) {
      event.target.blur(); // the value is taken, and the keys are the viewer's again
    }
    if (event.ctrlKey || event.metaKey || event.altKey || types(event)) return;
    const action = does[event.key];
    if (!action || document.querySelector("dialog[open]")) return;
    event.preventDefault();
    action();
  });
}
