//! The walk: sorted input, one value at a time.

use crate::gaps::Gaps;
use crate::grid::Grid;
use crate::raw::Column;

/// The input descends somewhere; what was found so far means nothing.
#[derive(Debug)]
pub(crate) struct Unsorted;

/// Walks ascending values along the grid.
pub(crate) fn walk(column: Column<'_>, grid: &Grid) -> Result<Gaps, Unsorted> {
    let mut gaps = Gaps::default();
    let mut next = 0;
    let mut previous = i64::MIN;
    for value in column.values() {
        if value < previous {
            return Err(Unsorted);
        }
        previous = value;
        next = visit(grid, &mut gaps, next, grid.index_of(value));
    }
    finish(grid, &mut gaps, next);
    Ok(gaps)
}

/// Takes note of the point at `index`, none if that is past the grid; returns the next index expected.
///
/// Indices come in ascending order, repetitions allowed.
#[inline]
pub(crate) fn visit(grid: &Grid, gaps: &mut Gaps, next: u64, index: u64) -> u64 {
    if index >= grid.len() {
        return next;
    }
    if index > next {
        gaps.push(grid.at(next), index - next);
    }
    // No overflow: an index on the grid is below i64::MAX.
    next.max(index + 1)
}

/// Closes the walk: what is expected from `next` on is missing.
pub(crate) fn finish(grid: &Grid, gaps: &mut Gaps, next: u64) {
    if next < grid.len() {
        gaps.push(grid.at(next), grid.len() - next);
    }
}
