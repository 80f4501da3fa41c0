//! A strict JSON scanner (RFC 8259) that builds no values.

use std::borrow::Cow;

/// Most levels of nested objects and arrays, including the member itself.
pub const MAX_DEPTH: u32 = 64;

/// A JSON value, as far as it matters for candles.
pub(crate) enum Value<'a> {
    /// A string.
    Text(Text<'a>),
    /// A number.
    Number(Number<'a>),
    /// The word true.
    True,
    /// An object, an array, false or null.
    Other,
}

/// A string as written.
#[derive(Clone, Copy)]
pub(crate) struct Text<'a> {
    /// Text between the quotes, with its escapes.
    pub(crate) raw: &'a [u8],
    /// Whether the text has escapes.
    pub(crate) escaped: bool,
}

/// A number as written.
pub(crate) struct Number<'a>(&'a [u8]);

impl Number<'_> {
    /// The nearest double; infinite if it exceeds the largest.
    pub(crate) fn value(&self) -> f64 {
        // Every JSON number is also a valid number for Rust's parser.
        str::from_utf8(self.0)
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(f64::NAN)
    }
}

/// A position in the text of a member.
pub(crate) struct Scanner<'a> {
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { rest: text }
    }

    /// Whether the end of the text is reached.
    pub(crate) const fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn skip_space(&mut self) {
        while let [b' ' | b'\t' | b'\n' | b'\r', rest @ ..] = self.rest {
            self.rest = rest;
        }
    }

    /// Consumes `byte` if it comes next; returns whether it did.
    pub(crate) fn take(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Consumes `"key" :` and the white space around it; returns the key.
    pub(crate) fn key(&mut self) -> Option<Text<'a>> {
        self.skip_space();
        let key = self.string()?;
        self.skip_space();
        let colon = self.take(b':');
        self.skip_space();
        colon.then_some(key)
    }

    /// Consumes a value within `depth` open levels and returns it; None if it is not valid JSON.
    pub(crate) fn value(&mut self, depth: u32) -> Option<Value<'a>> {
        match self.rest.first()? {
            b'"' => self.string().map(Value::Text),
            b'-' | b'0'..=b'9' => self.number().map(Value::Number),
            b'{' | b'[' => self.container(depth).map(|()| Value::Other),
            _ => self.literal(),
        }
    }

    fn string(&mut self) -> Option<Text<'a>> {
        let [b'"', text @ ..] = self.rest else { return None };
        let mut at = 0;
        let mut escaped = false;
        loop {
            match text.get(at)? {
                b'"' => break,
                b'\\' => {
                    escaped = true;
                    at += escape_len(text.get(at + 1..)?)?;
                }
                0..0x20 => return None,
                _ => at += 1,
            }
        }
        self.rest = &text[at + 1..];
        Some(Text {
            raw: &text[..at],
            escaped,
        })
    }

    fn number(&mut self) -> Option<Number<'a>> {
        let text = self.rest;
        let mut at = usize::from(text.first() == Some(&b'-'));
        at += match digits(&text[at..]) {
            0 => return None,
            many if many > 1 && text[at] == b'0' => return None,
            many => many,
        };
        if text.get(at) == Some(&b'.') {
            let fraction = digits(&text[at + 1..]);
            if fraction == 0 {
                return None;
            }
            at += 1 + fraction;
        }
        if matches!(text.get(at), Some(b'e' | b'E')) {
            at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
            let exponent = digits(&text[at..]);
            if exponent == 0 {
                return None;
            }
            at += exponent;
        }
        self.rest = &text[at..];
        Some(Number(&text[..at]))
    }

    fn literal(&mut self) -> Option<Value<'a>> {
        for (word, value) in [
            (&b"null"[..], Value::Other),
            (b"true", Value::True),
            (b"false", Value::Other),
        ] {
            if let Some(rest) = self.rest.strip_prefix(word) {
                self.rest = rest;
                return Some(value);
            }
        }
        None
    }

    /// Consumes an object or array. The nesting is stored in the bits of a word, so there is no recursion.
    fn container(&mut self, outer: u32) -> Option<()> {
        let mut objects = 0u64;
        let mut depth = 0;
        loop {
            self.skip_space();
            let opens_object = self.take(b'{');
            if opens_object || self.take(b'[') {
                depth += 1;
                if outer + depth > MAX_DEPTH {
                    return None;
                }
                objects = objects << 1 | u64::from(opens_object);
                self.skip_space();
                if !matches!(
                    (opens_object, self.rest.first()),
                    (true, Some(b'}')) | (false, Some(b']'))
                ) {
                    if opens_object {
                        self.key()?;
                    }
                    continue;
                }
            } else {
                self.value(outer + depth)?;
            }
            loop {
                self.skip_space();
                let in_object = objects & 1 == 1;
                if self.take(b',') {
                    if in_object {
                        self.key()?;
                    }
                    break;
                }
                if !self.take(if in_object { b'}' } else { b']' }) {
                    return None;
                }
                objects >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Some(());
                }
            }
        }
    }
}

