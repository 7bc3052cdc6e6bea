//! Which unquoted words YAML 1.1 takes for something else than text: `yes`, `007`, `1:30`, `2026-11-23`, `~`, `=`.

/// Whether `text`, written plain, would be read as a boolean, number, date, null, merge key or value key.
pub(crate) fn is_other_type(text: &str) -> bool {
    is_word(text) || is_int(text) || is_float(text) || is_timestamp(text)
}

fn is_word(text: &str) -> bool {
    const WORDS: [&str; 31] = [
        "", "~", "<<", "=", "yes", "Yes", "YES", "no", "No", "NO", "true", "True", "TRUE", "false",
        "False", "FALSE", "on", "On", "ON", "off", "Off", "OFF", "null", "Null", "NULL", ".nan",
        ".NaN", ".NAN", ".inf", ".Inf", ".INF",
    ];
    WORDS.contains(&text) || matches!(unsigned(text), ".inf" | ".Inf" | ".INF")
}

fn unsigned(text: &str) -> &str {
    text.strip_prefix(['-', '+']).unwrap_or(text)
}

fn all(text: &str, test: impl Fn(u8) -> bool) -> bool {
    text.bytes().all(test)
}

fn digit_or_line(b: u8) -> bool {
    b.is_ascii_digit() || b == b'_'
}

/// A digit, then digits and `_`.
fn is_digits(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit()) && all(text, digit_or_line)
}

/// `12:30:59`: digits, then one or more groups of base 60.
fn is_base60(text: &str) -> bool {
    let mut groups = text.split(':');
    let small = |group: &str| match group.as_bytes() {
        [ones] => ones.is_ascii_digit(),
        [tens, ones] => (b'0'..=b'5').contains(tens) && ones.is_ascii_digit(),
        _ => false,
    };
    groups.next().is_some_and(is_digits) && text.contains(':') && groups.all(small)
}

fn is_int(text: &str) -> bool {
    let text = unsigned(text);
    let some = |rest: &str, test: fn(u8) -> bool| !rest.is_empty() && all(rest, test);
    if let Some(rest) = text.strip_prefix('0') {
        return rest.is_empty()
            || some(rest, |b| matches!(b, b'0'..=b'7' | b'_'))
            || rest
                .strip_prefix('b')
                .is_some_and(|bits| some(bits, |b| matches!(b, b'0' | b'1' | b'_')))
            || rest
                .strip_prefix('x')
                .is_some_and(|hex| some(hex, |b| b.is_ascii_hexdigit() || b == b'_'));
    }
    is_digits(text) || is_base60(text)
}

fn is_float(text: &str) -> bool {
    let Some((whole, rest)) = unsigned(text).split_once('.') else {
        return false;
    };
    let (fraction, exponent) = match rest.split_once(['e', 'E']) {
        Some((fraction, exponent)) => (fraction, Some(exponent)),
        None => (rest, None),
    };
    let exponent_fits = exponent.is_none_or(|exponent| {
        let digits = exponent.strip_prefix(['-', '+']).unwrap_or("");
        !digits.is_empty() && all(digits, |b| b.is_ascii_digit())
    });
    if whole.is_empty() {
        // No sign is allowed before a bare point.
        return text.starts_with('.') && is_digits(fraction) && exponent_fits;
    }
    let plain = is_digits(whole) && exponent_fits;
    all(fraction, digit_or_line) && (plain || (exponent.is_none() && is_base60(whole)))
}

/// `2026-11-23`, or a date and time with or without a zone.
fn is_timestamp(text: &str) -> bool {
    let mut scan = Scan(text.as_bytes());
    if !(scan.digits(4, 4)
        && scan.byte(b"-")
        && scan.digits(1, 2)
        && scan.byte(b"-")
        && scan.digits(1, 2))
    {
        return false;
    }
    if scan.0.is_empty() {
        return text.len() == 10;
    }
    if !(scan.byte(b"Tt") || scan.blanks() > 0) {
        return false;
    }
    let time = scan.digits(1, 2)
        && scan.byte(b":")
        && scan.digits(2, 2)
        && scan.byte(b":")
        && scan.digits(2, 2);
    if !time {
        return false;
    }
    if scan.byte(b".") {
        scan.digits(0, usize::MAX);
    }
    if scan.0.is_empty() {
        return true;
    }
    scan.blanks();
    let zone = scan.byte(b"Z")
        || (scan.byte(b"+-")
            && scan.digits(1, 2)
            && (scan.0.is_empty() || (scan.byte(b":") && scan.digits(2, 2))));
    zone && scan.0.is_empty()
}

/// Takes bytes from the front.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn digits(&mut self, least: usize, most: usize) -> bool {
        let count = self.0.iter().take(most).take_while(|b| b.is_ascii_digit()).count();
        self.0 = &self.0[count..];
        count >= least
    }

    fn byte(&mut self, any_of: &[u8]) -> bool {
        match self.0 {
            [first, rest @ ..] if any_of.contains(first) => {
                self.0 = rest;
                true
            }
            _ => false,
        }
    }

    fn blanks(&mut self) -> usize {
        let count = self.0.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        self.0 = &self.0[count..];
        count
    }
}
