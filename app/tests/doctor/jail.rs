//! A module in a folder: a real sshd on loopback that jails its sessions in a tree laid out like a module, with real ELF files, real
//! links, real `ldd` and `ldconfig`, and a service manager that says that it is a stand-in.
//!
//! Needs root (chroot) and Linux; tests that use it say so when they are passed over.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use softprefix::doctor::{Host, Ssh, SshError, SshOptions};

const TOOLS: &[&str] = &[
    "sh",
    "bash",
    "cat",
    "ls",
    "cp",
    "mv",
    "rm",
    "mkdir",
    "rmdir",
    "ln",
    "readlink",
    "chmod",
    "date",
    "grep",
    "find",
    "head",
    "tail",
    "wc",
    "awk",
    "sed",
    "tr",
    "sync",
    "sleep",
    "setsid",
    "flock",
    "ldconfig",
    "ldd",
    "df",
    "uname",
    "sha256sum",
    "ss",
    "touch",
    "true",
    "test",
    "[",
    "id",
    "yes",
    "ar",
    "ranlib",
    "strip",
    "nm",
    "ld",
    "objcopy",
    "objdump",
    "strings",
    "mktemp",
    "kill",
    "getconf",
    "stat",
    "printf",
    "tee",
    "cut",
    "env",
    "basename",
    "dirname",
    "cmp",
    "dpkg-query",
];

/// Names the start of the machine.
const BOOT_ID: &str = "proc/sys/kernel/random/boot_id";

/// One jail at a time: the service manager's port is the machine's.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

pub struct Jail {
    folder: tempfile::TempDir,
    sshd: Child,
    /// The module's root: on this machine's disk, or on a disk of its own that only sshd's mount namespace has.
    root: PathBuf,
    pub port: u16,
    _turn: MutexGuard<'static, ()>,
}

/// Whether this machine can hold a jail. Where it cannot, that is printed, past the harness that captures a passing test's output; where
/// `SOFTPREFIX_TEST_JAIL` is set, as the project's check does, the test fails.
pub fn is_possible() -> bool {
    let Err(why) = possible() else { return true };
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        std::env::var_os("SOFTPREFIX_TEST_JAIL").is_none(),
        "SOFTPREFIX_TEST_JAIL is set, but {why}"
    );
    let _ = writeln!(std::io::stderr(), "passed over: {test}: {why}");
    false
}

