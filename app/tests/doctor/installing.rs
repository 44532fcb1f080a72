//! The installer on a module in a jail: the stock unit is in place at every end but the good one.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use softprefix::doctor::checks::unfinished;
use softprefix::doctor::install::{self, InstallError, InstallStep, Installation};
use softprefix::doctor::protocol_check::ProtocolCheck;

use crate::jail::{Jail, until};
use crate::modules::ours;
use crate::with_jail;

pub const OURS: &str = "/opt/m5stack/bin/softprefix-unit";
pub const STOCK: &str = "/opt/m5stack/bin/llm_llm-1.9";

/// A program of this machine's kind that says a version and ends with `status`: what is installed in the jail. Whom the checks talk to
/// afterwards is a real unit.
pub fn program(folder: &Path, status: u32) -> PathBuf {
    let (source, binary) = (folder.join("unit.c"), folder.join("unit of this machine"));
    fs::write(
        &source,
        format!("#include <stdio.h>\nint main(void) {{ puts(\"stand-in unit\"); return {status}; }}\n"),
    )
    .unwrap();
    let built = std::process::Command::new("gcc")
        .arg("-o")
        .arg(&binary)
        .arg(&source)
        .status()
        .unwrap();
    assert!(built.success());
    binary
}

pub fn ready(jail: &Jail) {
    fs::write(
        jail.at("/etc/systemd/system/llm-llm.service"),
        format!("[Service]\nExecStart={STOCK}\n"),
    )
    .unwrap();
    fs::write(jail.at("/var/lib/stand-in/llm-llm.program"), format!("{STOCK}\n")).unwrap();
}

pub fn running(jail: &Jail) -> String {
    fs::read_to_string(jail.at("/var/lib/stand-in/llm-llm.program"))
        .unwrap()
        .trim()
        .to_owned()
}

pub fn what(unit: PathBuf, address: impl ToString) -> Installation {
    Installation {
        patience: Duration::from_secs(2),
        ..Installation::new(unit, ProtocolCheck::new(address.to_string()))
    }
}

fn closed_port() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

#[test]
fn a_unit_that_works_is_confirmed_and_can_be_removed() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let unit = program(folder.path(), 0);
        let ssh = jail.open().await.unwrap();
        let (bin, etc) = (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd"));
        let mut steps = Vec::new();
        install::install(&ssh, &what(unit.clone(), ours().await), |step| steps.push(step))
            .await
            .unwrap();
        assert_eq!(steps.last(), Some(&InstallStep::Confirmed));
        assert_eq!(running(&jail), OURS);
        assert_eq!(fs::read(jail.at(OURS)).unwrap(), fs::read(&unit).unwrap());
        assert!(jail.at(STOCK).exists(), "the stock binary is kept");
        // Again, over itself.
        install::install(&ssh, &what(unit, ours().await), |_| {}).await.unwrap();
        assert!(install::uninstall(&ssh).await.unwrap());
        assert_eq!(running(&jail), STOCK);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            (bin, etc)
        );
        assert!(!install::uninstall(&ssh).await.unwrap());
    });
}

#[test]
fn a_unit_that_does_not_start_or_answer_is_reverted() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let ssh = jail.open().await.unwrap();
        let before = (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd"));
        let silent = install::install(&ssh, &what(program(folder.path(), 0), closed_port()), |_| {}).await;
        assert!(matches!(silent, Err(InstallError::NotWorking { .. })), "{silent:?}");
        assert_eq!(running(&jail), STOCK);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            before
        );

        let broken = install::install(&ssh, &what(program(folder.path(), 1), closed_port()), |_| {}).await;
        assert!(matches!(broken, Err(InstallError::NotBegun { .. })), "{broken:?}");
        assert_eq!(running(&jail), STOCK);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            before
        );
    });
}

#[test]
fn the_module_reverts_an_unconfirmed_installation() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let unit = program(folder.path(), 0);
        let before = (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd"));
        // The module accepts the connection and never answers, and then the connection to the installing computer is lost.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        {
            let ssh = jail.open().await.unwrap();
            let what = Installation {
                watch: Duration::from_secs(3),
                ..what(unit, mute.local_addr().unwrap())
            };
            let work = install::install(&ssh, &what, |_| {});
            let swapped = async {
                until("the swap", || running(&jail) == OURS).await;
                jail.cut_connections();
            };
            tokio::select! { _ = work => panic!("it cannot end"), () = swapped => {} }
        }
        // Reverting a swap removes this file last.
        let watch = jail.at("/var/lib/softprefix/install/watch");
        until("the end of the swap", || !watch.exists()).await;
        assert_eq!(running(&jail), STOCK);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            before
        );
    });
}

