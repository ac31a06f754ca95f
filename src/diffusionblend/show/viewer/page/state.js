// What is looked at, in the fragment of the address: a reload or a bookmark shows the same.

const PLANES = ["all", "axial", "coronal", "sagittal"];
let timer = 0;

// The part of the state that the fragment says, as far as it makes sense.
export function readState(session) {
  const words = new URLSearchParams(location.hash.slice(1)), state = {};
  const numbers = (name, count) => {
    const found = (words.get(name) ?? "").split(",").map(Number);
    return words.has(name) && found.length === count && found.every(Number.isFinite) ? found : null;
  };
  const mm = numbers("mm", 3), range = numbers("window", 2), limit = numbers("limit", 1);
  const reference = numbers("difference", 1), pan = numbers("pan", 3), zoom = numbers("zoom", 1);
  if (mm) state.mm = mm;
  if (pan && zoom && zoom[0] >= 1) Object.assign(state, { pan, zoom: zoom[0] });
  if (words.get("crosshair") === "off") state.crosshair = false;
  if (words.has("layout")) state.row = words.get("layout") === "row";
  if (PLANES.includes(words.get("plane"))) state.plane = words.get("plane");
  if (range && range[1] > 0) [state.centre, state.width] = range;
  if (reference && reference[0] in session.volumes) [state.reference] = reference;
  if (limit && limit[0] > 0) [state.limit] = limit;
  return state;
}

export function writeState(state) {
  clearTimeout(timer); // browsers refuse a hundred changes a second
  timer = setTimeout(() => {
    const words = [
      `mm=${state.mm.map((at) => Number(at.toFixed(2))).join()}`,
      `plane=${state.plane}`,
      `window=${state.centre},${state.width}`,
    ];
    if (state.zoom !== 1) {
      words.push(`zoom=${state.zoom.toFixed(3)}`, `pan=${state.pan.map((x) => x.toFixed(2)).join()}`);
    }
    if (!state.crosshair) words.push("crosshair=off");
    if (state.row !== null) words.push(`layout=${state.row ? "row" : "rows"}`);
    if (state.reference !== null) words.push(`difference=${state.reference}`, `limit=${state.limit}`);
    history.replaceState(null, "", `#${words.join("&")}`);
  }, 200);
}