/// Whether this machine can hold a jail; if not, why.
fn possible() -> Result<(), &'static str> {
    if !cfg!(target_os = "linux") {
        return Err("a jail needs Linux");
    }
    let uid = Command::new("id")
        .arg("-u")
        .output()
        .map(|o| o.stdout)
        .unwrap_or_default();
    if uid != b"0\n" {
        return Err("a jail needs root for chroot");
    }
    for tool in ["/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/g++"] {
        if !Path::new(tool).exists() {
            return Err("a jail needs openssh-server, openssh-client and g++");
        }
    }
    Ok(())
}

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"));
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn which(tool: &str) -> Option<PathBuf> {
    ["/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(tool))
        .find(|path| path.exists())
}

/// The ELF files that every jail holds, built once: the LLM unit, an old libstdc++, the interpreter library.
fn binaries() -> &'static Path {
    static BUILT: OnceLock<tempfile::TempDir> = OnceLock::new();
    BUILT
        .get_or_init(|| {
            let folder = tempfile::Builder::new().prefix("elf-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            let at = |name: &str| folder.path().join(name).display().to_string();
            fs::write(at("interpreter.c"), "int ax_interpreter(void) { return 1; }\n").unwrap();
            run("gcc", &["-shared", "-fPIC", "-Wl,-soname,libax_interpreter.so", "-o", &at("libax_interpreter.so"), &at("interpreter.c")]);
            // Waiting on a condition variable is what GLIBCXX_3.4.30 versioned anew.
            fs::write(
                at("unit.cpp"),
                "#include <condition_variable>\n#include <mutex>\nextern \"C\" int ax_interpreter(void);\nint main(int argc, char**) {\n\
                 std::mutex m; std::condition_variable c; std::unique_lock<std::mutex> l(m); if (argc > 9) c.wait(l); return ax_interpreter() - 1; }\n",
            )
            .unwrap();
            run(
                "g++",
                &[
                    "-O0", "-o", &at("llm_llm-1.9"), &at("unit.cpp"), &format!("-L{}", folder.path().display()), "-lax_interpreter",
                    "-Wl,-rpath,/usr/local/m5stack/lib/gcc-10.3", "-Wl,--disable-new-dtags",
                ],
            );
            // An older library under the same name: the symbols without the newer version.
            fs::write(at("old.map"), "GLIBCXX_3.4 { global: *; };\nGLIBCXX_3.4.11 { } GLIBCXX_3.4;\nCXXABI_1.3 { };\n").unwrap();
            fs::write(at("old.c"), "int old_cxx(void) { return 0; }\n").unwrap();
            run(
                "gcc",
                &[
                    "-shared", "-fPIC", "-Wl,-soname,libstdc++.so.6", &format!("-Wl,--version-script={}", at("old.map")), "-o",
                    &at("libstdc++.so.6.old"), &at("old.c"),
                ],
            );
            folder
        })
        .path()
}

/// Waits for a state of the module's files or processes, at most a minute. No event exists for it.
pub async fn until(what: &str, is_reached: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is_reached() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The state of the module's libstdc++.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cxx {
    LinkToSystem,
    BrokenLink,
    Old,
    Missing,
}

/// Where the interpreter library lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interpreter {
    Registered,
    Unregistered(&'static str),
    BrokenLink,
    Nowhere,
}

impl Jail {
    /// A healthy module without a StackFlow tree, its services running.
    pub fn new() -> Self {
        Self::on(Disk::Shared)
    }

    /// The same on a disk of its own, in memory, which can be [filled](Self::leave).
    pub fn with_a_disk() -> Self {
        Self::on(Disk::Own)
    }

    fn on(disk: Disk) -> Self {
        let turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = tempfile::Builder::new()
            .prefix("jail-")
            .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
            .unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = folder.path().join("module");
        lay_out(&root);
        let keys = folder.path().join("keys");
        fs::create_dir(&keys).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o700)).unwrap();
        for name in ["host", "host2", "user", "unknown_user"] {
            run(
                "ssh-keygen",
                &[
                    "-q",
                    "-t",
                    "ed25519",
                    "-N",
                    "",
                    "-f",
                    &keys.join(name).display().to_string(),
                ],
            );
        }
        fs::copy(keys.join("user.pub"), keys.join("authorized")).unwrap();
        let port = free_port();
        let (sshd, root) = start_sshd(&keys, &root, port, "host", disk);
        let jail = Self {
            folder,
            sshd,
            root,
            port,
            _turn: turn,
        };
        jail.write_config("user");
        jail.trust("host");
        jail.libstdcxx(Cxx::LinkToSystem);
        jail.interpreter(&Interpreter::Registered);
        jail.service("llm-sys", "active");
        jail.service("llm-llm", "active");
        jail
    }

    /// A path inside the jail, from outside.
    pub fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A file in the home of the user who is logged in.
    pub fn at_home(&self, name: &str) -> PathBuf {
        self.at("/root").join(name)
    }

    /// Makes the module's disk so small that `pages` of 4 KiB are free on it.
    pub fn leave(&self, pages: u64) {
        let used = run("stat", &["-f", "-c", "%b %f %S", &self.at("/").display().to_string()]);
        let used: Vec<u64> = used.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let size = (used[0] - used[1] + pages) * used[2];
        let pid = self.sshd.id().to_string();
        let folder = self.folder.path().join("disk").display().to_string();
        run(
            "nsenter",
            &[
                "-t",
                &pid,
                "-m",
                "mount",
                "-o",
                &format!("remount,size={size}"),
                &folder,
            ],
        );
    }

    /// Every script that comes over ssh is ended before its `at`th command, counted from 1, with all that it has started; and every
    /// later one before its first, until [`heal`](Self::heal). Functions, conditions and commands in `$(...)` count too.
    pub fn kill_before(&self, at: usize) {
        let shell = self.at("/usr/bin/bash");
        if !self.at("/usr/bin/bash.real").exists() {
            fs::rename(&shell, self.at("/usr/bin/bash.real")).unwrap();
            let login = "#!/usr/bin/bash.real\nif [ \"$2\" = 'sh -s' ] && [ -e /kill/script ]; then exec /usr/bin/bash.real --posix -c \"$(cat /kill/script -)\"; fi\nexec /usr/bin/bash.real \"$@\"\n";
            fs::write(&shell, login).unwrap();
            fs::set_permissions(&shell, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::create_dir_all(self.at("/kill")).unwrap();
        fs::write(self.at("/kill/count"), "0\n").unwrap();
        // The script is in a process group of its own.
        let trap = format!(
            "set -T\ntrap 'read -r kills </kill/count; kills=$((kills + 1)); echo $kills >/kill/count; \
             if [ $kills = {at} ]; then echo yes >/kill/dead; fi; \
             if [ -e /kill/dead ]; then [ ! -e /kill/once ] || rm -f /kill/script; kill -9 0; fi' DEBUG\n"
        );
        fs::write(self.at("/kill/script"), trap).unwrap();
    }

    /// Ends the killing. Whether a script was killed.
    pub fn heal(&self) -> bool {
        let killed = self.at("/kill/dead").exists();
        fs::remove_dir_all(self.at("/kill")).unwrap();
        killed
    }

    /// Waits until no script runs on the module any more, also none that waits for its time. No event tells of the end of a process that is
    /// not a child.
    pub fn wait_for_scripts(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let scripts = || {
            let name = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            self.processes()
                .iter()
                .filter(|pid| ["sh", "sleep", "bash", "bash.real"].contains(&name(pid).trim()))
                .count()
        };
        while scripts() > 0 {
            assert!(Instant::now() < deadline, "a script does not end");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Ends every process in the module and starts it anew, as a power cut would.
    pub fn cut_the_power(&self) {
        // A jail that is being dropped may have no disk any more.
        let _ = fs::write(self.at("/").join(BOOT_ID), format!("{:?}\n", Instant::now()));
        for pid in self.processes() {
            // It may have ended by itself.
            let _ = Command::new("kill")
                .args(["-9", &pid.to_string()])
                .stderr(Stdio::null())
                .status();
        }
    }

    /// Every process in the module: they are known by their root folder.
    fn processes(&self) -> Vec<u32> {
        let place = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino()));
        let Ok(own) = place(&self.at("/")) else {
            return Vec::new();
        };
        let all = fs::read_dir("/proc").unwrap().map_while(Result::ok);
        all.filter(|process| place(&process.path().join("root/")).is_ok_and(|root| root == own))
            .filter_map(|process| process.file_name().to_string_lossy().parse().ok())
            .collect()
    }

    fn keys(&self) -> PathBuf {
        self.folder.path().join("keys")
    }

    pub fn write_config(&self, key: &str) {
        self.write_config_for(key, self.port);
    }

    /// The same module behind another port.
    pub fn write_config_for(&self, key: &str, port: u16) {
        let keys = self.keys();
        let text = format!(
            "Host module 127.0.0.1\n HostName 127.0.0.1\nHost *\n Port {}\n User root\n IdentityFile {}\n IdentitiesOnly yes\n UserKnownHostsFile {}\n HostKeyAlias module\n GlobalKnownHostsFile /dev/null\n StrictHostKeyChecking yes\n",
            port,
            keys.join(key).display(),
            keys.join("known").display()
        );
        fs::write(keys.join("config"), text).unwrap();
    }

    /// Makes `key` the known one.
    pub fn trust(&self, key: &str) {
        let public = fs::read_to_string(self.keys().join(format!("{key}.pub"))).unwrap();
        fs::write(self.keys().join("known"), format!("module {public}")).unwrap();
    }

    pub fn forget_host(&self) {
        fs::write(self.keys().join("known"), "").unwrap();
    }

    pub fn options(&self) -> SshOptions {
        SshOptions {
            config: Some(self.keys().join("config")),
            port: None,
            connect_timeout: Duration::from_secs(5),
        }
    }

    pub async fn open(&self) -> Result<Ssh, SshError> {
        Ssh::open(Host::parse("module")?, self.options()).await
    }

    /// Ends every connection, as a pulled cable would; the module continues.
    pub fn cut_connections(&self) {
        let _ = Command::new("pkill")
            .args(["-9", "-P", &self.sshd.id().to_string()])
            .status();
    }

    pub fn libstdcxx(&self, state: Cxx) {
        let link = self.at("/usr/local/m5stack/lib/gcc-10.3/libstdc++.so.6");
        let _ = fs::remove_file(&link);
        match state {
            Cxx::LinkToSystem => symlink("/usr/lib/aarch64-linux-gnu/libstdc++.so.6", &link).unwrap(),
            Cxx::BrokenLink => symlink("libstdc++.so.6.0.28", &link).unwrap(),
            Cxx::Old => {
                fs::copy(binaries().join("libstdc++.so.6.old"), &link).unwrap();
            }
            Cxx::Missing => {}
        }
    }

    pub fn interpreter(&self, state: &Interpreter) {
        let conf = self.at("/etc/ld.so.conf.d/m5stack-ax.conf");
        let _ = fs::remove_file(&conf);
        let _ = fs::remove_dir_all(self.at("/usr/local/m5stack/lib/ax-lib"));
        let library = binaries().join("libax_interpreter.so");
        match state {
            Interpreter::Registered => {
                let folder = "/usr/local/m5stack/lib/ax-lib";
                fs::create_dir_all(self.at(folder)).unwrap();
                fs::copy(library, self.at(folder).join("libax_interpreter.so")).unwrap();
                fs::write(&conf, format!("{folder}\n")).unwrap();
            }
            Interpreter::Unregistered(folder) => {
                fs::create_dir_all(self.at(folder)).unwrap();
                fs::copy(library, self.at(folder).join("libax_interpreter.so")).unwrap();
            }
            Interpreter::BrokenLink => {
                fs::create_dir_all(self.at("/usr/local/m5stack/lib/ax-lib")).unwrap();
                symlink(
                    "libax_interpreter.so.2",
                    self.at("/usr/local/m5stack/lib/ax-lib/libax_interpreter.so"),
                )
                .unwrap();
            }
            Interpreter::Nowhere => {}
        }
        run("chroot", &[&self.at("/").display().to_string(), "/sbin/ldconfig"]);
    }

    /// The worst state: services down, broken libstdc++ link, interpreter library unregistered, stock unit, a tree that does not build.
    pub fn make_worst(&self) {
        crate::installing::ready(self);
        self.stackflow_tree();
        self.libstdcxx(Cxx::BrokenLink);
        self.interpreter(&Interpreter::Unregistered("/opt/usr/lib"));
        self.service("llm-sys", "inactive");
        self.service("llm-llm", "inactive");
    }

    pub fn service(&self, name: &str, state: &str) {
        fs::write(self.at("/var/lib/stand-in").join(name), format!("{state}\n")).unwrap();
    }

    /// A StackFlow tree with the SConstruct that fails, and a build that is quick.
    pub fn stackflow_tree(&self) {
        let component = self.at("/root/StackFlow/SDK/components/simdjson_component");
        fs::create_dir_all(&component).unwrap();
        fs::write(
            component.join("SConstruct"),
            "Import('env')\nif True:\n    gcc_dumpmachine = env[\"GCC_DUMPMACHINE\"].split(\"-\")\n    print(gcc_dumpmachine)\n",
        )
        .unwrap();
        fs::create_dir_all(self.at("/root/StackFlow/projects/llm_framework")).unwrap();
        // A build tool stand-in: asks its question, says its lines, and takes its time.
        script(
            &self.at("/usr/bin/scons"),
            "echo 'scons stand-in' \"$@\"\nprintf 'download? (Y/N) '\nread answer\necho \"answered $answer\"\n[ \"$answer\" = Y ] || exit 9\n\
             for i in 1 2 3 4 5; do echo \"step $i\"; sleep ${SCONS_STEP:-0.1}; [ -e /tmp/slow ] && sleep 30; done\n\
             mkdir -p dist && cp /opt/m5stack/bin/llm_llm-1.9 dist/\necho built\n",
        );
        for tool in ["gcc", "g++"] {
            script(&self.at("/usr/bin").join(tool), "echo compiler stand-in\n");
        }
    }

    /// Every file of a folder with what it holds or points to, for comparing before and after.
    pub fn snapshot(&self, folder: &str) -> Vec<(PathBuf, String)> {
        let mut all = Vec::new();
        let mut open = vec![self.at(folder)];
        while let Some(path) = open.pop() {
            for entry in fs::read_dir(&path).unwrap().map(Result::unwrap) {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                let held = if kind.is_symlink() {
                    format!("-> {}", fs::read_link(&path).unwrap().display())
                } else if kind.is_dir() {
                    open.push(path.clone());
                    "folder".into()
                } else {
                    let mode = fs::metadata(&path).unwrap().permissions().mode();
                    format!("{mode:o} {:?}", fs::read(&path).unwrap())
                };
                all.push((path, held));
            }
        }
        all.sort();
        all
    }
}

impl Drop for Jail {
    fn drop(&mut self) {
        self.cut_the_power();
        self.cut_connections();
        let _ = self.sshd.kill();
        let _ = self.sshd.wait();
    }
}

fn script(path: &Path, body: &str) {
    fs::write(path, format!("#!/bin/sh\n{body}")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    Shared,
    Own,
}

/// sshd, and the module's root as it is reached from here.
fn start_sshd(keys: &Path, root: &Path, port: u16, host_key: &str, disk: Disk) -> (Child, PathBuf) {
    fs::create_dir_all("/run/sshd").unwrap();
    for folder in root.ancestors() {
        let mode = fs::metadata(folder).unwrap().permissions().mode();
        assert_eq!(
            mode & 0o022,
            0,
            "sshd shuts nobody in below {}, which others may write to: run the tests in a check-out elsewhere",
            folder.display()
        );
    }
    let own = root.with_file_name("disk");
    let jailed = match disk {
        Disk::Shared => root,
        Disk::Own => {
            fs::create_dir(&own).unwrap();
            &own
        }
    };
    let config = keys.join("sshd_config");
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nListenAddress ::1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
         PasswordAuthentication no\nKbdInteractiveAuthentication no\nChrootDirectory {}\nSubsystem sftp internal-sftp\nPrintMotd no\nUseDNS no\n",
        keys.join(host_key).display(),
        keys.join("authorized").display(),
        jailed.display()
    );
    fs::write(&config, text).unwrap();
    let log = fs::File::create(keys.join("sshd.log")).unwrap();
    let mut command = match disk {
        Disk::Shared => Command::new("/usr/sbin/sshd"),
        Disk::Own => {
            let mut command = Command::new("unshare");
            let mount = "mount -t tmpfs -o size=512m,mode=755 module \"$1\"; cp -a \"$0/.\" \"$1/\"; shift; exec /usr/sbin/sshd \"$@\"";
            command
                .args(["-m", "--propagation", "private", "sh", "-ec", mount])
                .args([root, &own]);
            command
        }
    };
    let sshd = command
        .args(["-D", "-e", "-f"])
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(
            Instant::now() < deadline,
            "sshd does not listen: {}",
            fs::read_to_string(keys.join("sshd.log")).unwrap_or_default()
        );
        std::thread::sleep(Duration::from_millis(30));
    }
    let reached = match disk {
        Disk::Shared => root.to_owned(),
        Disk::Own => Path::new("/proc")
            .join(sshd.id().to_string())
            .join("root")
            .join(own.strip_prefix("/").unwrap()),
    };
    (sshd, reached)
}

