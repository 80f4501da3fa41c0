//! The members of a reply, sorted into columns.

use std::error::Error;
use std::fmt;

use crate::candle::{Kind, Series, kind_of};
use crate::noted::{Noted, Standing};
use crate::usual::usual_kind;

/// The members of a reply in ascending order of scores, sorted into columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scan {
    /// Open times of the candles, ascending, with one entry for each candle.
    pub timestamps: Vec<i64>,
    /// Open times with two or more candles, each once, ascending.
    pub duplicates: Vec<i64>,
    /// Slots of the members that are not candles of the series, with one entry for each such member: the open time at
    /// or below its score, clamped to int64.
    pub malformed: Vec<i64>,
    /// Open times with fillers and no other candle, each once, ascending.
    pub fillers: Vec<i64>,
    /// Open times with an unverified candle, each once, ascending. A candle is verified if it is the only member of its
    /// slot and its digest is noted; fillers do not count. Empty without digests.
    pub unverified: Vec<i64>,
    /// Unverified open times whose noted digest belongs to another member.
    pub changed: Vec<i64>,
    last_score: Option<f64>,
}

impl Scan {
    /// Returns an empty scan with room for `members` members.
    #[must_use]
    pub fn with_capacity(members: usize) -> Self {
        Self {
            timestamps: Vec::with_capacity(members),
            ..Self::default()
        }
    }

    /// Whether each of the `length` slots of a grid holds one candle, no candle is a filler, and there are no other
    /// members.
    #[must_use]
    pub fn fills(&self, start: i64, step: i64, length: usize) -> bool {
        let mut slot = Some(start);
        self.malformed.is_empty()
            && self.fillers.is_empty()
            && self.timestamps.len() == length
            && self.timestamps.iter().all(|&open_time| {
                let expected = slot;
                slot = slot.and_then(|at| at.checked_add(step));
                expected == Some(open_time)
            })
    }

    /// Removes all content, but keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.timestamps.clear();
        self.duplicates.clear();
        self.malformed.clear();
        self.fillers.clear();
        self.unverified.clear();
        self.changed.clear();
        self.last_score = None;
    }

    /// Adds a member; `printed` is its score as the server printed it.
    ///
    /// # Errors
    ///
    /// [`BadReply`] if the score is not a number or below the one before it.
    pub fn push(&mut self, member: &[u8], printed: &[u8], series: Series<'_>) -> Result<(), BadReply> {
        self.push_noted(member, printed, series, None)
    }

    /// Adds a member; one that is noted as verified is a candle without further checks.
    pub(crate) fn push_noted(
        &mut self,
        member: &[u8],
        printed: &[u8],
        series: Series<'_>,
        noted: Option<&Noted>,
    ) -> Result<(), BadReply> {
        let score = parse_score(printed).ok_or(BadReply::Score)?;
        if self.last_score.is_some_and(|last| score < last) {
            return Err(BadReply::Order);
        }
        self.last_score = Some(score);
        // The cast saturates beyond int64, where there are no candles.
        #[allow(clippy::cast_possible_truncation)]
        let floored = score.floor() as i64;
        let beyond = floored.checked_rem_euclid(series.step).unwrap_or(0);
        // The comparison is only true if the cast is exact.
        #[allow(clippy::cast_precision_loss, clippy::float_cmp)]
        let standing = noted
            .filter(|_| floored as f64 == score)
            .map(|noted| noted.standing(floored, member));
        if standing == Some(Standing::Verified) {
            self.note_candle(floored, false);
            return Ok(());
        }
        let usual = if beyond == 0 {
            usual_kind(member, printed, series)
        } else {
            None
        };
        match usual.unwrap_or_else(|| kind_of(member, score, series)) {
            Kind::Other => self.malformed.push(floored.saturating_sub(beyond)),
            kind => {
                self.note_candle(floored, kind == Kind::Filler);
                if kind == Kind::Candle && standing == Some(Standing::Unknown) {
                    self.unverified.push(floored);
                }
            }
        }
        Ok(())
    }

    /// Fills `unverified` and `changed`, after all members of a reply with `noted` digests were added.
    pub(crate) fn finish(&mut self, noted: &Noted) {
        if !self.duplicates.is_empty() || !self.malformed.is_empty() {
            let shared = self.duplicates.iter().chain(&self.malformed);
            let has_candle =
                |at: &&i64| self.timestamps.binary_search(at).is_ok() && self.fillers.binary_search(at).is_err();
            let shared: Vec<i64> = shared.filter(has_candle).copied().collect();
            self.unverified.extend(shared);
            self.unverified.sort_unstable();
            self.unverified.dedup();
        }
        self.changed.extend(self.unverified.iter().filter(|&&at| noted.has(at)));
    }

    fn note_candle(&mut self, open_time: i64, is_filler: bool) {
        let is_shared = self.timestamps.last() == Some(&open_time);
        if is_shared && self.duplicates.last() != Some(&open_time) {
            self.duplicates.push(open_time);
        }
        if is_filler && !is_shared {
            self.fillers.push(open_time);
        } else if !is_filler && self.fillers.last() == Some(&open_time) {
            self.fillers.pop();
        }
        self.timestamps.push(open_time);
    }
}

