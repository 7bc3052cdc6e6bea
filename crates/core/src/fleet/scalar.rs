//! Plain scalars of YAML 1.1, as PyYAML resolves and writes them: `no` is false, `012` is ten, `1:30` is ninety.

use super::node::Value;

/// The value of a plain scalar.
pub fn resolve(text: &str) -> Value {
    let tags: [fn(&str) -> Option<Value>; 5] = [null, boolean, int, float, time];
    tags.iter().find_map(|tag| tag(text)).unwrap_or_else(|| Value::Text(text.to_owned()))
}

/// The value of a scalar with a tag of plain data; none if it does not fit the tag.
pub fn tagged(text: &str, tag: &str) -> Option<Value> {
    match tag {
        "null" => Some(Value::Null),
        "bool" => boolean(text),
        "int" => int(text),
        "float" => match int(text) {
            Some(Value::Int(whole)) => Some(Value::Float(whole as f64)),
            _ => float(text),
        },
        "timestamp" => time(text),
        _ => None,
    }
}

fn null(text: &str) -> Option<Value> {
    matches!(text, "" | "~" | "null" | "Null" | "NULL").then_some(Value::Null)
}

fn boolean(text: &str) -> Option<Value> {
    let (yes, no) = (["yes", "true", "on"], ["no", "false", "off"]);
    let lower = text.to_ascii_lowercase();
    let mut rest = text.chars();
    let first = rest.next()?;
    let tail = rest.as_str();
    // All lower case, all upper case, or capitalised; nothing mixed.
    let uniform = *text == lower
        || *text == lower.to_ascii_uppercase()
        || (first.is_ascii_uppercase() && *tail == lower[1..]);
    if !text.is_ascii() || !uniform {
        return None;
    }
    match lower.as_str() {
        word if yes.contains(&word) => Some(Value::Bool(true)),
        word if no.contains(&word) => Some(Value::Bool(false)),
        _ => None,
    }
}

/// A longer whole number is taken for text: working it out takes time that grows with the square of its length.
const MOST_DIGITS: usize = 400;

/// `0b101`, `017`, `0`, `42`, `0x1f`, `1:30`, each with a sign and `_` between digits.
fn int(text: &str) -> Option<Value> {
    let (negative, digits) = sign(text);
    let base = int_base(digits)?;
    let plain = digits.replace('_', "");
    let places: Vec<u32> = match base {
        60 => plain.split(':').map(str::parse).collect::<Result<_, _>>().ok()?,
        _ => {
            let start = if matches!(base, 2 | 16) { 2 } else { 0 };
            plain[start..].chars().map(|c| c.to_digit(base)).collect::<Option<_>>()?
        }
    };
    // `0b_` has the form of a number, and is none in Python either.
    if places.is_empty() || places.len() > MOST_DIGITS {
        return None;
    }
    let add = |value: i128, place: &u32| {
        value.checked_mul(i128::from(base))?.checked_add(i128::from(*place))
    };
    Some(match places.iter().try_fold(0, add) {
        Some(value) => Value::Int(if negative { -value } else { value }),
        None => {
            Value::Big(format!("{}{}", if negative { "-" } else { "" }, decimal(&places, base)))
        }
    })
}

/// Decimal digits of a number of any size: in groups of nine digits, the lowest first.
fn decimal(places: &[u32], base: u32) -> String {
    const GROUP: u64 = 1_000_000_000;
    let mut groups: Vec<u64> = Vec::new();
    for place in places {
        let mut carry = u64::from(*place);
        for group in &mut groups {
            let value = *group * u64::from(base) + carry;
            (*group, carry) = (value % GROUP, value / GROUP);
        }
        if carry > 0 {
            groups.push(carry);
        }
    }
    let (last, rest) = groups.split_last().unwrap_or((&0, &[]));
    rest.iter().rev().fold(last.to_string(), |text, group| text + &format!("{group:09}"))
}

/// The base in which digits without sign are a whole number, by their form alone.
fn int_base(digits: &str) -> Option<u32> {
    let all = |digits: &str, fits: fn(char) -> bool| {
        !digits.is_empty() && digits.chars().all(|c| fits(c) || c == '_')
    };
    let octal: fn(char) -> bool = |c| matches!(c, '0'..='7');
    let decimal: fn(char) -> bool = |c| c.is_ascii_digit();
    if let Some(rest) = digits.strip_prefix("0b") {
        return all(rest, |c| matches!(c, '0' | '1')).then_some(2);
    }
    if let Some(rest) = digits.strip_prefix("0x") {
        return all(rest, |c| c.is_ascii_hexdigit()).then_some(16);
    }
    if let Some(rest) = digits.strip_prefix('0') {
        return (rest.is_empty() || all(rest, octal)).then_some(8);
    }
    if !digits.starts_with(decimal) {
        return None;
    }
    match digits.contains(':') {
        true => sixties(digits).then_some(60),
        false => all(digits, decimal).then_some(10),
    }
}

/// Whether digits have the form `[0-9][0-9_]*(:[0-5]?[0-9])+`.
fn sixties(digits: &str) -> bool {
    let mut parts = digits.split(':');
    let first = parts.next().unwrap_or("");
    let sixtieth = |part: &str| match part.as_bytes() {
        [one] => one.is_ascii_digit(),
        [ten, one] => matches!(ten, b'0'..=b'5') && one.is_ascii_digit(),
        _ => false,
    };
    first.starts_with(|c: char| c.is_ascii_digit())
        && first.chars().all(|c| c.is_ascii_digit() || c == '_')
        && digits.contains(':')
        && parts.all(sixtieth)
}

