//! Exact gap detection over int64 timestamps against a grid of expected open times.
//!
//! Given what is there (`timestamps`, in any order, with duplicates and strangers allowed) and what should be
//! there (a [`Grid`] or an explicit, strictly increasing array), the answer is every maximal run of expected
//! instants that no timestamp fills, in ascending order, as columns.
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
//! # Unsafe code
//!
//! All of it is in the module `raw`; each block there states what it relies on.
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
