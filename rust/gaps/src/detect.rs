//! The entry points of detection on a regular grid.

use crate::bitmap::{self, detect_by_bitmap};
use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::parts::{PART, detect_sorted};
use crate::raw::Column;
use crate::sorted;
use crate::sparse;
use crate::walk::{Unsorted, walk};

/// Returns the maximal runs of grid points that are not among `timestamps`.
///
/// Timestamps may be in any order, duplicated, off the grid and outside its range. The crate's documentation describes
/// the cost.
#[must_use]
pub fn detect(timestamps: Column<'_>, grid: &Grid) -> Gaps {
    detect_in_parts(timestamps, grid, 1, PART)
}

/// Like [`detect`], but uses `threads` threads if the input is sorted. All of them end before it returns.
///
/// The threads take parts of `part` values in turn. [`PART`](crate::PART) is a good size of parts, and
/// [`helpful_threads`](crate::helpful_threads) returns a good number of threads.
///
/// # Panics
///
/// If a thread panics.
#[must_use]
pub fn detect_in_parts(timestamps: Column<'_>, grid: &Grid, threads: usize, part: usize) -> Gaps {
    if grid.is_empty() {
        return Gaps::default();
    }
    if timestamps.is_empty() {
        let mut gaps = GapsBuilder::new(0, grid);
        gaps.push(grid.start(), grid.len());
        return gaps.finish();
    }
    let answer = if sorted::fits(grid) {
        detect_sorted(timestamps, grid, threads, part)
    } else {
        walk(timestamps, grid)
    };
    match answer {
        Ok(gaps) => gaps,
        Err(Unsorted) if bitmap::fits(timestamps.len(), grid) => detect_by_bitmap(timestamps, grid),
        Err(Unsorted) => sparse::sort(timestamps, grid),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bitmap::Mark;
    use crate::raw::{BLOCK, Blocks, Pass, Portable, dispatch};
    use crate::sorted::Sorted;

    /// One in this many changes is tested, because Miri takes a thousand times as long.
    const EACH: usize = if cfg!(miri) { 89 } else { 1 };

    /// Columns whose lengths are around the borders of blocks, each with a stranger, a repetition, a hole or a descent
    /// at some place.
    fn series() -> impl Iterator<Item = (Vec<i64>, Grid)> {
        [1, 63, 64, 65, 128, 129, 200].into_iter().flat_map(|len: u64| {
            let grid = Grid::new(-7, 3, len);
            (0..usize::try_from(len).unwrap_or(0) * 5)
                .step_by(EACH)
                .filter_map(move |change| {
                    let grid = grid.as_ref().ok()?;
                    let mut values: Vec<i64> = (0..len).map(|index| grid.at(index)).collect();
                    let at = change / 5;
                    match change % 5 {
                        0 => values[at] += 1,
                        1 => values.insert(at, values[at]),
                        2 => drop(values.remove(at)),
                        3 => values[at] = 1000,
                        _ => values.reverse(),
                    }
                    Some((values, *grid))
                })
        })
    }

    #[test]
    fn plain_code_answers_as_the_instructions_chosen() {
        for (values, grid) in series().filter(|(values, _)| !values.is_empty()) {
            let column = Column::from(&values);
            let sorted = || Sorted {
                column,
                grid: &grid,
                gaps: GapsBuilder::new(column.len(), &grid),
            };
            let (plain, chosen) = (sorted().run(Portable), dispatch(sorted()));
            assert_eq!(
                plain.ok().map(GapsBuilder::finish),
                chosen.ok().map(GapsBuilder::finish),
                "{values:?}"
            );
            assert_eq!(
                Mark { column, grid: &grid }.run(Portable),
                dispatch(Mark { column, grid: &grid })
            );
            assert_eq!(Ascends(column).run(Portable), dispatch(Ascends(column)), "{values:?}");
            if values.len() > BLOCK {
                assert_eq!(Masks(column).run(Portable), dispatch(Masks(column)), "{values:?}");
            }
        }
    }

    struct Ascends<'a>(Column<'a>);

    impl Pass for Ascends<'_> {
        type Output = bool;

        #[inline(always)]
        fn run<B: Blocks>(self, blocks: B) -> bool {
            blocks.ascending(self.0, 0, self.0.len())
        }
    }

    struct Masks<'a>(Column<'a>);

    impl Pass for Masks<'_> {
        type Output = (u64, u64, usize, usize);

        #[inline(always)]
        fn run<B: Blocks>(self, blocks: B) -> (u64, u64, usize, usize) {
            let Self(column) = self;
            let blocks_there = column.len() / BLOCK;
            (
                blocks.jumps(column, 1, 3),
                blocks.jumps_but_repeats(column, 1, 3),
                blocks.continuing(column, 0, column.get(0), 3, blocks_there),
                blocks.following(column, 1, 3, (column.len() - 1) / BLOCK),
            )
        }
    }
}