/// A unit that is another one than [`program`]'s by its bytes.
fn another(unit: &Path) -> PathBuf {
    let other = unit.with_file_name("another unit");
    let mut bytes = fs::read(unit).unwrap();
    bytes.extend(b"another");
    fs::write(&other, bytes).unwrap();
    fs::set_permissions(&other, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    other
}

/// Swaps a unit in and abandons the installation; the module reverts it after `watch`.
async fn swap_and_leave(jail: &Jail, unit: PathBuf, watch: Duration) {
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let ssh = jail.open().await.unwrap();
    let wanted = fs::read(&unit).unwrap();
    let what = Installation {
        watch,
        ..what(unit, mute.local_addr().unwrap())
    };
    let work = install::install(&ssh, &what, |_| {});
    let swapped = async {
        let is_wanted = || fs::read(jail.at(OURS)).ok().as_ref() == Some(&wanted);
        until("the swap", || running(jail) == OURS && is_wanted()).await;
    };
    tokio::select! { ended = work => panic!("it cannot end: {ended:?}"), () = swapped => {} }
}

#[test]
fn an_installation_left_unconfirmed_by_a_power_cut_is_reported_and_can_be_reverted() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let before = (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd"));
        swap_and_leave(&jail, program(folder.path(), 0), Duration::from_secs(600)).await;
        let ssh = jail.open().await.unwrap();
        assert!(
            unfinished::run(&ssh).await.unwrap().is_none(),
            "the module's own watch still lives"
        );
        jail.cut_the_power();
        let ssh = jail.open().await.unwrap();
        let finding = unfinished::run(&ssh).await.unwrap().unwrap();
        assert_eq!(running(&jail), OURS);
        assert_eq!(finding.facts[0].value.en, "softprefix uninstall HOST", "{finding:#?}");
        assert!(install::uninstall(&ssh).await.unwrap());
        assert_eq!(running(&jail), STOCK);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            before
        );
        assert!(unfinished::run(&ssh).await.unwrap().is_none());
    });
}

#[test]
fn an_installation_that_fails_after_another_has_replaced_it_says_so() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let unit = program(folder.path(), 0);
        let other = another(&unit);
        for is_confirmed in [false, true] {
            let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            let ssh = jail.open().await.unwrap();
            let mut first = what(unit.clone(), mute.local_addr().unwrap());
            // Longer than the other installation takes: only the end of the listener ends the test.
            first.check.options.request = Duration::from_secs(600);
            let replaced = async {
                until("the first swap", || running(&jail) == OURS).await;
                if is_confirmed {
                    let ssh = jail.open().await.unwrap();
                    let second = what(other.clone(), ours().await);
                    install::install(&ssh, &second, |_| {}).await.unwrap();
                } else {
                    swap_and_leave(&jail, other.clone(), Duration::from_secs(600)).await;
                }
                // Only now does the test of the first fail.
                drop(mute);
            };
            let (failed, ()) = tokio::join!(install::install(&ssh, &first, |_| {}), replaced);
            assert!(
                matches!(failed, Err(InstallError::Replaced)),
                "{is_confirmed}: {failed:?}"
            );
            assert_eq!(fs::read(jail.at(OURS)).unwrap(), fs::read(&other).unwrap());
            assert!(install::uninstall(&ssh).await.unwrap());
        }
    });
}

#[test]
fn an_uninstallation_that_cannot_begin_says_that_nothing_was_changed() {
    with_jail!(jail, {
        ready(&jail);
        fs::create_dir_all(jail.at("/var/lib/softprefix")).unwrap();
        fs::write(jail.at("/var/lib/softprefix/install"), "a file in place of the folder").unwrap();
        let ssh = jail.open().await.unwrap();
        let refused = install::uninstall(&ssh).await.unwrap_err();
        assert!(matches!(refused, InstallError::NotBegun { .. }), "{refused:?}");
        let sentence = refused.sentence();
        assert!(
            sentence.en.starts_with("Nothing was changed on the module") && !sentence.ja.contains("導入"),
            "{sentence:?}"
        );
    });
}

