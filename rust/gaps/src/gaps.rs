//! The answer, as columns.

/// Maximal runs of missing instants on a [`Grid`](crate::Grid), ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    starts: Vec<i64>,
    counts: Vec<i64>,
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

    /// Number of missing instants altogether.
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
    pub fn into_columns(self) -> (Vec<i64>, Vec<i64>) {
        (self.starts, self.counts)
    }

    #[inline]
    pub(crate) fn push(&mut self, start: i64, count: u64) {
        self.starts.push(start);
        // A count is at most the length of the grid, which is an int64 value.
        self.counts.push(count.cast_signed());
        self.missing = self.missing.wrapping_add(count);
    }
}
