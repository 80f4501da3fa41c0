//! A grid given point by point.

use std::error::Error;
use std::fmt;

use crate::raw::Column;

/// Maximal runs of missing instants of an explicit grid, ascending; `ends` are the last missing instants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExplicitGaps {
    /// First missing instant of each run.
    pub starts: Vec<i64>,
    /// Last missing instant of each run.
    pub ends: Vec<i64>,
    /// Number of missing instants of each run, at least 1.
    pub counts: Vec<i64>,
}

impl ExplicitGaps {
    fn push(&mut self, start: i64, end: i64, count: usize) {
        self.starts.push(start);
        self.ends.push(end);
        // A column holds fewer than i64::MAX values: memory is addressed by isize.
        self.counts.push((count as u64).cast_signed());
    }
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
/// Timestamps may come in any order, more than once, off the grid and out of its range.
///
/// # Errors
///
/// [`Disorder`] if `expected` is not strictly increasing.
pub fn detect_explicit(timestamps: Column<'_>, expected: Column<'_>) -> Result<ExplicitGaps, Disorder> {
    if let Some(index) = (1..expected.len()).find(|&index| expected.get(index) <= expected.get(index - 1)) {
        return Err(Disorder { index });
    }
    let ascending = (1..timestamps.len()).all(|index| timestamps.get(index - 1) <= timestamps.get(index));
    if ascending {
        return Ok(merge(timestamps, expected));
    }
    let mut sorted = in_range(timestamps, expected);
    sorted.sort_unstable();
    Ok(merge(Column::from(&sorted[..]), expected))
}

/// Copies the timestamps that can matter: those between the first and the last expected instant.
fn in_range(timestamps: Column<'_>, expected: Column<'_>) -> Vec<i64> {
    if expected.is_empty() {
        return Vec::new();
    }
    let range = expected.get(0)..=expected.get(expected.len() - 1);
    timestamps.values().filter(|value| range.contains(value)).collect()
}

/// Walks both columns side by side; both ascend.
fn merge(timestamps: Column<'_>, expected: Column<'_>) -> ExplicitGaps {
    let mut gaps = ExplicitGaps::default();
    let mut run = 0;
    let mut seen = 0;
    for (index, instant) in expected.values().enumerate() {
        while seen < timestamps.len() && timestamps.get(seen) < instant {
            seen += 1;
        }
        if seen < timestamps.len() && timestamps.get(seen) == instant {
            if run < index {
                gaps.push(expected.get(run), expected.get(index - 1), index - run);
            }
            run = index + 1;
        }
    }
    if run < expected.len() {
        gaps.push(
            expected.get(run),
            expected.get(expected.len() - 1),
            expected.len() - run,
        );
    }
    gaps
}
