//! Grids that are given as an array of points.

use std::error::Error;
use std::fmt;

use crate::detect::detect;
use crate::grid::Grid;
use crate::raw::{BLOCK, Blocks, Column, Pass, Values, dispatch};

/// Maximal runs of missing instants of an explicit grid, ascending.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ExplicitGaps {
    /// First missing instant of each run.
    pub starts: Values,
    /// Last missing instant of each run.
    pub ends: Values,
    /// Number of missing instants of each run, at least 1.
    pub counts: Values,
}

/// The expected instants are not strictly increasing: the value at `index` is not above its predecessor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disorder {
    /// Position of the first value that is not above its predecessor; at least 1.
    pub index: usize,
}

impl fmt::Display for Disorder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "expected instants do not increase at index {}", self.index)
    }
}

impl Error for Disorder {}

/// Returns the maximal runs of `expected` instants that are not among `timestamps`.
///
/// Timestamps may be in any order, duplicated, off the grid and outside its range. Evenly spaced instants are
/// recognised, and then handled by [`detect`](crate::detect()).
///
/// # Errors
///
/// [`Disorder`] if `expected` is not strictly increasing.
pub fn detect_explicit(timestamps: Column<'_>, expected: Column<'_>) -> Result<ExplicitGaps, Disorder> {
    if let Some(grid) = dispatch(Even { expected }) {
        return Ok(detect_even(timestamps, &grid));
    }
    if let Some(index) = (1..expected.len()).find(|&index| expected.get(index) <= expected.get(index - 1)) {
        return Err(Disorder { index });
    }
    if dispatch(Ascending { column: timestamps }) {
        return Ok(merge(timestamps, expected));
    }
    let mut sorted = in_range(timestamps, expected);
    sorted.sort_unstable();
    Ok(merge(Column::from(&sorted), expected))
}

/// Finds out whether instants are evenly spaced, and on which grid.
struct Even<'a> {
    expected: Column<'a>,
}

impl Pass for Even<'_> {
    type Output = Option<Grid>;

    #[inline(always)]
    fn run<B: Blocks>(self, blocks: B) -> Option<Grid> {
        let expected = self.expected;
        if expected.len() < 2 {
            return None;
        }
        let (first, second) = (expected.get(0), expected.get(1));
        if second <= first {
            return None;
        }
        let step = second.wrapping_sub(first);
        // All points of a grid are int64 values, so the comparison below does not wrap around.
        let grid = Grid::new(first, step.cast_unsigned(), expected.len() as u64).ok()?;
        let whole = expected.len() / BLOCK;
        let even = blocks.continuing(expected, 0, first, step, whole) == whole
            && (whole * BLOCK..expected.len()).all(|index| expected.get(index) == grid.at(index as u64));
        even.then_some(grid)
    }
}

fn detect_even(timestamps: Column<'_>, grid: &Grid) -> ExplicitGaps {
    let (starts, counts) = detect(timestamps, grid).into_columns();
    let ends: Vec<i64> = (starts.iter().zip(&counts[..]))
        .map(|(start, count)| {
            start.wrapping_add_unsigned(count.cast_unsigned().wrapping_sub(1).wrapping_mul(grid.step()))
        })
        .collect();
    ExplicitGaps {
        starts,
        ends: ends.into(),
        counts,
    }
}

/// Whether a column never descends.
pub(crate) struct Ascending<'a> {
    pub(crate) column: Column<'a>,
}

impl Pass for Ascending<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<B: Blocks>(self, blocks: B) -> bool {
        blocks.ascending(self.column, 0, self.column.len())
    }
}

/// Copies the timestamps between the first and the last expected instant; no others matter.
fn in_range(timestamps: Column<'_>, expected: Column<'_>) -> Vec<i64> {
    if expected.is_empty() {
        return Vec::new();
    }
    let range = expected.get(0)..=expected.get(expected.len() - 1);
    timestamps.values().filter(|value| range.contains(value)).collect()
}

/// Finds the gaps by walking both columns in parallel; both must ascend.
fn merge(timestamps: Column<'_>, expected: Column<'_>) -> ExplicitGaps {
    let mut gaps = Runs::default();
    let mut run = 0;
    let mut seen = 0;
    for (index, instant) in expected.values().enumerate() {
        while seen < timestamps.len() && timestamps.get(seen) < instant {
            seen += 1;
        }
        if seen < timestamps.len() && timestamps.get(seen) == instant {
            gaps.push(expected, run, index);
            run = index + 1;
        }
    }
    gaps.push(expected, run, expected.len());
    ExplicitGaps {
        starts: gaps.starts.into(),
        ends: gaps.ends.into(),
        counts: gaps.counts.into(),
    }
}

#[derive(Default)]
struct Runs {
    starts: Vec<i64>,
    ends: Vec<i64>,
    counts: Vec<i64>,
}

impl Runs {
    /// Appends the run of the instants with indices in `first..end`, if there are any.
    fn push(&mut self, expected: Column<'_>, first: usize, end: usize) {
        if first < end {
            self.starts.push(expected.get(first));
            self.ends.push(expected.get(end - 1));
            // No overflow: memory is addressed by isize, so a column has fewer than i64::MAX values.
            self.counts.push(((end - first) as u64).cast_signed());
        }
    }
}
