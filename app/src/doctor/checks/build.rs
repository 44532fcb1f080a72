//! Checks the StackFlow source tree, its two known obstacles, and the build (set-up guide, sections 1.1 to 1.4). Only
//! needed to build the C++ unit; softprefix-unit needs no build on the module.

use super::super::finding::{Finding, Verdict};
use super::super::remedies::{self, TOOLCHAIN, TREE};
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::READ_LIMIT;
use crate::model::bilingual;

const SCRIPT: &str = include_str!("build.sh");

/// Runs `build.sh` on the module and judges its answer.
///
/// # Errors
/// Those of the connection.
pub async fn run(ssh: &Ssh) -> Result<Vec<Finding>, SshError> {
    let script = Script::new(SCRIPT).with("TREE", TREE)?.with("TOOLCHAIN", TOOLCHAIN)?;
    let answer = ssh.run(&script, READ_LIMIT).await?;
    let built = answer.get("built").unwrap_or_default().to_owned();
    let why = bilingual!(
        "Only needed to build the C++ unit on the module. softprefix-unit needs no build there.",
        "C++ ユニットをモジュール上でビルドする人だけに必要です。softprefix-unit にはビルドは要りません。"
    );
    let tree = answer.yes("tree");
    let memory = answer.get("memory").and_then(|kb| kb.trim().parse::<u64>().ok());
    let title = match (tree, built.is_empty()) {
        (false, _) => bilingual!(
            "There is no StackFlow tree to build from",
            "ビルド用の StackFlow ツリーはありません"
        ),
        (true, true) => bilingual!(
            "The StackFlow tree is there, not built yet",
            "StackFlow ツリーはありますが、まだビルドされていません"
        ),
        (true, false) => bilingual!(
            "The StackFlow tree is there, and was built",
            "StackFlow ツリーがあり、ビルド済みです"
        ),
    };
    let mut first = Finding::new("tree", "1.1", Verdict::Good, title, why.clone())
        .fact(
            bilingual!("tree", "ツリー"),
            if tree {
                TREE.into()
            } else {
                bilingual!("absent", "ありません")
            },
        )
        .fact(
            bilingual!("scons", "scons"),
            if answer.yes("scons") {
                bilingual!("present", "あります")
            } else {
                bilingual!("absent", "ありません")
            },
        );
    if !built.is_empty() {
        first = first.fact(bilingual!("built", "ビルド結果"), built);
    }
    if let Some(kb) = memory {
        first = first
            .fact(bilingual!("free memory", "空きメモリー"), format!("{} MiB", kb / 1024))
            .wrong_if(kb < 200 * 1024);
    }
    if !tree {
        return Ok(vec![first]);
    }

    let (reads, patched) = (answer.yes("reads"), answer.yes("patched"));
    let mut sconstruct = match (answer.yes("sconstruct"), reads, patched) {
        (true, true, true) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::Good,
            bilingual!(
                "The simdjson SConstruct is patched",
                "simdjson の SConstruct はパッチ済みです"
            ),
            why.clone(),
        ),
        (true, false, _) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::Good,
            bilingual!(
                "The simdjson SConstruct does not read GCC_DUMPMACHINE",
                "simdjson の SConstruct は GCC_DUMPMACHINE を読みません"
            ),
            why.clone(),
        ),
        (true, true, false) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::Warning,
            bilingual!(
                "The build can stop with KeyError: 'GCC_DUMPMACHINE'",
                "ビルドが KeyError: 'GCC_DUMPMACHINE' で止まることがあります"
            ),
            why.clone(),
        ),
        (false, _, _) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::Good,
            bilingual!(
                "This tree has no simdjson component",
                "このツリーに simdjson コンポーネントはありません"
            ),
            why.clone(),
        ),
    };
    if sconstruct.verdict == Verdict::Warning {
        sconstruct = sconstruct.with_remedy(remedies::patch_simdjson());
    }

    let tools = answer.all("tool").all(|tool| tool == "yes");
    let native = answer.all("native").all(|tool| tool == "yes");
    let mut toolchain = if tools {
        Finding::new(
            "toolchain",
            "1.3",
            Verdict::Good,
            bilingual!(
                "The compiler is where SCons looks for it",
                "コンパイラーは SCons が探す場所にあります"
            ),
            why,
        )
    } else {
        Finding::new(
            "toolchain",
            "1.3",
            Verdict::Warning,
            bilingual!(
                "SCons looks for a cross compiler that is not there",
                "SCons が探すクロスコンパイラーがありません"
            ),
            why,
        )
    }
    .fact(bilingual!("folder", "フォルダー"), TOOLCHAIN)
    .wrong_if(!tools)
    .fact(
        bilingual!("native gcc and g++", "ネイティブの gcc と g++"),
        if native {
            bilingual!("present", "あります")
        } else {
            bilingual!("missing", "ありません")
        },
    )
    .wrong_if(!native);
    if !tools && native {
        toolchain = toolchain.with_remedy(remedies::toolchain_wrappers());
    }
    Ok(vec![first, sconstruct, toolchain])
}
