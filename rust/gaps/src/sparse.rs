//! Unsorted input on a grid far longer than it: sort the indices that are on the grid.

use crate::gaps::Gaps;
use crate::grid::Grid;
use crate::raw::Column;
use crate::walk::Walker;

/// Filters, sorts and walks; O(len log len), and linear for ascending or descending runs.
pub(crate) fn sort(column: Column<'_>, grid: &Grid) -> Gaps {
    let mut indices: Vec<u64> = column
        .values()
        .map(|value| grid.index_of(value))
        .filter(|&index| index < grid.len())
        .collect();
    indices.sort_unstable();
    let mut walker = Walker::new(indices.len(), grid);
    for index in indices {
        walker.visit(index);
    }
    walker.finish()
}
