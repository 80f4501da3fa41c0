//! Unsorted input, if the grid is not much longer: a bitmap with one bit for each grid point.

use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::raw::{BLOCK, Blocks, Column, Pass, dispatch};

/// Whether a bitmap of the grid is no larger than the input itself.
pub(crate) fn fits(len: usize, grid: &Grid) -> bool {
    grid.len() / 64 < len as u64
}

/// Marks every point that is present, then reads the runs of zeros.
///
/// The caller must have checked [`fits`], so the bitmap is not larger than the column.
pub(crate) fn detect_by_bitmap(column: Column<'_>, grid: &Grid) -> Gaps {
    let present = dispatch(Mark { column, grid });
    runs_of_zeros(&present, grid, column.len())
}

/// Sets the bits of the points that are present.
pub(crate) struct Mark<'a> {
    pub(crate) column: Column<'a>,
    pub(crate) grid: &'a Grid,
}

impl Pass for Mark<'_> {
    type Output = Vec<u64>;

    /// Sets bits word by word for blocks of neighbouring grid points, ascending or descending; all others bit by bit.
    #[inline(always)]
    fn run<B: Blocks>(self, blocks: B) -> Vec<u64> {
        let Self { column, grid } = self;
        let words = usize::try_from(grid.len().div_ceil(64)).unwrap_or(usize::MAX);
        let mut present = vec![0u64; words];
        let whole = column.len() - column.len() % BLOCK;
        for from in (0..whole).step_by(BLOCK) {
            if let Some(first) = run_of_block(blocks, column, grid, from) {
                let shift = first % 64;
                // Both words exist: the last index of the block is on the grid.
                present[(first / 64) as usize] |= u64::MAX << shift;
                if shift != 0 {
                    present[(first / 64) as usize + 1] |= u64::MAX >> (64 - shift);
                }
            } else {
                blocks.prefetch(column, from);
                mark_each(&mut present, column.slice(from, from + BLOCK), grid);
            }
        }
        mark_each(&mut present, column.slice(whole, column.len()), grid);
        present
    }
}

/// Returns the lowest grid index of a block, if its values are 64 neighbouring grid points, ascending or descending.
#[inline(always)]
fn run_of_block<B: Blocks>(blocks: B, column: Column<'_>, grid: &Grid, from: usize) -> Option<u64> {
    let (first, last) = (column.get(from), column.get(from + BLOCK - 1));
    let (head, tail) = (grid.index_of(first), grid.index_of(last));
    // Both ends are on the grid and 63 apart, so the steps between them cannot wrap around.
    if head.max(tail) >= grid.len() || head.abs_diff(tail) != BLOCK as u64 - 1 {
        return None;
    }
    let step = grid.step().cast_signed();
    let step = if head < tail { step } else { step.wrapping_neg() };
    (blocks.continuing(column, from, first, step, 1) == 1).then_some(head.min(tail))
}

#[inline(always)]
fn mark_each(present: &mut [u64], column: Column<'_>, grid: &Grid) {
    for value in column.values() {
        let index = grid.index_of(value);
        if index < grid.len() {
            // The index is below the length, so its word exists and the conversion is exact.
            present[(index / 64) as usize] |= 1 << (index % 64);
        }
    }
}

/// Returns the runs of zeros below `grid.len()`. Each set bit in the edges of a word is the start or the end of a run.
fn runs_of_zeros(present: &[u64], grid: &Grid, len: usize) -> Gaps {
    let mut gaps = GapsBuilder::new(len, grid);
    let mut open = None;
    let mut base = 0;
    let mut carry = 0;
    for &word in present {
        let missing = !word;
        let mut edges = missing ^ (missing << 1 | carry);
        carry = missing >> 63;
        while edges != 0 {
            let index = base + u64::from(edges.trailing_zeros());
            edges &= edges - 1;
            open = match open {
                None => Some(index),
                Some(start) => {
                    gaps.push(grid.at(start), index - start);
                    None
                }
            };
        }
        base += 64;
    }
    // All bits past the grid are zero: a run that began on the grid ends at the grid's end.
    if let Some(start) = open
        && start < grid.len()
    {
        gaps.push(grid.at(start), grid.len() - start);
    }
    gaps.finish()
}