/// Parses a score as Redis prints it: digits, `1.7251e+12`, `inf`, `-inf`.
fn parse_score(text: &[u8]) -> Option<f64> {
    if (1..=15).contains(&text.len()) && text.iter().all(u8::is_ascii_digit) {
        let whole = text.iter().fold(0, |value, digit| value * 10 + u64::from(digit - b'0'));
        // At most 15 digits, so the number is below 2^53 and the cast is exact.
        #[allow(clippy::cast_precision_loss)]
        return Some(whole as f64);
    }
    let numeric = text
        .iter()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E'));
    if numeric || text == b"inf" || text == b"-inf" {
        str::from_utf8(text).ok()?.parse().ok()
    } else {
        None
    }
}

/// The reply is not a list of members with ascending scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadReply {
    /// The score is not a number.
    Score,
    /// The score is below the one before it.
    Order,
    /// A member has no score.
    Odd,
    /// The bytes are not a RESP2 array of strings.
    Framing,
    /// The reply was not expected.
    Unasked,
}

impl fmt::Display for BadReply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Score => "the score is not a number",
            Self::Order => "the score is below the one before it",
            Self::Odd => "a member has no score",
            Self::Framing => "no RESP2 array of members and scores",
            Self::Unasked => "a reply that nobody asked for",
        })
    }
}

impl Error for BadReply {}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SERIES: Series<'static> = Series {
        symbol: "S",
        timeframe: "1m",
        step: 1,
    };

    fn member(timestamp: &str) -> Vec<u8> {
        format!(
            r#"{{"timestamp":{timestamp},"open":1,"high":1,"low":1,"close":1,"volume":1,"symbol":"S","timeframe":"1m"}}"#
        )
        .into_bytes()
    }

    #[test]
    fn sorts_members_into_columns() {
        let mut scan = Scan::default();
        for (timestamp, score) in [
            ("1", "0.5"),
            ("1", "1"),
            ("1", "1"),
            ("1.0", "1"),
            ("2", "2"),
            ("9", "3"),
            ("1e3", "1e+3"),
        ] {
            scan.push(&member(timestamp), score.as_bytes(), SERIES).unwrap();
        }
        scan.push(b"{}", b"inf", SERIES).unwrap();
        assert_eq!(scan.timestamps, [1, 1, 1, 2, 1000]);
        assert_eq!(scan.duplicates, [1]);
        assert_eq!(scan.malformed, [0, 3, i64::MAX]);
        assert!(scan.fillers.is_empty());
        assert_eq!(scan.push(b"", b"5", SERIES), Err(BadReply::Order));
        for score in [&b""[..], b"nan", b"1_0", b" 1", b"0x1", b"infinity", b"-", b"e5"] {
            assert_eq!(Scan::default().push(b"", score, SERIES), Err(BadReply::Score));
        }
    }
    #[test]
    fn gives_a_member_to_the_slot_its_score_falls_in() {
        let series = Series { step: 60, ..SERIES };
        let mut scan = Scan::default();
        for score in ["-61", "-1", "59", "60", "61", "119.5", "inf"] {
            scan.push(&member(score), score.as_bytes(), series).unwrap();
        }
        assert_eq!(scan.timestamps, [60]);
        assert_eq!(scan.malformed, [-120, -60, 0, 60, 60, i64::MAX - i64::MAX % 60]);
        let mut scan = Scan::default();
        scan.push(b"", b"-inf", series).unwrap();
        assert_eq!(scan.malformed, [i64::MIN]);
    }

    #[test]
    fn calls_a_slot_filled_in_only_where_no_other_candle_is() {
        let flat = |at: u8| {
            String::from_utf8(member(&at.to_string()))
                .unwrap()
                .replace("\"volume\":1", "\"volume\":0")
        };
        let mut scan = Scan::default();
        for (at, is_flat) in [
            (1, true),
            (1, false),
            (2, false),
            (2, true),
            (3, true),
            (3, true),
            (4, false),
        ] {
            let text = if is_flat {
                flat(at).into_bytes()
            } else {
                member(&at.to_string())
            };
            scan.push(&text, at.to_string().as_bytes(), SERIES).unwrap();
        }
        assert_eq!(scan.fillers, [3]);
        assert_eq!(scan.duplicates, [1, 2, 3]);
        let mut alone = Scan::default();
        alone.push(flat(5).as_bytes(), b"5", SERIES).unwrap();
        assert_eq!((alone.timestamps.len(), alone.fills(5, 1, 1)), (1, false));
    }
}
