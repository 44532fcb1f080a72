//! Seed 1.1 to 1.4: the StackFlow tree, its two known obstacles, and the build. Only for those who keep the C++ unit; the injector
//! unit of this project needs no build on the module.

use super::super::finding::{Finding, Verdict};
use super::super::remedy::{Remedy, pieces};
use super::super::script::Script;
use super::super::ssh::{Ssh, SshError};
use super::{CHANGE_LIMIT, READ_LIMIT};
use crate::model::said;

pub(in crate::doctor) const TREE: &str = "/root/StackFlow";
const TOOLCHAIN: &str = "/opt/gcc-arm-10.3-2021.07-x86_64-aarch64-none-linux-gnu/bin";

const LOOK: &str = r#"
if [ -d "$TREE/projects/llm_framework" ]; then say tree yes; else say tree no; fi
FILE="$TREE/SDK/components/simdjson_component/SConstruct"
if [ -f "$FILE" ]; then
    say sconstruct yes
    if grep -qF 'gcc_dumpmachine = env["GCC_DUMPMACHINE"]' "$FILE"; then say reads yes; else say reads no; fi
    if grep -qF 'if "GCC_DUMPMACHINE" not in env' "$FILE"; then say patched yes; else say patched no; fi
else say sconstruct no; fi
for tool in gcc g++; do
    if [ -x "$TOOLCHAIN/aarch64-none-linux-gnu-$tool" ]; then say tool yes; else say tool no; fi
    if [ -x "/usr/bin/$tool" ]; then say native yes; else say native no; fi
done
if command -v scons >/dev/null 2>&1; then say scons yes; else say scons no; fi
say built "$(ls -t "$TREE"/projects/llm_framework/dist/llm_llm* 2>/dev/null | head -n 1)"
say memory "$(awk '/MemAvailable/ {print $2}' /proc/meminfo 2>/dev/null)"
"#;

