//! Copies out of one text that make another, differing here and there: C. Percival's method ("Naive
//! Differences of Executable Code", 2003) over a suffix array.

/// Bytes `new .. new + len` of the new text, as at `old` in the old one, with a few of them different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    pub new: usize,
    pub old: usize,
    pub len: usize,
}

/// How many bytes better than the present alignment a new one must be.
const BETTER: usize = 8;

/// The copies, in order, not overlapping in the new text. `go_on` is asked again and again; its error ends the
/// search.
pub fn diff<E>(old: &[u8], new: &[u8], go_on: impl Fn() -> Result<(), E>) -> Result<Vec<Match>, E> {
    if old.is_empty() || new.is_empty() {
        return Ok(Vec::new());
    }
    let suffixes = divsufsort::sort(old).into_parts().1;
    let mut found = Vec::new();
    let mut present = Match { new: 0, old: 0, len: 0 };
    let mut scan = 0;
    let mut len = 0;
    while scan < new.len() {
        let offset = present.old as i64 - present.new as i64;
        let aligned = |at: usize| {
            let o = usize::try_from(at as i64 + offset).ok();
            o.and_then(|o| old.get(o)) == Some(&new[at])
        };
        let mut place = 0;
        let mut score = 0_usize;
        scan += len;
        let mut scored = scan;
        while scan < new.len() {
            if scan & 0xFFF == 0 {
                go_on()?;
            }
            (place, len) = longest(old, &suffixes, &new[scan..]);
            while scored < scan + len {
                score += usize::from(aligned(scored));
                scored += 1;
            }
            if (len == score && len != 0) || len > score + BETTER {
                break;
            }
            if aligned(scan) {
                score = score.saturating_sub(1);
            }
            scan += 1;
        }
        if len == score && scan < new.len() {
            continue;
        }
        let next = Match { new: scan.min(new.len()), old: place, len: 0 };
        let next = join(old, new, &mut present, next, scan < new.len());
        if present.len > 0 {
            found.push(present);
        }
        present = next;
    }
    if present.len > 0 {
        found.push(present);
    }
    Ok(found)
}

/// Extends the present copy forwards and the next one backwards, while most bytes agree; returns the next.
fn join(old: &[u8], new: &[u8], present: &mut Match, next: Match, more: bool) -> Match {
    let agree = |o: Option<usize>, n: usize| o.and_then(|o| old.get(o)) == Some(&new[n]);
    let room = (next.new - present.new).min(old.len() - present.old);
    let forward = best(room, |i| agree(Some(present.old + i), present.new + i));
    let room = if more { (next.new - present.new).min(next.old) } else { 0 };
    let backward = best(room, |i| agree(Some(next.old - i - 1), next.new - i - 1));
    let (mut forward, mut backward) = (forward, backward);
    let overlap = (present.new + forward + backward).saturating_sub(next.new);
    if overlap > 0 {
        // Where both reach, the cut goes where most bytes agree.
        let (start, mut score, mut top, mut cut) = (forward - overlap, 0_i64, 0, 0);
        for i in 0..overlap {
            let n = present.new + start + i;
            score += i64::from(agree(Some(present.old + start + i), n));
            score -= i64::from(agree((next.old + n).checked_sub(next.new), n));
            if score > top {
                (top, cut) = (score, i + 1);
            }
        }
        forward = start + cut;
        backward -= cut;
    }
    present.len = forward;
    Match { new: next.new - backward, old: next.old - backward, len: 0 }
}

/// The length at which agreements outweigh the rest most.
fn best(room: usize, agree: impl Fn(usize) -> bool) -> usize {
    let (mut score, mut top, mut len) = (0_i64, 0, 0);
    for i in 0..room {
        score += if agree(i) { 1 } else { -1 };
        if score > top {
            (top, len) = (score, i + 1);
        }
    }
    len
}

/// Where the longest start of `text` stands in `old`, and its length.
fn longest(old: &[u8], suffixes: &[i32], text: &[u8]) -> (usize, usize) {
    let (mut low, mut high) = (0, suffixes.len() - 1);
    let at = |k: usize| suffixes[k] as usize;
    // All suffixes between two share what both share with the text.
    let (mut same_low, mut same_high) =
        (common(&old[at(low)..], text, 0), common(&old[at(high)..], text, 0));
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let suffix = &old[at(middle)..];
        let same = common(suffix, text, same_low.min(same_high));
        let below = match (suffix.get(same), text.get(same)) {
            (Some(a), Some(b)) => a < b,
            (None, _) => true,
            (_, None) => return (at(middle), same),
        };
        if below {
            (low, same_low) = (middle, same);
        } else {
            (high, same_high) = (middle, same);
        }
    }
    if same_low >= same_high { (at(low), same_low) } else { (at(high), same_high) }
}

/// How many bytes two texts share at their start, of which `known` are known.
fn common(a: &[u8], b: &[u8], known: usize) -> usize {
    let n = a.len().min(b.len());
    let mut at = known;
    while at + 8 <= n && a[at..at + 8] == b[at..at + 8] {
        at += 8;
    }
    while at < n && a[at] == b[at] {
        at += 1;
    }
    at
}
