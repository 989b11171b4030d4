"""Find the same photo turned, mirrored, rescaled, recompressed or lightly cropped, from thumbnails.

1. A signature of low frequencies that is the same in all eight orientations: for each pair of DCT coefficients (u, v)
   and (v, u), the larger and the smaller magnitude. Mirroring changes signs only, a quarter turn also swaps u and v.
   So two photos are at most as far apart by signature as in their best orientation, and no copy is missed by it.
2. Photos whose signatures are near, and are so in one of the eight orientations, are candidates. Signatures are looked
   up in an inverted file, so that the work grows with the number of photos, not with its square.
3. Candidates are registered (:mod:`edgetl.data.alignment`) and compared. What all photos share does not count.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from edgetl.data.alignment import Agreement, Array, agreement, agreement_of_shapes

SIDE = 32
# More copies of a photo than 8 orientations in a few sizes are something else: frames of a fixed camera, one template.
MOST_COPIES = 32

_FREQUENCIES = 6
# Between the signatures of photos, which have unit norm. On photos of flowers, food and waste, copies that are turned,
# scaled or recompressed were under 0.05; those that lost up to a tenth of each side were under 0.36 in 99 of 100 cases.
_SIGNATURE_RADIUS = 0.36
_ORIENTED_RADIUS = 0.6
# Only the nearest candidates of each photo are looked at and registered, so that this work grows with the number of
# photos also where all look alike.
_NEAREST_SIGNATURES = 32
_NEAREST_ORIENTED = 4
# Copies of the same sets that had lost up to a tenth of each side: whole over 0.93 and detail over 0.84 in 99 of 100;
# the most alike of unlike photos: 0.95 and 0.57.
_LEAST_WHOLE = 0.9
_LEAST_DETAIL = 0.75
_LEAST_OVERLAP = 0.75
# Correlation of large shapes alone: of copies of the same sets that are found, 99 of 100 are over 0.97; of unlike
# candidates half are under 0.95, of drawn ones nine in ten.
_LEAST_SHAPES = 0.95
# Where pixels fit so well that registration could not improve them, and details do not: the same scene, another photo.
_IN_PLACE = 0.97
_OTHER_DETAIL = 0.5
# Pixels of one brightness, within rounding, are no evidence.
_FLAT = 1.0
# Photos a cell, on average and at most, and the number of cells that each is compared with.
_CELL = 256
_MOST_CELL = 4 * _CELL
_CELLS_NEAR = 32
_BLOCK_BYTES = 1 << 25
_PAIRS_AT_ONCE = 256
_ORIENTATIONS = 8


def near_duplicates(
    thumbnails: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]
) -> tuple[list[list[int]], list[list[int]]]:
    """Return groups of copies of one photo, and groups that are too large to be that, as sorted positions in ``rows``.

    Args:
        thumbnails: Whole photos stretched to squares of grey, uint8 [n, 32, 32]; may be a memory map.
        rows: The photos to compare.
    """
    groups = connected(find_pairs(thumbnails, rows))
    return [one for one in groups if len(one) <= MOST_COPIES], [one for one in groups if len(one) > MOST_COPIES]


def find_pairs(thumbnails: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return pairs of near-duplicates as positions in ``rows``, the smaller first, sorted."""
    spectra = _spectra(thumbnails, rows)
    usable = np.flatnonzero(np.abs(spectra).sum((1, 2)) > 0)
    if len(usable) < 2:
        return []
    shared = _shared(thumbnails, rows[usable])
    found: set[tuple[int, int]] = set()
    waiting: list[npt.NDArray[np.int64]] = []
    for candidates in _candidates(_signatures(spectra[usable]), spectra[usable]):
        waiting.append(candidates)
        if sum(map(len, waiting)) >= _PAIRS_AT_ONCE:
            found |= _confirmed(thumbnails, rows[usable], np.concatenate(waiting), shared)
            waiting = []
    if waiting:
        found |= _confirmed(thumbnails, rows[usable], np.concatenate(waiting), shared)
    places = usable.tolist()
    return sorted((places[one], places[other]) for one, other in found)


