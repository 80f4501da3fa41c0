//! The part of RESP2 that replies of strings need.

use crate::scan::BadReply;

/// Longest line at the start of a reply or an item. No known server sends a longer error text.
pub(crate) const LINE_LIMIT: usize = 64 * 1024;

/// The first line of a reply.
pub(crate) enum Opening<'a> {
    Array(usize),
    Error(&'a [u8]),
}

/// A position in the bytes. It only moves past complete parts.
pub(crate) struct Cursor<'a> {
    pub(crate) rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn opening(&mut self) -> Result<Option<Opening<'a>>, BadReply> {
        let Some((line, rest)) = line(self.rest)? else {
            return Ok(None);
        };
        self.rest = rest;
        match line {
            [b'*', count @ ..] => number(count).map(|items| Some(Opening::Array(items))),
            [b'-', text @ ..] => Ok(Some(Opening::Error(text))),
            _ => Err(BadReply::Framing),
        }
    }

    /// Reads a reply of `items` strings, or an error in its place; null strings are returned as empty.
    pub(crate) fn bodies(&mut self, items: usize) -> Result<Option<Bodies<'a>>, BadReply> {
        let mut ahead = Cursor { rest: self.rest };
        let bodies = match ahead.opening()? {
            None => return Ok(None),
            Some(Opening::Error(text)) => Err(text),
            Some(Opening::Array(count)) if count == items => {
                let mut bodies = Vec::new();
                for _ in 0..items {
                    let found = match ahead.rest.strip_prefix(ABSENT) {
                        Some(rest) => Some((&[][..], rest)),
                        None if ABSENT.starts_with(ahead.rest) => None,
                        None => bulk(ahead.rest)?,
                    };
                    let Some((body, rest)) = found else {
                        return Ok(None);
                    };
                    bodies.push(body);
                    ahead.rest = rest;
                }
                Ok(bodies)
            }
            Some(Opening::Array(_)) => return Err(BadReply::Framing),
        };
        self.rest = ahead.rest;
        Ok(Some(bodies))
    }

    /// Reads a member and its score.
    pub(crate) fn pair(&mut self) -> Result<Split<'a>, BadReply> {
        let Some((member, rest)) = bulk(self.rest)? else {
            return Ok(None);
        };
        let Some((score, rest)) = bulk(rest)? else {
            return Ok(None);
        };
        self.rest = rest;
        Ok(Some((member, score)))
    }
}

/// The strings of a reply, or the error in its place.
pub(crate) type Bodies<'a> = Result<Vec<&'a [u8]>, &'a [u8]>;

/// A null string in RESP2.
const ABSENT: &[u8] = b"$-1\r\n";

/// Two consecutive parts of the bytes; None if they are not complete yet.
type Split<'a> = Option<(&'a [u8], &'a [u8])>;

/// Splits off a bulk string; None if it is not complete yet.
fn bulk(bytes: &[u8]) -> Result<Split<'_>, BadReply> {
    let Some((line, rest)) = line(bytes)? else {
        return Ok(None);
    };
    let [b'$', count @ ..] = line else {
        return Err(BadReply::Framing);
    };
    let length = number(count)?;
    let Some((text, rest)) = rest.split_at_checked(length) else {
        return Ok(None);
    };
    match rest {
        [b'\r', b'\n', rest @ ..] => Ok(Some((text, rest))),
        [] | [b'\r'] => Ok(None),
        _ => Err(BadReply::Framing),
    }
}

/// Splits off a line without its line end; None if it is not complete yet.
fn line(bytes: &[u8]) -> Result<Split<'_>, BadReply> {
    let Some(end) = bytes.iter().take(LINE_LIMIT).position(|&byte| byte == b'\r') else {
        return if bytes.len() < LINE_LIMIT {
            Ok(None)
        } else {
            Err(BadReply::Framing)
        };
    };
    match &bytes[end + 1..] {
        [b'\n', rest @ ..] => Ok(Some((&bytes[..end], rest))),
        [] => Ok(None),
        _ => Err(BadReply::Framing),
    }
}

/// Parses a number of up to nine digits, which suffices for every server's numbers of items and lengths.
fn number(digits: &[u8]) -> Result<usize, BadReply> {
    if !(1..=9).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadReply::Framing);
    }
    Ok(digits
        .iter()
        .fold(0, |value, digit| value * 10 + usize::from(digit - b'0')))
}
