//! Input that is promised to be sorted, unique and on the grid: a binary search for the gaps.
//!
//! If two values are as many grid steps apart as array positions, nothing is missing between them. So the search halves
//! the column recursively and skips complete stretches.

use crate::detect::detect_in_parts;
use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::parts::PART;
use crate::raw::Column;

/// Number of values in a leaf: a stretch that is no longer halved, but examined value by value.
const LEAF: usize = 64;
/// Halving is faster than the full pass if less than one point in this many is missing; measured.
const SPARSE: u64 = 2048;
/// The same for a column that fits into a cache.
const SPARSE_CACHED: u64 = 512;
/// If more points are missing, they may still lie in few gaps. So halving is tried with at most one leaf for this many
/// values, which costs a twentieth of the full pass; if that does not suffice, the full pass is made.
const TRIAL: usize = 1 << 14;
/// Number of values that fit into a cache.
const CACHED: usize = 1 << 21;

/// Like [`detect`](crate::detect()), for timestamps that are promised to be sorted, unique and on the grid.
///
/// The time depends on the number of gaps, not of timestamps. If there are too many gaps, [`detect_in_parts`] makes a
/// full pass with `threads` threads. If the promise is broken, the result is wrong, but memory stays safe.
///
/// # Panics
///
/// In a debug build, if the promise is broken.
#[must_use]
pub fn detect_trusted(timestamps: Column<'_>, grid: &Grid, threads: usize) -> Gaps {
    debug_assert!(
        keeps_promise(timestamps, grid),
        "trusted timestamps must be sorted, unique and on the grid"
    );
    let len = timestamps.len();
    if len == 0 {
        return detect_in_parts(timestamps, grid, threads, PART);
    }
    let (first, last) = (timestamps.get(0), timestamps.get(len - 1));
    let (head, tail) = (grid.index_of(first), grid.index_of(last));
    let per_missing = if len <= CACHED { SPARSE_CACHED } else { SPARSE };
    let sparse = grid.len().saturating_sub(len as u64).saturating_mul(per_missing) <= len as u64;
    let plausible = head <= tail && tail < grid.len() && tail - head >= len as u64 - 1;
    let leaves = if sparse { usize::MAX } else { len / TRIAL };
    let mut gaps = GapsBuilder::new(len, grid);
    if head > 0 {
        gaps.push(grid.start(), head);
    }
    let mut search = Search {
        column: timestamps,
        grid,
        gaps,
        leaves,
    };
    if !plausible || !search.halve((0, first), (len - 1, last)) {
        return detect_in_parts(timestamps, grid, threads, PART);
    }
    let mut gaps = search.gaps;
    if tail + 1 < grid.len() {
        gaps.push(grid.at(tail + 1), grid.len() - tail - 1);
    }
    gaps.finish()
}

struct Search<'a> {
    column: Column<'a>,
    grid: &'a Grid,
    gaps: GapsBuilder,
    /// Number of leaves that may still be examined.
    leaves: usize,
}

impl Search<'_> {
    /// Finds the gaps between two positions, given with their values. Returns false if the leaves are used up.
    ///
    /// The recursion is at most as deep as the column's length has bits.
    fn halve(&mut self, low: (usize, i64), high: (usize, i64)) -> bool {
        let steps = self.grid.steps(high.1.wrapping_sub(low.1).cast_unsigned());
        if steps == (high.0 - low.0) as u64 {
            return true;
        }
        if high.0 - low.0 > LEAF {
            let middle = low.0 + (high.0 - low.0) / 2;
            let middle = (middle, self.column.get(middle));
            return self.halve(low, middle) && self.halve(middle, high);
        }
        if self.leaves == 0 {
            return false;
        }
        self.leaves -= 1;
        let mut previous = low.1;
        for at in low.0 + 1..=high.0 {
            let value = self.column.get(at);
            let steps = self.grid.steps(value.wrapping_sub(previous).cast_unsigned());
            // More steps than the grid has can only come from a broken promise.
            if steps > 1 && steps < self.grid.len() {
                self.gaps
                    .push(previous.wrapping_add_unsigned(self.grid.step()), steps - 1);
            }
            previous = value;
        }
        true
    }
}

fn keeps_promise(column: Column<'_>, grid: &Grid) -> bool {
    let mut next = 0;
    column.values().all(|value| {
        let index = grid.index_of(value);
        let keeps = index >= next && index < grid.len();
        next = index.wrapping_add(1);
        keeps
    })
}
