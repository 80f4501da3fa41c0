//! Questions about blocks of 64 neighbouring values, and the choice of instructions that answer them.

use crate::raw::Column;

/// Values a block has, one for each bit of a mask.
pub(crate) const BLOCK: usize = 64;

/// Answers about blocks; arithmetic is modulo 2^64 throughout, so callers exclude overflow.
pub(crate) trait Blocks: Copy {
    /// Prefetches memory some way behind the block from `from` on, if the machine can.
    fn prefetch(self, _column: Column<'_>, _from: usize) {}

    /// Number of whole blocks from `from` on, at most `limit`, whose values are `first`, `first + step`, ...
    ///
    /// # Panics
    ///
    /// If the column has fewer than `limit` blocks from there on.
    fn continuing(self, column: Column<'_>, from: usize, first: i64, step: i64, limit: usize) -> usize;

    /// Number of whole blocks from `from` on, at most `limit`, whose values all equal their predecessor or are `step`
    /// above it.
    ///
    /// # Panics
    ///
    /// If `from` is zero, or the column has fewer than `limit` blocks from there on.
    fn following(self, column: Column<'_>, from: usize, step: i64, limit: usize) -> usize;

    /// Bits of the values from `from` on that are not `step` above their predecessor.
    ///
    /// # Panics
    ///
    /// If `from` is zero, or the column has no whole block from there on.
    fn jumps(self, column: Column<'_>, from: usize, step: i64) -> u64;

    /// Bits of the values from `from` on that are neither equal to their predecessor nor `step` above it.
    ///
    /// # Panics
    ///
    /// As [`Blocks::jumps`].
    fn jumps_but_repeats(self, column: Column<'_>, from: usize, step: i64) -> u64;

    /// Whether the values from `from` up to, not including, `to` never descend.
    ///
    /// # Panics
    ///
    /// If `from <= to <= len` does not hold.
    fn ascending(self, column: Column<'_>, from: usize, to: usize) -> bool;
}

/// Plain Rust, for any machine.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

impl Blocks for Portable {
    #[inline(always)]
    fn continuing(self, column: Column<'_>, from: usize, first: i64, step: i64, limit: usize) -> usize {
        let column = column.slice(from, from + limit * BLOCK);
        let mut expected = first;
        for block in 0..limit {
            let mut difference = 0;
            for index in block * BLOCK..(block + 1) * BLOCK {
                difference |= column.get(index) ^ expected;
                expected = expected.wrapping_add(step);
            }
            if difference != 0 {
                return block;
            }
        }
        limit
    }

    #[inline(always)]
    fn following(self, column: Column<'_>, from: usize, step: i64, limit: usize) -> usize {
        let column = column.slice(from - 1, from + limit * BLOCK);
        let mut previous = column.get(0);
        for block in 0..limit {
            let mut jumps = false;
            for index in block * BLOCK..(block + 1) * BLOCK {
                let value = column.get(index + 1);
                let distance = value.wrapping_sub(previous);
                jumps |= distance != 0 && distance != step;
                previous = value;
            }
            if jumps {
                return block;
            }
        }
        limit
    }

    #[inline(always)]
    fn jumps(self, column: Column<'_>, from: usize, step: i64) -> u64 {
        let column = column.slice(from - 1, from + BLOCK);
        let mut previous = column.get(0);
        (0..BLOCK).fold(0, |mask, bit| {
            let value = column.get(bit + 1);
            let jumps = value.wrapping_sub(previous) != step;
            previous = value;
            mask | u64::from(jumps) << bit
        })
    }

    #[inline(always)]
    fn jumps_but_repeats(self, column: Column<'_>, from: usize, step: i64) -> u64 {
        self.jumps(column, from, step) & self.jumps(column, from, 0)
    }

    #[inline(always)]
    fn ascending(self, column: Column<'_>, from: usize, to: usize) -> bool {
        let column = column.slice(from, to);
        let mut previous = i64::MIN;
        column.values().all(|value| {
            let ascends = previous <= value;
            previous = value;
            ascends
        })
    }
}

/// Work that asks about blocks; to be inlined into code compiled for the instructions chosen.
pub(crate) trait Pass {
    /// Result of the work.
    type Output;

    /// Does the work.
    fn run<B: Blocks>(self, blocks: B) -> Self::Output;
}

/// Runs `pass` with the best instructions this machine has.
pub(crate) fn dispatch<P: Pass>(pass: P) -> P::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = super::avx2::Avx2::detect() {
        return avx2.run(pass);
    }
    pass.run(Portable)
}
