//! The table of remedies. Each has a shell file in this folder; `frame.sh` is common to all.

use super::checks::CHANGE_LIMIT;
use super::remedy::{Remedy, Shell};
use crate::model::bilingual;

/// A remedy's file inside the frame, concatenated at compile time, since the body of a script is a constant.
macro_rules! shell {
    ($file:literal) => {
        Shell {
            file: include_str!($file),
            body: concat!(include_str!("../lib.sh"), include_str!($file), include_str!("frame.sh")),
        }
    };
}

/// The names that `--undo` takes, in the order of the guide. `--fix` takes [`EXIT_TASKS`](super::EXIT_TASKS) and [`BUILD`](super::BUILD) as well.
pub const REMEDIES: [&str; 6] = [
    "start-llm-sys",
    "patch-simdjson",
    "toolchain-wrappers",
    "start-llm-llm",
    "relink-libstdcxx",
    "register-interpreter",
];

/// Returns a remedy by name, to undo it or to see whether there is one; to apply it, take that of a finding.
///
/// `register-interpreter` has an empty folder here, which its undo does not use.
#[must_use]
pub fn remedy(id: &str) -> Option<Remedy> {
    match id {
        "start-llm-sys" => Some(start_llm_sys()),
        "patch-simdjson" => Some(patch_simdjson()),
        "toolchain-wrappers" => Some(toolchain_wrappers()),
        "start-llm-llm" => Some(start_llm_llm()),
        "relink-libstdcxx" => Some(relink_libstdcxx()),
        "register-interpreter" => Some(register_interpreter(String::new())),
        _ => None,
    }
}

/// The StackFlow tree that a C++ unit is built from.
pub const TREE: &str = "/root/StackFlow";
/// Where SCons looks for the cross compiler.
pub const TOOLCHAIN: &str = "/opt/gcc-arm-10.3-2021.07-x86_64-aarch64-none-linux-gnu/bin";
/// The module's own folder for libstdc++.
pub const LIBSTDCXX_FOLDER: &str = "/usr/local/m5stack/lib/gcc-10.3";
/// The system's libstdc++.
pub const LIBSTDCXX_SYSTEM: &str = "/usr/lib/aarch64-linux-gnu/libstdc++.so.6";

/// Starts the service `llm-sys`.
#[must_use]
pub fn start_llm_sys() -> Remedy {
    Remedy {
        id: "start-llm-sys",
        title: bilingual!("Start llm-sys", "llm-sys を起動"),
        effect: bilingual!(
            "Starts the service. Undo stops it again.",
            "サービスを起動します。元に戻すと停止します。"
        ),
        variables: vec![("SERVICE", "llm-sys".into())],
        shell: shell!("start-service.sh"),
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// Starts the service of the LLM unit.
#[must_use]
pub fn start_llm_llm() -> Remedy {
    Remedy {
        id: "start-llm-llm",
        title: bilingual!("Start the LLM unit", "LLM ユニットを起動"),
        effect: bilingual!(
            "Starts the service llm-llm. Undo stops it again.",
            "llm-llm サービスを起動します。元に戻すと停止します。"
        ),
        variables: vec![("SERVICE", "llm-llm".into())],
        shell: shell!("start-service.sh"),
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// Makes the SConstruct work where SCons' GCC tool did not report its target machine.
#[must_use]
pub fn patch_simdjson() -> Remedy {
    Remedy {
        id: "patch-simdjson",
        title: bilingual!("Patch the SConstruct", "SConstruct にパッチを当てる"),
        effect: bilingual!(
            "Adds a few lines before the one that fails, once. Undo restores the file byte for byte.",
            "エラーになる行の前に数行を一度だけ追加します。元に戻すとファイルは元の内容そのままになります。"
        ),
        variables: vec![("FILE", format!("{TREE}/SDK/components/simdjson_component/SConstruct"))],
        shell: shell!("patch-simdjson.sh"),
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// Installs wrappers of the native tools where SCons looks for the cross compiler.
#[must_use]
pub fn toolchain_wrappers() -> Remedy {
    Remedy {
        id: "toolchain-wrappers",
        title: bilingual!(
            "Install wrappers for the tool chain",
            "ツールチェーンの場所にラッパーを置く"
        ),
        effect: bilingual!(
            "Creates small scripts that call the module's own gcc and g++, and links to its binutils. Existing files are not changed. Undo removes what was created.",
            "モジュール自身の gcc と g++ を呼ぶ小さなスクリプトと、binutils へのリンクを作ります。既にあるファイルには触れません。元に戻すと作ったものだけを消します。"
        ),
        variables: vec![("TC", TOOLCHAIN.into())],
        shell: shell!("toolchain-wrappers.sh"),
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// Links the module's libstdc++ to the system's, keeping the old one.
#[must_use]
pub fn relink_libstdcxx() -> Remedy {
    Remedy {
        id: "relink-libstdcxx",
        title: bilingual!("Point libstdc++ to the system's", "libstdc++ をシステムのものに向ける"),
        effect: bilingual!(
            "Keeps the old file under a name with the time, puts an absolute symbolic link in its place and checks that it has the symbols. Undo moves the old one back.",
            "古いものを日時付きの名前で残し、その場所に絶対パスのシンボリックリンクを置き、必要なシンボルがあるか確かめます。元に戻すと古いものが戻ります。"
        ),
        variables: vec![("DIR", LIBSTDCXX_FOLDER.into()), ("SYSTEM", LIBSTDCXX_SYSTEM.into())],
        shell: shell!("relink-libstdcxx.sh"),
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

/// Registers the folder of the library with the loader.
#[must_use]
pub fn register_interpreter(folder: String) -> Remedy {
    Remedy {
        id: "register-interpreter",
        title: bilingual!("Register the folder with ldconfig", "フォルダーを ldconfig に登録"),
        effect: bilingual!(
            "Writes the folder into /etc/ld.so.conf.d/m5stack-ax.conf and runs ldconfig, which affects the whole system. Undo restores the file.",
            "フォルダーを /etc/ld.so.conf.d/m5stack-ax.conf に書き、ldconfig を実行します（システム全体に影響します）。元に戻すとファイルが以前の状態に戻ります。"
        ),
        variables: vec![("FOLDER", folder), ("CONF", "/etc/ld.so.conf.d/m5stack-ax.conf".into())],
        shell: shell!("register-interpreter.sh"),
        undoable: true,
        limit: CHANGE_LIMIT,
    }
}

#[cfg(test)]
mod tests {
    use super::{REMEDIES, remedy};

    #[test]
    fn every_remedy_has_the_five_functions_and_shows_its_change() {
        for name in REMEDIES {
            let remedy = remedy(name).unwrap();
            for function in ["backup", "change", "verify", "restored", "restore"] {
                assert!(
                    remedy.shell.file.contains(&format!("\n{function}() {{\n")),
                    "{name}: {function}"
                );
            }
            let shown = remedy.shown();
            assert!(shown.lines().count() > remedy.variables.len(), "{name}: {shown}");
            assert!(!shown.contains("$B"), "{name} shows its backup: {shown}");
        }
    }
}
