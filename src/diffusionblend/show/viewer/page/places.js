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
