//! Properties of this machine for `hwinfo` and `cmminfo`. Unknown values are zero.

#[cfg(feature = "cpu")]
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use softprefix_core::protocol::message::{CmmInfo, EthInfo, HwInfo};

/// Interval over which the processor's load is measured. llm-sys takes a second.
const LOAD_INTERVAL: Duration = Duration::from_millis(250);

/// Returns load, memory, temperature and network interface.
pub async fn hwinfo() -> HwInfo {
    let before = processor_times();
    tokio::time::sleep(LOAD_INTERVAL).await;
    let load = match (before, processor_times()) {
        (Some(before), Some(after)) => after.load_since(before),
        _ => 0,
    };
    HwInfo {
        cpu_loadavg: load,
        eth_info: interface().into_iter().collect(),
        mem: memory_used(),
        temperature: temperature(),
    }
}

/// Returns the memory for models in KiB: the NPU's, or the machine's if there is no NPU. Clients check it before they load a model.
pub fn cmminfo() -> CmmInfo {
    if let Some(text) = read("/proc/ax_proc/mem_cmm_info") {
        return read_cmm(&text);
    }
    let Some(memory) = memory() else {
        return CmmInfo::default();
    };
    let kib = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    CmmInfo {
        remain: kib(memory.available_kib),
        total: kib(memory.total_kib),
        used: kib(memory.total_kib.saturating_sub(memory.available_kib)),
    }
}

/// The memory of this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub total_kib: u64,
    pub available_kib: u64,
}

impl Memory {
    /// Total memory in bytes.
    pub fn total_bytes(self) -> usize {
        usize::try_from(self.total_kib.saturating_mul(1024)).unwrap_or(usize::MAX)
    }
}

/// Reads the machine's memory on Linux; `None` elsewhere.
pub fn memory() -> Option<Memory> {
    let text = read("/proc/meminfo")?;
    let field = |name: &str| -> Option<u64> {
        text.lines()
            .find_map(|line| line.strip_prefix(name))?
            .split_whitespace()
            .next()?
            .parse()
            .ok()
    };
    Some(Memory {
        total_kib: field("MemTotal:")?,
        available_kib: field("MemAvailable:")?,
    })
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[derive(Clone, Copy)]
struct ProcessorTimes {
    all: u64,
    idle: u64,
}

impl ProcessorTimes {
    fn load_since(self, before: Self) -> i64 {
        let all = self.all.saturating_sub(before.all);
        let idle = self.idle.saturating_sub(before.idle).min(all);
        ((all - idle) * 100).checked_div(all).unwrap_or(0) as i64
    }
}

fn processor_times() -> Option<ProcessorTimes> {
    let text = read("/proc/stat")?;
    let times: Vec<u64> = text
        .lines()
        .next()?
        .split_whitespace()
        .skip(1)
        .filter_map(|n| n.parse().ok())
        .collect();
    Some(ProcessorTimes {
        all: times.iter().take(8).sum(),
        idle: times.get(3)? + times.get(4)?,
    })
}

fn memory_used() -> i64 {
    let used =
        |memory: Memory| (memory.total_kib.saturating_sub(memory.available_kib) * 100).checked_div(memory.total_kib);
    memory().and_then(used).unwrap_or(0) as i64
}

fn temperature() -> i64 {
    read("/sys/class/thermal/thermal_zone0/temp")
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0)
}

/// Returns the number of physical cores that this thread may use: two threads on one core would share its arithmetic units.
#[cfg(feature = "cpu")]
pub fn cores() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, usize::from);
    // Linux reports which logical processors share a core; elsewhere (Apple silicon) each is a core.
    let siblings = |number| {
        read(format!(
            "/sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        ))
    };
    let cores = read("/proc/thread-self/status").and_then(|status| allowed_cores(&status, siblings));
    cores.map_or(logical, |cores| cores.clamp(1, logical))
}

/// Counts the cores of the processors that a thread with this status may use; `None` if they are not known. `siblings` names the
/// processors that share a core with one.
#[cfg(feature = "cpu")]
fn allowed_cores(status: &str, siblings: impl Fn(usize) -> Option<String>) -> Option<usize> {
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let mut cores = BTreeSet::new();
    for range in allowed.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        for number in first.parse().ok()?..=last.parse().ok()? {
            // The list also names processors that could be added to the machine.
            cores.extend(siblings(number));
        }
    }
    (!cores.is_empty()).then_some(cores.len())
}

