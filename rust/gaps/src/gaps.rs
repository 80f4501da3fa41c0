//! The result of detection, as columns.

use crate::grid::Grid;
use crate::raw::{BlockWriter, PairsBuilder, Values};

/// Maximal runs of missing instants on a [`Grid`], ascending.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    starts: Values,
    counts: Values,
    missing: u64,
}

impl Gaps {
    /// First missing instant of each run.
    #[must_use]
    pub fn starts(&self) -> &[i64] {
        &self.starts
    }

    /// Number of missing instants of each run, at least 1.
    #[must_use]
    pub fn counts(&self) -> &[i64] {
        &self.counts
    }

    /// Number of missing instants in all runs together.
    #[must_use]
    pub const fn missing(&self) -> u64 {
        self.missing
    }

    /// Number of runs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The columns: starts and counts.
    #[must_use]
    pub fn into_columns(self) -> (Values, Values) {
        (self.starts, self.counts)
    }
}

/// Builds the result from gaps in ascending order.
#[derive(Debug)]
pub(crate) struct GapsBuilder {
    pairs: PairsBuilder,
    missing: u64,
}

impl GapsBuilder {
    /// Returns an empty builder for `len` timestamps, so for at most `len + 1` gaps: one before each, one after all.
    pub(crate) fn new(len: usize, grid: &Grid) -> Self {
        let bound = usize::try_from(grid.len())
            .unwrap_or(usize::MAX)
            .min(len.saturating_add(1));
        Self {
            pairs: PairsBuilder::new(bound),
            missing: 0,
        }
    }

    /// Appends a gap. Its count is at most the length of the grid, so it fits int64.
    #[inline]
    pub(crate) fn push(&mut self, start: i64, count: u64) {
        self.pairs.push(start, count.cast_signed());
        self.missing = self.missing.wrapping_add(count);
    }

    /// Returns a writer for the gaps of one block.
    #[inline(always)]
    pub(crate) fn block(&mut self) -> BlockGaps<'_> {
        BlockGaps {
            writer: self.pairs.block(),
            before: &mut self.missing,
            missing: 0,
        }
    }

    /// Appends the gaps of the next part of the grid, which begins at `start`; joins two gaps that meet there.
    pub(crate) fn take(&mut self, part: &mut Self, start: i64, step: u64) {
        let [mut starts, mut counts] = part.pairs.columns();
        let [ours, sizes] = self.pairs.columns();
        if let (Some(&last), Some(&size)) = (ours.last(), sizes.last())
            && last.wrapping_add_unsigned(size.cast_unsigned().wrapping_mul(step)) == start
            && starts.first() == Some(&start)
        {
            self.pairs.truncate(ours.len() - 1);
            self.pairs.push(last, size.wrapping_add(counts[0]));
            (starts, counts) = (&starts[1..], &counts[1..]);
        }
        self.pairs.extend(starts, counts);
        self.missing = self.missing.wrapping_add(part.missing);
        part.clear();
    }

    /// Removes all gaps, but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.pairs.truncate(0);
        self.missing = 0;
    }

    pub(crate) fn finish(self) -> Gaps {
        let missing = self.missing;
        let [starts, counts] = self.pairs.finish();
        Gaps {
            starts,
            counts,
            missing,
        }
    }
}

/// Writes the gaps of one block, at most one for each value.
pub(crate) struct BlockGaps<'a> {
    writer: BlockWriter<'a>,
    before: &'a mut u64,
    missing: u64,
}

impl BlockGaps<'_> {
    /// Appends the gap between two points that are `steps` apart; `start` is the first missing point. Without a gap
    /// (`steps` is 0 or 1) appends nothing. `SURELY` promises that there is one.
    #[inline(always)]
    pub(crate) fn push_between<const SURELY: bool>(&mut self, start: i64, steps: u64) {
        let count = steps.saturating_sub(1);
        self.writer.push_if(SURELY || count > 0, start, count.cast_signed());
        self.missing = self.missing.wrapping_add(count);
    }

    /// Ends the block and adds its gaps to the builder.
    #[inline(always)]
    pub(crate) fn commit(self) {
        *self.before = self.before.wrapping_add(self.missing);
        self.writer.commit();
    }
}
