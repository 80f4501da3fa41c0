//! Exact gap detection over int64 timestamps against a grid of expected open times.
//!
//! Takes `timestamps` (in any order; duplicates and strangers, which are values off the grid, are allowed) and the
//! expected instants (a [`Grid`] or a strictly increasing array). Returns every maximal run of expected instants that
//! are not among the timestamps, in ascending order, as columns.
//!
//! ```
//! use reconciler_gaps::{Column, Grid, detect};
//!
//! let minute = 60_000_i64;
//! let grid = Grid::new(0, minute.unsigned_abs(), 10)?;
//! let present = vec![0, minute, 5 * minute, 9 * minute];
//! let gaps = detect(Column::from(&present), &grid);
//! assert_eq!(gaps.starts(), [2 * minute, 6 * minute]);
//! assert_eq!(gaps.counts(), [3, 3]);
//! # Ok::<(), reconciler_gaps::GridError>(())
//! ```
//!
//! # Cost
//!
//! Sorted input takes one pass. Unsorted input takes a presence bitmap if that is not larger than the input, else a
//! filter and a sort. [`detect_in_parts`] splits sorted input between threads; [`detect_trusted`] only searches where
//! points are missing. Memory is bounded by the input and the result, not by the grid: one timestamp on a grid of 2^62
//! points costs a few bytes.
//!
//! # What each technique is worth
//!
//! The worth is the time without the technique divided by the time with it, for workloads of
//! `benches/gap_workloads.py` at 1e7 points, in paired rounds, with one thread on an AMD EPYC (Zen 5). Techniques worth
//! less than 3 % everywhere have been removed.
//!
//! | technique | worth |
//! |---|---|
//! | vector instructions | none 4.2, dups 3.1, offgrid 2.2, rand10 and alt 1.5 |
//! | prefetch 8 KiB ahead | dups 1.4, reversed 1.3, offgrid 1.3, none 1.2; in the third-level cache none 0.9 |
//! | blocks aligned to cache lines | offgrid 1.2 if the array is not aligned, rand10 and dirty 1.04 |
//! | many blocks that continue the grid at once | none 2.3 at 1e6 in a cache, 1.01 from memory |
//! | many blocks that repeat points at once | dups 1.9 at 1e6 in a cache, 1.01 from memory |
//! | repeated points do not count as jumps | dups 6.8 |
//! | continuation tried only if it is likely | rand10 1.18, dirty 1.13 |
//! | no branch for strangers; no branch for each gap of a block | dirty 1.20; dirty 1.26 |
//! | dense blocks; blocks in which each value ends a gap | alt 1.5; alt 1.09 |
//! | mappings for large results; reuse of mappings; huge pages | alt 6.2, rand10 3.6; alt 1.4, rand10 1.2; alt 1.2 |
//! | bits of a bitmap set word by word | reversed 4.6, pages 4.3 |
//!
//! # Unsafe code
//!
//! All unsafe code is in the module `raw`; each block there states its assumptions.
#![deny(unsafe_code)]
// Passes must be inlined into the function that is compiled for the chosen instructions; measured, not guessed.
#![allow(clippy::inline_always)]

mod bitmap;
mod detect;
mod explicit;
mod gaps;
mod grid;
mod parts;
mod raw;
mod sorted;
mod sparse;
mod trusted;
mod walk;

pub use detect::{detect, detect_in_parts};
pub use explicit::{Disorder, ExplicitGaps, detect_explicit};
pub use gaps::Gaps;
pub use grid::{Grid, GridError};
pub use parts::{PART, helpful_threads};
pub use raw::{Column, Values};
pub use trusted::detect_trusted;
