"""Lays an ensemble out as the arrays that the compiled loops read.

There are two ways through a tree, with the same scores. *Walk*: from the root from split to split. *Search*, as
QuickScorer does (Lucchese et al., SIGIR 2015): a bit for each leaf, in the order of the tree with passed branches
first; each split that a row fails clears the bits of the leaves below its passed branch; the lowest bit left is the
leaf of the row. All rows do the same work, so the loop over rows has no branch and uses vector instructions
(V-QuickScorer, SIGIR 2016). A word has 16 bits, so that a vector holds many rows; a tree of more leaves has several.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from surgetank.serving.model import Float32s
from surgetank.serving.trees.cuts import CodeRange, cuts_of, failing_ranges, positions
from surgetank.serving.trees.ensemble import CannotCompile, Ensemble

Int16s = npt.NDArray[np.int16]
Int32s = npt.NDArray[np.int32]

WORD_LEAVES = 16
GROUP = 4  # tests that one pass over the rows of a block makes
# Beyond this many tests a tree, walks are faster: a search tests every split, a walk one at each level.
TESTS_PER_TREE_MAX = 192
# The lowest bit, times this, has in its highest four bits another number for each of the 16 bits (de Bruijn).
DE_BRUIJN = 0x09AF
FIRST_READ, LAST_READ = 1, 2  # of the words of a tree
_SIGN = 0x8000


@dataclass(frozen=True, slots=True)
class Layout:
    """The arrays of one ensemble; all are C-contiguous.

    - ``bounds`` int32 [tested features, 3]: column of the matrix, place of its first cut in ``cuts``, number of cuts
      rounded up to a power of two less one. ``cuts`` float32: ascending for each feature, then NaN.
    - ``nodes`` int32 [nodes, 4]: tested feature, range (low in the high half, width in the low half, both less 32,768),
      next node if passed, if failed. A leaf is ``~place`` in ``weights``. ``roots`` int32 [trees].
    - ``weights`` float32 [places, targets].
    - ``tests`` int16 [tests, 4]: tested feature, low and width as above, bits to clear. ``words`` int32 [words, 4], the
      last word of a tree first: first test, end of its tests, place of its first weight, FIRST_READ and LAST_READ of
      the tree's words. Both are empty if the trees are to be walked always.
    """

    bounds: Int32s
    cuts: Float32s
    nodes: Int32s
    roots: Int32s
    weights: Float32s
    tests: Int16s
    words: Int32s

    @property
    def searchable(self) -> bool:
        """Whether large batches are searched."""
        return len(self.words) > 0


@dataclass(frozen=True, slots=True)
class _Tree:
    """The leaves of a tree in order, and the leaves below the passed branch of each of its splits.

    ``first`` is the place of its first word's weights.
    """

    leaves: Sequence[int]
    below: Sequence[tuple[int, int, int]]  # split, first leaf, end
    first: int

    @property
    def words(self) -> int:
        return -(-len(self.leaves) // WORD_LEAVES)


def layout(ensemble: Ensemble) -> Layout:
    """Return the arrays of an ensemble. Raises CannotCompile if a feature has too many thresholds."""
    cuts = cuts_of(split.condition for split in ensemble.splits)
    place = positions(cuts)
    column = {feature: at for at, feature in enumerate(cuts)}
    ranges = [failing_ranges(split.condition, place[split.condition.feature]) for split in ensemble.splits]
    trees, first = [], 0
    for root in ensemble.roots:
        trees.append(_tree(ensemble, root, first))
        first += trees[-1].words * WORD_LEAVES
    tests, words = _search(ensemble, trees, ranges, column)
    if len(tests) > TESTS_PER_TREE_MAX * len(trees):
        tests, words = [], []
    weights = np.zeros((first, len(ensemble.base)), dtype=np.float32)
    place_of = {leaf: _place(tree, at) for tree in trees for at, leaf in enumerate(tree.leaves)}
    for tree in trees:
        for at, leaf in enumerate(tree.leaves):
            weights[_place(tree, at)] = ensemble.weights[leaf]
    nodes, roots = _walk(ensemble, ranges, column, place_of)
    bounds, flat = _bounds(cuts)
    return Layout(
        bounds=bounds,
        cuts=flat,
        nodes=_rows(nodes).astype(np.int32),
        roots=np.array(roots, dtype=np.int32),
        weights=weights,
        tests=_rows(tests).astype(np.uint16).view(np.int16),
        words=_rows(words).astype(np.int32),
    )


def _tree(ensemble: Ensemble, root: int, first: int) -> _Tree:
    leaves: list[int] = []
    below: list[tuple[int, int, int]] = []
    waiting: list[tuple[int, int]] = [(root, -1)]  # a node to visit, or a split and the leaf at which it began
    while waiting:
        node, began = waiting.pop()
        if began >= 0:
            below.append((node, began, len(leaves)))
            waiting.append((ensemble.splits[node].failed, -1))
        elif node < 0:
            leaves.append(~node)
        else:
            if len(below) + len(waiting) > 2 * len(ensemble.splits):
                raise CannotCompile("the nodes of a tree have a cycle")
            waiting += [(node, len(leaves)), (ensemble.splits[node].passed, -1)]
    return _Tree(leaves, below, first)


def _place(tree: _Tree, at: int) -> int:
    """Return the place of the weights of a tree's leaf: in a word as the search finds it, see ``DE_BRUIJN``."""
    word, bit = divmod(at, WORD_LEAVES)
    return tree.first + word * WORD_LEAVES + (((DE_BRUIJN << bit) & 0xFFFF) >> 12)


