//! Decides which members of a candle cache key are candles of its series.
//!
//! A member is a candle of a series if it is a JSON object whose `symbol` and `timeframe` are the series', whose
//! `timestamp` equals the member's score, an open time of the grid, and whose numbers are finite: `open`, `high`,
//! `low` and `close` above 0, `volume` not below 0, `high` not below `low`. Other keys are allowed. All is read as
//! `JSON.parse` reads it, since that is what the cache's readers do: of repeated keys the last counts, every number is
//! a double, `1e999` is infinite. A candle marked `"isSynthetic":true`, or flat with volume 0, is a filler.
//!
//! Where the digests of verified members are given, a member with the digest of its slot is a candle without a look:
//! it was one when it was verified.
//!
//! Objects and arrays may be nested [`MAX_DEPTH`] levels deep.
//!
//! # Why no JSON library
//!
//! The question needs no value tree, a few numbers, and the grammar to the letter (lone surrogate escapes are
//! JSON, `NaN` is none). The scanner allocates nothing and is held to an independent parser by the parity tests.
#![forbid(unsafe_code)]

mod candle;
mod framing;
mod member;
mod noted;
mod replies;
mod scan;
mod scanner;
mod usual;

pub use candle::{Kind, Series, kind_of};
pub use member::{Values, write_member};
pub use replies::{Answer, Replies, Span};
pub use scan::{BadReply, Scan};
pub use scanner::MAX_DEPTH;
