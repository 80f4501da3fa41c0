//! Parses the replies about many keys from a stream while its bytes arrive.

use std::collections::VecDeque;
use std::mem;

use crate::candle::Series;
use crate::framing::{Cursor, Opening};
use crate::noted::Noted;
use crate::scan::{BadReply, Scan};

/// A question about one key: its series, and the grid that its candles should fill.
#[derive(Clone, Debug)]
pub struct Span {
    /// Product id, as written in the members.
    pub symbol: String,
    /// Name of the timeframe, as written in the members.
    pub timeframe: String,
    /// First open time (ms).
    pub start: i64,
    /// The grid's step (ms), positive.
    pub step: i64,
    /// Number of open times.
    pub length: usize,
    /// Number of blocks whose digests are asked for before the members; the first block holds `start`.
    pub blocks: usize,
}

/// Answer about one key.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// Each slot of the grid holds one candle, no candle is a filler, there are no other members, and all candles are
    /// verified or no digests were asked for.
    Whole,
    /// The same, except that some candles are not verified.
    Unverified(Scan),
    /// Any other content.
    Held(Scan),
    /// The server's error line without the `-`. If both commands failed, it is the first one's.
    Refused(Vec<u8>),
}

/// Parses RESP2 replies to `ZRANGEBYSCORE ... WITHSCORES`, one for each span, in the order of `ask`.
///
/// If a span asks for blocks, the reply to `HMGET` of their fields and of the accepted members comes before it.
#[derive(Debug, Default)]
pub struct Replies {
    asked: VecDeque<Span>,
    answers: Vec<Answer>,
    /// Bytes not parsed yet: an incomplete reply with digests, or an incomplete pair of a member and its score.
    rest: Vec<u8>,
    /// Digests of the next span, whose members come after them.
    digests: Digests,
    noted: Noted,
    /// Number of items that the current reply still lacks.
    left: Option<usize>,
    scan: Scan,
}

#[derive(Debug, Default)]
enum Digests {
    #[default]
    Unread,
    Noted,
    Refused(Vec<u8>),
}

impl Replies {
    /// Adds a span. Its reply comes after those of earlier spans.
    pub fn ask(&mut self, span: Span) {
        self.asked.push_back(span);
    }

    /// Parses more bytes of the stream; returns how many answers are complete and not yet taken.
    ///
    /// # Errors
    ///
    /// [`BadReply`]: the stream cannot be used any more.
    pub fn feed(&mut self, data: &[u8]) -> Result<usize, BadReply> {
        let mut bytes = mem::take(&mut self.rest);
        bytes.extend_from_slice(data);
        let mut cursor = Cursor { rest: &bytes };
        while self.advance(&mut cursor)? {}
        let consumed = bytes.len() - cursor.rest.len();
        bytes.drain(..consumed);
        self.rest = bytes;
        Ok(self.answers.len())
    }

    /// Removes and returns the complete answers, in the order of `ask`.
    pub fn take(&mut self) -> Vec<Answer> {
        mem::take(&mut self.answers)
    }

    /// Parses one more part of the stream; returns false if more bytes are needed.
    fn advance(&mut self, cursor: &mut Cursor<'_>) -> Result<bool, BadReply> {
        let Some(span) = self.asked.front() else {
            return if cursor.rest.is_empty() {
                Ok(false)
            } else {
                Err(BadReply::Unasked)
            };
        };
        if span.blocks > 0 && matches!(self.digests, Digests::Unread) {
            let Some(reply) = cursor.bodies(span.blocks.saturating_add(1))? else {
                return Ok(false);
            };
            self.digests = match reply {
                Ok(bodies) => {
                    self.noted.read(&bodies, span.start, span.step);
                    Digests::Noted
                }
                Err(text) => Digests::Refused(text.to_vec()),
            };
            return Ok(true);
        }
        match self.left {
            None => match cursor.opening()? {
                None => return Ok(false),
                Some(Opening::Error(text)) => self.answer(Answer::Refused(text.to_vec())),
                Some(Opening::Array(items)) => {
                    if items % 2 != 0 {
                        return Err(BadReply::Odd);
                    }
                    self.left = Some(items);
                    self.scan.clear();
                }
            },
            Some(0) => {
                let is_whole = self.scan.fills(span.start, span.step, span.length);
                if matches!(self.digests, Digests::Noted) {
                    self.scan.finish(&self.noted);
                }
                let answer = match (is_whole, self.scan.unverified.is_empty()) {
                    (true, true) => Answer::Whole,
                    (true, false) => Answer::Unverified(mem::take(&mut self.scan)),
                    (false, _) => Answer::Held(mem::take(&mut self.scan)),
                };
                self.left = None;
                self.answer(answer);
            }
            Some(left) => {
                let Some((member, score)) = cursor.pair()? else {
                    return Ok(false);
                };
                let series = Series {
                    symbol: &span.symbol,
                    timeframe: &span.timeframe,
                    step: span.step,
                };
                let noted = matches!(self.digests, Digests::Noted).then_some(&self.noted);
                self.scan.push_noted(member, score, series, noted)?;
                self.left = Some(left - 2);
            }
        }
        Ok(true)
    }

