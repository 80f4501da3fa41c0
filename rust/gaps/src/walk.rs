//! The walk: finds gaps from ascending grid indices, one at a time.

use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::raw::Column;

/// The input descends somewhere, so the gaps found so far are invalid.
#[derive(Debug)]
pub(crate) struct Unsorted;

/// Walks ascending values along the grid.
pub(crate) fn walk(column: Column<'_>, grid: &Grid) -> Result<Gaps, Unsorted> {
    let mut previous = i64::MIN;
    let mut walker = Walker::new(column.len(), grid);
    for value in column.values() {
        if value < previous {
            return Err(Unsorted);
        }
        previous = value;
        walker.visit(grid.index_of(value));
    }
    Ok(walker.finish())
}

/// A position on the grid, and the gaps before it.
pub(crate) struct Walker<'a> {
    grid: &'a Grid,
    gaps: GapsBuilder,
    /// The next expected index.
    next: u64,
}

impl<'a> Walker<'a> {
    /// Starts before the first point of the grid. At most `len` points will be visited.
    pub(crate) fn new(len: usize, grid: &'a Grid) -> Self {
        Self {
            grid,
            gaps: GapsBuilder::new(len, grid),
            next: 0,
        }
    }

    /// Visits the point at `index`; an index past the grid is ignored. Indices must not descend.
    #[inline]
    pub(crate) fn visit(&mut self, index: u64) {
        if index < self.grid.len() {
            if index > self.next {
                self.gaps.push(self.grid.at(self.next), index - self.next);
            }
            // No overflow: an index on the grid is below i64::MAX.
            self.next = self.next.max(index + 1);
        }
    }

    /// Ends the walk: all points not yet reached are missing.
    pub(crate) fn finish(mut self) -> Gaps {
        if self.next < self.grid.len() {
            self.gaps.push(self.grid.at(self.next), self.grid.len() - self.next);
        }
        self.gaps.finish()
    }
}