/// Returns the interface of the default route, if there is one.
fn interface() -> Option<EthInfo> {
    // Connecting a datagram socket looks up the route and sends nothing.
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    let name = default_interface().unwrap_or_default();
    let speed = (!name.is_empty())
        .then(|| read(Path::new("/sys/class/net").join(&name).join("speed")))
        .flatten();
    Some(EthInfo {
        ip: ip.to_string(),
        name,
        speed: speed.map_or_else(|| "-1".into(), |speed| speed.trim().into()),
    })
}

fn default_interface() -> Option<String> {
    let routes = read("/proc/net/route")?;
    routes.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let name = fields.next()?;
        (fields.next()? == "00000000").then(|| name.to_owned())
    })
}

/// Reads `total size=N KB(...),used=N KB(...),remain=N KB(...)` anywhere in the text.
fn read_cmm(text: &str) -> CmmInfo {
    let number = |key: &str| -> i64 {
        text.find(key)
            .map(|at| text[at + key.len()..].trim_start_matches(['=', ':', ' ']))
            .and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next())
            .and_then(|digits| digits.parse().ok())
            .unwrap_or(0)
    };
    CmmInfo {
        remain: number("remain"),
        total: number("total size"),
        used: number("used"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(feature = "cpu")]
    #[test]
    fn cores_are_those_of_the_processors_that_may_be_used() {
        // Processors 0 and 1 share a core, 2 and 3 the next one, and so on.
        let siblings = |number: usize| Some(format!("{}-{}", number / 2 * 2, number / 2 * 2 + 1));
        let status = |list: &str| format!("Name:\tunit\nCpus_allowed:\tff\nCpus_allowed_list:\t{list}\n");
        for (list, cores) in [("0-7", 4), ("0,2,4", 3), ("6-7", 1), ("1-2,5", 3)] {
            assert_eq!(allowed_cores(&status(list), siblings), Some(cores), "{list}");
        }
        let four_are_there = |number: usize| siblings(number).filter(|_| number < 4);
        assert_eq!(allowed_cores(&status("0-7"), four_are_there), Some(2));
        assert_eq!(allowed_cores(&status("0-7"), |_| None), None);
        assert_eq!(allowed_cores("Name:\tunit\n", siblings), None);
    }

    #[tokio::test]
    async fn it_never_fails_on_any_machine() {
        let info = hwinfo().await;
        assert!((0..=100).contains(&info.cpu_loadavg));
        assert!((0..=100).contains(&info.mem));
        let memory = cmminfo();
        assert_eq!(memory.total, memory.used + memory.remain);
        #[cfg(target_os = "linux")]
        assert!(memory.remain > 1024, "{memory:?}");
    }

    #[test]
    fn the_npus_memory_is_read_from_its_summary() {
        let text = "---CMM_USE_INFO:\n total size=3145728KB(3072MB),used=18080KB(17MB + 672KB),remain=3127648KB(3054MB + 352KB)\n";
        assert_eq!(
            read_cmm(text),
            CmmInfo {
                remain: 3_127_648,
                total: 3_145_728,
                used: 18_080
            }
        );
        assert_eq!(
            read_cmm("nothing of the kind"),
            CmmInfo {
                remain: 0,
                total: 0,
                used: 0
            }
        );
    }

    #[test]
    fn load_is_the_busy_share() {
        let before = ProcessorTimes { all: 100, idle: 50 };
        assert_eq!(ProcessorTimes { all: 200, idle: 125 }.load_since(before), 25);
        assert_eq!(before.load_since(before), 0);
    }
}
