//! Exact gap detection over int64 timestamps against a grid of expected open times.
//!
//! Takes `timestamps` (in any order, with duplicates and strangers allowed) and the expected instants (a [`Grid`] or
//! an explicit, strictly increasing array). Returns every maximal run of expected instants that no timestamp fills, in
//! ascending order, as columns.
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
//! One pass over sorted input; unsorted input takes a presence bitmap when that is no larger than the input
//! itself, a filtered sort otherwise. [`detect_in_parts`] gives sorted input to several threads; [`detect_trusted`]
//! looks only where something is missing. Memory is bounded by the input and by the answer, never by the grid:
//! one timestamp on a grid of 2^62 points costs a few bytes.
//!
//! # What each technique is worth
//!
//! Time without it, as a multiple of that with it; workloads of `benches/gap_workloads.py` at 1e7 points, paired rounds,
//! one thread, AMD EPYC (Zen 5). A technique worth less than 3 % everywhere goes.
//!
//! | technique | worth |
//! |---|---|
//! | vector instructions | none 4.2, dups 3.1, offgrid 2.2, rand10 and alt 1.5 |
//! | memory asked for 8 KiB ahead | dups 1.4, reversed 1.3, offgrid 1.3, none 1.2; in a cache of the third level none 0.9 |
//! | blocks from the border of a cache line on | offgrid 1.2 where an array lies badly, rand10 and dirty 1.04 |
//! | many blocks that continue the grid at once | none 2.3 at 1e6 in a cache, 1.01 from memory |
//! | many blocks that repeat points at once | dups 1.9 at 1e6 in a cache, 1.01 from memory |
//! | no jump where a point repeats | dups 6.8 |
//! | continuation tried only where it may well succeed | rand10 1.18, dirty 1.13 |
//! | no branch for strangers; none for each gap of a block | dirty 1.20; dirty 1.26 |
//! | dense blocks; those in which each value ends a gap | alt 1.5; alt 1.09 |
//! | mappings for large answers; kept for the next; on huge pages | alt 6.2, rand10 3.6; alt 1.4, rand10 1.2; alt 1.2 |
//! | bits of a bitmap set by the word | reversed 4.6, pages 4.3 |
//!
//! # Unsafe code
//!
//! All of it is in the module `raw`; each block there states its assumptions.
#![deny(unsafe_code)]
// Passes must end up inside the function that is compiled for the instructions chosen; measured, not guessed.
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
