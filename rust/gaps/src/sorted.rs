//! Sorted input, block by block.
//!
//! Three parts: what lies before the grid, what lies within its bounds, what lies behind it. The outer two only have
//! to ascend. Within, a block of 64 values that continue the grid from the last value seen proves all at once:
//! sorted, unique, on the grid, complete. Any other block is reduced to the bits of the values that do not follow
//! their predecessor by one step, and only those are looked at. A value off the grid is passed over one by one, until
//! the next that is on it.
//!
//! All arithmetic is modulo 2^64. It is exact because [`fits`] excludes grids whose end is less than a block of steps
//! away from the end of int64, and because no value at a border between blocks is behind the grid: a block that
//! continues or steps past the last point is found at its end, before it could wrap around.

use crate::gaps::{Gaps, GapsBuilder};
use crate::grid::Grid;
use crate::raw::{BLOCK, Blocks, Column, Pass};
use crate::walk::Unsorted;

/// Jumps up to which the next block is tried for continuing the grid; measured.
const FEW_JUMPS: u32 = 4;
/// Jumps above which a block is looked at for repetitions; measured.
const MANY_JUMPS: u32 = 20;

/// Values taken one by one from one off the grid on: the next look at a block must pay; measured.
const FEW_VALUES: usize = 16;

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
}