def _search(
    ensemble: Ensemble, trees: Sequence[_Tree], ranges: Sequence[list[CodeRange]], column: dict[int, int]
) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]]]:
    """Return the rows of ``tests`` and ``words``."""
    tests: list[tuple[int, ...]] = []
    words: list[tuple[int, ...]] = []
    for tree in trees:
        of_word: list[list[tuple[int, ...]]] = [[] for _ in range(tree.words)]
        for split, first, end in tree.below:
            feature = column[ensemble.splits[split].condition.feature]
            for word in range(first // WORD_LEAVES, -(-end // WORD_LEAVES)):
                start = word * WORD_LEAVES
                bits = (1 << min(end - start, WORD_LEAVES)) - (1 << max(first - start, 0))
                of_word[word] += [(feature, each.low ^ _SIGN, each.width ^ _SIGN, bits) for each in ranges[split]]
        for word in reversed(range(tree.words)):
            begin = len(tests)
            tests += of_word[word]
            tests += [(0, 0, 0, 0)] * (-len(of_word[word]) % GROUP)  # they clear nothing
            flags = FIRST_READ * (word == tree.words - 1) + LAST_READ * (word == 0)
            words.append((begin, len(tests), tree.first + word * WORD_LEAVES, flags))
    return tests, words


def _walk(
    ensemble: Ensemble, ranges: Sequence[list[CodeRange]], column: dict[int, int], place: dict[int, int]
) -> tuple[list[tuple[int, ...]], list[int]]:
    """Return the rows of ``nodes``, and the roots. A split is a node for each range that fails it."""
    starts = np.cumsum([0, *map(len, ranges)]).tolist()

    def target(node: int) -> int:
        while node >= 0 and not ranges[node]:  # every row passes
            node = ensemble.splits[node].passed
        return starts[node] if node >= 0 else ~place.get(~node, 0)  # a leaf without a place is in no tree

    nodes: list[tuple[int, ...]] = []
    for split, each in zip(ensemble.splits, ranges, strict=True):
        passed, failed, feature = target(split.passed), target(split.failed), column[split.condition.feature]
        for number, (low, width) in enumerate(each, 1):
            following = passed if number == len(each) else len(nodes) + 1
            nodes.append((feature, _packed(low ^ _SIGN, width ^ _SIGN), following, failed))
    return nodes, [target(root) for root in ensemble.roots]


def _packed(low: int, width: int) -> int:
    """Return two 16-bit numbers as one signed of 32 bits."""
    both = low << 16 | width
    return both - (1 << 32) if both >= 1 << 31 else both


def _bounds(cuts: dict[int, Float32s]) -> tuple[Int32s, Float32s]:
    rows, parts, start = [], [np.zeros(0, dtype=np.float32)], 0
    for feature, each in cuts.items():
        room = (1 << len(each).bit_length()) - 1
        parts += [each, np.full(room - len(each), np.nan, dtype=np.float32)]
        rows.append((feature, start, room))
        start += room
    return _rows(rows, 3).astype(np.int32), np.concatenate(parts)


def _rows(rows: Sequence[tuple[int, ...]], columns: int = 4) -> npt.NDArray[np.int64]:
    return np.array(rows, dtype=np.int64).reshape(-1, columns)