#[test]
fn the_watch_of_an_earlier_installation_does_not_revert_a_later_one() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let unit = program(folder.path(), 0);
        let other = another(&unit);
        let stock = (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd"));
        swap_and_leave(&jail, unit.clone(), Duration::from_secs(6)).await;
        let ssh = jail.open().await.unwrap();
        install::install(&ssh, &what(other.clone(), ours().await), |_| {})
            .await
            .unwrap();
        jail.wait_for_scripts();
        assert_eq!(running(&jail), OURS);
        assert_eq!(fs::read(jail.at(OURS)).unwrap(), fs::read(&other).unwrap());

        // One that fails on top of one that was never confirmed goes back to what was there before both.
        assert!(install::uninstall(&ssh).await.unwrap());
        swap_and_leave(&jail, unit, Duration::from_secs(6)).await;
        let failed = install::install(&ssh, &what(other, closed_port()), |_| {}).await;
        assert!(matches!(failed, Err(InstallError::NotWorking { .. })), "{failed:?}");
        jail.wait_for_scripts();
        assert_eq!(running(&jail), STOCK);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            stock
        );
    });
}

/// Lays the Debian package's files where dpkg does, and runs its scripts around that.
fn dpkg_install(jail: &Jail, unit: &Path) {
    let deb = Path::new(env!("CARGO_MANIFEST_DIR")).join("../device-unit/deb");
    let chroot = |script: &str, act: &str| {
        fs::copy(deb.join(script), jail.at("/tmp").join(script)).unwrap();
        let root = jail.at("/").display().to_string();
        let status = std::process::Command::new("chroot")
            .args([&root, "/bin/sh", &format!("/tmp/{script}"), act])
            .status();
        assert!(status.unwrap().success(), "{script}");
    };
    fs::create_dir_all(jail.at("/run/systemd/system")).unwrap();
    chroot("preinst", "install");
    let dropin = "/lib/systemd/system/llm-llm.service.d/softprefix.conf";
    fs::create_dir_all(jail.at(dropin).parent().unwrap()).unwrap();
    fs::copy(deb.join("softprefix.conf"), jail.at(dropin)).unwrap();
    fs::copy(unit, jail.at(OURS)).unwrap();
    fs::write(
        jail.at("/var/lib/dpkg/info/softprefix-unit.list"),
        format!("/.\n{OURS}\n{dropin}\n"),
    )
    .unwrap();
    fs::write(
        jail.at("/var/lib/dpkg/status"),
        "Package: softprefix-unit\nStatus: install ok installed\nMaintainer: nobody\nArchitecture: all\nVersion: 1\nDescription: none\n\n",
    )
    .unwrap();
    chroot("postinst", "configure");
}

#[test]
fn files_of_a_debian_package_are_left_to_dpkg() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let unit = program(folder.path(), 0);
        let packaged = another(&unit);
        // The package comes over a unit that is tried and not confirmed yet.
        swap_and_leave(&jail, unit.clone(), Duration::from_secs(4)).await;
        dpkg_install(&jail, &packaged);
        jail.wait_for_scripts();
        assert_eq!(running(&jail), OURS);
        assert_eq!(fs::read(jail.at(OURS)).unwrap(), fs::read(&packaged).unwrap());
        assert_eq!(
            jail.snapshot("/etc/systemd/system").len(),
            1,
            "the installer's drop-in is gone"
        );

        let ssh = jail.open().await.unwrap();
        let before = (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd"));
        let over = install::install(&ssh, &what(unit, ours().await), |_| {}).await;
        assert!(
            matches!(&over, Err(InstallError::Packaged { package, .. }) if package == "softprefix-unit"),
            "{over:?}"
        );
        let removed = install::uninstall(&ssh).await;
        assert!(
            matches!(&removed, Err(InstallError::StillStarted { package, .. }) if package == "softprefix-unit"),
            "{removed:?}"
        );
        let sentence = removed.unwrap_err().sentence();
        assert!(
            sentence.en.contains("dpkg -r softprefix-unit") && sentence.ja.contains("dpkg -r softprefix-unit"),
            "{sentence:?}"
        );

        // An earlier installer's drop-in is removed, and what the package starts is reported.
        fs::create_dir_all(jail.at("/etc/systemd/system/llm-llm.service.d")).unwrap();
        let own = format!("[Service]\nExecStart=\nExecStart={OURS} --bus\n");
        fs::write(jail.at("/etc/systemd/system/llm-llm.service.d/softprefix.conf"), own).unwrap();
        let removed = install::uninstall(&ssh).await;
        assert!(matches!(removed, Err(InstallError::StillStarted { .. })), "{removed:?}");
        assert_eq!(running(&jail), OURS);
        assert_eq!(
            (jail.snapshot("/opt/m5stack/bin"), jail.snapshot("/etc/systemd")),
            before
        );
    });
}

