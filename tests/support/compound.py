"""Compound files (OLE, MS-CFB version 3), written as the documentation of the format says."""

import struct

SECTOR, MINI, CUTOFF = 512, 64, 4096
FREE, END, FAT = 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFFFFFD


def write_compound(path, streams):
    """Write streams, given by their place in storages (`A/B`), as bytes."""
    tree = [("Root Entry", 5, -1, b"")]
    for place, held in streams.items():
        parent = 0
        *storages, name = place.split("/")
        for storage in storages:
            known = next(
                (i for i, e in enumerate(tree) if e[:3] == (storage, 1, parent)), len(tree)
            )
            if known == len(tree):
                tree.append((storage, 1, parent, b""))
            parent = known
        tree.append((name, 2, parent, held))
    minis = b"".join(padded(e[3], MINI) for e in tree if e[1] == 2 and len(e[3]) < CUTOFF)
    mini_fat = chained([len(e[3]) for e in tree if e[1] == 2 and len(e[3]) < CUTOFF], MINI)
    parts = [minis] + [e[3] for e in tree if e[1] == 2 and len(e[3]) >= CUTOFF]
    parts += [b"".join(struct.pack("<I", n) for n in mini_fat), bytes(128 * len(tree))]
    starts, fat = [], []
    for part in parts:
        starts.append(len(fat) if part else END)
        fat += [n + len(fat) if n < END else n for n in chained([len(part)], SECTOR)]
    fat_sectors = 1
    while (len(fat) + fat_sectors) * 4 > fat_sectors * SECTOR:
        fat_sectors += 1
    at = len(fat)
    fat += [FAT] * fat_sectors
    parts[-1] = directory(tree, starts, len(minis))
    body = b"".join(padded(part, SECTOR) for part in parts)
    body += padded(b"".join(struct.pack("<I", n) for n in fat), fat_sectors * SECTOR, 0xFF)
    blocks = len(padded(parts[-2], SECTOR)) // SECTOR
    head = struct.pack(
        "<8s16x5H6x9I", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0x3E, 3, 0xFFFE, 9, 6, 0,
        fat_sectors, starts[-1], 0, CUTOFF, starts[-2], blocks, END, 0,
    )  # fmt: skip
    heads = [*range(at, at + fat_sectors)] + [FREE] * (109 - fat_sectors)
    path.write_bytes(head + struct.pack("<109I", *heads) + body)
    return path


def directory(tree, starts, mini_bytes):
    """Return the entries: of each storage the first child, of each child the next one beside it."""
    found, mini, large = b"", 0, iter(starts[1:-2])
    for index, (name, kind, _, held) in enumerate(tree):
        children = [i for i, e in enumerate(tree) if e[2] == index]
        beside = [i for i, e in enumerate(tree) if e[2] == tree[index][2] and i > index]
        start, size = (starts[0], mini_bytes) if index == 0 else (0, len(held))
        if kind == 2:
            start, mini = (mini, mini + -(-size // MINI)) if size < CUTOFF else (next(large), mini)
        text = (name + "\0").encode("utf-16-le")
        found += struct.pack(
            "<64sHBBIII16xI8x8xIQ", text, len(text), kind, 1, FREE,
            beside[0] if beside and index else FREE, children[0] if children else FREE, 0, start,
            size,
        )  # fmt: skip
    return found


def chained(sizes, unit):
    """Return the table of sectors for streams that lie one behind the other."""
    table = []
    for size in sizes:
        number = -(-size // unit)
        table += [len(table) + k + 1 for k in range(number - 1)] + [END] * (number > 0)
    return table


def padded(held, unit, by=0):
    return held + bytes([by]) * (-len(held) % unit)
