//! Decides which members of a candle cache key are candles of its series.
//!
//! A member is a candle of a series if it is a JSON object with
//!
//! - `symbol` and `timeframe` of the series;
//! - `timestamp` equal to the member's score, which is an open time of the grid;
//! - finite numbers `open`, `high`, `low`, `close` (above 0) and `volume` (0 or more), with `high` >= `low`.
//!
//! Other keys are allowed. Members are parsed as by JavaScript's `JSON.parse`, which the cache's readers use: the last
//! of repeated keys counts, every number is a double, `1e999` is infinite. A candle with `"isSynthetic":true`, or with
//! one price and volume 0, is a filler.
//!
//! If digests of verified members are given, a member with the digest of its slot is a candle without further checks:
//! it was one when it was verified.
//!
//! Objects and arrays may be nested up to [`MAX_DEPTH`] levels.
//!
//! # Why no JSON library
//!
//! The check needs only a few numbers and no tree of values, and it must follow the grammar exactly (lone surrogate
//! escapes are valid JSON, `NaN` is not). The scanner does not allocate. Parity tests compare it with an independent
//! parser.
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
