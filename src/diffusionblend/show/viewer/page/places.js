// Where voxels lie. A volume's grid is straight: first_mm + index * step_mm along each axis.

export const AXES = { sagittal: 0, coronal: 1, axial: 2 };

// The voxel nearest to a place [x, y, z] in mm, or null if the place is outside.
export function voxelAt(shown, mm) {
  const voxel = mm.map((at, axis) => Math.round((at - shown.firstMm[axis]) / shown.stepMm[axis]));
  return voxel.every((index, axis) => index >= 0 && index < shown.shape[axis]) ? voxel : null;
}

// The place of the centre of a voxel; indices beyond the ends are those of the ends.
export function placeOf(shown, voxel) {
  return voxel.map((index, axis) => {
    const inside = Math.min(Math.max(index, 0), shown.shape[axis] - 1);
    return shown.firstMm[axis] + inside * shown.stepMm[axis];
  });
}

// The place so many slices further along an axis; further is to the right, front or head.
export function moved(shown, mm, axis, slices) {
  const next = [...mm];
  const index = Math.round((mm[axis] - shown.firstMm[axis]) / shown.stepMm[axis]);
  const voxel = [0, 0, 0];
  voxel[axis] = index + slices * Math.sign(shown.stepMm[axis]);
  next[axis] = placeOf(shown, voxel)[axis];
  return next;
}

export function middleOf(shown) {
  return placeOf(shown, shown.shape.map((count) => Math.floor(count / 2)));
}

export function valueAt(shown, values, voxel) {
  const [columns, rows] = shown.shape;
  return values[voxel[0] + columns * (voxel[1] + rows * voxel[2])];
}

// Whether the voxels of two volumes lie on one another, to a hundredth of a voxel.
export function sameGrid(a, b) {
  return [0, 1, 2].every((axis) => {
    const size = Math.abs(a.stepMm[axis]) / 100;
    const last = a.shape[axis] - 1;
    const apart = a.firstMm[axis] - b.firstMm[axis];
    const apartAtTheEnd = apart + last * (a.stepMm[axis] - b.stepMm[axis]);
    return a.shape[axis] === b.shape[axis]
      && Math.abs(apart) < size && Math.abs(apartAtTheEnd) < size;
  });
}

// The slice of a plane at a place, counted from 1 in the direction that Up goes, and their number.
export function sliceAt(shown, mm, plane) {
  const axis = AXES[plane], count = shown.shape[axis];
  const index = Math.round((mm[axis] - shown.firstMm[axis]) / shown.stepMm[axis]);
  const inside = Math.min(Math.max(index, 0), count - 1);
  return [shown.stepMm[axis] > 0 ? inside + 1 : count - inside, count];
}

// A view so many times as large, about a place that stays where it is: x mm lie at zoom * x + pan.
const CLOSEST = 20;
export function zoomed({ zoom, pan }, factor, mm) {
  const next = Math.min(Math.max(zoom * factor, 1), CLOSEST);
  if (next === 1) return { zoom: 1, pan: [0, 0, 0] };
  return { zoom: next, pan: pan.map((at, axis) => at + (zoom - next) * mm[axis]) };
}

// The window that all but the darkest and the brightest hundredth of the values lie in.
const LOOKED_AT = 100_000, LEFT_OUT = 0.01;
export function windowOf(values) {
  const every = Math.ceil(values.length / LOOKED_AT);
  const some = values.filter((_, index) => index % every === 0).sort();
  const [low, high] = [LEFT_OUT, 1 - LEFT_OUT].map((share) => some[Math.floor(share * (some.length - 1))]);
  return { centre: (low + high) / 2, width: Math.max(high - low, 1) };
}
