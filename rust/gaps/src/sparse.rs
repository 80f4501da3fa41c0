//! Unsorted input, if the grid is far longer: sort the grid indices of the values.

use crate::gaps::Gaps;
use crate::grid::Grid;
use crate::raw::Column;
use crate::walk::Walker;

/// Filters, sorts and walks the values. Takes O(len log len), and linear time for ascending or descending runs.
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
