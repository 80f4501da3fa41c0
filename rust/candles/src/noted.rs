//! Digests of members that an answer of the exchange verified.

use std::collections::HashMap;

use sha1::{Digest, Sha1};

/// Number of slots whose digests one field holds.
const BLOCK_SLOTS: usize = 60;
/// Letters of a digest: the first 6 bytes of SHA-1 in lower-case hex; NULs for a slot without digest.
const LETTERS: usize = 12;
/// Length of a field: a version byte, the digests, and an instant (u32) for each slot.
const BODY: usize = 1 + BLOCK_SLOTS * (LETTERS + 4);
const VERSION: u8 = 1;

/// Noted digests of the members of a series.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// Number of the first slot, counted from the epoch.
    first: i64,
    step: i64,
    digests: Vec<[u8; LETTERS]>,
    /// Digests (16 letters) of members that the operator accepted, by open time.
    accepted: HashMap<i64, [u8; 16]>,
}

/// Standing of a member by its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// An answer verified it.
    Verified,
    /// The operator accepted it.
    Accepted,
    /// Its digest is not noted.
    Unknown,
}

impl Noted {
    /// Reads the fields of consecutive blocks, the first of which holds `start`, and of the accepted members as the
    /// last.
    ///
    /// An empty or malformed field counts as a field without digests.
    pub(crate) fn read(&mut self, bodies: &[&[u8]], start: i64, step: i64) {
        let slots = BLOCK_SLOTS.cast_signed() as i64;
        self.step = step;
        self.first = start.checked_div_euclid(step).unwrap_or(0).div_euclid(slots) * slots;
        self.digests.clear();
        self.accepted.clear();
        let Some((accepted, blocks)) = bodies.split_last() else {
            return;
        };
        for block in blocks {
            match digests_in(block) {
                Some(digests) => self.digests.extend_from_slice(digests),
                None => self.digests.extend([[0; LETTERS]; BLOCK_SLOTS]),
            }
        }
        if let Some(pairs) = accepted_in(accepted) {
            self.accepted = pairs;
        }
    }

    /// Whether a verified member is noted for the slot that opens at `open_time`.
    pub(crate) fn has(&self, open_time: i64) -> bool {
        self.at(open_time).is_some()
    }

    /// Returns the standing of `member` in the slot that opens at `open_time`.
    pub(crate) fn standing(&self, open_time: i64, member: &[u8]) -> Standing {
        let noted = self.at(open_time);
        let accepted = self.accepted.get(&open_time);
        if noted.is_none() && accepted.is_none() {
            return Standing::Unknown;
        }
        let letters = letters_of(member);
        if noted.is_some_and(|digest| letters.starts_with(digest)) {
            Standing::Verified
        } else if accepted == Some(&letters) {
            Standing::Accepted
        } else {
            Standing::Unknown
        }
    }

    fn at(&self, open_time: i64) -> Option<&[u8; LETTERS]> {
        if open_time.checked_rem_euclid(self.step) != Some(0) {
            return None;
        }
        let slot = open_time.div_euclid(self.step).checked_sub(self.first)?;
        let digest = self.digests.get(usize::try_from(slot).ok()?)?;
        (*digest != [0; LETTERS]).then_some(digest)
    }
}

/// The first 8 bytes of SHA-1 in hex.
fn letters_of(member: &[u8]) -> [u8; 16] {
    let digest = Sha1::digest(member);
    let mut letters = [0; 16];
    for (pair, byte) in letters.chunks_exact_mut(2).zip(digest) {
        pair.copy_from_slice(&HEX[usize::from(byte)]);
    }
    letters
}

/// The two hex letters of each byte.
const HEX: [[u8; 2]; 256] = {
    let letters = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [letters[byte >> 4], letters[byte & 15]];
        byte += 1;
    }
    pairs
};

/// The digests of a block; None if the field is malformed.
fn digests_in(body: &[u8]) -> Option<&[[u8; LETTERS]]> {
    if body.len() != BODY || body[0] != VERSION {
        return None;
    }
    let (digests, _) = body[1..].as_chunks::<LETTERS>();
    digests.get(..BLOCK_SLOTS)
}

