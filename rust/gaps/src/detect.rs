//! The one question: what is missing?

use crate::bitmap::{self, detect_by_bitmap};
use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::raw::{Column, dispatch};
use crate::sorted::{self, Sorted};
use crate::sparse;
use crate::walk::{Unsorted, walk};

/// Returns the maximal runs of grid points that are not among `timestamps`.
///
/// Timestamps may come in any order, more than once, off the grid and out of its range. Sorted input takes one
/// pass; see the crate's documentation for the rest.
#[must_use]
pub fn detect(timestamps: Column<'_>, grid: &Grid) -> Gaps {
    if grid.is_empty() {
        return Gaps::default();
    }
    if timestamps.is_empty() {
        let mut gaps = GapsBuilder::new(0, grid);
        gaps.push(grid.start(), grid.len());
        return gaps.finish();
    }
    let answer = if sorted::fits(grid) {
        dispatch(Sorted {
            column: timestamps,
            grid,
        })
    } else {
        walk(timestamps, grid)
    };
    match answer {
        Ok(gaps) => gaps,
        Err(Unsorted) if bitmap::fits(timestamps.len(), grid) => detect_by_bitmap(timestamps, grid),
        Err(Unsorted) => sparse::sort(timestamps, grid),
    }
}
