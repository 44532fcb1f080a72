//! The checks over port 10001, on our unit and on units that behave as older ones do.

use std::time::Duration;

use softprefix::doctor::protocol_check::{self, ProtocolCheck};
use softprefix::doctor::{Finding, Verdict};
use softprefix_core::client::{ConnectOptions, Module};
use softprefix_core::protocol::SetUp;

use crate::modules::{Manner, older, ours};
use crate::port::unit_that_is_off;

fn check_at(address: impl ToString) -> ProtocolCheck {
    let mut check = ProtocolCheck::new(address.to_string());
    check.options.idle = Duration::from_secs(3);
    check.options.first_frame = Duration::from_secs(6);
    check
}

async fn findings(check: &ProtocolCheck) -> Vec<Finding> {
    let mut findings = Vec::new();
    protocol_check::run(check, |finding| findings.push(finding)).await;
    findings.iter().for_each(crate::is_known);
    findings
}

fn verdicts(findings: &[Finding]) -> Vec<(&'static str, Verdict)> {
    findings.iter().map(|finding| (finding.id, finding.verdict)).collect()
}

const ALL_GOOD: [(&str, Verdict); 7] = [
    ("answer", Verdict::Good),
    ("tasks", Verdict::Good),
    ("set-up", Verdict::Good),
    ("baseline", Verdict::Good),
    ("second-run", Verdict::Good),
    ("prefix", Verdict::Good),
    ("stream", Verdict::Good),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_check_of_softprefix_unit_is_good_and_names_it() {
    let found = findings(&check_at(ours().await)).await;
    assert_eq!(verdicts(&found), ALL_GOOD, "{found:#?}");
    assert!(found[5].title.en.contains("softprefix-unit"), "{:?}", found[5].title);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_patched_unit_is_recognised_by_the_effect_of_a_prefix() {
    let found = findings(&check_at(older(Manner::Patched).await)).await;
    assert_eq!(verdicts(&found), ALL_GOOD, "{found:#?}");
    assert!(
        found[5].title.en.starts_with("A stock unit with the prefix patch"),
        "{:?}",
        found[5].title
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stock_unit_is_reported_as_not_applying_prefixes() {
    let found = findings(&check_at(older(Manner::Stock).await)).await;
    let prefix = found.iter().find(|finding| finding.id == "prefix").unwrap();
    assert_eq!((prefix.verdict, prefix.section), (Verdict::Broken, "9"));
    assert_eq!(prefix.title.en, "soft_prefix is not applied here");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalling_stream_is_reported() {
    let found = findings(&check_at(older(Manner::Stalling).await)).await;
    let stream = found.iter().find(|finding| finding.id == "stream").unwrap();
    assert_eq!(stream.verdict, Verdict::Warning, "{stream:#?}");
    assert!(stream.title.en.contains("stops half-way"), "{stream:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn left_over_tasks_are_counted_and_ended_when_asked() {
    let address = ours().await;
    let module = Module::connect(address.to_string(), ConnectOptions::default())
        .await
        .unwrap();
    let cards = module.cards().await.unwrap();
    let set_up = SetUp::new(&cards[0].name, "s");
    let tasks = (
        module.set_up(&set_up).await.unwrap(),
        module.set_up(&set_up).await.unwrap(),
    );
    let check = check_at(address);
    let found = findings(&check).await;
    assert_eq!(verdicts(&found)[1], ("tasks", Verdict::Warning));
    assert_eq!(verdicts(&found)[2], ("set-up", Verdict::Broken), "{found:#?}");
    assert_eq!(found[2].title.en, "All tasks are taken");
    let ended = protocol_check::exit_left_over_tasks(&check).await.unwrap();
    assert_eq!(ended.len(), 2);
    assert_eq!(verdicts(&findings(&check).await), ALL_GOOD);
    drop(tasks);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_port_is_reported_in_one_sentence() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let found = findings(&check_at(port)).await;
    assert_eq!(verdicts(&found), [("answer", Verdict::Broken)]);
    assert!(found[0].text.en.contains("Could not connect"), "{:?}", found[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_of_the_checks_that_cannot_be_exited_is_reported() {
    let found = findings(&check_at(older(Manner::Clinging).await)).await;
    let left: Vec<&Finding> = found
        .iter()
        .filter(|finding| finding.title.en.contains("could not be ended"))
        .collect();
    assert_eq!(left.len(), 2, "each of them; then the module has no place: {found:#?}");
    assert!(left.iter().all(|finding| finding.facts[0].value.en.starts_with("llm.")));
}

fn finding<'a>(findings: &'a [Finding], id: &str) -> &'a Finding {
    let found = findings.iter().find(|finding| finding.id == id);
    found.unwrap_or_else(|| panic!("no {id}: {findings:#?}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_set_up_distinguishes_a_stopped_unit_from_a_model_that_does_not_load() {
    let found = findings(&check_at(unit_that_is_off(ours().await).await)).await;
    let off = finding(&found, "tasks");
    assert_eq!((off.verdict, off.section), (Verdict::Broken, "8.1"), "{found:#?}");
    let off = finding(&found, "set-up");
    assert_eq!((off.verdict, off.section), (Verdict::Broken, "8.1"));
    assert!(off.title.en.contains("unit call false (-9)"), "{off:#?}");

    let mut check = check_at(ours().await);
    check.model = Some("no-such-model".to_owned());
    let found = findings(&check).await;
    let refused = finding(&found, "set-up");
    assert_eq!((refused.verdict, refused.section), (Verdict::Broken, "8.1"));
    assert_eq!(refused.title.en, "no-such-model does not set up");
    assert_eq!(
        found.last().map(|last| last.id),
        Some("set-up"),
        "nothing can follow it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_baseline_is_reported_and_leaves_no_task() {
    let mut check = check_at(older(Manner::Mute).await);
    check.options.deadline = Duration::from_secs(2);
    let found = findings(&check).await;
    let baseline = finding(&found, "baseline");
    assert_eq!(
        (baseline.verdict, baseline.section),
        (Verdict::Broken, "5"),
        "{found:#?}"
    );
    let module = Module::connect(&check.address, ConnectOptions::default())
        .await
        .unwrap();
    assert_eq!(module.tasks().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sampling_unit_is_recognised_by_its_second_run() {
    let found = findings(&check_at(older(Manner::Sampling).await)).await;
    let second = finding(&found, "second-run");
    assert_eq!((second.verdict, second.section), (Verdict::Warning, "6"), "{found:#?}");
    assert!(second.text.en.contains("enable_top_k_sampling"), "{second:#?}");
    let prefix = finding(&found, "prefix");
    assert_eq!(
        prefix.verdict,
        Verdict::Warning,
        "a changed text proves nothing: {prefix:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_that_fails_is_not_reported_as_sampling() {
    let mut check = check_at(older(Manner::MuteOnce).await);
    check.options.deadline = Duration::from_secs(2);
    let found = findings(&check).await;
    let second = finding(&found, "second-run");
    assert_eq!(second.title.en, "The second run fails", "{found:#?}");
    let prefix = finding(&found, "prefix");
    assert_eq!(prefix.verdict, Verdict::Warning, "{prefix:#?}");
    assert!(prefix.title.en.ends_with("but the second run failed"), "{prefix:#?}");
    assert!(!prefix.text.en.contains("samples"), "{prefix:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_without_a_language_model_is_reported() {
    let found = findings(&check_at(older(Manner::WithoutCards).await)).await;
    let model = finding(&found, "model");
    assert_eq!((model.verdict, model.section), (Verdict::Broken, "7"), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_ssh_only_the_named_port_and_model_are_checked_in_the_requested_language() {
    let address = ours().await.to_string();
    let look = |more: &[&str]| {
        let usual = ["root@module.invalid", "--no-ssh", "--module", &address, "--json"];
        tokio::task::block_in_place(|| doctor(&[&usual[..], more].concat()))
    };
    let ids = |stdout: &str| -> Vec<String> {
        let report: serde_json::Value = serde_json::from_str(stdout).unwrap();
        let found = report["findings"].as_array().unwrap().iter();
        found
            .map(|finding| finding["id"].as_str().unwrap().to_owned())
            .collect()
    };
    let (code, stdout, stderr) = look(&[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(ids(&stdout), ALL_GOOD.map(|(id, _)| id), "no check by ssh");

    let (code, stdout, _) = look(&["--model", "no-such-model"]);
    assert_eq!(code, Some(3));
    assert_eq!(ids(&stdout).last().map(String::as_str), Some("set-up"));
    assert!(stdout.contains("no-such-model"), "{stdout}");

    let (code, _, stderr) = look(&["--fix", "libstdcxx"]);
    assert_eq!(code, Some(2), "without ssh nothing can be changed");
    assert!(stderr.contains("--no-ssh"), "{stderr}");

    let in_language = |option: &[&str], environment: &str| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_softprefix"));
        command
            .args(["doctor", &address])
            .args(option)
            .env("LC_ALL", environment);
        let output = tokio::task::block_in_place(|| command.output().unwrap());
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(in_language(&["--lang", "ja"], "C").contains("モジュールは"));
    assert!(in_language(&["--lang", "en"], "ja_JP.UTF-8").contains("The module answers"));
    assert!(in_language(&[], "ja_JP.UTF-8").contains("モジュールは"));
}

/// Runs `softprefix doctor` with these arguments: its exit code and what it printed.
fn doctor(arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_softprefix"));
    let output = command
        .args(["doctor", "--lang", "en"])
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_with_a_port_is_checked_over_that_port_only() {
    let address = ours().await.to_string();
    let (code, stdout, _) = tokio::task::block_in_place(|| doctor(&[&address, "--json"]));
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    let ids = report["findings"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|finding| finding["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ALL_GOOD.map(|(id, _)| id));
    assert_eq!(code, Some(0));

    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (code, stdout, _) = tokio::task::block_in_place(|| doctor(&[&closed.to_string()]));
    assert_eq!(code, Some(3));
    assert!(
        stdout.contains("1 broken, 0 to check, 0 not checked, 0 good"),
        "{stdout}"
    );
}

#[test]
fn the_embedded_module_is_refused() {
    let (code, _, stderr) = doctor(&["embedded"]);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("part of this program") && !stderr.contains("cable"),
        "{stderr}"
    );
}