/// Parses the accepted members of a series: a JSON object without spaces, from open times to digests of 16 letters.
fn accepted_in(body: &[u8]) -> Option<HashMap<i64, [u8; 16]>> {
    let pairs = body.strip_prefix(b"{")?.strip_suffix(b"}")?;
    pairs.split(|&byte| byte == b',').map(accepted_pair).collect()
}

fn accepted_pair(pair: &[u8]) -> Option<(i64, [u8; 16])> {
    let pair = pair.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let at = pair.iter().position(|&byte| byte == b'"')?;
    let letters: [u8; 16] = pair[at..].strip_prefix(b"\":\"")?.try_into().ok()?;
    let is_written = (1..=15).contains(&at) && pair[..at].iter().all(u8::is_ascii_digit);
    let open_time = is_written.then(|| str::from_utf8(&pair[..at]).ok()?.parse().ok())??;
    letters
        .iter()
        .all(|&letter| is_letter(letter))
        .then_some((open_time, letters))
}

fn is_letter(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A block whose second slot holds a digest.
    fn block(digest: &[u8; LETTERS]) -> Vec<u8> {
        let mut body = vec![0; BODY];
        body[0] = VERSION;
        body[1 + LETTERS..][..LETTERS].copy_from_slice(digest);
        body
    }

    #[test]
    fn knows_members_by_their_digest() {
        // Standard vector: SHA-1 of "abc" is a9993e364706816aba3e25717850c26c9cd0d89d.
        let (first, second) = (block(b"a9993e364706"), block(b"a9993e364707"));
        let mut noted = Noted::default();
        noted.read(
            &[
                &first,
                &second,
                br#"{"0":"a9993e364706816a","7200":"0000000000000000"}"#,
            ],
            1200,
            60,
        );
        assert_eq!(noted.standing(60, b"abc"), Standing::Verified);
        assert_eq!(noted.standing(60, b"abd"), Standing::Unknown);
        assert_eq!(noted.standing(3660, b"abc"), Standing::Unknown);
        assert_eq!(noted.standing(0, b"abc"), Standing::Accepted);
        assert_eq!(noted.standing(7200, b"abc"), Standing::Unknown);
        let has: Vec<i64> = [-60, 0, 60, 61, 120, 3600, 3660, 7260, i64::MIN, i64::MAX]
            .into_iter()
            .filter(|&at| noted.has(at))
            .collect();
        assert_eq!(has, [60, 3660]);
        noted.read(&[&[], &second, b""], 1200, 60);
        assert_eq!(noted.standing(60, b"abc"), Standing::Unknown);
        assert_eq!(noted.standing(0, b"abc"), Standing::Unknown);
        assert!(noted.has(3660) && !noted.has(60));
        noted.read(&[&[0; BODY], &second[1..], b""], 1200, 60);
        assert!(!noted.has(60) && !noted.has(3660));
    }

    #[test]
    fn takes_accepted_members_only_as_they_are_written() {
        let found = accepted_in(br#"{"60":"a9993e364706816a","120":"0123456789abcdef"}"#);
        assert_eq!(found.map(|pairs| pairs.len()), Some(2));
        for bad in [
            &b""[..],
            b"{}",
            b"{\"60\":\"a9993e364706816a\"",
            b"{\"60\":\"a9993e364706816A\"}",
            b"{\"60\":\"a9993e364706816\"}",
            b"{\"60\": \"a9993e364706816a\"}",
            b"{\"-60\":\"a9993e364706816a\"}",
            b"{\"\":\"a9993e364706816a\"}",
            b"{\"6000000000000000\":\"a9993e364706816a\"}",
            b"{\"60\":\"a9993e364706816a\",}",
            b"{60:\"a9993e364706816a\"}",
        ] {
            assert_eq!(accepted_in(bad), None, "{bad:?}");
        }
    }
}
