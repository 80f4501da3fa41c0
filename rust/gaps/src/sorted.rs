//! Sorted input, block by block.
//!
//! Three parts: values before the grid, within its bounds, and behind it. The outer two only have
//! to ascend. Within, a block of 64 values that continue the grid from the last value seen proves all at once:
//! sorted, unique, on the grid, complete. Any other block is reduced to the bits of the values that do not follow
//! their predecessor by one step, and only those are looked at. A value one step after one off the grid is off it too,
//! so strangers need no look at each either.
//!
//! All arithmetic is modulo 2^64. It is exact because [`fits`] excludes grids whose end is less than a block of steps
//! away from the end of int64, and because no value at a border between blocks is behind the grid: a block that
//! continues or steps past the last point is found at its end, before it could wrap around.

use std::hint::select_unpredictable;

use crate::gaps::GapsBuilder;
use crate::grid::Grid;
use crate::raw::{BLOCK, Blocks, Column, Pass};
use crate::walk::Unsorted;

/// Jumps above which a block is looked at for repetitions; measured.
const MANY_JUMPS: u32 = 20;
/// Jumps above which every value of a block is taken as one; measured.
const MOST_JUMPS: u32 = 40;
/// Blocks of repetitions taken before it is asked whether they still repeat anything.
const FEW_BLOCKS: usize = 64;

/// Whether a block of steps past the end of the grid stays within int64.
pub(crate) fn fits(grid: &Grid) -> bool {
    (BLOCK as u64)
        .checked_mul(grid.step())
        .and_then(|block| grid.last().checked_add_unsigned(block))
        .is_some()
}

/// The pass over sorted input; finds out if it is not.
pub(crate) struct Sorted<'a> {
    /// The timestamps; not empty.
    pub(crate) column: Column<'a>,
    /// The grid; not empty, and [`fits`].
    pub(crate) grid: &'a Grid,
    /// Where the gaps go; still empty.
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
            // A step before the grid: slots missing from its start on are behind a point like any other.
            point: grid.start().wrapping_sub_unsigned(grid.step()),
            strange: true,
            steady: true,
            repeating: false,
        };
        position.advance(blocks)?;
        Ok(position.finish())
    }
}

/// Where the grid's range begins and ends in the column, if that is sorted.
///
/// In any case the value before `high` is not behind the grid, which is what tells a value behind it for unsorted.
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

/// How far the pass has come.
struct Position<'a> {
    column: Column<'a>,
    grid: &'a Grid,
    gaps: GapsBuilder,
    /// The next value to look at.
    at: usize,
    /// The last point of the grid that was seen, or the one before its first; the value before `at` itself, unless
    /// that is a stranger. A stranger is more steps away from it than the grid is long.
    point: i64,
    /// Whether the value before `at` is off the grid.
    strange: bool,
    /// Whether the next block may well continue the grid: since the last one that was tried in vain, one did.
    steady: bool,
    /// Whether the last block repeated points, so that the next may too.
    repeating: bool,
}

impl Position<'_> {
    /// Takes the first values, all blocks from the border of a cache line on, then the rest of the column.
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

    /// Takes the blocks that continue the grid; says whether there was one.
    #[inline(always)]
    fn take_continuing<B: Blocks>(&mut self, blocks: B) -> bool {
        let step = self.grid.step().cast_signed();
        // The point is on the grid, so a multiplication does for the division that would cost more than the block.
        let limit = self.blocks_left(self.steps_to(self.grid.last()) / BLOCK as u64);
        let taken = blocks.continuing(self.column, self.at, self.point.wrapping_add(step), step, limit);
        self.at += taken * BLOCK;
        self.point = self
            .point
            .wrapping_add(self.block().wrapping_mul(taken as u64).cast_signed());
        taken > 0
    }

    /// Takes a few blocks that continue or repeat their predecessor, value by value; says whether there was one.
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

    /// The number of whole blocks that are left, of those `fitting` that end within the grid's bounds if each value
    /// rises by a step.
    ///
    /// One more would not wrap around, but is not taken whole either.
    #[inline(always)]
    fn blocks_left(&self, fitting: u64) -> usize {
        let left = (self.column.len() - self.at) / BLOCK;
        left.min(usize::try_from(fitting).unwrap_or(usize::MAX))
    }

    /// The distance a block of steps covers.
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
            // Where each value ends a gap, that is not asked for each.
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
            // Whether a value is a stranger is anybody's guess: no branch asks for it.
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
        // A block that rises by its length repeats nothing, or makes up for it by gaps.
        self.repeating &= end.wrapping_sub(before).cast_unsigned() < self.block();
        if end > last { Err(Unsorted) } else { Ok(()) }
    }

    /// Takes one block of points that ascend, all behind a gap if `EACH` says so, without a branch for each; false if it is
    /// none.
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

    /// Takes the values up to, not including, `to` one by one.
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

    /// The steps from the last point seen to `value`; more than the grid is long, if that is off the grid.
    #[inline(always)]
    fn steps_to(&self, value: i64) -> u64 {
        self.grid.steps(value.wrapping_sub(self.point).cast_unsigned())
    }

    /// Ends the pass: all points behind the last one seen are missing.
    fn finish(mut self) -> GapsBuilder {
        let steps = self.steps_to(self.grid.last());
        if steps > 0 {
            self.gaps
                .push(self.point.wrapping_add(self.grid.step().cast_signed()), steps);
        }
        self.gaps
    }
}
