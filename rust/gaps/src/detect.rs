//! The one question: what is missing?

use crate::gaps::Gaps;
use crate::grid::Grid;
use crate::raw::Column;
use crate::walk::{Unsorted, walk};
use crate::{bitmap, sparse};

/// Returns the maximal runs of grid points that are not among `timestamps`.
///
/// Timestamps may come in any order, more than once, off the grid and out of its range. Sorted input takes one
/// pass; see the crate's documentation for the rest.
#[must_use]
pub fn detect(timestamps: Column<'_>, grid: &Grid) -> Gaps {
    match walk(timestamps, grid) {
        Ok(gaps) => gaps,
        Err(Unsorted) if bitmap::fits(timestamps.len(), grid) => bitmap::mark(timestamps, grid),
        Err(Unsorted) => sparse::sort(timestamps, grid),
    }
}
