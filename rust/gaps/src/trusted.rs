//! Input whose order is promised: look only where something is missing.
//!
//! If two values on the grid are as many steps apart as positions, and those between them are sorted, unique and on
//! the grid, nothing is missing between them. So complete stretches are skipped whole, by halving.

use crate::detect::detect_in_parts;
use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::parts::PART;
use crate::raw::Column;

/// Values between two positions that are looked at one by one.
const LEAF: usize = 64;
/// Halving beats the pass where less than one point of so many is missing; measured.
const SPARSE: u64 = 2048;
/// The same for a column that fits a cache.
const SPARSE_CACHED: u64 = 512;
/// Where more is missing it may still be in few gaps: leaves are then looked at up to one of so many values, which
/// costs a twentieth of the pass, before the pass is made after all.
const TRIAL: usize = 1 << 14;
/// Values that fit a cache.
const CACHED: usize = 1 << 21;

/// Does the work of [`detect`](crate::detect()) for timestamps promised to be sorted, unique and on the grid.
///
/// Takes time by the number of gaps, not of timestamps; where there are too many, by so many threads. A broken promise gives a wrong answer, but no worse.
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
    /// How many leaves may still be looked at.
    leaves: usize,
}

impl Search<'_> {
    /// Finds the gaps between two positions and the values there; false if there are too many leaves to look at.
    ///
    /// As deep as the column's length has bits.
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
            // More than the grid is long can only follow from a broken promise.
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
