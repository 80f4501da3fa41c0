//! Operations on blocks of 64 neighbouring values, and the choice between their implementations.

use crate::raw::Column;

/// Number of values in a block, one for each bit of a mask.
pub(crate) const BLOCK: usize = 64;

/// Operations on blocks. All arithmetic is modulo 2^64, so callers must exclude overflow.
pub(crate) trait Blocks: Copy {
    /// Prefetches memory some distance after the block at `from`, if the machine can.
    fn prefetch(self, _column: Column<'_>, _from: usize) {}

    /// Number of whole blocks at `from`, at most `limit`, whose values are `first`, `first + step`, ...
    ///
    /// # Panics
    ///
    /// If the column has fewer than `limit` blocks after `from`.
    fn continuing(self, column: Column<'_>, from: usize, first: i64, step: i64, limit: usize) -> usize;

    /// Number of whole blocks at `from`, at most `limit`, in which every value equals its predecessor or is `step`
    /// above it.
    ///
    /// # Panics
    ///
    /// If `from` is zero, or the column has fewer than `limit` blocks after `from`.
    fn following(self, column: Column<'_>, from: usize, step: i64, limit: usize) -> usize;

    /// Mask of the values in the block at `from` that are not exactly `step` above their predecessor.
    ///
    /// # Panics
    ///
    /// If `from` is zero, or the column has no whole block after `from`.
    fn jumps(self, column: Column<'_>, from: usize, step: i64) -> u64;

    /// Mask of the values in the block at `from` that differ from their predecessor by neither 0 nor `step`.
    ///
    /// # Panics
    ///
    /// As [`Blocks::jumps`].
    fn jumps_but_repeats(self, column: Column<'_>, from: usize, step: i64) -> u64;

    /// Whether the values with indices in `from..to` never descend.
    ///
    /// # Panics
    ///
    /// If `from <= to <= len` does not hold.
    fn ascending(self, column: Column<'_>, from: usize, to: usize) -> bool;
}

/// Block operations in plain Rust, for any machine.
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

/// Work that uses block operations. It is inlined into code that is compiled for the chosen instructions.
pub(crate) trait Pass {
    /// Result of the work.
    type Output;

    /// Does the work.
    fn run<B: Blocks>(self, blocks: B) -> Self::Output;
}

/// Runs `pass` with the best instructions that this machine has.
pub(crate) fn dispatch<P: Pass>(pass: P) -> P::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(avx2) = super::avx2::Avx2::detect() {
        return avx2.run(pass);
    }
    pass.run(Portable)
}