/// Lets the SConstruct work where SCons' GCC tool did not say what machine it builds for.
#[must_use]
pub fn patch_sconstruct() -> Remedy {
    Remedy {
        id: "patch-simdjson",
        title: said!("Patch the SConstruct", "SConstruct にパッチを当てる"),
        effect: said!(
            "Adds a few lines in front of the one that fails, once. Undo gives the file back byte for byte.",
            "エラーになる行の前に数行を一度だけ追加します。元に戻すとファイルは元の内容そのままになります。"
        ),
        variables: vec![("FILE", format!("{TREE}/SDK/components/simdjson_component/SConstruct"))],
        pieces: pieces! {
            backup: r#"
                cp -p "$FILE" "$B/SConstruct"
            "#,
            commands: r##"
                cp -p "$FILE" "$FILE.softprefix-new"
                awk '
                    index($0, "gcc_dumpmachine = env[\"GCC_DUMPMACHINE\"]") && !added {
                        lead = $0; sub(/[^ \t].*/, "", lead)
                        print lead "# SCons does not always know the machine: ask the compiler itself"
                        print lead "import subprocess"
                        print lead "if \"GCC_DUMPMACHINE\" not in env:"
                        print lead "    try:"
                        print lead "        env[\"GCC_DUMPMACHINE\"] = subprocess.check_output([env.get(\"CC\", \"gcc\"), \"-dumpmachine\"]).decode().strip()"
                        print lead "    except Exception:"
                        print lead "        env[\"GCC_DUMPMACHINE\"] = \"aarch64-linux-gnu\""
                        added = 1
                    }
                    { print }
                ' "$FILE" >"$FILE.softprefix-new"
                mv "$FILE.softprefix-new" "$FILE"
            "##,
            verify: r#"
                test "$(grep -cF 'if "GCC_DUMPMACHINE" not in env' "$FILE")" = 1
                grep -qF 'gcc_dumpmachine = env["GCC_DUMPMACHINE"]' "$FILE"
            "#,
            restore: r#"
                rm -f "$FILE.softprefix-new"
                if [ -e "$B/SConstruct" ]; then cp -p "$B/SConstruct" "$FILE.softprefix-old" && mv "$FILE.softprefix-old" "$FILE"; fi
            "#,
        },
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// Puts wrappers of the native tools where SCons looks for the cross compiler.
#[must_use]
pub fn toolchain_wrappers() -> Remedy {
    Remedy {
        id: "toolchain-wrappers",
        title: said!(
            "Put wrappers in the tool chain's place",
            "ツールチェーンの場所にラッパーを置く"
        ),
        effect: said!(
            "Makes small scripts that call the module's own gcc and g++, and links to its binutils. Files already there are left alone. Undo removes what was made.",
            "モジュール自身の gcc と g++ を呼ぶ小さなスクリプトと、binutils へのリンクを作ります。既にあるファイルには触れません。元に戻すと作ったものだけを消します。"
        ),
        variables: vec![("TC", TOOLCHAIN.into())],
        pieces: pieces! {
            backup: r#"
                if [ -d "$TC" ]; then : >"$B/folder"; fi
                : >"$B/made"
            "#,
            commands: r#"
                mkdir -p "$TC"
                for t in gcc g++; do
                    new="$TC/aarch64-none-linux-gnu-$t"
                    if [ -e "$new" ] || [ -L "$new" ]; then continue; fi
                    test -x "/usr/bin/$t"
                    printf '%s\n' "$new" >>"$B/made"
                    printf '#!/bin/sh\nexec /usr/bin/%s "$@"\n' "$t" >"$new"
                    chmod +x "$new"
                done
                for t in ar ranlib strip nm ld objcopy objdump; do
                    new="$TC/aarch64-none-linux-gnu-$t"
                    if [ -e "$new" ] || [ -L "$new" ]; then continue; fi
                    native=$(command -v "$t") || continue
                    printf '%s\n' "$new" >>"$B/made"
                    ln -s "$native" "$new"
                done
            "#,
            verify: r#"
                test -x "$TC/aarch64-none-linux-gnu-gcc"
                test -x "$TC/aarch64-none-linux-gnu-g++"
            "#,
            restore: r#"
                if [ -e "$B/made" ]; then
                    while IFS= read -r new; do rm -f "$new"; done <"$B/made"
                    if [ ! -e "$B/folder" ]; then rmdir -p "$TC" 2>/dev/null || true; fi
                fi
            "#,
        },
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// # Errors
/// Those of the connection.
pub async fn look(ssh: &Ssh) -> Result<Vec<Finding>, SshError> {
    let script = Script::new(LOOK).with("TREE", TREE)?.with("TOOLCHAIN", TOOLCHAIN)?;
    let answer = ssh.run(&script, READ_LIMIT).await?;
    let built = answer.get("built").unwrap_or_default().to_owned();
    let why = said!(
        "Only needed to build the C++ unit on the module. The injector unit of this workbench needs no build there.",
        "C++ ユニットをモジュール上でビルドする人だけに必要です。この作業台の注入ユニットにはビルドは要りません。"
    );
    let tree = answer.yes("tree");
    let memory = answer.get("memory").and_then(|kb| kb.trim().parse::<u64>().ok());
    let title = match (tree, built.is_empty()) {
        (false, _) => said!(
            "There is no StackFlow tree to build from",
            "ビルド用の StackFlow ツリーはありません"
        ),
        (true, true) => said!(
            "The StackFlow tree is there, not built yet",
            "StackFlow ツリーはありますが、まだビルドされていません"
        ),
        (true, false) => said!(
            "The StackFlow tree is there, and was built",
            "StackFlow ツリーがあり、ビルド済みです"
        ),
    };
    let mut first = Finding::new("tree", "1.1", Verdict::Good, title, why.clone())
        .fact(
            said!("tree", "ツリー"),
            if tree {
                TREE.into()
            } else {
                said!("absent", "ありません")
            },
            false,
        )
        .fact(
            said!("scons", "scons"),
            if answer.yes("scons") {
                said!("present", "あります")
            } else {
                said!("absent", "ありません")
            },
            false,
        );
    if !built.is_empty() {
        first = first.fact(said!("built", "ビルド結果"), built, false);
    }
    if let Some(kb) = memory {
        first = first.fact(
            said!("free memory", "空きメモリー"),
            format!("{} MiB", kb / 1024),
            kb < 200 * 1024,
        );
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
            said!(
                "The simdjson SConstruct is patched",
                "simdjson の SConstruct はパッチ済みです"
            ),
            why.clone(),
        ),
        (true, false, _) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::Good,
            said!(
                "The simdjson SConstruct does not read GCC_DUMPMACHINE",
                "simdjson の SConstruct は GCC_DUMPMACHINE を読みません"
            ),
            why.clone(),
        ),
        (true, true, false) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::LookHere,
            said!(
                "The build can stop with KeyError: 'GCC_DUMPMACHINE'",
                "ビルドが KeyError: 'GCC_DUMPMACHINE' で止まることがあります"
            ),
            why.clone(),
        ),
        (false, _, _) => Finding::new(
            "simdjson",
            "1.2",
            Verdict::Good,
            said!(
                "This tree has no simdjson component",
                "このツリーに simdjson コンポーネントはありません"
            ),
            why.clone(),
        ),
    };
    if sconstruct.verdict == Verdict::LookHere {
        sconstruct = sconstruct.mended_by(patch_sconstruct());
    }

    let tools = answer.all("tool").all(|tool| tool == "yes");
    let native = answer.all("native").all(|tool| tool == "yes");
    let mut toolchain = if tools {
        Finding::new(
            "toolchain",
            "1.3",
            Verdict::Good,
            said!(
                "The compiler is where SCons looks for it",
                "コンパイラーは SCons が探す場所にあります"
            ),
            why,
        )
    } else {
        Finding::new(
            "toolchain",
            "1.3",
            Verdict::LookHere,
            said!(
                "SCons looks for a cross compiler that is not there",
                "SCons が探すクロスコンパイラーがありません"
            ),
            why,
        )
    }
    .fact(said!("folder", "フォルダー"), TOOLCHAIN, !tools)
    .fact(
        said!("native gcc and g++", "ネイティブの gcc と g++"),
        if native {
            said!("present", "あります")
        } else {
            said!("missing", "ありません")
        },
        !native,
    );
    if !tools && native {
        toolchain = toolchain.mended_by(toolchain_wrappers());
    }
    Ok(vec![first, sconstruct, toolchain])
}