#[test]
fn a_foreign_drop_in_is_named() {
    with_jail!(jail, {
        ready(&jail);
        let folder = tempfile::tempdir().unwrap();
        let ssh = jail.open().await.unwrap();
        install::install(&ssh, &what(program(folder.path(), 0), ours().await), |_| {})
            .await
            .unwrap();
        let own = jail.at("/etc/systemd/system/llm-llm.service.d/softprefix.conf");
        let theirs = own.with_file_name("by-hand.conf");
        fs::copy(&own, &theirs).unwrap();
        let kept = install::uninstall(&ssh).await.unwrap_err();
        assert!(
            kept.sentence()
                .en
                .contains("/etc/systemd/system/llm-llm.service.d/by-hand.conf"),
            "{kept}"
        );
        assert_eq!(running(&jail), OURS);
        assert!(jail.at(OURS).exists(), "what the service starts stays");
        fs::remove_file(theirs).unwrap();
        assert!(install::uninstall(&ssh).await.unwrap());
        assert_eq!(running(&jail), STOCK);
        assert!(!jail.at(OURS).exists());
    });
}

#[test]
fn an_unsuitable_binary_is_refused_before_anything_is_changed() {
    with_jail!(jail, {
        let folder = tempfile::tempdir().unwrap();
        let unit = program(folder.path(), 0);
        let ssh = jail.open().await.unwrap();
        let before = (jail.snapshot("/opt"), jail.snapshot("/etc"));
        let refused = async |unit: PathBuf| {
            install::install(&ssh, &what(unit, closed_port()), |_| {})
                .await
                .unwrap_err()
        };

        assert!(matches!(refused(unit.clone()).await, InstallError::NoService));
        ready(&jail);
        let before = (before.0, jail.snapshot("/etc"));
        assert!(matches!(
            refused(folder.path().join("none")).await,
            InstallError::Unreadable { .. }
        ));

        let cards = jail.at("/opt/m5stack/data/models");
        fs::rename(&cards, jail.at("/opt/m5stack/data/elsewhere")).unwrap();
        assert!(matches!(refused(unit.clone()).await, InstallError::NoModel));
        fs::rename(jail.at("/opt/m5stack/data/elsewhere"), &cards).unwrap();

        let mut bytes = fs::read(&unit).unwrap();
        bytes[18..20].copy_from_slice(&[183, 0]);
        let other = folder.path().join("aarch64");
        fs::write(&other, &bytes).unwrap();
        assert!(matches!(refused(other).await, InstallError::WrongMachine { built, .. } if built == "aarch64"));

        let mut bytes = fs::read(&unit).unwrap();
        bytes.extend(b"GLIBC_9.99\0");
        let newer = folder.path().join("newer");
        fs::write(&newer, &bytes).unwrap();
        assert!(matches!(refused(newer).await, InstallError::OldGlibc { needed, .. } if needed == "9.99"));

        let df = jail.at("/usr/bin/df");
        let kept = folder.path().join("df");
        // Two file systems, where the temporary one is in memory: nothing can be moved between them.
        fs::copy(&df, &kept).unwrap();
        fs::remove_file(&df).unwrap();
        fs::write(&df, "#!/bin/sh\nprintf 'Filesystem 1024-blocks Used Available Capacity Mounted\\nstand-in 100 99 1 99%% /\\n'\n").unwrap();
        fs::set_permissions(&df, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(
            refused(unit.clone()).await,
            InstallError::NoSpace { free: 1024, .. }
        ));
        fs::remove_file(&df).unwrap();
        fs::copy(&kept, &df).unwrap();

        // A copy that arrives damaged.
        let sum = jail.at("/usr/bin/sha256sum");
        fs::remove_file(&sum).unwrap();
        fs::write(&sum, "#!/bin/sh\necho 0000  x\n").unwrap();
        fs::set_permissions(&sum, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(matches!(refused(unit).await, InstallError::BadCopy { found, .. } if found == "0000"));
        assert_eq!((jail.snapshot("/opt"), jail.snapshot("/etc")), before);
    });
}
