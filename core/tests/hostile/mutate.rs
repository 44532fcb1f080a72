//! Inputs that nobody would write: the committed samples, damaged in the ways that find faults in readers. The same seed gives the same
//! inputs for ever, so that a failure is repeated by its number.

use std::alloc::System;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);
/// One target at a time: they share the allocator and the count of panics.
static TURN: Mutex<()> = Mutex::new(());
/// Panics of all threads: a server's own are not seen by who called it.
static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Memory that a reader may take for an input: this much, and [`FACTOR`] times the input's length. Beyond it the allocator refuses, and the
/// program ends.
const CONSTANT: usize = 64 << 20;
const FACTOR: usize = 64;

/// Numbers at which readers break.
const NUMBERS: [&str; 14] = [
    "0",
    "-1",
    "1",
    "0.5",
    "127",
    "65536",
    "2147483648",
    "4294967296",
    "1000000000000",
    "9223372036854775808",
    "18446744073709551616",
    "1e308",
    "9e999",
    "-0.0",
];
/// Values of another kind than is expected.
const VALUES: [&str; 10] = [
    "null",
    "true",
    "{}",
    "[]",
    "\"\"",
    "[[]]",
    "{\"a\":0}",
    "\"\\ud800\"",
    "[0,0]",
    "\"\u{feff}\"",
];

/// Damaged inputs of each target where nobody asks for more.
const FEW: u64 = 600;

/// How many damaged inputs each target gets: `SOFTPREFIX_TEST_INPUTS`, or a few.
fn inputs() -> u64 {
    std::env::var("SOFTPREFIX_TEST_INPUTS").map_or(FEW, |count| count.parse().expect("a number of inputs"))
}

/// Returns `true` at every call where the inputs are few, and at every `most`th where they are many: for what takes far longer than to read
/// an input.
#[allow(dead_code, reason = "not all targets have such a part")]
pub fn now_and_then(most: u64) -> impl FnMut() -> bool {
    let every = if inputs() > FEW { most } else { 1 };
    let mut calls = 0;
    move || {
        calls += 1;
        calls % every == 0
    }
}

/// Hands the samples and damaged copies of them to `reader`, under the limits of memory. Damage is done within the first `reach` bytes.
pub fn each(samples: &[Vec<u8>], reach: usize, mut reader: impl FnMut(&[u8])) {
    assert!(!samples.is_empty(), "there is no sample");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let told = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            told(panic);
        }));
    });
    let mut read = |input: &[u8], number: u64| {
        if std::env::var_os("SOFTPREFIX_TEST_NUMBERS").is_some() {
            eprintln!("input {number}: {} bytes", input.len());
        }
        let limit = ALLOCATOR.allocated() + CONSTANT + FACTOR * input.len();
        ALLOCATOR.set_limit(limit).expect("a limit above what is held");
        let before = PANICS.load(Ordering::SeqCst);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            reader(input);
            assert_eq!(PANICS.load(Ordering::SeqCst), before, "another thread panicked");
        }));
        ALLOCATOR.set_limit(usize::MAX).expect("no limit");
        if let Err(panic) = outcome {
            eprintln!(
                "input {number} is {:?}",
                String::from_utf8_lossy(&input[..input.len().min(4000)])
            );
            std::panic::resume_unwind(panic);
        }
    };
    for (number, sample) in samples.iter().enumerate() {
        read(sample, number as u64);
    }
    for number in samples.len() as u64..inputs() {
        let mut draw = Draw(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut input = samples[draw.below(samples.len())].clone();
        let tail = input.split_off(reach.min(input.len()));
        for _ in 0..=draw.below(4) {
            let other = &samples[draw.below(samples.len())];
            damage(&mut input, &other[..reach.min(other.len())], &mut draw);
        }
        input.extend(tail);
        read(&input, number);
    }
}

/// Every file below `folder` of at most `most` bytes.
pub fn files(folder: &Path, most: u64) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of samples") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if fs::metadata(&path).expect("a file").len() <= most {
                paths.push(path);
            }
        }
    }
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a sample")).collect()
}

/// Xorshift.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A part of `0..length`, mostly a short one.
    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let most = if self.below(4) == 0 {
            length - start
        } else {
            (length - start).min(16)
        };
        start..start + self.below(most + 1)
    }
}

fn damage(input: &mut Vec<u8>, other: &[u8], draw: &mut Draw) {
    match draw.below(9) {
        0 if !input.is_empty() => {
            let at = draw.below(input.len());
            input[at] ^= 1 << draw.below(8);
        }
        1 if !input.is_empty() => {
            let at = draw.below(input.len());
            input[at] = [0, 1, 0x7f, 0x80, 0xff, b'{', b'"', b'\n'][draw.below(8)];
        }
        2 => drop(input.drain(draw.part(input.len()))),
        3 => {
            let copy = input[draw.part(input.len())].to_vec();
            let at = draw.below(input.len() + 1);
            input.splice(at..at, copy);
        }
        4 => input.truncate(draw.below(input.len() + 1)),
        5 => {
            let part = other[draw.part(other.len())].to_vec();
            let at = draw.part(input.len());
            input.splice(at, part);
        }
        // A number of the text becomes another one.
        6 => replace(
            input,
            draw,
            |byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte),
            &NUMBERS,
        ),
        // A plain value of a JSON text becomes one of another kind.
        7 => replace(input, draw, |byte| !b",:{}[]\"\n".contains(&byte), &VALUES),
        // A size of a binary file becomes one of those at which sums overflow.
        _ if input.len() >= 8 => {
            let at = draw.below(input.len() - 7);
            let size = [u64::MAX, 1 << 63, 1 << 40, 1 << 32, u64::from(u32::MAX), 0][draw.below(6)];
            let bytes = if draw.below(2) == 0 { 8 } else { 4 };
            input[at..at + bytes].copy_from_slice(&size.to_le_bytes()[..bytes]);
        }
        _ => input.push(draw.next() as u8),
    }
}

/// Puts one of `values` in the place of a run of bytes of a kind.
fn replace(input: &mut Vec<u8>, draw: &mut Draw, of_kind: fn(u8) -> bool, values: &[&str]) {
    let from = draw.below(input.len() + 1);
    let Some(start) = input[from..].iter().position(|&byte| of_kind(byte)).map(|at| from + at) else {
        return;
    };
    let length = input[start..].iter().take_while(|&&byte| of_kind(byte)).count();
    let value = values[draw.below(values.len())];
    input.splice(start..start + length, value.bytes());
}