/// The value of digits to the base of 60; none if they are none, or too many.
fn base60(digits: &str) -> Option<i128> {
    let digits = digits.replace('_', "");
    digits
        .split(':')
        .try_fold(0_i128, |value, part| value.checked_mul(60)?.checked_add(part.parse().ok()?))
}

/// `1.5`, `1.`, `.5`, `1.5e+3`, `1:30.5`, `.inf`, `.nan`; an exponent needs its sign.
fn float(text: &str) -> Option<Value> {
    match text {
        ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Some(Value::Float(f64::INFINITY));
        }
        "-.inf" | "-.Inf" | "-.INF" => return Some(Value::Float(f64::NEG_INFINITY)),
        _ => {}
    }
    let (negative, digits) = sign(text);
    let (whole, rest) = digits.split_once('.')?;
    let digit = |c: char| c.is_ascii_digit() || c == '_';
    if whole.contains(':') {
        if !sixties(whole) || !rest.chars().all(digit) {
            return None;
        }
        let whole = base60(whole)? as f64;
        let fraction: f64 = format!("0.{}", rest.replace('_', "")).parse().ok()?;
        let value = whole + fraction;
        return Some(Value::Float(if negative { -value } else { value }));
    }
    if whole.is_empty() {
        // `.5` takes no sign, and wants a digit at once.
        if digits.len() != text.len() || !rest.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
    } else if !whole.starts_with(|c: char| c.is_ascii_digit()) || !whole.chars().all(digit) {
        return None;
    }
    let (fraction, exponent) = match rest.find(['e', 'E']) {
        Some(at) => (&rest[..at], Some(&rest[at + 1..])),
        None => (rest, None),
    };
    let signed = |e: &str| {
        let (_, digits) = sign(e);
        digits.len() + 1 == e.len()
            && !digits.is_empty()
            && digits.bytes().all(|c| c.is_ascii_digit())
    };
    if !fraction.chars().all(digit) || !exponent.is_none_or(signed) {
        return None;
    }
    let value: f64 = digits.replace('_', "").parse().ok()?;
    Some(Value::Float(if negative { -value } else { value }))
}

fn sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

/// A date, or a date with time, written as Python writes it back. Impossible dates are no plain data in PyYAML either.
fn time(text: &str) -> Option<Value> {
    let split = text.find(['t', 'T', ' ', '\t']);
    let Some(split) = split else {
        let strict = text.len() == 10 && date(text).is_some_and(|(_, long)| long);
        return strict.then(|| Value::Time(text.to_owned()));
    };
    let (day, _) = date(&text[..split])?;
    let rest = text[split + 1..].trim_start_matches([' ', '\t']);
    if rest.len() + split + 1 != text.len() && !matches!(&text[split..=split], " " | "\t") {
        return None;
    }
    let clock_end = rest.find(|c: char| !matches!(c, '0'..='9' | ':' | '.')).unwrap_or(rest.len());
    let clock = clock(&rest[..clock_end])?;
    let zone = zone(rest[clock_end..].trim_start_matches([' ', '\t']))?;
    Some(Value::Time(format!("{day} {clock}{zone}")))
}

/// `Y-M-D` normalised, and whether it was written with two digits each.
fn date(text: &str) -> Option<(String, bool)> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let digits = |t: &str, sizes: &[usize]| {
        sizes.contains(&t.len()) && t.bytes().all(|c| c.is_ascii_digit())
    };
    if parts.next().is_some() || !digits(year, &[4]) {
        return None;
    }
    if !digits(month, &[1, 2]) || !digits(day, &[1, 2]) {
        return None;
    }
    let (m, d): (u8, u8) = (month.parse().ok()?, day.parse().ok()?);
    Some((format!("{year}-{m:02}-{d:02}"), month.len() == 2 && day.len() == 2))
}

/// `H:MM:SS[.fraction]` as Python's isoformat writes it: microseconds, or none if they are zero.
fn clock(text: &str) -> Option<String> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let parts: Vec<&str> = clock.split(':').collect();
    let [hour, minute, second] = parts[..] else {
        return None;
    };
    let digits = |t: &str| !t.is_empty() && t.bytes().all(|c| c.is_ascii_digit());
    if !digits(hour)
        || hour.len() > 2
        || ![minute, second].iter().all(|t| digits(t) && t.len() == 2)
    {
        return None;
    }
    if !fraction.bytes().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let micro: String = fraction.chars().chain("000000".chars()).take(6).collect();
    let fraction = if micro == "000000" { String::new() } else { format!(".{micro}") };
    Some(format!("{hour:0>2}:{minute}:{second}{fraction}"))
}

/// `Z`, `+1`, `-05:30` or nothing, as isoformat writes it.
fn zone(text: &str) -> Option<String> {
    if text.is_empty() {
        return Some(String::new());
    }
    if text == "Z" {
        return Some("+00:00".to_owned());
    }
    let sign = text.chars().next().filter(|c| matches!(c, '+' | '-'))?;
    let (hour, minute) = text[1..].split_once(':').unwrap_or((&text[1..], "00"));
    let digits = |t: &str| t.bytes().all(|c| c.is_ascii_digit());
    let fits = matches!(hour.len(), 1 | 2) && minute.len() == 2 && digits(hour) && digits(minute);
    fits.then(|| format!("{sign}{hour:0>2}:{minute}"))
}
