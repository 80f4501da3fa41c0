//! Unsorted input on a grid not much longer than it: one bit a grid point.

use crate::gaps::Gaps;
use crate::grid::Grid;
use crate::raw::Column;
use crate::walk::{finish, visit};

/// Whether a bitmap of the grid is no larger than the input itself.
pub(crate) fn fits(len: usize, grid: &Grid) -> bool {
    grid.len() / 64 < len as u64
}

/// Marks every point that is present, then reads the runs of zeros.
///
/// The caller has asked [`fits`], so the bitmap is no larger than the column.
pub(crate) fn mark(column: Column<'_>, grid: &Grid) -> Gaps {
    let words = usize::try_from(grid.len().div_ceil(64)).unwrap_or(usize::MAX);
    let mut present = vec![0u64; words];
    for value in column.values() {
        let index = grid.index_of(value);
        if index < grid.len() {
            // An index below the length has a word, so the conversion is exact.
            present[(index / 64) as usize] |= 1 << (index % 64);
        }
    }
    runs_of_zeros(&present, grid)
}

fn runs_of_zeros(present: &[u64], grid: &Grid) -> Gaps {
    let mut gaps = Gaps::default();
    let mut next = 0;
    let mut base = 0;
    for &word in present {
        if word == u64::MAX && next == base {
            next += 64;
        } else {
            let mut rest = word;
            while rest != 0 {
                next = visit(grid, &mut gaps, next, base + u64::from(rest.trailing_zeros()));
                rest &= rest - 1;
            }
        }
        base += 64;
    }
    finish(grid, &mut gaps, next);
    gaps
}