/// Number of leading decimal digits.
fn digits(text: &[u8]) -> usize {
    text.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// Length of an escape, including the backslash; `after` is the text after the backslash.
fn escape_len(after: &[u8]) -> Option<usize> {
    match after {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => Some(2),
        [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()) => Some(6),
        _ => None,
    }
}

impl<'a> Text<'a> {
    /// The string with its escapes resolved; None if it has a lone surrogate, and so equals no `str`.
    pub(crate) fn resolved(self) -> Option<Cow<'a, str>> {
        if self.escaped {
            unescaped(self.raw).map(Cow::Owned)
        } else {
            str::from_utf8(self.raw).ok().map(Cow::Borrowed)
        }
    }

    /// Whether the string with its escapes resolved equals `plain`.
    pub(crate) fn says(self, plain: &str) -> bool {
        self.resolved().as_deref() == Some(plain)
    }
}

/// Resolves the escapes in the text of a valid string; None if it has a lone surrogate.
#[cold]
fn unescaped(text: &[u8]) -> Option<String> {
    let mut units = Vec::new();
    let mut rest = str::from_utf8(text).ok()?;
    while let Some(at) = rest.find('\\') {
        units.extend(rest[..at].encode_utf16());
        let escape = rest.as_bytes().get(at + 1)?;
        let mut taken = at + 2;
        units.push(match escape {
            b'u' => {
                taken = at + 6;
                u16::from_str_radix(rest.get(at + 2..taken)?, 16).ok()?
            }
            b'b' => 8,
            b'f' => 12,
            b'n' => 10,
            b'r' => 13,
            b't' => 9,
            other => u16::from(*other),
        });
        rest = &rest[taken..];
    }
    units.extend(rest.encode_utf16());
    String::from_utf16(&units).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_json(text: &str) -> bool {
        let mut scanner = Scanner::new(text.as_bytes());
        scanner.value(0).is_some() && scanner.is_done()
    }

    #[test]
    fn takes_the_grammar() {
        for good in [
            "0",
            "-0",
            "10.5",
            "1e9",
            "1E+9",
            "1.0e-9",
            "null",
            "true",
            "false",
            r#""""#,
            r#""a\"b""#,
        ] {
            assert!(is_json(good), "{good}");
        }
        for good in [
            "[]",
            "{}",
            "[1, [2, {}], \"x\"]",
            r#"{"a": {"b": [null]}, "c": 1}"#,
            r#""\ud800""#,
            "[ ]",
        ] {
            assert!(is_json(good), "{good}");
        }
    }

    #[test]
    fn refuses_what_is_not_json() {
        for bad in [
            "",
            "+1",
            "01",
            "-01",
            ".5",
            "1.",
            "1e",
            "1e+",
            "-",
            "NaN",
            "nul",
            "Infinity",
            "-Infinity",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
        for bad in [
            "\"",
            r#""\x""#,
            r#""\u12g4""#,
            "\"\n\"",
            "'a'",
            "[1,]",
            "[,1]",
            "{,}",
            "[",
            "{",
            "[}",
            "{]",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
        for bad in [
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r"{1:1}",
            r#"{"a" 1}"#,
            "[1 2]",
            "[1]]",
        ] {
            assert!(!is_json(bad), "{bad}");
        }
    }

    #[test]
    fn bounds_the_depth() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(is_json(&nested(64)));
        assert!(!is_json(&nested(65)));
        assert!(!is_json(&"[".repeat(1_000_000)));
    }

    #[test]
    fn resolves_escapes() {
        let says = |text: &str, plain: &str| {
            let quoted = format!("\"{text}\"");
            let value = Scanner::new(quoted.as_bytes()).value(0);
            matches!(value, Some(Value::Text(text)) if text.says(plain))
        };
        assert!(says(r"\u0042TC-USD", "BTC-USD"));
        assert!(says(r"\ud83d\ude00\n\/\\", "😀\n/\\"));
        assert!(!says(r"\ud83d", "\u{fffd}"));
        assert!(!says(r"\\u0042", "B"));
        assert!(!says(r"a\b", r"a\b"));
    }
}