/// A module's tree: tools of this machine with their libraries, and what StackFlow puts beside them.
fn lay_out(root: &Path) {
    for folder in [
        "usr/bin",
        "usr/sbin",
        "etc/ld.so.conf.d",
        "tmp",
        "root",
        "dev",
        "proc",
        "run",
        "var/lib/stand-in",
        "var/cache/ldconfig",
        "usr/local/m5stack/lib/gcc-10.3",
        "usr/lib/aarch64-linux-gnu",
        "opt/m5stack/bin",
        "opt/m5stack/data/models",
        "opt/m5stack/data/qwen2.5-0.5B-prefill-20e",
        "etc/systemd/system",
        "lib64",
        "var/lib/dpkg/info",
    ] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    symlink("usr/bin", root.join("bin")).unwrap();
    symlink("usr/sbin", root.join("sbin")).unwrap();
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    run(
        "mknod",
        &["-m", "666", &root.join("dev/null").display().to_string(), "c", "1", "3"],
    );
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/bash\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    fs::write(root.join("var/lib/dpkg/status"), "").unwrap();
    fs::write(
        root.join("etc/ld.so.conf"),
        "include /etc/ld.so.conf.d/*.conf\n/lib\n/usr/lib\n",
    )
    .unwrap();
    fs::write(
        root.join("proc/meminfo"),
        "MemTotal: 1000000 kB\nMemAvailable: 800000 kB\n",
    )
    .unwrap();
    fs::create_dir_all(root.join("proc/sys/kernel/random")).unwrap();
    fs::write(root.join(BOOT_ID), "first\n").unwrap();

    let mut libraries = BTreeSet::new();
    for tool in TOOLS {
        let Some(source) = which(tool) else { continue };
        let folder = if *tool == "ldconfig" { "usr/sbin" } else { "usr/bin" };
        fs::copy(&source, root.join(folder).join(tool)).unwrap();
        let needed = Command::new("ldd").arg(&source).output().unwrap().stdout;
        for word in String::from_utf8_lossy(&needed)
            .split_whitespace()
            .filter(|word| word.starts_with('/'))
        {
            libraries.insert(PathBuf::from(word));
        }
    }
    for name in [
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6",
        "/lib/x86_64-linux-gnu/libm.so.6",
        "/lib/x86_64-linux-gnu/libgcc_s.so.1",
    ] {
        libraries.insert(PathBuf::from(name));
    }
    for library in libraries {
        let target = root.join(library.strip_prefix("/").unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        if library.exists() && !target.exists() {
            fs::copy(&library, &target).unwrap();
        }
    }
    let own = root.join("usr/lib/aarch64-linux-gnu/libstdc++.so.6");
    fs::copy("/usr/lib/x86_64-linux-gnu/libstdc++.so.6", own).unwrap();
    fs::copy(binaries().join("llm_llm-1.9"), root.join("opt/m5stack/bin/llm_llm-1.9")).unwrap();
    let card = r#"{"mode":"qwen2.5-0.5B-prefill-20e","type":"llm","mode_param":{"tokens_embed_num":151936,"tokens_embed_size":896}}"#;
    fs::write(
        root.join("opt/m5stack/data/models/mode_qwen2.5-0.5B-prefill-20e.json"),
        card,
    )
    .unwrap();

    // The service manager stand-in. A unit starts only if its program can be loaded, as on a module, and it starts what was in its files at
    // the last daemon-reload.
    script(&root.join("usr/bin/systemctl"), include_str!("systemctl.sh"));
    script(&root.join("usr/bin/journalctl"), "echo \"stand-in journal of $2\"\n");
}