def connected(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected components of pairs, each sorted, in order of their first member."""
    parent: dict[int, int] = {}

    def root(one: int) -> int:
        while parent.setdefault(one, one) != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for first, second in pairs:
        parent[root(second)] = root(first)
    groups: dict[int, list[int]] = defaultdict(list)
    for one in sorted(parent):
        groups[root(one)].append(one)
    return sorted(groups.values())


def _spectra(thumbnails: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Array:
    """Return the lowest DCT coefficients of each photo, of unit norm without the mean, float32 [photos, 6, 6].

    They are 0 for a photo without light and dark.
    """
    basis = _cosines(SIDE)[:_FREQUENCIES]
    spectra = np.empty((len(rows), _FREQUENCIES, _FREQUENCIES), np.float32)
    for block in _blocks(len(rows), SIDE * SIDE * 16):
        grey = thumbnails[rows[block]].astype(np.float32)
        flat = grey.std((1, 2)) < _FLAT
        part = basis @ grey @ basis.T
        part[:, 0, 0] = 0
        norm = np.sqrt((part**2).sum((1, 2)))
        flat |= norm < _FLAT
        part[flat], norm[flat] = 0, 1
        spectra[block] = part / norm[:, None, None]
    return spectra


def _signatures(spectra: Array) -> Array:
    """Return what all eight orientations of a photo have in common, float32 [photos, 35]."""
    size = np.abs(spectra)
    across = np.swapaxes(size, 1, 2)
    u, v = np.triu_indices(_FREQUENCIES, 1)
    larger, smaller = np.maximum(size, across)[:, u, v], np.minimum(size, across)[:, u, v]
    return np.concatenate([np.diagonal(size, axis1=1, axis2=2)[:, 1:], larger, smaller], 1)


def _candidates(signatures: Array, spectra: Array) -> Iterator[npt.NDArray[np.int64]]:
    """Yield pairs that are near in one of the eight orientations, with it: int64 [pairs, 3]; some of them twice."""
    norm = (signatures**2).sum(1)
    for rows, columns in _neighbourhoods(signatures):
        for block in _blocks(len(rows), 4 * len(columns)):
            mine = rows[block]
            squared = norm[mine, None] + norm[None, columns] - 2 * signatures[mine] @ signatures[columns].T
            near = (squared < _SIGNATURE_RADIUS**2) & (mine[:, None] != columns)
            for row in np.flatnonzero(near.sum(1) > _NEAREST_SIGNATURES):
                members = np.flatnonzero(near[row])
                far = members[np.argpartition(squared[row, members], _NEAREST_SIGNATURES)[_NEAREST_SIGNATURES:]]
                near[row, far] = False
            first, second = np.nonzero(near)
            if len(first):
                yield _oriented(mine[first], columns[second], spectra)


def _neighbourhoods(signatures: Array) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Yield photos and those to compare them with, as positions: each photo once among the former.

    An inverted file (Sivic and Zisserman, "Video Google", 2003): each photo is put into the cell of the nearest of some
    signatures, and compared with those in the cells nearest to its own, so that the work grows with the number of
    photos. Up to some 8,000 photos (256 a cell, 32 cells), all are compared with all.
    """
    count = max(1, len(signatures) // _CELL)
    centres = signatures[np.random.default_rng(0).permutation(len(signatures))[:count]]
    cell = np.empty(len(signatures), np.int64)
    half = (centres**2).sum(1) / 2
    for block in _blocks(len(signatures), 4 * count):
        cell[block] = (half - signatures[block] @ centres.T).argmin(1)
    order = np.argsort(cell, kind="stable")
    cells = np.split(order, np.searchsorted(cell[order], np.arange(1, count)))
    # Many photos of one signature are cut into several cells.
    parts = [(one, part) for one, all_ in enumerate(cells) for part in _parts(all_)]
    centre_of = np.array([one for one, _ in parts])
    for place, (one, mine) in enumerate(parts):
        distance = (half - centres @ centres[one])[centre_of]
        distance[place] = -np.inf  # its own photos come first
        near = np.argsort(distance, kind="stable")[:_CELLS_NEAR]
        yield mine, np.concatenate([parts[other][1] for other in near])


def _parts(members: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    return [members[start : start + _MOST_CELL] for start in range(0, len(members), _MOST_CELL)]


def _oriented(first: npt.NDArray[np.int64], second: npt.NDArray[np.int64], spectra: Array) -> npt.NDArray[np.int64]:
    """Keep the nearest pairs that are near in an orientation of the first one; return both and that orientation."""
    distance = np.stack(
        [np.sqrt(((turned - spectra[second]) ** 2).sum((1, 2))) for turned in _turned_spectra(spectra[first])], 1
    )
    best, nearest = distance.argmin(1), distance.min(1)
    # By first photo, then by distance: the rank of each pair among those of its first photo.
    order = np.lexsort((nearest, first))
    first, second, best, nearest = first[order], second[order], best[order], nearest[order]
    starts = np.flatnonzero(np.append(True, first[1:] != first[:-1]))
    rank = np.arange(len(first)) - np.repeat(starts, np.diff(np.append(starts, len(first))))
    pairs = np.stack([first, second, best], 1)
    kept: npt.NDArray[np.int64] = pairs[(nearest < _ORIENTED_RADIUS) & (rank < _NEAREST_ORIENTED)]
    return kept


def _turned_spectra(spectra: Array) -> Iterator[Array]:
    """Yield spectra in the eight orientations, in the order of :func:`_turned`: odd frequencies change their sign."""
    signs = np.where(np.arange(_FREQUENCIES) % 2, -1, 1).astype(np.float32)
    for orientation in range(_ORIENTATIONS):
        transposed, down, across = orientation & 4, orientation & 2, orientation & 1
        part = np.swapaxes(spectra, 1, 2) if transposed else spectra
        part = part * signs[:, None] if down else part
        yield part * signs if across else part


def _turned(pictures: Array, orientations: npt.NDArray[np.int64]) -> Array:
    """Return each picture in its orientation: transposed (4), then upside down (2), then mirrored (1)."""
    turned = pictures.copy()
    for orientation in range(1, _ORIENTATIONS):
        mine = orientations == orientation
        part = np.swapaxes(pictures[mine], 1, 2) if orientation & 4 else pictures[mine]
        part = part[:, ::-1] if orientation & 2 else part
        turned[mine] = part[:, :, ::-1] if orientation & 1 else part
    return turned


def _confirmed(
    thumbnails: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int64],
    shared: Array,
) -> set[tuple[int, int]]:
    """Return the pairs that agree after registration, as positions in ``rows``, the smaller first."""
    found: set[tuple[int, int]] = set()
    for start in range(0, len(candidates), _PAIRS_AT_ONCE):
        first, second, orientation = candidates[start : start + _PAIRS_AT_ONCE].T
        pictures, others = _turned(_standard(thumbnails[rows[first]]), orientation), _standard(thumbnails[rows[second]])
        # The first look takes a fraction of the time, and most candidates are unlike.
        alike = np.flatnonzero(agreement_of_shapes(pictures, others) >= _LEAST_SHAPES)
        if not len(alike):
            continue
        pictures, others, orientation = pictures[alike], others[alike], orientation[alike]
        scene = np.broadcast_to(shared, pictures.shape)
        # As the scene lies in the second photo, and as it lies in the first after turning that.
        background = np.stack([scene, _turned(scene, orientation)], 1)
        same = alike[_same(pictures, others, background)]
        pairs = np.stack([first[same], second[same]], 1)
        found |= set(zip(pairs.min(1).tolist(), pairs.max(1).tolist(), strict=True))
    return found


def _same(first: Array, second: Array, background: Array) -> npt.NDArray[np.bool_]:
    """Return which pairs show the same photo, bool [pairs]: those that agree in place, or after registration."""
    in_place = agreement(first, second, background, register=False)
    same = _agrees(in_place)
    undecided = np.flatnonzero(~same & ~((in_place.whole_with_scene >= _IN_PLACE) & (in_place.detail < _OTHER_DETAIL)))
    if len(undecided):
        same[undecided] = _agrees(agreement(first[undecided], second[undecided], background[undecided], register=True))
    return same


def _agrees(measured: Agreement) -> npt.NDArray[np.bool_]:
    return (measured.whole >= _LEAST_WHOLE) & (measured.detail >= _LEAST_DETAIL) & (measured.overlap >= _LEAST_OVERLAP)


def _shared(thumbnails: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64]) -> Array:
    """Return the mean picture, float32 [32, 32]."""
    total = np.zeros((SIDE, SIDE), np.float64)
    for block in _blocks(len(rows), SIDE * SIDE * 16):
        total += _standard(thumbnails[rows[block]]).sum(0)
    return (total / len(rows)).astype(np.float32)


def _standard(thumbnails: npt.NDArray[np.uint8]) -> Array:
    """Return grey values of zero mean and unit variance, float32 [photos, 32, 32]."""
    grey = thumbnails.astype(np.float32)
    grey -= grey.mean((1, 2), keepdims=True)
    result: Array = grey / np.maximum(grey.std((1, 2), keepdims=True), _FLAT)
    return result


def _cosines(size: int) -> Array:
    """Return the matrix of the orthonormal DCT-II, float32 [size, size]."""
    angle = np.pi * np.arange(size)[:, None] * (2 * np.arange(size) + 1) / (2 * size)
    basis = np.cos(angle) * np.sqrt(2 / size)
    basis[0] /= np.sqrt(2)
    result: Array = basis.astype(np.float32)
    return result


def _blocks(count: int, bytes_each: int) -> Iterator[slice]:
    """Yield slices of ``count`` rows that take about 32 MB each."""
    rows = max(1, _BLOCK_BYTES // max(bytes_each, 1))
    for start in range(0, count, rows):
        yield slice(start, min(start + rows, count))
