//! Sorted input, block by block.
//!
//! The column has three parts: values before the grid, within its bounds, and after it. The first and the last part
//! must only ascend. Within the bounds, a block of 64 values that continue the grid after the last value is sorted,
//! unique, on the grid and complete, all by one test. Any other block is reduced to its jumps: a mask of the values
//! that are not one step after their predecessor. Only these are examined. A value one step after a stranger (a value
//! off the grid) is a stranger too, so runs of strangers need not be examined one by one either.
//!
//! All arithmetic is modulo 2^64. It is exact because [`fits`] excludes grids that end less than a block of steps
//! before the end of int64, and because no value at a border between blocks is past the grid: a block that passes the
//! last point is found at its end, before values could wrap around.

use std::hint::select_unpredictable;

use crate::gaps::GapsBuilder;
use crate::grid::Grid;
use crate::raw::{BLOCK, Blocks, Column, Pass};
use crate::walk::Unsorted;

/// Number of jumps above which a block is searched for repetitions; measured.
const MANY_JUMPS: u32 = 20;
/// Number of jumps above which every value of a block is treated as a jump; measured.
const MOST_JUMPS: u32 = 40;
/// Number of blocks of repetitions after which it is checked whether they still repeat points.
const FEW_BLOCKS: usize = 64;

/// Whether a block of steps after the last point stays within int64.
pub(crate) fn fits(grid: &Grid) -> bool {
    (BLOCK as u64)
        .checked_mul(grid.step())
        .and_then(|block| grid.last().checked_add_unsigned(block))
        .is_some()
}

/// The pass over a column. It also finds out whether the column is sorted.
pub(crate) struct Sorted<'a> {
    /// The timestamps, at least one.
    pub(crate) column: Column<'a>,
    /// The grid, not empty; [`fits`] holds for it.
    pub(crate) grid: &'a Grid,
    /// Empty builder for the gaps.
    pub(crate) gaps: GapsBuilder,
}

impl Pass for Sorted<'_> {
    type Output = Result<GapsBuilder, Unsorted>;

    #[inline(always)]
    fn run<B: Blocks>(self, blocks: B) -> Result<GapsBuilder, Unsorted> {
        let Self { column, grid, gaps } = self;
        let (low, high) = bounds(column, grid)?;
        let outside_ascends = blocks.ascending(column, 0, column.len().min(low + 1))
            && blocks.ascending(column, high.saturating_sub(1), column.len());
        if !outside_ascends {
            return Err(Unsorted);
        }
        let within = column.slice(low, high);
        let mut position = Position {
            column: within,
            grid,
            gaps,
            at: 0,
            // One step before the grid, so that a gap at the start of the grid also follows a point.
            point: grid.start().wrapping_sub_unsigned(grid.step()),
            strange: true,
            steady: true,
            repeating: false,
        };
        position.advance(blocks)?;
        Ok(position.finish())
    }
}

/// Returns the indices at which the grid's range begins and ends in the column, if that is sorted.
///
/// In any case, the value before `high` is not past the grid. So a value before it that is past the grid shows that the
/// column is not sorted.
#[inline(always)]
pub(crate) fn bounds(column: Column<'_>, grid: &Grid) -> Result<(usize, usize), Unsorted> {
    let (start, last) = (grid.start(), grid.last());
    let low = if column.get(0) >= start {
        0
    } else {
        column.partition_point(|value| value < start)
    };
    let whole = column.get(column.len() - 1) <= last;
    let high = if whole {
        column.len()
    } else {
        column.partition_point(|value| value <= last)
    };
    if low <= high { Ok((low, high)) } else { Err(Unsorted) }
}