impl Pass for Sorted<'_> {
    type Output = Result<Gaps, Unsorted>;

    #[inline(always)]
    fn run<B: Blocks>(self, blocks: B) -> Result<Gaps, Unsorted> {
        let Self { column, grid } = self;
        let (low, high) = bounds(column, grid)?;
        let outside_ascends = blocks.ascending(column, 0, column.len().min(low + 1))
            && blocks.ascending(column, high.saturating_sub(1), column.len());
        if !outside_ascends {
            return Err(Unsorted);
        }
        let within = column.slice(low, high);
        let mut gaps = GapsBuilder::new(within.len(), grid);
        let Some((at, point)) = first_on_grid(within, grid)? else {
            gaps.push(grid.start(), grid.len());
            return Ok(gaps.finish());
        };
        let missing_before = grid.index_of(point);
        if missing_before > 0 {
            gaps.push(grid.start(), missing_before);
        }
        let mut position = Position {
            column: within,
            grid,
            gaps,
            at: at + 1,
            point,
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
fn bounds(column: Column<'_>, grid: &Grid) -> Result<(usize, usize), Unsorted> {
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

/// Position and value of the first point of the grid.
#[inline(always)]
fn first_on_grid(column: Column<'_>, grid: &Grid) -> Result<Option<(usize, i64)>, Unsorted> {
    let mut previous = i64::MIN;
    for (at, value) in column.values().enumerate() {
        if value < previous {
            return Err(Unsorted);
        }
        if grid.index_of(value) < grid.len() {
            return Ok(Some((at, value)));
        }
        previous = value;
    }
    Ok(None)
}

/// How far the pass has come.
struct Position<'a> {
    column: Column<'a>,
    grid: &'a Grid,
    gaps: GapsBuilder,
    /// The next value to look at.
    at: usize,
    /// The last point of the grid that was seen; at the borders of blocks it is the value before `at`.
    point: i64,
    /// Whether the last block had few jumps, so that the next may continue the grid.
    steady: bool,
    /// Whether the last block repeated points, so that the next may too.
    repeating: bool,
}

impl Position<'_> {
    /// Takes all blocks, then what is left of the column.
    #[inline(always)]
    fn advance<B: Blocks>(&mut self, blocks: B) -> Result<(), Unsorted> {
        while self.column.len() - self.at >= BLOCK {
            if !self.steady || !self.take_continuing(blocks) {
                self.take_block(blocks)?;
            }
        }
        self.take_scattered(self.column.len())
    }

    /// Takes the blocks that continue the grid; says whether there was one.
    #[inline(always)]
    fn take_continuing<B: Blocks>(&mut self, blocks: B) -> bool {
        let step = self.grid.step().cast_signed();
        let block = step.wrapping_mul(BLOCK.cast_signed() as i64);
        let left = (self.column.len() - self.at) / BLOCK;
        // So many blocks end on the grid; one more would not wrap around, but is not continued either.
        let fitting = self.grid.last().wrapping_sub(self.point).cast_unsigned() / block.cast_unsigned();
        let limit = left.min(usize::try_from(fitting).unwrap_or(usize::MAX));
        let taken = blocks.continuing(self.column, self.at, self.point.wrapping_add(step), step, limit);
        self.at += taken * BLOCK;
        self.point = self
            .point
            .wrapping_add(block.wrapping_mul((taken as u64).cast_signed()));
        taken > 0
    }

    /// Takes one block, or its part up to a value off the grid and a few on from there.
    #[inline(always)]
    fn take_block<B: Blocks>(&mut self, blocks: B) -> Result<(), Unsorted> {
        let from = self.at;
        let step = self.grid.step().cast_signed();
        let mut jumps = if self.repeating {
            blocks.jumps_but_repeats(self.column, from, step)
        } else {
            blocks.jumps(self.column, from, step)
        };
        self.steady = !self.repeating && jumps.count_ones() <= FEW_JUMPS;
        if !self.repeating && jumps.count_ones() > MANY_JUMPS {
            let others = blocks.jumps_but_repeats(self.column, from, step);
            self.repeating = others.count_ones() < jumps.count_ones() / 2;
            jumps = others;
        }
        let grid = *self.grid;
        let last = grid.last();
        let block = self.column.slice(from - 1, from + BLOCK);
        let mut gaps = self.gaps.block();
        while jumps != 0 {
            let at = jumps.trailing_zeros() as usize;
            jumps &= jumps - 1;
            let (previous, value) = (block.get(at), block.get(at + 1));
            if value < previous || value > last {
                return Err(Unsorted);
            }
            let steps = grid.steps(value.wrapping_sub(previous).cast_unsigned());
            if steps >= grid.len() {
                gaps.commit();
                (self.at, self.point) = (from + at, previous);
                return self.take_scattered(from + at + FEW_VALUES);
            }
            gaps.push_between(previous.wrapping_add(step), steps);
        }
        gaps.commit();
        self.at = from + BLOCK;
        let before = block.get(0);
        self.point = block.get(BLOCK);
        let risen = self.point.wrapping_sub(before).cast_unsigned();
        // A block that rises by its length repeats nothing, or makes up for it by gaps.
        self.repeating &= risen < self.grid.step().wrapping_mul(BLOCK as u64);
        if self.point > last { Err(Unsorted) } else { Ok(()) }
    }

    /// Takes values one by one, at least up to `to`, and on to the next that is on the grid.
    #[inline(always)]
    fn take_scattered(&mut self, to: usize) -> Result<(), Unsorted> {
        let (grid, last) = (*self.grid, self.grid.last());
        let step = grid.step().cast_signed();
        let mut previous = self.column.get(self.at - 1);
        let mut is_on_grid = true;
        while self.at < self.column.len() && (self.at < to || !is_on_grid) {
            let value = self.column.get(self.at);
            if value < previous || value > last {
                return Err(Unsorted);
            }
            previous = value;
            self.at += 1;
            let steps = grid.steps(value.wrapping_sub(self.point).cast_unsigned());
            is_on_grid = steps < grid.len();
            if is_on_grid {
                if steps > 1 {
                    self.gaps.push(self.point.wrapping_add(step), steps - 1);
                }
                self.point = value;
            }
        }
        Ok(())
    }

    /// Ends the pass: what is behind the last point seen is missing.
    fn finish(mut self) -> Gaps {
        let steps = self
            .grid
            .steps(self.grid.last().wrapping_sub(self.point).cast_unsigned());
        if steps > 0 {
            self.gaps
                .push(self.point.wrapping_add(self.grid.step().cast_signed()), steps);
        }
        self.gaps.finish()
    }
}
