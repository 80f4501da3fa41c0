//! Sorted input in parts, several threads at once.
//!
//! The border of two parts is a value: grid points before it belong to the left part, the others to the right part. The
//! results of the parts are valid together if each part ascends and the values at the borders ascend. A gap that lies
//! on both sides of a border is joined. Parts are small, so that a thread's gaps are still in its cache when it appends
//! them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, available_parallelism, scope};

use crate::explicit::Ascending;
use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::raw::{Column, dispatch};
use crate::sorted::{Sorted, bounds};
use crate::walk::Unsorted;

/// Number of values for each of which one more thread is worth its start, even if nothing is missing; measured.
const WORTH_A_THREAD: usize = 1 << 21;
/// Good number of values for a part: its gaps fit into the second-level cache, and builders keep them on the heap.
pub const PART: usize = 3 << 13;

/// Returns how many threads, at most `most`, help with `len` timestamps. If `most` is 0, the limit is the number of
/// threads that this process can run at once.
#[must_use]
pub fn helpful_threads(len: usize, most: usize) -> usize {
    let worth = (len / WORTH_A_THREAD).max(1);
    match most {
        _ if worth == 1 => 1,
        0 => available_parallelism().map_or(1, NonZero::get).min(worth),
        _ => most.min(worth),
    }
}

/// Finds the gaps of sorted input, in parts of `part` values if there is more than one thread.
pub(crate) fn detect_sorted(column: Column<'_>, grid: &Grid, threads: usize, part: usize) -> Result<Gaps, Unsorted> {
    let gaps = GapsBuilder::new(column.len(), grid);
    if threads > 1 {
        let (low, high) = bounds(column, grid)?;
        let parts = (high - low) / part.max(1);
        if parts > 1 {
            return Work::new(column, grid, low, (high - low) / parts, parts, gaps).run(threads);
        }
    }
    let whole = Sorted { column, grid, gaps };
    dispatch(whole).map(GapsBuilder::finish)
}

/// State that the threads share.
struct Work<'a> {
    column: Column<'a>,
    grid: &'a Grid,
    /// Index of the first value within the grid's bounds.
    low: usize,
    /// Number of values in a part.
    width: usize,
    parts: usize,
    /// Number of the part that is searched next.
    next: AtomicUsize,
    joined: Mutex<Result<Joined, Unsorted>>,
}

struct Joined {
    gaps: GapsBuilder,
    /// Number of parts whose gaps have been appended.
    parts: usize,
    /// Gaps of parts whose left neighbour has not been appended yet, with the start of each part.
    early: BTreeMap<usize, (GapsBuilder, i64)>,
    /// Builders to be reused: memory that is in a cache is fast to write.
    spare: Vec<GapsBuilder>,
}

impl<'a> Work<'a> {
    fn new(column: Column<'a>, grid: &'a Grid, low: usize, width: usize, parts: usize, gaps: GapsBuilder) -> Self {
        Self {
            column,
            grid,
            low,
            width,
            parts,
            next: AtomicUsize::new(0),
            joined: Mutex::new(Ok(Joined {
                gaps,
                parts: 0,
                early: BTreeMap::new(),
                spare: Vec::new(),
            })),
        }
    }

    fn run(self, threads: usize) -> Result<Gaps, Unsorted> {
        scope(|scope| {
            // If the system cannot start more threads, the existing ones do all the work.
            let others: Vec<_> = (1..threads.min(self.parts))
                .map_while(|_| Builder::new().spawn_scoped(scope, || self.take_parts()).ok())
                .collect();
            self.take_parts();
            // The scope only waits for the work; joining also waits for the end of the thread.
            for other in others {
                other.join().unwrap_or_else(|panic| resume_unwind(panic));
            }
        });
        let joined = self.joined.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        Ok(joined.gaps.finish())
    }

    fn take_parts(&self) {
        let mut spare = None;
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= self.parts {
                return;
            }
            let room = spare.take().unwrap_or_else(|| GapsBuilder::new(self.width, self.grid));
            let found = self.find(part, room);
            let mut joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
            match (&mut *joined, found) {
                (Ok(joined), Ok(found)) => spare = joined.take(part, found, self.grid.step()),
                (joined, _) => {
                    *joined = Err(Unsorted);
                    self.next.store(self.parts, Ordering::Relaxed);
                    return;
                }
            }
        }
    }

    /// Returns the gaps of a part and its start on the grid.
    fn find(&self, part: usize, gaps: GapsBuilder) -> Result<(GapsBuilder, i64), Unsorted> {
        let (from, point) = self.border(part)?;
        let (to, end) = self.border(part + 1)?;
        let column = self.column.slice(from, to);
        let gaps = match self.grid.part(point, end) {
            Some(grid) => dispatch(Sorted {
                column,
                grid: &grid,
                gaps,
            })?,
            None if dispatch(Ascending { column }) => gaps,
            None => return Err(Unsorted),
        };
        Ok((gaps, self.grid.at(point)))
    }

    /// Returns the start of a part: its index in the column, and on the grid.
    fn border(&self, part: usize) -> Result<(usize, u64), Unsorted> {
        if part == 0 {
            return Ok((0, 0));
        }
        if part == self.parts {
            return Ok((self.column.len(), self.grid.len()));
        }
        let at = self.low + part * self.width;
        let value = self.column.get(at);
        if value < self.column.get(at - 1) {
            return Err(Unsorted);
        }
        Ok((at, self.grid.points_before(value)))
    }
}

impl Joined {
    /// Appends the gaps of a part, and of later parts that waited for it; returns an empty builder.
    fn take(&mut self, part: usize, found: (GapsBuilder, i64), step: u64) -> Option<GapsBuilder> {
        self.early.insert(part, found);
        while let Some((mut gaps, start)) = self.early.remove(&self.parts) {
            self.gaps.take(&mut gaps, start, step);
            self.spare.push(gaps);
            self.parts += 1;
        }
        self.spare.pop()
    }
}