/// Progress of the pass.
struct Position<'a> {
    column: Column<'a>,
    grid: &'a Grid,
    gaps: GapsBuilder,
    /// Index of the next value.
    at: usize,
    /// Last grid point that was seen; at first the instant one step before the grid. It is the value before `at`,
    /// unless that is a stranger. The number of steps to a stranger counts as more than the grid's length.
    point: i64,
    /// Whether the value before `at` is a stranger.
    strange: bool,
    /// Whether the next block probably continues the grid: a block did since the last attempt in vain.
    steady: bool,
    /// Whether the last block repeated points, so that the next one probably does too.
    repeating: bool,
}

impl Position<'_> {
    /// Takes the values before the first cache line, then all whole blocks, then the rest of the column.
    #[inline(always)]
    fn advance<B: Blocks>(&mut self, blocks: B) -> Result<(), Unsorted> {
        self.take_each(self.column.len().min(self.column.before_line()))?;
        while self.column.len() - self.at >= BLOCK {
            if self.repeating {
                if self.take_repeating(blocks) {
                    continue;
                }
            } else if self.steady && !self.strange {
                self.steady = self.take_continuing(blocks);
                if self.column.len() - self.at < BLOCK {
                    break;
                }
            }
            self.take_block(blocks)?;
        }
        self.take_each(self.column.len())
    }

    /// Takes the blocks that continue the grid; returns whether there was one.
    #[inline(always)]
    fn take_continuing<B: Blocks>(&mut self, blocks: B) -> bool {
        let step = self.grid.step().cast_signed();
        // The point is on the grid, so a multiplication suffices; a division would cost more than the block.
        let limit = self.blocks_left(self.steps_to(self.grid.last()) / BLOCK as u64);
        let taken = blocks.continuing(self.column, self.at, self.point.wrapping_add(step), step, limit);
        self.at += taken * BLOCK;
        self.point = self
            .point
            .wrapping_add(self.block().wrapping_mul(taken as u64).cast_signed());
        taken > 0
    }

    /// Takes some blocks in which each value continues or repeats its predecessor; returns whether there was one.
    #[inline(always)]
    fn take_repeating<B: Blocks>(&mut self, blocks: B) -> bool {
        let before = self.column.get(self.at - 1);
        let fitting = self.grid.last().wrapping_sub(before).cast_unsigned() / self.block();
        let limit = self.blocks_left(fitting).min(FEW_BLOCKS);
        let taken = blocks.following(self.column, self.at, self.grid.step().cast_signed(), limit);
        if taken == 0 {
            return false;
        }
        self.at += taken * BLOCK;
        let last = self.column.get(self.at - 1);
        if !self.strange {
            self.point = last;
        }
        let risen = last.wrapping_sub(before).cast_unsigned();
        self.repeating = risen < self.block().wrapping_mul(taken as u64);
        true
    }

    /// Number of whole blocks that are left, at most `fitting`: the number that end within the grid's bounds if each
    /// value is one step after its predecessor.
    ///
    /// A further block would not wrap around, but would pass the end of the grid.
    #[inline(always)]
    fn blocks_left(&self, fitting: u64) -> usize {
        let left = (self.column.len() - self.at) / BLOCK;
        left.min(usize::try_from(fitting).unwrap_or(usize::MAX))
    }

    /// Distance that a block of steps covers.
    #[inline(always)]
    fn block(&self) -> u64 {
        self.grid.step().wrapping_mul(BLOCK as u64)
    }

    /// Takes one block.
    #[inline(always)]
    fn take_block<B: Blocks>(&mut self, blocks: B) -> Result<(), Unsorted> {
        let from = self.at;
        blocks.prefetch(self.column, from);
        let step = self.grid.step().cast_signed();
        let mut jumps = if self.repeating {
            blocks.jumps_but_repeats(self.column, from, step)
        } else {
            blocks.jumps(self.column, from, step)
        };
        self.steady = !self.repeating && (self.steady || jumps == 0);
        if !self.repeating && jumps.count_ones() > MANY_JUMPS {
            let others = blocks.jumps_but_repeats(self.column, from, step);
            self.repeating = others.count_ones() < jumps.count_ones() / 2;
            jumps = others;
        }
        if jumps.count_ones() > MOST_JUMPS {
            // If each value ends a gap, the check for a gap is left out.
            let taken = if jumps == u64::MAX {
                self.take_dense::<true>()
            } else {
                self.take_dense::<false>()
            };
            if taken {
                return Ok(());
            }
        }
        let grid = *self.grid;
        let last = grid.last();
        let block = self.column.slice(from - 1, from + BLOCK);
        let (mut point, mut strange) = (self.point, self.strange);
        let mut gaps = self.gaps.block();
        while jumps != 0 {
            let at = jumps.trailing_zeros() as usize;
            jumps &= jumps - 1;
            let (previous, value) = (block.get(at), block.get(at + 1));
            if value < previous || value > last {
                return Err(Unsorted);
            }
            // Strangers are unpredictable, so there is no branch on them.
            point = select_unpredictable(strange, point, previous);
            let steps = grid.steps(value.wrapping_sub(point).cast_unsigned());
            strange = steps > grid.len();
            gaps.push_between::<false>(point.wrapping_add(step), select_unpredictable(strange, 0, steps));
        }
        gaps.commit();
        let (before, end) = (block.get(0), block.get(BLOCK));
        self.at = from + BLOCK;
        self.point = if strange { point } else { end };
        self.strange = strange;
        // If a block rises by its length or more, it has no repetitions, or gaps that make up for them.
        self.repeating &= end.wrapping_sub(before).cast_unsigned() < self.block();
        if end > last { Err(Unsorted) } else { Ok(()) }
    }

    /// Takes one block of ascending grid points without a branch for each value. Returns false if the block has others.
    /// `EACH` promises that every value ends a gap.
    #[inline(always)]
    fn take_dense<const EACH: bool>(&mut self) -> bool {
        let (grid, step) = (*self.grid, self.grid.step().cast_signed());
        let block = self.column.slice(self.at - 1, self.at + BLOCK);
        let mut previous = block.get(0);
        let mut fails = self.strange;
        let mut gaps = self.gaps.block();
        for at in 0..BLOCK {
            let value = block.get(at + 1);
            let steps = grid.steps(value.wrapping_sub(previous).cast_unsigned());
            fails |= (value < previous) | (steps > grid.len());
            gaps.push_between::<EACH>(previous.wrapping_add(step), steps);
            previous = value;
        }
        if fails || previous > grid.last() {
            return false;
        }
        gaps.commit();
        self.at += BLOCK;
        self.point = previous;
        true
    }

    /// Takes the values before index `to` one by one.
    #[inline(always)]
    fn take_each(&mut self, to: usize) -> Result<(), Unsorted> {
        let last = self.grid.last();
        let mut previous = if self.at == 0 {
            i64::MIN
        } else {
            self.column.get(self.at - 1)
        };
        for value in self.column.slice(self.at, to).values() {
            if value < previous || value > last {
                return Err(Unsorted);
            }
            previous = value;
            let steps = self.steps_to(value);
            self.strange = steps > self.grid.len();
            if !self.strange {
                if steps > 1 {
                    self.gaps
                        .push(self.point.wrapping_add(self.grid.step().cast_signed()), steps - 1);
                }
                self.point = value;
            }
        }
        self.at = to;
        Ok(())
    }

    /// Number of steps from the last point seen to `value`; more than the grid's length if `value` is off the grid.
    #[inline(always)]
    fn steps_to(&self, value: i64) -> u64 {
        self.grid.steps(value.wrapping_sub(self.point).cast_unsigned())
    }

    /// Ends the pass: all points after the last one seen are missing.
    fn finish(mut self) -> GapsBuilder {
        let steps = self.steps_to(self.grid.last());
        if steps > 0 {
            self.gaps
                .push(self.point.wrapping_add(self.grid.step().cast_signed()), steps);
        }
        self.gaps
    }
}
