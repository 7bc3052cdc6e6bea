//! Files of the real programs, made again bit for bit.
#![allow(clippy::unwrap_used)]

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

fn run(program: &str, args: &[&str], content: &[u8]) -> Vec<u8> {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{program} must be installed: {e}"));
    let mut to = child.stdin.take().unwrap();
    let content = content.to_vec();
    let writer = std::thread::spawn(move || to.write_all(&content).unwrap());
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(out.status.success(), "{program} {args:?}");
    out.stdout
}

/// Words that come up again and again, as in a text, from a fixed seed.
fn prose(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize
    };
    let words: Vec<String> = (0..3000).map(|_| format!("{:x}", next() % 99_991)).collect();
    let mut text = String::new();
    while text.len() < len {
        let n = next() % words.len();
        text.push_str(&words[n * n / words.len()]);
        text.push([' ', ' ', ' ', '\n'][next() % 4]);
    }
    text.into_bytes()
}

/// How a file is made again; it was tried, in pieces of another length than the maker's.
fn recipe(file: &[u8], content: &[u8]) -> Result<Recipe, Closed> {
    let open = open(file).ok_or(Closed::Unknown)?;
    assert_eq!((open.raw.as_slice(), open.packed), (content, file.len()));
    let recipe = prove(&file[open.header..], content, content.len() as u64)?;
    let mut closer = recipe.closer(content.len() as u64).unwrap();
    let mut out = file[..open.header].to_vec();
    for piece in content.chunks(7001) {
        closer.write(piece, &mut out).unwrap();
    }
    closer.finish(&mut out).unwrap();
    assert!(out == file, "{recipe:?}");
    Ok(recipe)
}

#[test]
fn gnu_gzip_is_made_again() {
    for level in ["-9", "-6"] {
        for len in [1, 5, 300, 5_000, 60_000, 400_000, 1_500_000] {
            let content = prose(len, len as u64);
            let file = run("gzip", &[level, "-n", "-c"], &content);
            recipe(&file, &content).unwrap_or_else(|e| panic!("{level}, {len} bytes: {e:?}"));
        }
    }
}

#[test]
fn xz_is_made_again() {
    let ways: [&[&str]; 12] = [
        &["-0"],
        &["-3"],
        &["-6"],
        &["-9"],
        &["-6e"],
        &["-9e"],
        &["--check=none"],
        &["--check=sha256", "--lzma2=preset=6,lc=4,pb=0"],
        // As kernels' makefiles pack modules, and images.
        &["--check=crc32", "--lzma2=dict=1MiB"],
        &["--lzma2=dict=2MiB"],
        &["--check=crc32", "--x86", "--lzma2=dict=32MiB"],
        // Several blocks, whose lengths stand before them.
        &["-T2", "-1", "--block-size=100KiB"],
    ];
    for way in ways {
        for len in [5, 5_000, 300_000] {
            let content = prose(len, len as u64);
            let file = run("xz", &[way, &["-c"]].concat(), &content);
            recipe(&file, &content).unwrap_or_else(|e| panic!("{way:?}, {len} bytes: {e:?}"));
        }
    }
    let content = prose(3_000_000, 3);
    let file = run("xz", &["--check=crc32", "--lzma2=dict=1MiB", "-c"], &content);
    recipe(&file, &content).expect("a content larger than the window");
}

#[test]
fn zstd_is_made_again() {
    // Other versions choose otherwise at some levels and lengths; then the file stays closed.
    let mut made = 0;
    for level in ["-1", "-3", "-9", "-19"] {
        for more in [&[][..], &["--no-check"], &["-T0"]] {
            for len in [300, 5_000, 50_000] {
                let content = prose(len, len as u64);
                let file = run("zstd", &[&[level, "-q", "-c"], more].concat(), &content);
                match recipe(&file, &content) {
                    Ok(_) => made += 1,
                    Err(Closed::Unknown | Closed::Memory) => {}
                }
            }
        }
    }
    assert!(made >= 12, "{made} of 36");
}

#[test]
fn long_contents_of_the_same_zstd_are_made_again() {
    let content = prose(3_000_000, 6);
    for (jobs, known) in [(0, true), (1, true), (3, false)] {
        let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        let length = known.then_some(content.len() as u64);
        encoder.set_pledged_src_size(length).unwrap();
        encoder.multithread(jobs).unwrap();
        encoder.write_all(&content).unwrap();
        let file = encoder.finish().unwrap();
        recipe(&file, &content).unwrap_or_else(|e| panic!("{jobs} jobs: {e:?}"));
    }
}

#[test]
fn what_takes_too_much_memory_stays_closed() {
    let content = prose(6_000_000, 4);
    for (program, args) in [("xz", ["-1", "--lzma2=dict=64MiB"]), ("zstd", ["-19", "-q"])] {
        let file = run(program, &[&args[..], &["-c"]].concat(), &content);
        let open = open(&file).unwrap();
        let found = prove(&file, &open.raw, open.raw.len() as u64);
        assert_eq!(found, Err(Closed::Memory), "{program}");
    }
}

#[test]
fn what_cannot_be_made_again_stays_closed() {
    let content = prose(50_000, 7);
    let file = run("gzip", &["-1", "-n", "-c"], &content);
    assert_eq!(recipe(&file, &content), Err(Closed::Unknown), "another algorithm");
    for (program, flag) in [("gzip", "-9"), ("xz", "-6"), ("zstd", "-q")] {
        let mut file = run(program, &[flag, "-c"], &content);
        for cut in [1, 9, 11, file.len() - 1] {
            assert!(open(&file[..cut]).is_none(), "{program} cut at {cut}");
        }
        let twice = [file.clone(), file.clone()].concat();
        assert_eq!(open(&twice).unwrap().packed, file.len(), "{program}: the first of two");
        let at = file.len() - 6;
        file[at] ^= 1;
        assert!(open(&file).is_none(), "{program}: damaged");
    }
}
