//! Inputs that nobody would write: samples, damaged in the ways that find faults in readers.
//!
//! A fuzzer that is guided by coverage needs a nightly compiler and leaves a corpus of its own. These inputs need neither: the stable
//! toolchain builds them, and each follows from its number alone, so that a failure is repeated anywhere by its number.
//!
//! | variable | meaning |
//! |---|---|
//! | `SOFTPREFIX_TEST_INPUTS=N` | each target reads N inputs instead of a few |
//! | `SOFTPREFIX_TEST_SECONDS=N` | each target reads ever new inputs for N seconds instead of counting them |
//! | `SOFTPREFIX_TEST_INPUT=N` | each target reads the input of this number alone |
//! | `SOFTPREFIX_TEST_NUMBERS=1` | the number of each input is printed before it is read |

use std::alloc::System;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

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

/// Time that a reader may take for an input: this much, and so much more for each byte. Every target stays far below it on an idle machine;
/// a reader whose time grows with the square of the length does not.
const PATIENCE: Duration = Duration::from_secs(10);
const PATIENCE_PER_BYTE: Duration = Duration::from_micros(50);
/// The number of the input that is being read, and the end of its time.
static READING: Mutex<Option<(u64, Instant)>> = Mutex::new(None);

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

/// A variable that is a number.
fn number_in(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is no number: {value}")))
}

/// How many inputs a target reads, and for how long.
fn extent() -> (u64, Option<Duration>) {
    match number_in("SOFTPREFIX_TEST_SECONDS") {
        Some(seconds) => (u64::MAX, Some(Duration::from_secs(seconds))),
        None => (number_in("SOFTPREFIX_TEST_INPUTS").unwrap_or(FEW), None),
    }
}

/// Whether a reader accepted an input, where it says so.
pub trait Accepted {
    fn accepted(self) -> Option<bool>;
}

impl Accepted for () {
    fn accepted(self) -> Option<bool> {
        None
    }
}

impl Accepted for bool {
    fn accepted(self) -> Option<bool> {
        Some(self)
    }
}

/// Ends the process if an input is still being read after its time, which may be for ever.
fn watch() {
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let reading = *READING.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((number, _)) = reading.filter(|(_, end)| *end < Instant::now()) {
            let _ = writeln!(std::io::stderr(), "input {number} takes too long");
            std::process::abort();
        }
    }
}

/// Returns `true` at every call where the inputs are few, and at every `most`th where they are many: for what takes far longer than to read
/// an input.
#[allow(dead_code, reason = "not all targets have such a part")]
pub fn now_and_then(most: u64) -> impl FnMut() -> bool {
    let every = if extent().0 > FEW { most } else { 1 };
    let mut calls = 0;
    move || {
        calls += 1;
        calls % every == 0
    }
}

/// Hands the samples and damaged copies of them to `reader`, under the limits of memory and time. Damage is done within the first `reach`
/// bytes. Where the inputs are many, it prints how many were read and accepted in what time.
pub fn each<A: Accepted>(samples: &[Vec<u8>], reach: usize, mut reader: impl FnMut(&[u8]) -> A) {
    assert!(!samples.is_empty(), "there is no sample");
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let default_hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.fetch_add(1, Ordering::SeqCst);
            default_hook(panic);
        }));
        std::thread::spawn(watch);
    });
    let (mut done, mut accepted) = (0_u64, None);
    let mut read = |input: &[u8], number: u64| {
        if std::env::var_os("SOFTPREFIX_TEST_NUMBERS").is_some() {
            eprintln!("input {number}: {} bytes", input.len());
        }
        let limit = ALLOCATOR.allocated() + CONSTANT + FACTOR * input.len();
        ALLOCATOR.set_limit(limit).expect("a limit above what is held");
        let before = PANICS.load(Ordering::SeqCst);
        let length = u32::try_from(input.len()).expect("a short input");
        let end = Instant::now() + PATIENCE + PATIENCE_PER_BYTE * length;
        *READING.lock().unwrap_or_else(PoisonError::into_inner) = Some((number, end));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let outcome = reader(input);
            assert_eq!(PANICS.load(Ordering::SeqCst), before, "another thread panicked");
            outcome.accepted()
        }));
        *READING.lock().unwrap_or_else(PoisonError::into_inner) = None;
        ALLOCATOR.set_limit(usize::MAX).expect("no limit");
        match outcome {
            Ok(was_accepted) => {
                done += 1;
                if let Some(was_accepted) = was_accepted {
                    *accepted.get_or_insert(0_u64) += u64::from(was_accepted);
                }
            }
            Err(panic) => {
                eprintln!(
                    "input {number} is {:?}",
                    String::from_utf8_lossy(&input[..input.len().min(4000)])
                );
                std::panic::resume_unwind(panic);
            }
        }
    };
    let begin = Instant::now();
    let (most, long) = extent();
    let only = number_in("SOFTPREFIX_TEST_INPUT");
    for number in only.unwrap_or(0)..only.map_or(most.max(samples.len() as u64), |only| only + 1) {
        if long.is_some_and(|long| begin.elapsed() >= long) {
            break;
        }
        let sample = usize::try_from(number).ok().and_then(|number| samples.get(number));
        if let Some(sample) = sample {
            read(sample, number);
            continue;
        }
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
    if most > FEW {
        let target = std::thread::current().name().unwrap_or_default().to_owned();
        let accepted = accepted.map_or(String::new(), |accepted| format!(", {accepted} accepted"));
        // Not by a macro, whose text is not shown where a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "{target}: {done} inputs{accepted}, {:.0} s",
            begin.elapsed().as_secs_f64()
        );
    }
}

/// A folder for inputs that are read from files: in memory where the system has such a folder, since a disk takes far longer than a reader.
#[allow(dead_code, reason = "not all targets read files")]
pub fn folder() -> tempfile::TempDir {
    let memory = tempfile::tempdir_in("/dev/shm");
    memory.or_else(|_| tempfile::tempdir()).expect("a folder")
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