    fn answer(&mut self, answer: Answer) {
        self.asked.pop_front();
        self.answers.push(match mem::take(&mut self.digests) {
            Digests::Refused(text) => Answer::Refused(text),
            _ => answer,
        });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::framing::LINE_LIMIT;

    fn span(length: usize) -> Span {
        Span {
            symbol: "S".into(),
            timeframe: "1m".into(),
            start: 60,
            step: 60,
            length,
            blocks: 0,
        }
    }

    fn reply(scores: &[i64]) -> Vec<u8> {
        let mut bytes = format!("*{}\r\n", 2 * scores.len()).into_bytes();
        for score in scores {
            let member = format!(
                r#"{{"timestamp":{score},"open":1,"high":1,"low":1,"close":1,"volume":1,"symbol":"S","timeframe":"1m"}}"#
            );
            let score = score.to_string();
            bytes.extend(format!("${}\r\n{member}\r\n${}\r\n{score}\r\n", member.len(), score.len()).into_bytes());
        }
        bytes
    }

    fn answers(pieces: &[&[u8]], spans: &[Span]) -> Result<Vec<Answer>, BadReply> {
        let mut replies = Replies::default();
        for span in spans {
            replies.ask(span.clone());
        }
        for piece in pieces {
            replies.feed(piece)?;
        }
        Ok(replies.take())
    }

    #[test]
    fn answers_alike_however_the_bytes_are_cut() {
        let mut bytes = reply(&[60, 120]);
        bytes.extend(b"-WRONGTYPE no set\r\n");
        bytes.extend(reply(&[]));
        bytes.extend(reply(&[60, 180]));
        let spans = [span(2), span(2), span(0), span(2)];
        let whole = answers(&[&bytes], &spans).unwrap();
        assert_eq!(whole[0], Answer::Whole);
        assert_eq!(whole[1], Answer::Refused(b"WRONGTYPE no set".to_vec()));
        assert_eq!(whole[2], Answer::Whole);
        assert!(matches!(&whole[3], Answer::Held(scan) if scan.timestamps == [60, 180]));
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(answers(&[left, right], &spans).unwrap(), whole, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(answers(&single, &spans).unwrap(), whole);
    }

    #[test]
    fn reads_digests_before_the_members_however_the_bytes_are_cut() {
        let nothing = b"*2\r\n$-1\r\n$0\r\n\r\n";
        let mut bytes = [
            &nothing[..],
            &reply(&[60, 120]),
            b"-WRONGTYPE no hash\r\n",
            &reply(&[60]),
        ]
        .concat();
        bytes.extend([&nothing[..], b"-WRONGTYPE no set\r\n"].concat());
        let spans = [2, 1, 2].map(|length| Span {
            blocks: 1,
            ..span(length)
        });
        let whole = answers(&[&bytes], &spans).unwrap();
        assert!(
            matches!(&whole[0], Answer::Unverified(scan) if scan.unverified == [60, 120] && scan.changed.is_empty())
        );
        assert_eq!(whole[1], Answer::Refused(b"WRONGTYPE no hash".to_vec()));
        assert_eq!(whole[2], Answer::Refused(b"WRONGTYPE no set".to_vec()));
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(answers(&[left, right], &spans).unwrap(), whole, "cut at {cut}");
        }
        for bad in [&b"*1\r\n$-1\r\n"[..], b"*2\r\n:1\r\n", b"*2\r\n$-2\r\n"] {
            assert_eq!(answers(&[bad], &spans), Err(BadReply::Framing), "{bad:?}");
        }
    }

    #[test]
    fn calls_whole_only_what_fills_its_grid() {
        for scores in [
            &[60][..],
            &[],
            &[60, 60],
            &[60, 121],
            &[60, 120, 180],
            &[0, 60],
            &[61, 121],
            &[60, 60, 120],
        ] {
            let found = answers(&[&reply(scores)], &[span(2)]).unwrap();
            assert!(matches!(&found[..], [Answer::Held(_)]), "{scores:?}");
        }
    }

    #[test]
    fn refuses_what_is_no_such_reply() {
        for bad in [
            &b"*-1\r\n"[..],
            b"*\r\n",
            b"*2x\r\n",
            b":1\r\n",
            b"$1\r\nx\r\n",
            b"*2\r\n:1\r\n",
            b"*2\r\n$1\r\nxx\r\n",
            b"*2\r\n$-1\r\n",
            b"*2\rn",
            b"*9999999999\r\n",
        ] {
            assert_eq!(answers(&[bad], &[span(1)]), Err(BadReply::Framing), "{bad:?}");
        }
        assert_eq!(answers(&[b"*1\r\n"], &[span(1)]), Err(BadReply::Odd));
        assert_eq!(answers(&[b"*0\r\n*0\r\n"], &[span(0)]), Err(BadReply::Unasked));
        assert_eq!(answers(&[&vec![b'-'; LINE_LIMIT]], &[span(0)]), Err(BadReply::Framing));
    }
}
